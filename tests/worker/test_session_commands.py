"""The operator's commands around a session, and what becomes of its uncommitted work."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from patience import until
from rig import Rig, running_worker, swarm_rig
from worker_process import worker_process

from agent_swarm_worker.errors import BadSetting, UnreadableFile
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.run import session_commands
from agent_swarm_worker.worker.run.session_commands import MAX_OUTPUT_BYTES
from agent_swarm_worker.workspace.rules import rules_for

pytestmark = pytest.mark.anyio

AGENT = """
import json, os, pathlib, sys
prompt = sys.stdin.read()
assert pathlib.Path.cwd().name == "api", "not in the clone: it would write here"
pathlib.Path("seen").write_text(os.environ.get("SEEN", "") + pathlib.Path("ready").read_text())
print(json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": prompt}))
"""
IDENTITY = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
GIT_ENV = IDENTITY | {"GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": "/dev/null"}


def git(cwd: Path, *args: str) -> str:
    env = {**GIT_ENV, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(["git", *args], cwd=cwd, env=env, check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    path = tmp_path / "acme" / "api"
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    (path / ".gitignore").write_text("ready\n")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "one")
    return path


async def submit(rig: Rig, repository: Path) -> str:
    """Submit a task in a repository."""
    task_id = await rig.submit()
    link = {
        "vcsProvider": "gitlab",
        "vcsRepo": str(repository),
        "vcsNumber": 1,
        "vcsUrl": "http://x/",
    }
    (await rig.api.patch(f"/api/tasks/{task_id}/vcs", json=link)).raise_for_status()
    return task_id


async def run(
    rig: Rig, repository: Path, agent: str = AGENT, **env: str
) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """Run a task in `repository`; return its row, the last line of its log, and its clone."""
    task_id = await submit(rig, repository)
    async with running_worker(rig, {**rig.agent(agent), "GIT_CONFIG_GLOBAL": "/dev/null", **env}):
        row = await rig.until_ended(task_id)
        await rig.settled(task_id)
    (line,) = [one for one in await rig.lines(task_id) if one["type"] == "worker_session_end"]
    (clone,) = rig.place.glob("state/**/personal/repos/api")
    return row, line, clone


async def test_commands_run_before_and_after_in_the_sessions_directory_and_environment(
    tmp_path: Path, origin: Path
) -> None:
    setup = "echo $AGENT_SWARM_TASK_ID >ready"
    cleanup = f"cp seen ready '{tmp_path}'; rm seen"
    env = {"SWARM_SETUP_COMMAND": setup, "SWARM_CLEANUP_COMMAND": cleanup}
    async with swarm_rig(tmp_path) as rig:
        row, line, clone = await run(rig, origin, **env)
        assert row["status"] == "completed", row
        assert (
            (tmp_path / "ready").read_text() == f"{row['id']}\n" == (tmp_path / "seen").read_text()
        )
        assert not (clone / "seen").exists()
        head = git(origin, "rev-parse", "main")
        assert line == {
            "type": "worker_session_end",
            "commitBefore": head,
            "commitAfter": head,
            "notes": [],
        }


@pytest.mark.long
async def test_failures_and_limits_are_said_and_cost_no_session(
    tmp_path: Path, origin: Path
) -> None:
    env = {
        "SWARM_SETUP_COMMAND": "echo x >ready; echo no network >&2; exit 3",
        "SWARM_CLEANUP_COMMAND": f"sleep 1000 & echo $! >'{tmp_path}/pid'; wait",
        "SWARM_CLEANUP_TIMEOUT_S": "0.5",
    }
    async with swarm_rig(tmp_path) as rig:
        row, line, _ = await run(rig, origin, **env)
        assert row["status"] == "completed", row
        setup, cleanup = line["notes"]
        assert setup == "The operator's setup command failed: exit code 3; it printed: no network"
        assert "The operator's setup command failed: exit code 3" in row["output"]
        assert cleanup.startswith(
            "The operator's cleanup command failed: it took longer than 0.5 s"
        )
        assert [one["which"] for one in rig.logged(Event.SESSION_COMMAND)] == ["setup", "cleanup"]
        pid = (tmp_path / "pid").read_text().strip()
        assert not Path("/proc", pid).exists()


@pytest.mark.long
async def test_of_long_output_the_end_is_quoted_and_no_part_of_a_secret(
    tmp_path: Path, origin: Path
) -> None:
    secret = "sUp3rS3cretValue-0123456789abcdefXYZ"
    # The output that is kept begins within the secret, and most of the rest is blank.
    nulls = f"head -c {MAX_OUTPUT_BYTES - 50} /dev/zero"
    reason = f"printf 'npm ERR! \\033[1m{secret[:9]}\\033[0m%s reason\\n' '{secret[9:]}'"
    setup = f"exec >&2; echo {secret}; {nulls}; {reason}; exit 1"
    env = {"SWARM_SETUP_COMMAND": setup, "DEPLOY_TOKEN": secret, **IDENTITY}
    async with swarm_rig(tmp_path) as rig:
        _, line, _ = await run(rig, origin, "open('seen', 'w')", **env)
    (why,) = line["notes"]
    assert why.endswith(" reason")
    assert "npm ERR!" in why
    parts = {secret[begin : begin + 6] for begin in range(len(secret) - 6)}
    assert not [part for part in parts if part in why]


async def test_a_shutdown_shortens_a_cleanup_that_runs(
    tmp_path: Path, origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_commands, "SHUTDOWN_TIMEOUT_S", 0.1)
    env = {
        "SWARM_CLEANUP_COMMAND": f"touch '{tmp_path}/begun'; sleep 1000",
        "SWARM_CLEANUP_TIMEOUT_S": "1000",
        "SWARM_SETUP_COMMAND": "touch ready",
    }
    async with swarm_rig(tmp_path) as rig:
        await submit(rig, origin)

        async def begun() -> bool:
            return (tmp_path / "begun").exists()

        async with running_worker(rig, {**rig.agent(AGENT), **env}):
            await rig.until(begun)
        (setup, cleanup) = rig.logged(Event.SESSION_COMMAND)
        assert (setup["which"], cleanup["which"]) == ("setup", "cleanup")
        assert cleanup["why"] == "it took longer than 0.1 s of a shutdown and was ended"


@pytest.mark.long
@pytest.mark.parametrize("signalled_in", ["setup", "session", "cleanup"])
async def test_a_shutdown_during_a_command_keeps_its_budget(
    tmp_path: Path, origin: Path, signalled_in: str
) -> None:
    """However short it is: exit code 0, and the task is handed over, or finished by the next."""

    def command(name: str) -> str:
        waits = "trap '' TERM INT; sleep 1000" if name in {signalled_in, "cleanup"} else "true"
        return f"touch '{tmp_path}/{name}'; {waits}"

    session = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(float(sys.argv[2]))"
    seconds = "1000" if signalled_in == "session" else "0"
    async with swarm_rig(tmp_path) as rig:
        env = {
            **rig.agent(f"{session}; print('done')", str(tmp_path / "session"), seconds),
            "SWARM_SETUP_COMMAND": command("setup"),
            "SWARM_CLEANUP_COMMAND": command("cleanup"),
            "SWARM_CLEANUP_TIMEOUT_S": "1000",
            "SHUTDOWN_TIMEOUT": "6000",
        }
        async with worker_process(tmp_path, {**rig.env, **env}) as worker:
            task_id = await submit(rig, origin)
            await until(lambda: (tmp_path / signalled_in).exists())
            worker.signal()
            assert await worker.exit_code() == 0
        ended = (await rig.task(task_id))["status"]
    assert ended == ("completed" if signalled_in == "cleanup" else "superseded")


async def test_a_cleanup_runs_for_a_session_that_was_cancelled(
    tmp_path: Path, origin: Path
) -> None:
    agent = "import time; open('ready', 'w').close(); time.sleep(1000)"
    env = {**IDENTITY, "SWARM_CLEANUP_COMMAND": f"mv ready '{tmp_path}'"}
    async with swarm_rig(tmp_path) as rig:
        task_id = await submit(rig, origin)

        async def begun() -> bool:
            return bool(list(rig.place.glob("state/**/personal/repos/api/ready")))

        async def cleaned() -> bool:
            return (tmp_path / "ready").exists()

        async with running_worker(rig, {**rig.agent(agent), **env}):
            await rig.until(begun)
            await rig.post(f"/api/tasks/{task_id}/cancel")
            await rig.until(cleaned)


@pytest.mark.long
@pytest.mark.parametrize("how", ["leave", "commit", "aside"])
async def test_uncommitted_work_is_never_lost(tmp_path: Path, origin: Path, how: str) -> None:
    env = {"SWARM_SETUP_COMMAND": "echo made >ready", "SWARM_UNCOMMITTED": how}
    async with swarm_rig(tmp_path) as rig:
        row, line, clone = await run(rig, origin, **env)
        head = git(origin, "rev-parse", "main")
        assert line["commitBefore"] == head
        if how == "leave":
            assert (clone / "seen").read_text() == "made\n"
            assert (line["commitAfter"], line["notes"]) == (head, [])
            return
        assert git(clone, "status", "--porcelain") == ""
        if how == "aside":
            assert "swarm-autostash main" in git(clone, "stash", "list")
            assert git(clone, "show", "stash@{0}^3:seen") == "made"
            return
        assert line["commitAfter"] == git(clone, "rev-parse", "main") != head
        assert git(clone, "log", "-1", "--format=%s") == f"Uncommitted work of task {row['id']}"
        assert git(clone, "show", "main:seen") == "made"
        assert line["notes"] == ["uncommitted changes were committed"]


@pytest.mark.long
async def test_the_work_of_a_task_that_goes_on_later_is_left_as_it_is(
    tmp_path: Path, origin: Path
) -> None:
    agent = "open('seen', 'w').close(); open('begun', 'w').close(); import time; time.sleep(1000)"
    second = tmp_path / "second"
    setup = f"test ! -e '{second}' || {{ touch '{second}/begun'; sleep 1000; }}"
    env = {"SWARM_SETUP_COMMAND": setup, "SWARM_UNCOMMITTED": "commit"}
    async with swarm_rig(tmp_path) as rig:
        task_id = await submit(rig, origin)

        async def begun() -> bool:
            return bool(list(rig.place.glob("state/**/personal/repos/api/begun")))

        async def prepares() -> bool:
            return (second / "begun").exists()

        def left() -> str:
            (clone,) = rig.place.glob("state/**/personal/repos/api")
            return git(clone, "status", "--porcelain") + git(clone, "stash", "list")

        async with running_worker(rig, {**rig.agent(agent), **env}):
            await rig.until(begun)
            await rig.post(f"/api/tasks/{task_id}/pause")
            await until(lambda: rig.logged(Event.TASK_PAUSED))
            await rig.settled(task_id)
            assert left() == "?? begun\n?? seen"
            second.mkdir()
            await rig.post(f"/api/tasks/{task_id}/resume")
            await rig.until(prepares)
        assert left() == "?? begun\n?? seen"  # the worker was shut down in its preparation


@pytest.mark.long
async def test_what_cannot_be_committed_is_put_aside(tmp_path: Path, origin: Path) -> None:
    agent = AGENT + (
        "import subprocess\n"
        "def git(*a): subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=b', *a])\n"
        "git('checkout', '-qb', 'x'); git('add', 'seen'); git('commit', '-qm', 'x')\n"
        "git('checkout', '-q', 'main'); open('seen', 'w').write('other'); git('add', 'seen')\n"
        "git('commit', '-qm', 'main'); git('merge', 'x')\n"
    )
    env = {"SWARM_SETUP_COMMAND": "echo made >ready", "SWARM_UNCOMMITTED": "commit"}
    async with swarm_rig(tmp_path) as rig:
        _, line, clone = await run(rig, origin, agent, **env)
        assert "put aside, not committed: a merge is under way" in line["notes"][0]
        assert "<<<<<<<" in git(clone, "show", "stash@{0}:seen")
        assert git(clone, "status", "--porcelain") == ""


async def test_a_repository_has_rules_of_its_own_and_no_row_sets_them(
    tmp_path: Path, origin: Path
) -> None:
    file = tmp_path / "repositories.yaml"
    file.write_text("Acme/API:\n  setup: |\n    echo own >ready\n  uncommitted: commit\n")
    env = {"SWARM_REPOSITORIES_FILE": str(file), "SWARM_SETUP_COMMAND": "echo global >ready"}
    async with swarm_rig(tmp_path) as rig:
        await rig.set_row("SWARM_CLEANUP_COMMAND", f"touch '{tmp_path}/by-a-row'")
        _, line, clone = await run(rig, origin, **env)
        assert git(clone, "show", "main:seen") == "own"
        assert line["notes"] == ["uncommitted changes were committed"]
    assert not (tmp_path / "by-a-row").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a/b: {setup: [x]}", "a/b.setup"),
        ("a/b: {steup: x}", "a/b.steup"),
        ("a/b: {uncommitted: drop}", "a/b.uncommitted"),
        ("- a", "valid dictionary"),
        ("a: b: c", "mapping values"),
        ("a/b: {}\n" + "#" * 1024 * 1024, "larger than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_used_is_said(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "rules.yaml"
    env = {"SWARM_REPOSITORIES_FILE": str(file)}
    with pytest.raises(UnreadableFile):
        rules_for(env, "a/b")
    file.write_text(text)
    with pytest.raises(BadSetting, match=why):
        rules_for(env, None)
