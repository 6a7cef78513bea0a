"""Nothing that leaves this process may wait for ever: requests, connections, other programs.

Whoever adds such a call gives it a limit where it stands, or says here what bounds it.
"""

from __future__ import annotations

import ast
import inspect
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from sources import MODULES, PACKAGE, nodes_of

from agent_swarm_worker.api import resources
from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.configuration import PoolKey
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.cli.app import main
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Log

# --- what stands in the code
LEAVES_THE_PROCESS = {
    *(f"httpx2.{name}" for name in ("AsyncClient", "Client", "get", "post", "put", "stream")),
    *(f"subprocess.{name}" for name in ("run", "Popen", "call", "check_call", "check_output")),
    *(f"anyio.{name}" for name in ("run_process", "open_process", "connect_tcp", "connect_unix")),
    *(f"asyncio.create_subprocess_{name}" for name in ("exec", "shell")),
    *("os.system", "os.popen", "os.waitpid", "os.wait", "urlopen", "socket.create_connection"),
    *("smtplib.SMTP", "requests.get", "requests.post", "asyncio.open_connection"),
    *("spawn", "Child", "sandbox.start"),
}
BOUNDED_BY = {
    "api/connections.py: anyio.connect_tcp": "fail_after around each exchange",
    "network.py: httpx2.AsyncClient": "the `timeout` of each caller, and a `fail_after` around it",
    "processes/isolated_call.py: anyio.run_process": "fail_after",
    "processes/isolated_call.py: subprocess.run": "timeout",
    "processes/spawn.py: anyio.open_process": "starts a program; who calls it ends it",
    "processes/spawn.py: Child": "the object for it",
    "processes/pipe_holder.py: anyio.open_process": "starts a process that ends by itself",
    "processes/subreaper.py: os.waitpid": "WNOHANG",
    "sandboxes/local.py: spawn": "sessions: the watchdog; others: who calls it",
    "workspace/git.py: spawn": "timeout_s, an argument without a default",
    "providers/pi/mcp_transports.py: sandbox.start": "`Connection`, as for the other ways",
    "providers/claude/adapter.py: sandbox.start": "move_on_after",
    "providers/kit/cli_session.py: sandbox.start": "the watchdog",
    "providers/codex/launch.py: anyio.run_process": "move_on_after",
    "credentials/login.py: anyio.open_process": "move_on_after; a browser may stay",
    "cli/tools.py: httpx2.AsyncClient": "the limit of each tool, in the server of this process",
    "conformance/of_adapter.py: anyio.run_process": "`within`, in the check that calls it",
    "container/scripts.py: subprocess.run": "by nothing: an operator's script may take its time",
}


LAST_WORDS = {name.rpartition(".")[2] for name in LEAVES_THE_PROCESS}


def name_of(call: ast.Call) -> str:
    if (getattr(call.func, "attr", "") or getattr(call.func, "id", "")) not in LAST_WORDS:
        return ""
    words = ast.unparse(call.func)
    known = [name for name in LEAVES_THE_PROCESS if f".{words}".endswith(f".{name}")]
    return max(known, key=len, default="")


def test_whatever_leaves_the_process_has_a_limit():
    found = {
        f"{path.relative_to(PACKAGE).as_posix()}: {name}"
        for path in MODULES
        for node in nodes_of(path)
        if isinstance(node, ast.Call) and (name := name_of(node))
    }
    assert found - set(BOUNDED_BY) == set()
    assert len(found) > 10


def test_every_http_client_says_what_its_limit_is():
    """Without `timeout` the library's own five seconds would end what is slow, not what hangs."""
    clients = [
        node
        for path in MODULES
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "http_client"
    ]
    assert len(clients) >= 4
    for client in clients:
        assert "timeout" in {keyword.arg for keyword in client.keywords}, ast.unparse(client)


# --- an API that never comes to an end
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n"
LIMIT_S = 0.15


