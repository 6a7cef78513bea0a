"""The harness of the model: scripted sessions, and a record of what each was sent.

A session outlives the worker that started it, as a process would, until somebody sweeps it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import orjson

from agent_swarm_worker.clock import Clock
from agent_swarm_worker.contract import (
    CostData,
    Ending,
    Guest,
    Message,
    ProviderEvent,
    ProviderResult,
    ProviderSession,
    ProviderSessionConfig,
    ProviderTraits,
    Result,
    SessionInit,
    SteerDelivery,
    SteerMode,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.contract.guest import EndReport, Unread
from agent_swarm_worker.providers.kit.session import BaseSession
from agent_swarm_worker.sandboxes.local import SCHEME, LocalGuest
from agent_swarm_worker.sandboxes.port import GuestSpec

ABORTED = ProviderResult(
    exit_code=143, is_error=True, failure_reason="ended", error_category="aborted"
)
STUBBORN_S = 11.0
"""How long a session takes to die that hears neither INT nor TERM."""


@dataclass(eq=False)
class FakeHarness:
    """What one session really said, spent and came to."""

    number: int
    task_id: str
    session_uuid: str
    agent_id: str
    started_s: float
    said: list[int] = field(default_factory=list)
    """The numbers of its lines: unique in a story."""
    tools: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    cost_usd: float = 0.0
    result: str | None = None
    """The output of a session that ended well."""
    is_alive: bool = True
    told: bool = False
    """True if it ended before its worker did, so that the worker knows how."""
    is_stubborn: bool = False
    ended_s: float = 0.0

    def __str__(self) -> str:
        return f"session {self.number}"


class Book:
    """All sessions of a story, whoever started them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sessions: list[FakeHarness] = []
        self.live: dict[str, FakeSession] = {}
        """By session uuid: those that can still be made to say something."""
        self.ends_by_itself = False
        """True when the story is over, and every session comes to a good end."""
        self.on_start: Callable[[FakeHarness], None] = lambda _: None
        self._lines = 0

    def begin(self, config: ProviderSessionConfig) -> FakeHarness:
        fake = FakeHarness(
            number=len(self.sessions) + 1,
            task_id=config.task_id,
            session_uuid=config.session_uuid,
            agent_id=config.agent_id,
            started_s=self.clock.monotonic(),
        )
        self.sessions.append(fake)
        self.on_start(fake)
        return fake

    def next_line(self) -> int:
        self._lines += 1
        return self._lines

    def alive(self, agent_id: str | None = None) -> list[FakeHarness]:
        """Return the sessions that run, of one agent or of all."""
        return [p for p in self.sessions if p.is_alive and agent_id in (None, p.agent_id)]


class FakeAdapter:
    name = "played"
    traits = ProviderTraits(
        has_mcp=False, has_local_environment=False, steer_modes=("steer", "queue")
    )

    def __init__(self, book: Book, is_dead: Callable[[], bool]) -> None:
        self._book, self._is_dead = book, is_dead

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        pass

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        if self._is_dead():
            await anyio.sleep_forever()
        return FakeSession(config, self._book, self._is_dead)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return False

    def format_command(self, command_name: str) -> str:
        return command_name

    async def translator(self, config: ProviderSessionConfig) -> _Words:
        return _Words()


