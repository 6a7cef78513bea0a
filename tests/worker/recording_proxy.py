"""A proxy before the local swarm: records every request; can refuse, delay or lose it."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import httpx2
import orjson
from anyio.abc import TaskGroup
from rig import KEY, Rig, running_worker, swarm_rig, worker_env

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.local_swarm import serve
from agent_swarm_worker.local_swarm.serve import LocalSwarm
from agent_swarm_worker.local_swarm.store import Store
from agent_swarm_worker.local_swarm.sweeps import SweepSettings

BUILD_APP = serve.build_app


@dataclass
class Visit:
    """One request that arrived at the proxy."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float
    status: int = 0

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Held:
    """One request, or its answer, that the proxy holds until `open`."""

    reached: anyio.Event = field(default_factory=anyio.Event)
    open: anyio.Event = field(default_factory=anyio.Event)


@dataclass
class _Rule:
    pattern: re.Pattern[str]
    times: int
    answer: tuple[int, str, str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    held: Held | None = None
    holds_answer: bytes | None = None
    loses_answer: bytes | None = None
    how: str = ""
    delay_s: float = 0.0
    drips: bool = False
    content: re.Pattern[bytes] | None = None
    """Searched in the body."""


class RecordingProxy:
    """ASGI middleware. A pattern is searched in ``METHOD /path?query`` of each request."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.stores: list[Store] = []
        """Of the swarms behind it, the last one's last."""
        self._rules: list[_Rule] = []
        self.aliases: dict[str, str] = {}
        """Path endings that the server knows by another name."""

    # --- rules
    def refuse(
        self,
        pattern: str,
        status: int = 503,
        text: str = '{"error": "not now"}',
        *,
        kind: str = "application/json",
        times: int = 1_000_000,
        content: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Answer instead of the server if this is in the body; 0 cuts the connection."""
        is_in_body = re.compile(content, re.DOTALL)
        self._add(pattern, times, answer=(status, text, kind), headers=headers, content=is_in_body)

    def say(self, pattern: str, answer: Any, *, times: int = 1_000_000) -> None:
        """Answer with this JSON."""
        self.refuse(pattern, 200, orjson.dumps(answer).decode(), times=times)

    def lack(self, *patterns: str) -> None:
        """Answer like an older server without these routes."""
        for pattern in patterns:
            self.refuse(pattern, 404, "Not Found", kind="text/plain")

    def hold(self, pattern: str, *, times: int = 1) -> Held:
        """Hold a request before it reaches the server."""
        held = Held()
        self._add(pattern, times, held=held)
        return held

    def hold_answer(self, pattern: str, *, containing: bytes = b"") -> Held:
        """Let the server act, and hold its answer if it contains these bytes."""
        held = Held()
        self._add(pattern, 1, held=held, holds_answer=containing)
        return held

    def lose_answer(
        self, pattern: str, how: str = "cut", *, containing: bytes = b"", times: int = 1
    ) -> None:
        """Let the server act, and cut the connection, half an answer (``half``), or say 500."""
        self._add(pattern, times, loses_answer=containing, how=how)

    def delay(self, pattern: str, seconds: float) -> None:
        """Keep each such request for a while."""
        self._add(pattern, 1_000_000, delay_s=seconds)

    def drip(self, pattern: str) -> None:
        """Begin an answer and go on with it, byte by byte, until `open`."""
        self._add(pattern, 1_000_000, drips=True)

    def be_open(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    # --- what came
    def seen(self, pattern: str) -> list[Visit]:
        return [visit for visit in self.visits if re.search(pattern, visit.name)]

    def names(self) -> list[str]:
        return [visit.name for visit in self.visits]

    # --- ASGI
    def before(self, app: Any) -> Any:
        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            body = await _body(receive)
            headers = {k.decode(): v.decode("latin-1") for k, v in scope["headers"]}
            query = scope["query_string"].decode()
            path = scope["path"] + (f"?{query}" if query else "")
            visit = Visit(scope["method"], path, headers, body, time.monotonic())
            if "x-agent-id" in headers:
                self.visits.append(visit)
                rule = self._rule_for(visit)
            else:
                rule = None  # the test itself
            for old, new in self.aliases.items():
                if scope["path"].endswith(old):
                    scope = {**scope, "path": scope["path"].removesuffix(old) + new}
            if rule is not None and rule.drips:
                await self._drip(send, rule)
                return
            await _serve(app, scope, visit, send, rule)

        return guarded

    async def _drip(self, send: Any, rule: _Rule) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while rule in self._rules:
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await anyio.sleep(0.05)
        await send({"type": "http.response.body", "body": b"{}"})

    def _add(self, pattern: str, times: int, **rule: Any) -> None:
        self._rules.append(_Rule(re.compile(pattern), times, **rule))

    def _rule_for(self, visit: Visit) -> _Rule | None:
        for rule in self._rules:
            is_meant = rule.content is None or rule.content.search(visit.body)
            if is_meant and rule.times and rule.pattern.search(visit.name):
                if rule.holds_answer is None and rule.loses_answer is None:
                    rule.times -= 1
                return rule
        return None


async def _body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _serve(app: Any, scope: Any, visit: Visit, send: Any, rule: _Rule | None) -> None:
    given = iter([{"type": "http.request", "body": visit.body, "more_body": False}])

    async def receive() -> Any:
        message = next(given, None)
        if message is None:
            await anyio.sleep_forever()
        return message

    if rule is not None and rule.answer is not None:
        status, text, kind = rule.answer
        visit.status = status
        if status == 0:
            send.__self__.transport.abort()  # uvicorn's
            return
        more = [(name.encode(), value.encode()) for name, value in rule.headers]
        headers = [(b"content-type", kind.encode()), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})
        return
    if rule is not None and rule.held is not None and rule.holds_answer is None:
        rule.held.reached.set()
        await rule.held.open.wait()
    if rule is not None and rule.delay_s:
        await anyio.sleep(rule.delay_s)
    messages: list[Any] = []

    async def keep(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    visit.status = messages[0]["status"]
    if rule is not None and rule.held is not None and rule.holds_answer is not None:
        words = b"".join(message.get("body", b"") for message in messages)
        if rule.times and rule.holds_answer in words:
            rule.times = 0
            rule.held.reached.set()
            await rule.held.open.wait()
    if rule is not None and rule.loses_answer is not None:
        words = b"".join(message.get("body", b"") for message in messages)
        if rule.times and rule.loses_answer in words:
            rule.times -= 1
            visit.status = 0
            await _lose(messages[0], words, send, rule.how)
            return
    for message in messages:
        await send(message)


async def _lose(start: Any, words: bytes, send: Any, how: str) -> None:
    if how == "500":
        await send({**start, "status": 500, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"error": "afterwards"}'})
        return
    transport = send.__self__.transport  # uvicorn's
    if how == "half":
        await send(start)
        half = words[: len(words) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        transport.close()
    else:
        transport.abort()
    await anyio.sleep(0.05)  # uvicorn notices, and says nothing more


endless_worker = partial(running_worker, drain_ms=300)
"""For tests that leave a session running which would never end."""


# --- rigs with a proxy
@contextmanager
def behind_proxy(proxy: RecordingProxy) -> Iterator[None]:
    """Put the proxy before every local swarm that is started meanwhile."""

    def build(store: Store, *args: Any) -> Any:
        proxy.stores.append(store)
        return proxy.before(BUILD_APP(store, *args))

    with mock.patch.object(serve, "build_app", build):
        yield


@asynccontextmanager
async def proxy_rig(tmp_path: Path) -> AsyncIterator[tuple[Rig, RecordingProxy]]:
    """A local swarm behind the proxy."""
    proxy = RecordingProxy()
    with behind_proxy(proxy):
        async with swarm_rig(tmp_path) as rig:
            yield rig, proxy


class Swarm:
    """A local swarm that can go down and come up again, on the same file and port."""

    def __init__(self, place: Path, group: TaskGroup, sweeps: SweepSettings) -> None:
        self._db, self._group, self._sweeps = place / "swarm.sqlite", group, sweeps
        self._stop = anyio.Event()
        self._stopped = anyio.Event()
        self.port = 0
        self.url = ""

    async def start(self) -> None:
        self._stop, self._stopped = anyio.Event(), anyio.Event()
        self.url = await self._group.start(self._serve)
        self.port = int(self.url.rpartition(":")[2])

    async def stop(self) -> None:
        self._stop.set()
        await self._stopped.wait()

    async def _serve(self, *, task_status: Any) -> None:
        async with LocalSwarm(self._db, KEY, port=self.port, sweeps=self._sweeps) as swarm:
            task_status.started(swarm.url)
            await self._stop.wait()
        self._stopped.set()


@asynccontextmanager
async def restartable_rig(
    tmp_path: Path, sweeps: SweepSettings | None = None
) -> AsyncIterator[tuple[Rig, RecordingProxy, Swarm]]:
    """A local swarm behind the proxy, which can be restarted."""
    proxy = RecordingProxy()
    with behind_proxy(proxy):
        async with anyio.create_task_group() as group:
            swarm = Swarm(tmp_path, group, sweeps or SweepSettings(enabled=False))
            await swarm.start()
            async with httpx2.AsyncClient(
                base_url=swarm.url,
                headers={"Authorization": f"Bearer {KEY}"},
                timeout=10,
                verify=False,
            ) as api:
                rig = Rig(swarm.url, tmp_path, api, worker_env(swarm.url, tmp_path))
                with rig.keeping_the_log():
                    yield rig, proxy, swarm
            await swarm.stop()


class QuickClock(SystemClock):
    """A clock for the worker on which time passes so many times as fast."""

    def __init__(self, speed: float) -> None:
        self._speed = speed

    def monotonic(self) -> float:
        return time.monotonic() * self._speed

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / self._speed)


class SkippingClock(SystemClock):
    """A clock for the worker on which a test lets time pass at once. Sleeps take what they take."""

    def __init__(self) -> None:
        self._skipped_s = 0.0

    def skip(self, seconds: float) -> None:
        self._skipped_s += seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped_s


Look = Callable[[], Any]
