"""The server of the model: the local swarm, and a log of every status change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from unittest import mock

import orjson
from task_lifecycle import NEW
from virtual_time import VirtualClock

from agent_swarm_worker.ids import counted_ids
from agent_swarm_worker.local_swarm import sweeps
from agent_swarm_worker.local_swarm.app import build_app
from agent_swarm_worker.local_swarm.store import Store
from agent_swarm_worker.local_swarm.sweeps import SweepSettings, run_sweeps

KEY = "a-key-of-the-model-0123456789"

CALLS = (
    ("POST /api/tasks", "create"),
    ("GET /api/poll", "poll"),
    ("GET /api/tasks/[^/]+", "look"),
    ("GET /api/tasks/[^/]+/session-logs", "read back logs"),
    ("GET /api/session-costs", "read back costs"),
    ("POST /api/tasks/[^/]+/progress", "progress"),
    ("PUT /api/tasks/[^/]+/session", "session"),
    ("POST /api/tasks/[^/]+/finish", "finish"),
    ("POST /api/tasks/[^/]+/supersede", "supersede"),
    ("POST /api/tasks/[^/]+/pause", "pause"),
    ("POST /api/tasks/[^/]+/resume", "resume"),
    ("POST /api/tasks/[^/]+/cancel", "cancel"),
    ("POST /api/tasks/[^/]+/steer", "steer"),
    ("GET /cancelled-tasks", "cancelled"),
    ("GET /api/paused-tasks", "paused"),
    ("POST /api/active-sessions", "announce"),
    ("PUT /api/active-sessions/heartbeat/.*", "beat"),
    ("DELETE /api/active-sessions/by-task/.*", "row away"),
    ("POST /api/active-sessions/recover-orphaned-tasks", "orphans"),
    ("POST /api/session-logs", "logs"),
    ("POST /api/session-costs", "cost"),
    ("POST /api/events/batch", "events"),
    ("POST /api/steering-messages/[^/]+/(un)?deliver(ed|able)", "steered"),
)
_CALLS = tuple((re.compile(pattern), name) for pattern, name in CALLS)
APPENDS = frozenset({"logs", "cost", "events"})
"""What the server takes once more, or refuses, when it comes once more: nothing deduplicates."""


def call_name(method: str, path: str) -> str:
    """Return the model's word for a request."""
    wanted = f"{method} {path}"
    return next((name for pattern, name in _CALLS if pattern.fullmatch(wanted)), "other")


@dataclass(frozen=True, slots=True)
class Cause:
    """What is being carried out."""

    call: str
    who: str
    agent_id: str = ""


NOBODY = Cause("?", "server")
CAUSE: ContextVar[Cause] = ContextVar("cause", default=NOBODY)


@dataclass(frozen=True, slots=True)
class Seen:
    """One change of a task's status, as it happened."""

    at_s: float
    task_id: str
    before: str
    after: str
    cause: Cause

    def __str__(self) -> str:
        return f"{self.cause.call} by {self.cause.who}: {self.before} → {self.after}"


class Api:
    """The local swarm without a socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.store = Store(":memory:", VirtualClock(loop), counted_ids(1))
        self.settings = SweepSettings()
        self.history: list[Seen] = []
        self._watch_statuses()
        self._app = build_app(self.store, KEY, self.settings, _no_mcp)
        self._sweeper: asyncio.Task[None] | None = None

    def boot(self) -> None:
        """Start, or start again on the same data: the sweeps of a start come once more."""
        self.stop()
        self._sweeper = self._loop.create_task(run_sweeps(self.store, self.settings))

    def stop(self) -> None:
        """Sweep no more."""
        if self._sweeper is not None:
            self._sweeper.cancel()

    def close(self) -> None:
        self.stop()
        with suppress(asyncio.CancelledError):
            if self._sweeper is not None:
                self._loop.run_until_complete(self._sweeper)
        self.store.close()

    async def carry_out(
        self,
        cause: Cause,
        method: str,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Do what a request asks for; return status, headers and body of the answer."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers,
        }
        said: list[Any] = []
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            return next(given)

        async def send(message: Any) -> None:
            said.append(message)

        token = CAUSE.set(cause)
        try:
            await self._app(scope, receive, send)
        finally:
            CAUSE.reset(token)
        answer = b"".join(part.get("body", b"") for part in said[1:])
        return said[0]["status"], list(said[0]["headers"]), answer

    def ask(self, method: str, target: str, body: dict[str, Any] | None = None) -> Any:
        """Do something as the lead; return the answer, or ``None`` if it was refused."""
        headers = [(b"authorization", f"Bearer {KEY}".encode())]
        content = b"" if body is None else orjson.dumps(body)
        cause = Cause(call_name(method, target.partition("?")[0]), "lead")
        work = self.carry_out(cause, method, target, headers, content)
        status, _, answer = self._loop.run_until_complete(work)
        return (orjson.loads(answer) if answer else {}) if status < 400 else None

    def _watch_statuses(self) -> None:
        """Note each change when it is made, by whatever part of the server."""

        def noted(task_id: str, before: str | None, after: str) -> None:
            seen = Seen(self._loop.time(), task_id, before or NEW, after, CAUSE.get())
            self.history.append(seen)

        connection = self.store._connection
        connection.create_function("noted", 3, noted)
        connection.executescript(
            """
            CREATE TEMP TRIGGER status_made AFTER INSERT ON tasks
            BEGIN SELECT noted(new.id, NULL, new.status); END;
            CREATE TEMP TRIGGER status_changed AFTER UPDATE OF status ON tasks
            WHEN old.status IS NOT new.status
            BEGIN SELECT noted(new.id, old.status, new.status); END;
            """
        )

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the database."""
        return [tuple(row) for row in self.store.rows(sql, *values)]


async def _no_mcp(*_: Any) -> None:
    raise AssertionError("nobody in the model speaks MCP")


@contextmanager
def named_sweeps() -> Iterator[None]:
    """Let the server's own sweeps say who they are."""
    with (
        mock.patch.object(sweeps, "sweep", _caused("sweep", sweeps.sweep)),
        mock.patch.object(sweeps, "reboot_sweep", _caused("reboot sweep", sweeps.reboot_sweep)),
    ):
        yield


def _caused(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    def caused(*args: Any) -> Any:
        token = CAUSE.set(Cause(name, "server"))
        try:
            return work(*args)
        finally:
            CAUSE.reset(token)

    return caused
