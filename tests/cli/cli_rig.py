"""Fixtures for the command line: real processes, a real swarm, a scripted API."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from patience import BYTECODE, HANG_S, WAIT_S, until_blocking

AGENT_PROGRAM = Path(__file__).parent / "plays.py"
KEY = "test-api-key-0123456789"
COMMAND = (sys.executable, "-m", "agent_swarm_worker")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


def bare_env(place: Path, **more: str) -> dict[str, str]:
    """Return an environment in which everything a command writes lands below `place`."""
    for name in ("home", "tmp"):
        (place / name).mkdir(exist_ok=True)
    return {
        "PATH": SYSTEM_PATH,
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "tmp"),
        **BYTECODE,
        "SWARM_WORKSPACE_DIR": str(place / "no-workspace"),
        "TERM": "xterm",
        **more,
    }


def start(*words: str, env: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*COMMAND, *words], env=env, **{**pipes, **options})


def call(
    *words: str, env: dict[str, str], within_s: float = WAIT_S, **options: Any
) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, output and errors."""
    process = start(*words, env=env, **options)
    try:
        output, errors = process.communicate(timeout=within_s)
    finally:
        process.kill()
    return process.returncode, (output or b"").decode(), (errors or b"").decode()


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> tuple[int, float]:
    """Send a signal; return the exit code and how long it took in seconds."""
    sent_at_s = time.monotonic()
    process.send_signal(number)
    return process.wait(2 * HANG_S), time.monotonic() - sent_at_s


@contextmanager
def running(
    *words: str, env: dict[str, str], place: Path, **options: Any
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """Run a command meanwhile; gives the process and what it has said so far."""
    path = place / f"said-{len(list(place.glob('said-*')))}"
    with path.open("wb") as file:
        process = start(*words, env=env, stdout=file, stderr=file, cwd=place, **options)
    try:
        yield process, path.read_text
    finally:
        process.kill()
        process.wait()


@contextmanager
def local_swarm(
    place: Path, *words: str, **more: str
) -> Iterator[tuple[str, subprocess.Popen[bytes], Callable[[], str]]]:
    """Run ``swarm-worker local``; gives its URL, the process, and what it has said."""
    env = bare_env(place, API_KEY=KEY, **more)
    with running("local", "--port", "0", *words, env=env, place=place) as (process, said):
        until_blocking(lambda: "MCP_BASE_URL=" in said() or process.poll() is not None)
        found = re.search(r"MCP_BASE_URL=(http://\S+)", said())
        assert found, said()
        yield found[1], process, said


def harness_env() -> dict[str, str]:
    """Return the settings that make `plays.py` the harness."""
    command = [sys.executable, "-S", "-B", str(AGENT_PROGRAM)]
    return {"HARNESS_PROVIDER": "subprocess", "HARNESS_COMMAND": shlex.join(command)}


@contextmanager
def worker(place: Path, url: str) -> Iterator[None]:
    """Run a quick worker on this swarm."""
    env = bare_env(
        place,
        **harness_env(),
        MCP_BASE_URL=url,
        API_KEY=KEY,
        SWARM_STATE_DIR=str(place / "state"),
        SWARM_POLL_INTERVAL_S="0.1",
        SWARM_CANCEL_CHECK_INTERVAL_S="0.1",
        SWARM_LOG_FLUSH_INTERVAL_S="0.1",
        SHUTDOWN_TIMEOUT="2000",
    )
    with running("run", env=env, place=place) as (process, said):
        until_blocking(lambda: "worker.started" in said() or process.poll() is not None)
        try:
            yield
        finally:
            assert stop(process, signal.SIGTERM)[0] == 0, said()


def processes_of(place: Path) -> list[str]:
    """Return the command lines of living processes that know of this place."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes()
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(str(place)) in environment + words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


Answer = tuple[int, Any]


@contextmanager
def scripted_api(answer: Callable[[str], Answer]) -> Iterator[str]:
    """Serve what `answer` says to ``METHOD /path``: a status and JSON, or text."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, body = answer(f"{self.command} {self.path.partition('?')[0]}")
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            kind = "text/plain" if isinstance(body, str) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._reply()

        def do_POST(self) -> None:
            self._reply()

        def do_PUT(self) -> None:
            self._reply()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
