"""From the start to the first poll: what ends a boot, and what it must survive."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest
from anyio.from_thread import start_blocking_portal
from patience import HANG_S
from recording_proxy import proxy_rig, restartable_rig
from rig import AGENT, KEY, harness, running_worker, swarm_rig, worker_env
from worker_process import worker_process

from agent_swarm_worker import logs
from agent_swarm_worker.cli.app import main
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import ApiRefused
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.journal.files import owner_of
from agent_swarm_worker.local_swarm.serve import LocalSwarm
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import supported_providers
from agent_swarm_worker.state.directory import StateDir, generated_agent_id

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"


# --- what ends a start
@dataclass
class Start:
    """A worker started in this process, which is much quicker; it must end by itself."""

    place: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    said: str = ""

    def fails(self, code: int, url: str = NOWHERE, **env: str) -> str:
        """Return the message of a start that ends with this code."""
        own = {**worker_env(url, self.place), **harness("says_hi"), **env}
        self.monkeypatch.setattr(os, "environ", own)
        begin_s = time.monotonic()
        assert main(["worker"]) == code
        assert time.monotonic() - begin_s < HANG_S
        logs.reset()
        self.said = self.capsys.readouterr().err
        message, *advice = [line for line in self.said.splitlines() if line[0] != "{"]
        assert message.startswith("swarm-worker: ")
        assert len(advice) <= 1
        assert own["API_KEY"] not in self.said
        return message


@pytest.fixture
def start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Start:
    return Start(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HARNESS_PROVIDER", "nonesuch"),
        ("WORKER_API_READY_TIMEOUT_SECONDS", "1.5"),
        ("WORKER_API_READY_TIMEOUT_SECONDS", "0"),
        ("SHUTDOWN_TIMEOUT", "-1"),
        ("MAX_CONCURRENT_TASKS", "many"),
        ("AGENT_ROLE", "two\nlines"),
        ("MCP_BASE_URL", "not a url"),
        ("MCP_BASE_URL", "http://two words:3013"),
        ("MCP_BASE_URL", "http://$SWARM_HOST"),
        ("MODEL_TIER_MAP", "[broken"),
        ("MODEL_TIER_MAP", "smart=opus"),
        ("MODEL_TIER_MAP", '["opus"]'),
        ("MODEL_TIER_MAP", '{"smart": 1}'),
        ("MODEL_TIER_MAP", "[" * 100_000),
        ("LOG_DIR", "/dev/null"),
        ("LOG_DIR", "/dev/null/below"),
        ("LOG_DIR", "/proc/nowhere"),
        ("LOG_DIR", "/" + "x" * 300),
        ("CODEX_OAUTH_ISSUER", "http://plain.example"),
        ("SESSION_ID", "../elsewhere"),
        ("SESSION_ID", "/elsewhere"),
        ("SESSION_ID", "a/b"),
        ("SESSION_ID", ".."),
        ("SESSION_ID", "x" * 300),
        ("SESSION_ID", "two\nlines"),
        ("API_KEY", "two\nlines"),
        ("AGENT_ID", "two\nlines"),
        ("SWARM_UNCOMMITTED", "stash"),
        ("SWARM_SETUP_TIMEOUT_S", "10m"),
        ("SWARM_CLEANUP_TIMEOUT_S", "0"),
        ("SWARM_GIT_PROTOCOLS", "ext"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(start: Start, name: str, value: str):
    assert name in start.fails(78, **{name: value})


def test_a_missing_file_of_repositories_is_named(start: Start):
    assert "/no/such.yaml" in start.fails(78, SWARM_REPOSITORIES_FILE="/no/such.yaml")


def test_a_folder_of_journals_that_is_a_file_is_named(start: Start):
    (start.place / "logs").mkdir()
    (start.place / "logs" / "run").touch()
    message = start.fails(78, LOG_DIR=str(start.place / "logs"), SESSION_ID="run")
    assert f"{start.place}/logs/run is not a directory" in message


def test_an_unknown_harness_is_told_with_the_known_ones(start: Start):
    known = ", ".join(supported_providers())
    assert f"Supported: {known}" in start.fails(78, HARNESS_PROVIDER="nonesuch")


@pytest.mark.parametrize("path", ["/nowhere/prompt.md", "/"])
def test_a_prompt_file_that_cannot_be_read_is_named(start: Start, path: str):
    assert f"cannot read {path}: " in start.fails(78, SYSTEM_PROMPT_FILE=path)


def test_a_state_directory_that_cannot_be_written_is_named(start: Start):
    (start.place / "state").write_text("a file in its place")
    assert str(start.place / "state") in start.fails(1)
    assert "SWARM_STATE_DIR" in start.said


@pytest.mark.parametrize("agent_id", [AGENT, ""])
def test_a_second_worker_of_one_agent_is_told_who_was_first(start: Start, agent_id: str):
    root = start.place / "state"
    with StateDir.open(root, agent_id or generated_agent_id(root, random_ids), clock=SystemClock()):
        message = start.fails(1, AGENT_ID=agent_id)
    assert f"process {os.getpid()}" in message


# --- an API that is not there, or is something else
@pytest.mark.long
def test_an_api_that_never_comes_up_ends_the_boot(start: Start):
    assert NOWHERE in start.fails(1, WORKER_API_READY_TIMEOUT_SECONDS="1")
    assert "MCP_BASE_URL" in start.said


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """Something listens; it answers with these bytes, or never."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            if answer is None:
                done.wait()
            else:
                self.request.sendall(answer)

    done = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        done.set()
        server.shutdown()
        thread.join()


