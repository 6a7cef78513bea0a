"""A worker that is told secrets in every way, and an agent that tells them in every place.

Nothing of them is in a byte that leaves the worker, in one that it leaves on disk, in a log, in an
argument of any process; and no process sees what was set for another.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_model import FakeModel, Turn
from naive import forms, what_is_left
from patience import until
from recording_proxy import RecordingProxy, proxy_rig
from rig import AGENT, KEY, Rig
from wiretap import tapped, watching
from worker_process import WorkerProcess, worker_process

from agent_swarm_worker.logs import Event

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

TELLTALE = Path(__file__).parent / "telltale.py"

BY_NAME = "secret-by-the-name-of-its-variable"
IN_A_URL = "s3cret/in-a-url"
FLAGGED = 'row "quoted" \\ back\\slash sécret'
NAMED = "row-with-a-telling-name"
KEY_FILE = ("first line of a key file", "second line of a key file")
POOL = ("pool-member-one-abcdef", "pool-member-two-ghijkl")
LOGIN = ("access-token-of-a-login", "refresh-token-of-a-login")
TOOL_ENV = "tool-server-value-4711"
TOOL_HEADER = "header-value-of-a-tool-server"
REPOSITORY = "password-of-the-repository"
ROTATED = "value-after-the-rotation"
PERIODIC = "xyxyxyxyz"
OF_THE_SERVER = "opens-the-servers-database"
COLLECTOR = "signoz-key-of-the-collector"
SECRETS = (
    *(KEY, BY_NAME, IN_A_URL, FLAGGED, NAMED, *KEY_FILE, *POOL, *LOGIN, TOOL_ENV, TOOL_HEADER),
    *(REPOSITORY, PERIODIC, OF_THE_SERVER, COLLECTOR),
)
FORMS = {form for secret in (*SECRETS, ROTATED) for form in forms(secret).values()}
FOR_OTHERS = {
    "SECRETS_ENCRYPTION_KEY": OF_THE_SERVER,
    "OTEL_EXPORTER_OTLP_HEADERS": f"signoz-ingestion-key={COLLECTOR}",
    "NOTIFY_SOCKET": "/run/nobody",
    "VIRTUAL_ENV": "/opt/worker/venv",
}
"""Variables that no child may see."""


def secret_env() -> dict[str, str]:
    return {
        "BUILD_TOKEN": BY_NAME,
        "DATABASE_URL": "postgres://app:s3cret%2Fin-a-url@db.example.org/app",
        "ANTHROPIC_API_KEY": ",".join(POOL),
        "SHORT_TOKEN": "abc",
        "REPEATED_TOKEN": PERIODIC,
        **FOR_OTHERS,
    }


async def tell_the_server(rig: Rig) -> None:
    await rig.post("/api/agents", {"name": "tested"}, **{"X-Agent-ID": AGENT})
    login = {"access": LOGIN[0], "refresh": LOGIN[1], "accountId": "a-1"}
    login["expires"] = round((time.time() + 10 * 24 * 3600) * 1000)  # type: ignore[assignment]
    for key, value, is_secret in (
        ("PHRASE", FLAGGED, True),
        ("ROW_PASSWORD", NAMED, False),
        ("KEY_FILE", "\n".join(KEY_FILE), True),
        ("TOOL_VALUE", TOOL_ENV, False),
        ("TOOL_HEADER", TOOL_HEADER, False),
        ("codex_oauth_0", json.dumps(login), True),
        # An unusable setting is quoted when it is refused.
        ("SWARM_POLL_INTERVAL_S", NAMED, True),
    ):
        await rig.set_row(key, value, is_secret=is_secret)
    url = f"http://bot:{REPOSITORY}@127.0.0.1:9/acme/api.git"
    await rig.post("/api/repos", {"url": url, "name": "api"})
    words = f"Keep it to yourself: {KEY} {FLAGGED} {POOL[0]}"
    task_id = await rig.submit(words)
    link = {"vcsProvider": "gitlab", "vcsRepo": "acme/api", "vcsNumber": 1, "vcsUrl": "http://x/"}
    (await rig.api.patch(f"/api/tasks/{task_id}/vcs", json=link)).raise_for_status()
    for wanted in (
        {"transport": "stdio", "command": "/no/tools", "envConfigKeys": '{"VALUE": "TOOL_VALUE"}'},
        {
            "transport": "http",
            "url": "http://127.0.0.1:9/mcp",
            "headerConfigKeys": '{"X-Value": "TOOL_HEADER"}',
        },
    ):
        made = await rig.post("/api/mcp-servers", {"name": wanted["transport"], **wanted})
        await rig.post(f"/api/mcp-servers/{made['server']['id']}/install", {"agentId": AGENT})


@asynccontextmanager
async def under_watch(
    tmp_path: Path, env: dict[str, str]
) -> AsyncIterator[tuple[Rig, WorkerProcess]]:
    """A worker with secrets; in the end nothing of them may be anywhere."""
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "known.json").write_text(json.dumps(SECRETS))
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    workers: list[int] = []
    before = os.umask(0)  # a careless operator's: what is private must be made so
    try:
        async with proxy_rig(tmp_path) as (rig, proxy):
            await tell_the_server(rig)
            told_off(proxy)
            async with tapped(int(rig.url.rpartition(":")[2])) as tap:
                settings = {
                    **rig.env,
                    **secret_env(),
                    "MCP_BASE_URL": f"http://127.0.0.1:{tap.port}",
                    "SWARM_WORKSPACE_DIR": str(workspace),
                    "LOG_DIR": str(tmp_path / "journals"),
                    "STEERING_ENABLED": "true",
                    "SHUTDOWN_TIMEOUT": "3000",
                    **env,
                }
                with watching(tmp_path / "state", workers) as sight:
                    async with worker_process(tmp_path, settings) as worker:
                        workers.append(worker.pid)
                        yield rig, worker
                        worker.signal()
                        assert await worker.exit_code(within_s=60) == 0
                        said, sent = worker.text().encode(), tap.said()
    finally:
        os.umask(before)
    assert b"[REDACTED:" in sent
    places = {"the log": said, "the wire": sent, **left_on_disk(tmp_path)}
    assert any(name.endswith(".jsonl") for name in places)
    left = {where: b"\0".join(what_is_left(data)) for where, data in places.items()}
    found = [
        f"{where}: …{data[max(0, data.find(form) - 80) :][:200]!r}"
        for where, data in left.items()
        for form in FORMS
        if form in data
    ]
    assert not found, "\n".join(found[:12])
    assert not {form for words in sight.arguments for form in FORMS if form in words}
    assert not sight.open_files
    assert not list((tmp_path / "state").glob("*/sessions/*"))
    assert not [path for path in (tmp_path / "journals").rglob("*") if path.stat().st_mode & 0o077]


def told_off(proxy: RecordingProxy) -> None:
    """An API that quotes the key and more in its complaints."""
    words = json.dumps({"error": f"bad key {KEY}, {FLAGGED}, {POOL[1]}"})
    for pattern in ("POST /api/events", "POST /api/session-costs", "PUT /api/tasks/.*/session"):
        proxy.refuse(pattern, 400, words, times=1)
    proxy.refuse("GET /api/agents/.*/skills/signature", 500, f"<h1>{KEY}</h1>", kind="text/html")


def left_on_disk(place: Path) -> dict[str, bytes]:
    """All that the worker wrote; not what the agent, the server and this test keep."""
    folders = ("state", "journals", "home", "workspace")
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in (place / folder).rglob("*")
        if path.is_file() and path.name != "agent-wrote-this"
    }


async def run_a_task(rig: Rig, worker: WorkerProcess, tmp_path: Path) -> Any:
    """Steer, rotate a secret in the middle, let the agent go on, wait for the end."""
    ((task_id,),) = [[row["id"] for row in (await rig.get("/api/tasks"))["tasks"]]]
    waiting = tmp_path / "agent" / "waiting"
    await until(waiting.exists, within_s=60)
    known = tmp_path / "agent" / "known.json"
    changes = len(worker.logged(Event.CONFIG_CHANGED))
    await rig.set_row("PHRASE", ROTATED, is_secret=True)
    await until(lambda: len(worker.logged(Event.CONFIG_CHANGED)) > changes, within_s=60)
    known.write_text(json.dumps([*SECRETS, ROTATED]))
    await rig.post(f"/api/tasks/{task_id}/steer", {"message": f"And {FLAGGED}", "mode": "queue"})
    (tmp_path / "agent" / "go").touch()
    row = await rig.until_ended(task_id, within_s=60)
    await rig.settled(task_id)
    return row


def telltale(harness: str, tmp_path: Path, *args: str) -> str:
    words = [sys.executable, "-S", "-B", str(TELLTALE), harness, str(tmp_path / "agent"), *args]
    return shlex.join(words)


def given(tmp_path: Path, harness: str) -> dict[str, Any]:
    text = (tmp_path / "agent" / f"given-{harness}.json").read_text()
    return dict(json.loads(text))


def check_env(env: dict[str, str]) -> None:
    """What holds for the processes of every harness."""
    assert not env.keys() & FOR_OTHERS.keys()
    assert not [name for name in env if name.lower().startswith("codex_oauth_")]
    assert env["API_KEY"] == KEY
    assert env["BUILD_TOKEN"] == BY_NAME
    assert env["ROW_PASSWORD"] == NAMED


def watched_git(tmp_path: Path) -> str:
    """Put a git on the path that notes its environment and its arguments; return the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    notes = tmp_path / "agent" / "git"
    git = folder / "git"
    git.write_text(
        f"#!/bin/sh\nenv -0 >> {notes}.env\nprintf '%s ' \"$@\" >> {notes}.words\n"
        f'exec {shutil.which("git")} "$@"\n'
    )
    git.chmod(0o755)
    return f"{folder}:/usr/local/bin:/usr/bin:/bin"