class FakeSession(BaseSession):
    """Says what it is told to say, and goes when it is told to go."""

    def __init__(
        self, config: ProviderSessionConfig, book: Book, is_dead: Callable[[], bool]
    ) -> None:
        super().__init__(config, clock=book.clock)
        self._book, self._is_dead = book, is_dead
        self.fake = book.begin(config)
        book.live[config.session_uuid] = self
        self._words = _Words()
        self._over = anyio.Event()
        self._aborted: str | None = None
        self._failure: str | None = None

    # --- what the story makes it do
    def say(self, **what: Any) -> None:
        """Say one line, whose number nobody else has; a dead worker takes none."""
        if self._is_dead():
            return
        number = self._book.next_line()
        fake = self.fake
        fake.said.append(number)
        fake.cost_usd = what.get("cost", fake.cost_usd)
        fake.tools += [what["tool"]] if "tool" in what else []
        line = {"line": number, "session": fake.number, **what}
        self.take([orjson.dumps(line)], self._words)

    def work(self) -> None:
        """Say something, use a tool, spend money."""
        call_id = f"call-{self._book.next_line()}"
        self.say(words="hm")
        self.say(tool=call_id)
        self._spend()

    def _spend(self) -> None:
        self.say(cost=self.fake.cost_usd + 0.25)

    def succeed(self) -> None:
        """Say the result and exit."""
        if self._over.is_set():
            return  # it is being ended
        self._spend()
        result = f"the result of session {self.fake.number}"
        self.say(result=result, cost=self.fake.cost_usd)
        if not self._is_dead():
            self.fake.result = result
        self._over.set()

    def fail(self) -> None:
        if self._over.is_set():
            return
        self._failure = f"session {self.fake.number} failed"
        self._over.set()

    # --- what the worker makes it do
    async def wait_for_completion(self) -> ProviderResult:
        self.say(init=f"native-{self.fake.number}")
        if self._book.ends_by_itself:
            self.succeed()
        await self._over.wait()
        if self._aborted is not None and self.fake.is_stubborn:
            await anyio.sleep(STUBBORN_S)
        if self._is_dead():
            await anyio.sleep_forever()
        self.close_journal()
        self.end()
        self.fake.told = True
        return self._result()

    def end(self) -> None:
        """The process is gone."""
        self.fake.is_alive = False
        self.fake.ended_s = self._book.clock.monotonic()
        self._book.live.pop(self.config.session_uuid, None)

    async def abort(self, reason: str = "cancelled") -> None:
        if self._aborted is None and not self._over.is_set():
            self._aborted = reason
            self._over.set()

    async def deliver_steering(self, mode: SteerMode, text: str) -> SteerDelivery:
        if self.fake.is_stubborn:
            return SteerDelivery(False, reason="deaf")
        self.fake.heard.append(text)
        return SteerDelivery(True, mode=mode)

    def _result(self) -> ProviderResult:
        if self._failure is not None:
            return ProviderResult(exit_code=1, is_error=True, failure_reason=self._failure)
        if self._aborted is not None:
            return ABORTED
        return ProviderResult(exit_code=0, is_error=False, output=self.fake.result)


class _Words:
    """What the lines of a played session mean; the next process reads them once more."""

    def __init__(self) -> None:
        self._output: str | None = None

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        match native:
            case {"init": str(session_id)}:
                yield SessionInit(session_id)
            case {"tool": str(call)}:
                yield ToolStart(call, "Read", {"file_path": call})
                yield ToolEnd(call, "Read", "content")
            case {"words": str(words)}:
                yield Message("assistant", words)
            case {"result": str(output), "cost": float(usd)}:
                self._output = output
                yield Result(_cost(usd), output)
            case {"cost": float(usd)}:
                yield Result(_cost(usd))

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        return ()

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:
        return ()

    @property
    def is_final(self) -> bool:
        return self._output is not None

    def conclude(self, ending: Ending) -> ProviderResult:
        if self._output is not None:
            return ProviderResult(exit_code=0, is_error=False, output=self._output)
        return ABORTED


def _cost(usd: float) -> CostData:
    return CostData(total_cost_usd=usd, input_tokens=1, output_tokens=1)


class FakeSandbox:
    """Sweeps played sessions; starts nothing."""

    def __init__(self, book: Book) -> None:
        self._book = book

    @asynccontextmanager
    async def open(self, spec: GuestSpec) -> AsyncIterator[LocalGuest]:
        """Give access to this machine; nothing is started in it, so nothing is left to end."""
        yield LocalGuest(spec.handle.removeprefix(SCHEME) or spec.name, clock=self._book.clock)

    async def sweep(self, handle: str) -> EndReport:
        tag = handle.removeprefix(SCHEME)
        for fake in self._book.alive():
            if fake.session_uuid == tag:
                fake.is_alive = False
                fake.ended_s = self._book.clock.monotonic()
                self._book.live.pop(tag, None)
        return EndReport()

    @asynccontextmanager
    async def recover_output(self, handle: str) -> AsyncIterator[Unread]:
        """Sweep; a played session leaves nothing in its pipes."""
        await self.sweep(handle)
        yield SimpleNamespace(stdout=(), stderr=())

    def kill(self, handle: str) -> None:
        """Do nothing: the end of a played process is up to the story."""