@contextmanager
def endless_api(*, drips: bool) -> Iterator[str]:
    """A server that takes every request and answers nothing, or a byte now and then, for ever."""
    is_over = threading.Event()
    connections: list[socket.socket] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            if drips:
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

    def drip(connection: socket.socket) -> None:
        try:
            connection.sendall(HEAD)
            while not is_over.wait(0.02):
                connection.sendall(b" ")
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            is_over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in connections:
                connection.close()


def made_up(name: str, kind: str) -> Any:
    """An argument that a method takes, so that it gets as far as asking."""
    if kind == "PoolKey":
        return PoolKey(key_type="ANTHROPIC_API_KEY", suffix="abcde", index=0)
    if name == "timeout_s":
        return LIMIT_S
    for start, value in (
        ("int", 1),
        ("float", 1.0),
        ("bool", False),
        ("bytes", b"{}"),
        ("Mapping", {}),
        ("dict", {}),
    ):
        if kind.startswith(start):
            return value
    return [] if kind.startswith(("Sequence", "list", "tuple", "Iterable")) else "x"


def calls(client: SwarmClient) -> Iterator[tuple[str, Any]]:
    """Every public method of every group of endpoints, ready to be awaited."""
    for group_name, group in vars(client).items():
        if group_name in {"http", "capabilities"}:
            continue
        for name, method in inspect.getmembers(group, inspect.iscoroutinefunction):
            if name.startswith("_"):
                continue
            wanted = [
                parameter
                for parameter in inspect.signature(method).parameters.values()
                if parameter.default is parameter.empty or parameter.name == "timeout_s"
            ]
            given = {p.name: made_up(p.name, str(p.annotation)) for p in wanted}
            yield f"{group_name}.{name}", lambda method=method, given=given: method(**given)


@pytest.mark.anyio
@pytest.mark.parametrize("drips", [False, True])
async def test_no_call_of_the_client_waits_longer_than_its_limit(
    monkeypatch: pytest.MonkeyPatch, drips: bool
):
    monkeypatch.setattr(resources, "AGENT_CREDENTIALS_TIMEOUT_S", LIMIT_S)
    endings: dict[str, str] = {}

    async def make(name: str, call: Any) -> None:
        begin_s = time.monotonic()
        try:
            await call()
        except ApiError:
            endings[name] = "told"
        else:
            endings[name] = "passed over"
        took_s = time.monotonic() - begin_s
        if took_s > LIMIT_S * 20:
            endings[name] = f"{took_s:.1f} s"

    clock, log = SystemClock(), Log()
    with endless_api(drips=drips) as url:
        async with Http(
            url, health=ApiHealth(clock, log), api_key="k", agent_id="a", timeout_s=LIMIT_S
        ) as http:
            client = SwarmClient(http, ServerCapabilities(clock, log))
            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    for name, call in calls(client):
                        group.start_soon(make, name, call)
    assert len(endings) > 50
    # Nothing is known of an answer that did not come: silence about it would be a lie.
    assert {name: end for name, end in endings.items() if end != "told"} == {}


@pytest.mark.parametrize(
    "words",
    [
        ["task", "submit", "x"],
        ["task", "submit", "x", "--follow"],
        ["task", "follow", "x"],
        ["task", "show", "x"],
        ["task", "list"],
        ["task", "cancel", "x"],
        ["doctor"],
        ["health", "--api"],
        ["login", "codex", "--status"],
        ["logout", "codex"],
    ],
)
def test_no_command_waits_for_ever(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with endless_api(drips=True) as url:
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "MCP_BASE_URL": url,
            "API_KEY": "test-api-key-0123456789",
            "SWARM_API_TIMEOUT_S": str(LIMIT_S),
        }
        monkeypatch.setattr("os.environ", env)
        monkeypatch.setattr("agent_swarm_worker.cli.doctor.HEALTH_TIMEOUT_S", LIMIT_S)
        monkeypatch.setattr("agent_swarm_worker.cli.health.API_LIMIT_S", LIMIT_S)
        begin_s = time.monotonic()
        assert main(words) == 1
        assert time.monotonic() - begin_s < 10