def check_git(tmp_path: Path) -> None:
    """Git has run, and neither its environment nor its arguments had any secret."""
    for name in ("git.env", "git.words"):
        data = (tmp_path / "agent" / name).read_bytes()
        assert b"GIT_TERMINAL_PROMPT=0" in data or b" clone " in data
        assert not [form for form in FORMS if form in data]


@pytest.mark.parametrize("ending", ["succeeds", "fails"])
async def test_any_program(tmp_path: Path, ending: str) -> None:
    env = {
        "HARNESS_PROVIDER": "subprocess",
        "HARNESS_COMMAND": telltale("subprocess", tmp_path, ending),
        "PATH": watched_git(tmp_path),
    }
    async with under_watch(tmp_path, env) as (rig, worker):
        row = await run_a_task(rig, worker, tmp_path)
    assert row["status"] == ("completed" if ending == "succeeds" else "failed")
    seen = given(tmp_path, "subprocess")
    check_env(seen["env"])
    assert any(KEY in text and TOOL_ENV in text and TOOL_HEADER in text for text in seen["files"])
    check_git(tmp_path)


async def test_claude(tmp_path: Path) -> None:
    env = {
        "HARNESS_PROVIDER": "claude",
        "CLAUDE_BINARY": telltale("claude", tmp_path),
        "CODEX_OAUTH": json.dumps({"access": LOGIN[0], "refresh": LOGIN[1]}),
        "OPENAI_API_KEY": "openai-pool-one-123,openai-pool-two-456",
    }
    async with under_watch(tmp_path, env) as (rig, worker):
        await run_a_task(rig, worker, tmp_path)
    seen = given(tmp_path, "claude")
    check_env(seen["env"])
    assert seen["env"]["ANTHROPIC_API_KEY"] in POOL
    assert not seen["env"].keys() & {"CODEX_OAUTH", "OPENAI_API_KEY"}
    assert any(KEY in text and TOOL_ENV in text for text in seen["files"])


