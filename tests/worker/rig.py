"""A worker and a local swarm: real HTTP, real child processes, real files."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
from patience import WAIT_S, until

from agent_swarm_worker import logs
from agent_swarm_worker.clock import Clock
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.local_swarm.serve import LocalSwarm
from agent_swarm_worker.local_swarm.sweeps import SweepSettings
from agent_swarm_worker.worker.boot.parts import WorkerOptions
from agent_swarm_worker.worker.daemon import Daemon

AGENTS = Path(__file__).parent / "agents"
KEY = "test-api-key-0123456789"
AGENT = "0a9e0000-0000-4000-8000-000000000001"

NOWHERE = "http://127.0.0.1:1"
"""Nothing listens there."""

FAST = {
    "SWARM_POLL_INTERVAL_S": "0.05",
    "SWARM_HEARTBEAT_INTERVAL_S": "0.2",
    "SWARM_CANCEL_CHECK_INTERVAL_S": "0.1",
    "SWARM_RECONFIGURE_INTERVAL_S": "0.2",
    "SWARM_LOG_FLUSH_INTERVAL_S": "0.1",
    "SWARM_EVENTS_FLUSH_INTERVAL_S": "0.1",
    "SWARM_SYNC_SKILLS": "false",
}


def harness(name: str, *args: object, **env: str) -> dict[str, str]:
    """Return the settings that make ``agents/<name>.py`` the harness."""
    command = [sys.executable, "-S", "-B", str(AGENTS / f"{name}.py"), *map(str, args)]
    return {"HARNESS_PROVIDER": "subprocess", "HARNESS_COMMAND": shlex.join(command), **env}


@dataclass
class Rig:
    """A swarm, a place for files, and the API as a lead sees it."""

    url: str
    place: Path
    api: httpx2.AsyncClient
    env: dict[str, str] = field(default_factory=dict)
    worker_log: io.StringIO = field(default_factory=io.StringIO)
    """What the workers logged, as JSON lines."""

    def prints(
        self, said: bytes | list[dict[str, Any]], *, code: int = 0, stderr: str = "", **env: str
    ) -> dict[str, str]:
        """Return the settings of a harness that prints just this and exits."""
        if isinstance(said, list):
            said = b"".join(json.dumps(event).encode() + b"\n" for event in said)
        path = self.place / f"said-{len(list(self.place.glob('said-*')))}"
        path.write_bytes(said)
        return harness("prints", path, code, stderr, **env)

    def logged(self, event: logs.Event) -> list[dict[str, Any]]:
        """Return what the workers logged of one kind."""
        lines = map(json.loads, self.worker_log.getvalue().splitlines())
        return [line for line in lines if line["event"] == event.value]

    @contextmanager
    def keeping_the_log(self) -> Iterator[None]:
        """Show what the workers logged if the test fails."""
        try:
            yield
        except BaseException:
            print(self.worker_log.getvalue()[-20_000:])
            raise
        finally:
            logs.reset()

    def agent(self, script: str, *args: str) -> dict[str, str]:
        """Write a Python program and return the settings that make it the harness."""
        path = self.place / f"agent-{abs(hash(script))}.py"
        path.write_text(script, encoding="utf-8")
        return {
            "HARNESS_PROVIDER": "subprocess",
            "HARNESS_COMMAND": shlex.join([sys.executable, str(path), *args]),
        }

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.api.get(path, params=params)
        answer.raise_for_status()
        return answer.json()

    async def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        answer = await self.api.post(path, json=body or {}, headers=headers)
        assert answer.status_code < 300, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def submit(self, text: str = "Say hi", **more: Any) -> str:
        task = await self.post("/api/tasks", {"task": text, "agentId": AGENT, **more})
        return str(task["id"])

    async def task(self, task_id: str) -> dict[str, Any]:
        return dict(await self.get(f"/api/tasks/{task_id}"))

    async def set_row(self, key: str, value: str, *, is_secret: bool = False) -> None:
        """Put a configuration row, for all agents."""
        body = {"scope": "global", "key": key, "value": value, "isSecret": is_secret}
        answer = await self.api.put("/api/config", json=body)
        assert answer.status_code == 200, answer.text

    async def drop_row(self, key: str) -> None:
        rows = (await self.get("/api/config"))["configs"]
        (row,) = (row for row in rows if row["key"] == key)
        (await self.api.delete(f"/api/config/{row['id']}")).raise_for_status()

    async def agent_row(self) -> dict[str, Any] | None:
        """This worker as the server knows it, if it does."""
        answer = await self.api.get(f"/api/agents/{AGENT}")
        return dict(answer.json()) if answer.status_code == 200 else None

    async def until(self, look: Callable[[], Awaitable[Any]], *, within_s: float = WAIT_S) -> Any:
        return await until(look, within_s=within_s)

    async def until_status(self, task_id: str, *wanted: str, within_s: float = WAIT_S) -> Any:
        async def look() -> Any:
            task = await self.task(task_id)
            return task if task["status"] in wanted else None

        return await self.until(look, within_s=within_s)

    async def until_ended(self, task_id: str, *, within_s: float = WAIT_S) -> Any:
        ended = ("completed", "failed", "cancelled", "superseded")
        return await self.until_status(task_id, *ended, within_s=within_s)

    async def logs(self, task_id: str) -> list[dict[str, Any]]:
        return list((await self.get(f"/api/tasks/{task_id}/session-logs"))["logs"])

    async def lines(self, task_id: str) -> list[Any]:
        """The task's log in order, parsed."""
        rows = await self.logs(task_id)
        return [json.loads(row["content"]) for row in rows]

    async def said(self, task_id: str) -> list[str]:
        """What the agent said, as far as it was uploaded."""
        return [
            part["text"]
            for line in await self.lines(task_id)
            if line["type"] == "assistant"
            for part in line["message"]["content"]
            if part["type"] == "text"
        ]

    async def costs(self, task_id: str) -> list[dict[str, Any]]:
        return list((await self.get("/api/session-costs", taskId=task_id))["costs"])

    async def events(self, task_id: str) -> list[dict[str, Any]]:
        rows = (await self.get("/api/events", taskId=task_id, limit=500))["events"]
        return [row for row in rows if row.get("taskId") == task_id]

    async def settled(self, task_id: str) -> None:
        """Wait until the worker has told all: its session row is the last thing to go."""

        async def look() -> bool:
            rows = (await self.get("/api/active-sessions", agentId=AGENT))["sessions"]
            return all(row.get("taskId") != task_id for row in rows)

        await self.until(look)


