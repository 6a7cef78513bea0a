"""A small client for the tests: one object per agent, plain answers."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx2

KEY = "local-test-key"
PUBLIC_URL = os.environ.get("SWARM_CONTRACT_URL", "")
PUBLIC_KEY = os.environ.get("SWARM_CONTRACT_KEY", "")


class HandClock:
    """A clock that stands still until it is moved; sleepers wake when their time has come."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self._moved = anyio.Event()

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        until = self.moment + timedelta(seconds=seconds)
        while self.moment < until:
            await self._moved.wait()

    def move(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self._moved.set()
        self._moved = anyio.Event()


@dataclass
class Agent:
    """A registered agent and its calls."""

    http: httpx2.AsyncClient
    id: str
    registered: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Agent-ID": self.id}

    async def call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **more)

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        return _body(await self.call("POST", path, json={} if body is None else body), status)

    async def put(self, path: str, body: Any = None, status: int = 200) -> Any:
        return _body(await self.call("PUT", path, json={} if body is None else body), status)

    async def get(self, path: str, status: int = 200) -> Any:
        return _body(await self.call("GET", path), status)

    async def poll(self) -> Any:
        return (await self.get("/api/poll"))["trigger"]

    async def status(self) -> str:
        return str((await self.get("/me"))["status"])

    async def task(self, text: str = "do it", *, mine: bool = True, **fields: Any) -> Any:
        """Create a task, by default for this agent."""
        named = {"agentId": self.id} if mine else {}
        return await self.post("/api/tasks", {"task": text, **named, **fields}, 201)

    async def started(self, text: str = "do it", **fields: Any) -> Any:
        """Create a task and claim it."""
        task = await self.task(text, **fields)
        trigger = await self.poll()
        assert trigger["taskId"] == task["id"]
        return trigger["task"]

    async def finish(self, task: Any, expected: int = 200, **words: Any) -> Any:
        words = words or {"status": "completed", "output": "done"}
        return await self.post(f"/api/tasks/{task['id']}/finish", words, expected)

    async def read(self, task_id: str) -> Any:
        return await self.get(f"/api/tasks/{task_id}")


@dataclass
class Api:
    """The server under test."""

    http: httpx2.AsyncClient

    async def agent(self, agent_id: str = "", status: int = 201, **fields: Any) -> Agent:
        agent_id = agent_id or str(uuid.uuid4())
        body = {"name": f"agent {agent_id[:8]}", "harness_provider": "claude", **fields}
        answer = await self.http.post("/api/agents", json=body, headers={"X-Agent-ID": agent_id})
        return Agent(self.http, agent_id, _body(answer, status))


@dataclass
class Local(Api):
    """The local swarm with a clock moved by hand."""

    clock: HandClock
    url: str


def client(url: str, key: str) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # Plain HTTP: reading the machine's certificates would take longer than a test.
    return httpx2.AsyncClient(
        base_url=url, headers=headers, timeout=10, trust_env=False, verify=url.startswith("https")
    )


def _body(answer: httpx2.Response, status: int) -> Any:
    assert answer.status_code == status, (answer.status_code, answer.text)
    return answer.json() if answer.content else None