async def test_codex(tmp_path: Path) -> None:
    env = {
        "HARNESS_PROVIDER": "codex",
        "CODEX_BINARY": telltale("codex", tmp_path),
        "CLAUDE_CODE_OAUTH_TOKEN": "a-subscription-of-claude",
    }
    async with under_watch(tmp_path, env) as (rig, worker):
        await run_a_task(rig, worker, tmp_path)
    seen = given(tmp_path, "codex")
    check_env(seen["env"])
    assert not seen["env"].keys() & {"CODEX_OAUTH", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY"}
    assert any(KEY in text and TOOL_ENV in text for text in seen["files"])
    assert not any(LOGIN[1] in text for text in seen["files"])


async def test_pi(tmp_path: Path) -> None:
    place = tmp_path / "agent"
    dump = f"cat {place}/known.json; env -0 > {place}/env; env; touch {place}/waiting"
    wait = f"while [ ! -e {place}/go ]; do sleep 0.02; done; cat {place}/known.json; exit 3"
    told = json.dumps([*SECRETS, ROTATED])
    async with FakeModel() as model:
        env = {"HARNESS_PROVIDER": "pi", **model.env("openai")}
        async with under_watch(tmp_path, env) as (rig, worker):
            model.steps = [
                Turn("".join(SECRETS), [("bash", {"command": dump})]),
                Turn("", [("bash", {"command": wait}), ("read", {"path": f"/{KEY}"})]),
                Turn("", [("write", {"path": "agent-wrote-this", "content": told})]),
                Turn(told, [(f"no_tool_{BY_NAME}", {FLAGGED: told})]),
                Turn(told),
            ]
            row = await run_a_task(rig, worker, tmp_path)
    assert row["status"] == "completed"
    variables = (place / "env").read_text().strip("\0").split("\0")
    check_env(dict(variable.partition("=")[::2] for variable in variables))  # type: ignore[misc]


async def test_private_files_are_gone_after_a_kill_and_the_next_start(tmp_path: Path) -> None:
    """What a killed worker could not remove, the next one does before it takes a task."""
    env = {"HARNESS_PROVIDER": "claude", "CLAUDE_BINARY": telltale("claude", tmp_path)}
    sessions = tmp_path / "state" / AGENT / "sessions"
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "known.json").write_text("[]")
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, "ANTHROPIC_API_KEY": POOL[0], **env}
        async with worker_process(tmp_path, env) as worker:
            await rig.submit()
            await until((tmp_path / "agent" / "waiting").exists, within_s=60)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
            assert [path for path in sessions.rglob("mcp.json") if KEY in path.read_text()]
            async with worker_process(tmp_path, env) as next_one:
                await next_one.until_logged(Event.WORKER_STARTED)
                left = [path for path in sessions.rglob("*") if path.is_file()]
                assert not [path for path in left if path.stat().st_ctime_ns < started_ns(next_one)]
                next_one.signal()
                await next_one.exit_code()
    assert not list(sessions.rglob("*"))


def started_ns(worker: WorkerProcess) -> int:
    return Path(f"/proc/{worker.pid}").stat().st_ctime_ns