@asynccontextmanager
async def swarm_rig(tmp_path: Path, *, sweeps: bool = False) -> AsyncIterator[Rig]:
    """Start a local swarm."""
    settings = SweepSettings(enabled=sweeps)
    async with (
        LocalSwarm(db=tmp_path / "swarm.sqlite", api_key=KEY, sweeps=settings) as swarm,
        httpx2.AsyncClient(
            base_url=swarm.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=10, verify=False
        ) as api,
    ):
        rig = Rig(swarm.url, tmp_path, api, worker_env(swarm.url, tmp_path))
        with rig.keeping_the_log():
            yield rig


def worker_env(url: str, place: Path) -> dict[str, str]:
    """Return the environment of a worker whose files all lie in one place."""
    return {
        **FAST,
        # No test asks a vendor: whoever wants one names a service of its own.
        **dict.fromkeys(("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "OPENROUTER_BASE_URL"), NOWHERE),
        "SKIP_SESSION_SUMMARY": "1",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(place / "home"),
        "MCP_BASE_URL": url,
        "API_KEY": KEY,
        "AGENT_ID": AGENT,
        "AGENT_NAME": "tested",
        "SWARM_STATE_DIR": str(place / "state"),
        "SWARM_WORKSPACE_DIR": str(place / "no-workspace"),
    }


@asynccontextmanager
async def running_worker(
    rig: Rig,
    env: dict[str, str],
    *,
    role: str = "worker",
    drain_ms: int = 3000,
    clock: Clock | None = None,
    waits_for_boot: bool = True,
) -> AsyncIterator[Daemon]:
    """Run a worker inside this process until the block ends."""
    scrubber = Scrubber()
    logs.configure(level="debug", human=False, scrub=scrubber.text, stream=rig.worker_log)
    daemon = Daemon(
        {**rig.env, "SHUTDOWN_TIMEOUT": str(drain_ms), **env},
        WorkerOptions(role=role),
        scrubber=scrubber,
        clock=clock,
        handles_signals=False,
    )
    async with anyio.create_task_group() as group:
        if waits_for_boot:
            await group.start(daemon.run)
        else:
            group.start_soon(daemon.run)
        try:
            yield daemon
        finally:
            if not daemon.shutdown.is_draining:
                daemon.shutdown.request("the test is over")
