"""Run a local swarm, a fault proxy and a worker."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
from anyio.abc import Process

from chaos.disk import Disk
from chaos.proxy import FaultProxy

KEY = "chaos-api-key-0123456789abcdef"
AGENT = "0a9e0000-0000-4000-8000-00000000c4a0"
DRAIN_S = 9.0
DRAIN_SLACK_S = 3.0
"""What a process may take to stop besides its budget, on a busy machine."""
BOOT_S = 5.0
"""Until a worker that was just started beats, on a busy machine."""
TREE = Path(__file__).resolve().parents[1]


@dataclass(slots=True)
class Usage:
    """What a process holds."""

    files: int
    threads: int
    rss_mb: float


@dataclass(slots=True)
class Deaths:
    """When what ended, by the monotonic clock."""

    worker_killed: list[float] = field(default_factory=list)
    worker_ended: list[float] = field(default_factory=list)
    worker_stopped: list[tuple[float, float]] = field(default_factory=list)
    worker_away: list[tuple[float, float]] = field(default_factory=list)
    """From when it was told to leave, or killed, until the next one has booted."""
    api_restarted: list[float] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    """Ends of a worker that nobody asked for, and drains that took too long."""


class World:
    """Starts, kills and restarts. The address of the API, as the worker sees it, never changes."""

    def __init__(self, run_dir: Path, disk: Disk, *, seed: int, slots: int, secret: str) -> None:
        self.run_dir, self.disk = run_dir, disk
        self._seed, self._slots, self._secret = seed, slots, secret
        self.deaths = Deaths()
        self.truth = run_dir / "truth"
        self.truth.mkdir()
        (self.truth / "secret").write_text(secret)
        self._clock_file = run_dir / "clock"
        self._clock_file.write_text("0")
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))  # so that nobody takes the port of a dead API
        self._port = self._holder.getsockname()[1]
        self.api_url = f"http://127.0.0.1:{self._port}"
        self.proxy = FaultProxy(self.api_url)
        self._api: Process | None = None
        self._worker: Process | None = None
        self._starts = 0
        self._worker_log = run_dir
        self._clock_offset_s = 0.0
        self.lock = anyio.Lock()
        """Held by whoever ends and starts the worker."""
        self.client = httpx2.AsyncClient(
            base_url=self.api_url,
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=5,
            trust_env=False,
        )

    # --- the API
    async def start_api(self) -> None:
        self._api = await self._start(
            "api", ["-m", "chaos.api", str(self._port), str(self.run_dir / "swarm.sqlite")]
        )
        with anyio.fail_after(30):
            while not await self.ask("GET", "/api/agents"):  # noqa: ASYNC110 - another process
                await anyio.sleep(0.05)

    async def kill_api(self) -> None:
        assert self._api is not None
        self._api.kill()
        await self._api.wait()

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """Ask the API directly; ``None`` when it cannot answer."""
        try:
            answer = await self.client.request(method, path, **options)
            return answer.json() if answer.status_code < 300 else None
        except (httpx2.HTTPError, ValueError):
            return None

    # --- the worker
    async def start_worker(self) -> None:
        command = ["-m", "chaos.worker", str(self._clock_file), "worker"]
        self._worker = await self._start("worker", command, **self._worker_env())
        self._worker_log = self.run_dir / f"worker-{self._starts}.log"

    async def kill_worker(self) -> None:
        assert self._worker is not None
        if self._worker.returncode is None:
            self._worker.kill()
            await self._worker.wait()
            # Not before it is gone: until then its pipes take what is said.
            self.deaths.worker_killed.append(time.monotonic())
        await self._note_end()

    async def terminate_worker(self) -> float:
        """Have it leave; return how long that took. One that does not is killed."""
        assert self._worker is not None
        begun = time.monotonic()
        if self._worker.returncode is None:
            self._worker.terminate()
        with anyio.move_on_after(DRAIN_S + DRAIN_SLACK_S):
            await self._worker.wait()
        took_s = time.monotonic() - begun
        if self._worker.returncode is None:
            self.deaths.surprises.append(f"a drain took more than {took_s:.1f} s")
            await self.kill_worker()
        elif self._worker.returncode != 0 and self._worker_log.stat().st_size:
            # One that had not said a word was not there yet to hear it.
            self.deaths.surprises.append(f"a drain ended with {self._worker.returncode}")
        await self._note_end()
        return took_s

    async def _note_end(self) -> None:
        assert self._worker is not None
        await self._worker.wait()
        killed = self.deaths.worker_killed
        was_killed = self._worker.returncode == -signal.SIGKILL and killed
        # The same moment in both lists, so that the kills can be told from the rest.
        self.deaths.worker_ended.append(killed[-1] if was_killed else time.monotonic())

    async def stop_worker(self, for_s: float) -> None:
        """Have it stand still for a while."""
        assert self._worker is not None
        begun = time.monotonic()
        self._worker.send_signal(signal.SIGSTOP)
        try:
            await anyio.sleep(for_s)
        finally:
            self._worker.send_signal(signal.SIGCONT)
            self.deaths.worker_stopped.append((begun, time.monotonic()))

    async def watch_worker(self) -> None:
        """Start a worker that ended by itself again, as its supervisor would, and note it."""
        while True:
            await anyio.sleep(0.2)
            if self._worker is None or self._worker.returncode is None:
                continue
            async with self.lock:
                code = self._worker.returncode
                if code is not None:
                    self.deaths.surprises.append(f"the worker ended by itself with {code}")
                    self.deaths.worker_ended.append(time.monotonic())
                    await self.start_worker()

    @contextmanager
    def worker_away(self) -> Iterator[None]:
        """Note that there is no worker to beat while the block runs, and while the next boots."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.deaths.worker_away.append((begun, time.monotonic() + BOOT_S))

    def jump(self, seconds: float) -> None:
        """Have the worker's wall clock jump."""
        self._clock_offset_s += seconds
        aside = self._clock_file.with_suffix(".new")
        aside.write_text(str(self._clock_offset_s))
        aside.replace(self._clock_file)

    def usage(self) -> Usage:
        """Look at what the worker holds."""
        assert self._worker is not None
        proc = Path(f"/proc/{self._worker.pid}")
        status = dict(
            line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line
        )
        return Usage(
            files=len(list((proc / "fd").iterdir())),
            threads=int(status["Threads"]),
            rss_mb=int(status["VmRSS"].split()[0]) / 1024,
        )

    # --- everything
    async def close(self) -> None:
        """End what still runs."""
        for process in (self._worker, self._api):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
        await self.client.aclose()
        self._holder.close()

    async def stop_api(self) -> None:
        """End the API in peace, so that its database is whole."""
        assert self._api is not None
        self._api.send_signal(signal.SIGINT)
        with anyio.move_on_after(5):
            await self._api.wait()
        if self._api.returncode is None:
            await self.kill_api()

    def sessions(self) -> list[int]:
        """Return the processes of sessions that live."""
        return processes_with(self.truth)

    async def _start(self, name: str, args: list[str], **env: str) -> Process:
        self._starts += 1
        with (self.run_dir / f"{name}-{self._starts}.log").open("wb") as output:
            return await anyio.open_process(
                [sys.executable, *args],
                stdin=None,
                stdout=output,
                stderr=output,
                cwd=TREE,
                env={
                    "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "HOME": str(self.run_dir / "home"),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "API_KEY": KEY,
                    **env,
                },
            )

    def _worker_env(self) -> dict[str, str]:
        agent = [sys.executable, "-I", "-S", "-B", str(TREE / "chaos" / "agent.py")]
        return {
            "MCP_BASE_URL": self.proxy.url,
            "AGENT_ID": AGENT,
            "AGENT_NAME": "chaos",
            "HARNESS_PROVIDER": "subprocess",
            "HARNESS_COMMAND": shlex.join([*agent, str(self.truth), str(self._seed)]),
            "CHAOS_SERVICE_TOKEN": self._secret,
            "MAX_CONCURRENT_TASKS": str(self._slots),
            "SWARM_STATE_DIR": str(self.disk.path / "state"),
            "SWARM_WORKSPACE_DIR": str(self.run_dir / "no-workspace"),
            "SHUTDOWN_TIMEOUT": str(int(DRAIN_S * 1000)),
            "SWARM_API_TIMEOUT_S": "3",
            "SWARM_POLL_INTERVAL_S": "0.3",
            "SWARM_HEARTBEAT_INTERVAL_S": "1",
            "SWARM_LOG_FLUSH_INTERVAL_S": "0.3",
            "SWARM_EVENTS_FLUSH_INTERVAL_S": "0.5",
            "SWARM_RESULT_GRACE_S": "2",
            "SWARM_SYNC_SKILLS": "false",
            "SWARM_LOG_LEVEL": "debug",
            "SWARM_LOG_FORMAT": "json",
        }

    def heal(self) -> None:
        """End every fault that may still be on."""
        self.proxy.heal()
        self.disk.free()


def processes_with(path: Path) -> list[int]:
    """Return the living processes that were started with a path, or forked from such a one.

    By their command line, which a fork keeps, whatever became of its environment.
    """
    found, mark = [], os.fsencode(path)
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


async def until(look: Callable[[], Any], within_s: float) -> bool:
    """Call `look` until its result is true; false after `within_s` seconds."""
    with anyio.move_on_after(within_s):
        while True:
            found = look()
            if hasattr(found, "__await__"):
                found = await found
            if found:
                return True
            await anyio.sleep(0.1)
    return False


__all__ = ["AGENT", "KEY", "Deaths", "Usage", "World", "until"]