HTML = b"<html>Sign in to the hotel's network</html>"


@pytest.mark.long
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"
        % (len(HTML), HTML),
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"",
        None,
    ],
    ids=["html", "not-http", "broken-off", "gateway", "hangs-up", "silent"],
)
def test_something_that_is_no_swarm_api_ends_the_boot_in_time(start: Start, answer: bytes | None):
    with answering(answer) as url:
        assert url in start.fails(1, url, WORKER_API_READY_TIMEOUT_SECONDS="1")


@pytest.fixture
def swarm_url(tmp_path: Path) -> Iterator[str]:
    """A local swarm on a thread of its own."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(LocalSwarm(tmp_path / "swarm.sqlite", KEY)) as swarm,
    ):
        yield swarm.url


OTHER_KEY = "some-other-key-0123456789"
FIVE_S = {"WORKER_API_READY_TIMEOUT_SECONDS": "5"}


def test_a_wrong_key_ends_the_boot_at_once(start: Start, swarm_url: str):
    assert "401" in start.fails(1, swarm_url, API_KEY=OTHER_KEY, **FIVE_S)
    assert "API_KEY" in start.said


@pytest.mark.parametrize(
    ("command", "code"), [("nonesuch --fast", 1), ("'unbalanced", 78), ("", 78)]
)
def test_a_program_that_cannot_run_is_found_out_at_boot(
    start: Start, swarm_url: str, command: str, code: int
):
    message = start.fails(code, swarm_url, HARNESS_COMMAND=command)
    assert "nonesuch" in message or "HARNESS_COMMAND" in message
    answer = httpx2.get(f"{swarm_url}/api/agents", headers={"Authorization": f"Bearer {KEY}"})
    assert answer.json()["agents"] == []


@pytest.mark.long
async def test_an_api_that_comes_up_late_is_waited_for(tmp_path: Path):
    async with restartable_rig(tmp_path) as (rig, _, swarm):
        await swarm.stop()
        async with worker_process(tmp_path, {**rig.env, **harness("says_hi")}) as worker:
            await worker.until_logged(Event.API_UNREACHABLE)
            await swarm.start()
            task_id = await rig.submit()
            assert (await rig.until_ended(task_id))["status"] == "completed"


# --- order
async def test_boot_calls_the_api_in_the_documented_order(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with running_worker(rig, harness("says_hi"), role="lead"):
            await rig.until(lambda: _soon(proxy.seen("GET /api/poll")))
        row, poll = "POST /api/agents", "GET /api/poll"
        config = f"GET /api/config/resolved?agentId={AGENT}&includeSecrets=true"
        cleanup = "POST /api/active-sessions/cleanup"
        orphans = "POST /api/active-sessions/recover-orphaned-tasks"
        sweep = "POST /api/heartbeat/sweep"
        in_order = [
            (config, "POST /api/fs/agent-credentials", poll),
            (config, row, f"PUT /api/agents/{AGENT}/credential-status", poll),
            (row, f"PUT /api/agents/{AGENT}/profile", poll),
            (config, cleanup, orphans, sweep, poll),
            (row, orphans, poll),
            (row, "GET /me", poll),
            (row, "GET /api/paused-tasks", poll, "POST /close"),
        ]
        names = _once(proxy.names())
        for chain in in_order:
            assert [name for name in names if name in chain] == list(chain)


async def _soon(value: object) -> object:
    return value


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


@pytest.mark.parametrize(
    "call", ["agent-credentials", "credential-status", "/profile", "cleanup", "recover-", "GET /me"]
)
async def test_what_is_not_needed_does_not_end_the_boot(tmp_path: Path, call: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse(call, 500, times=1)
        async with running_worker(rig, harness("says_hi")):
            task_id = await rig.submit()
            assert (await rig.until_ended(task_id))["status"] == "completed"


@pytest.mark.long
async def test_a_registration_that_an_outage_breaks_is_tried_again(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("POST /api/agents$", 502, "<html>Bad Gateway</html>", times=1)
        async with running_worker(rig, harness("says_hi")):
            assert len(proxy.seen("POST /api/agents$")) == 2


async def test_a_server_that_will_not_register_us_ends_the_boot(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("POST /api/agents", 400, '{"error": "Validation error: not you"}')
        with pytest.RaisesGroup(ApiRefused, flatten_subgroups=True):
            async with running_worker(rig, harness("says_hi")):
                raise AssertionError("it started")


@pytest.mark.long
async def test_a_signal_while_the_api_is_waited_for_ends_the_worker_at_once(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        env = {**worker_env(url, tmp_path), **harness("says_hi")}
        async with worker_process(tmp_path, env) as worker:
            with anyio.fail_after(HANG_S):
                connection, _ = await anyio.to_thread.run_sync(silent.accept)
            with connection:
                begin_s = time.monotonic()
                worker.signal()
                assert await worker.exit_code() == 0
                assert time.monotonic() - begin_s < HANG_S


# --- what the server is told
async def test_role_and_capabilities_are_stored_where_the_server_has_none(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        able = {**harness("says_hi"), "CAPABILITIES": "rust, sql"}
        async with running_worker(rig, able):
            pass
        agent = await rig.get(f"/api/agents/{AGENT}")
        assert (agent["role"], agent["capabilities"]) == ("worker", ["rust", "sql"])


@pytest.mark.parametrize(
    "role", [pytest.param("coder", marks=pytest.mark.long), "forward-deployed engineer"]
)
async def test_a_worker_is_registered_with_any_role_and_works(tmp_path: Path, role: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = {**rig.env, **harness("says_hi"), "AGENT_ROLE": role, "AGENT_NAME": ""}
        async with worker_process(tmp_path, env):
            assert (await rig.until_ended(await rig.submit()))["status"] == "completed"
            (registration, *_) = proxy.seen("POST /api/agents$")
        assert (registration.json()["role"], registration.json()["isLead"]) == (role, False)
        agent = await rig.get(f"/api/agents/{AGENT}")
        assert (agent["role"], agent["name"]) == (role, f"{role}-{AGENT[:8]}")
        (journal,) = (tmp_path / "state").rglob("*.jsonl")
        assert owner_of(journal), "retention has to know whose it is"


async def test_a_role_that_somebody_set_is_left_alone(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        async with running_worker(rig, harness("says_hi")):
            pass
        answer = await rig.api.put(
            f"/api/agents/{AGENT}/profile", json={"role": "reviewer", "capabilities": ["c"]}
        )
        assert answer.status_code == 200
        async with running_worker(rig, {**harness("says_hi"), "CAPABILITIES": "rust"}):
            pass
        agent = await rig.get(f"/api/agents/{AGENT}")
        assert (agent["role"], agent["capabilities"]) == ("reviewer", ["c"])


async def test_a_harness_the_server_does_not_know_goes_by_the_name_of_one_it_knows(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("says_hi")):
        agent = await rig.get(f"/api/agents/{AGENT}")
        assert (agent["provider"], agent["harnessProvider"]) == ("claude", "claude")
