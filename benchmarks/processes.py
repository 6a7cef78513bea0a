"""Run a local swarm and a worker as processes in one directory, for the other benchmarks."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx2

from benchmarks import agent

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

KEY = "bench-api-key-0123456789"
AGENT_ID = "0a9e0000-0000-4000-8000-0000000000be"
REQUESTS = "/bench/requests"
"""Path at which the swarm returns the number of the worker's requests by route."""
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
WAIT_S = 60.0
"""Limit of a step that takes a second on an idle machine."""


class Swarm:
    """A local swarm as a process, which can be killed and started again on its file and port."""

    def __init__(self, run_dir: Path, *, first_sweep_s: float) -> None:
        self._run_dir, self._first_sweep_s = run_dir, first_sweep_s
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it; it answers on return."""
        options = ("--port", str(self._port), "--first-sweep-s", str(self._first_sweep_s))
        argv = [sys.executable, "-m", "benchmarks.processes", str(self._run_dir / "swarm.sqlite")]
        self.url = await anyio.to_thread.run_sync(self._launch, (*argv, *options))
        self._port = int(self.url.rpartition(":")[2])

    def _launch(self, argv: tuple[str, ...]) -> str:
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        url = self._process.stdout.readline().strip()
        assert url, "the swarm did not start"
        return url

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            assert self._process.stdout is not None
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None


@asynccontextmanager
async def worker(
    run_dir: Path, url: str, **settings: str
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run a worker with `agent` as its harness; it is terminated at the end, and waited for.

    Args:
        run_dir: of its files; it logs into ``worker.log`` there.
        url: of the API.
        settings: environment variables in addition.
    """
    for name in ("runs", "printed", "home"):
        (run_dir / name).mkdir(exist_ok=True)
    command = shlex.join([sys.executable, "-S", "-B", "-E", str(agent.__file__), str(run_dir)])
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(run_dir / "home"),
        "MCP_BASE_URL": url,
        "API_KEY": KEY,
        "AGENT_ID": AGENT_ID,
        "SWARM_STATE_DIR": str(run_dir / "state"),
        "SWARM_WORKSPACE_DIR": str(run_dir / "no-workspace"),
        "SWARM_LOG_LEVEL": "info",
        "HARNESS_PROVIDER": "subprocess",
        "HARNESS_COMMAND": command,
        **settings,
    }
    process = _launch(env, run_dir / "worker.log")
    try:
        yield process
    finally:
        process.terminate()
        with anyio.CancelScope(shield=True):
            try:
                await anyio.to_thread.run_sync(process.wait, WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _launch(env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "benchmarks.watched_worker"]
    with log.open("wb") as output:
        return subprocess.Popen(argv, env=env, stdout=output, stderr=output)


class Lead:
    """A client that submits tasks and reads their records."""

    def __init__(self, url: str) -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        self._client = httpx2.AsyncClient(base_url=url, headers=headers, timeout=WAIT_S)

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str, **params: str | int) -> dict[str, Any]:
        answer = await self._client.get(path, params=params)
        answer.raise_for_status()
        return dict(answer.json())

    async def submit(self, lines: int, seconds: float) -> str:
        """Submit a task that prints `lines` lines in `seconds` seconds; return its id."""
        text = f"lines={lines} seconds={seconds:g}"
        # Without a follow-up for a lead, which would count as a second task.
        body = {"task": text, "agentId": AGENT_ID, "followUpConfig": {"disabled": True}}
        answer = await self._client.post("/api/tasks", json=body)
        answer.raise_for_status()
        return str(answer.json()["id"])

    async def cancel(self, task_id: str) -> None:
        (await self._client.post(f"/api/tasks/{task_id}/cancel", json={})).raise_for_status()

    async def is_registered(self) -> bool:
        """Return whether the worker has registered."""
        return (await self._client.get(f"/api/agents/{AGENT_ID}")).status_code == 200


async def until(look: Callable[[], Awaitable[object]], *, every_s: float = 0.02) -> None:
    """Call `look` until its result is true; the caller sets a time limit."""
    while not await look():  # noqa: ASYNC110 - polls another process
        await anyio.sleep(every_s)


def printed(run_dir: Path, task_id: str) -> tuple[int, int]:
    """Return how many lines and bytes a task has printed so far."""
    try:
        lines, size = (run_dir / "printed" / task_id).read_text().split()
    except (OSError, ValueError):  # not begun
        return 0, 0
    return int(lines), int(size)


def runs(run_dir: Path, task_id: str) -> int:
    """Return how often a task was run."""
    path = run_dir / "runs" / task_id
    return len(path.read_text().splitlines()) if path.exists() else 0


def _counting(app: Any) -> Any:
    """Wrap the swarm so that it counts the worker's requests, and says so at `REQUESTS`."""
    counts: Counter[str] = Counter()

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == REQUESTS:
            head = {"type": "http.response.start", "status": 200}
            await send({**head, "headers": [(b"content-type", b"application/json")]})
            await send({"type": "http.response.body", "body": json.dumps(counts).encode()})
            return
        if scope["type"] == "http" and b"x-agent-id" in dict(scope["headers"]):
            counts[f"{scope['method']} {_ID.sub('{id}', scope['path'])}"] += 1
        await app(scope, receive, send)

    return counted


async def _serve(options: argparse.Namespace) -> None:
    from agent_swarm_worker.local_swarm import serve
    from agent_swarm_worker.local_swarm.serve import LocalSwarm
    from agent_swarm_worker.local_swarm.sweeps import SweepSettings

    build = vars(serve)["build_app"]
    vars(serve)["build_app"] = lambda *parts: _counting(build(*parts))
    sweeps = SweepSettings(first_after_s=options.first_sweep_s)
    async with LocalSwarm(options.db, KEY, port=options.port, sweeps=sweeps) as swarm:
        print(swarm.url, flush=True)
        await anyio.sleep_forever()


def main() -> None:
    """Serve a local swarm, as ``swarm-worker local`` does, with sweeps in time for a benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("db")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--first-sweep-s", type=float, default=5.0)
    anyio.run(_serve, parser.parse_args())


if __name__ == "__main__":
    main()
