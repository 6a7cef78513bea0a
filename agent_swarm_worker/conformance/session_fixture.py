"""The place in which one check is carried out: directories, configurations, sessions."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import anyio

from agent_swarm_worker.aio import Broadcast, wait_any
from agent_swarm_worker.conformance.checks import BrokenPromise, NotApplicable, broken
from agent_swarm_worker.contract import (
    Message,
    ProviderResult,
    ProviderSessionConfig,
    RawLog,
    Result,
    SteerableSession,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.journal.writer import Journal
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.spawn import TAG_VARIABLE
from agent_swarm_worker.sandboxes.port import GuestSpec
from agent_swarm_worker.settings import process_env

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from agent_swarm_worker.conformance.harness_fixture import HarnessFixture
    from agent_swarm_worker.contract import Guest, ProviderAdapter, ProviderEvent, ProviderSession
    from agent_swarm_worker.sandboxes.port import Sandbox

T = TypeVar("T")

SESSION_S = 60.0
"""No session of a check takes longer, however slow the machine."""
ABORT_S = 20.0
"""How long a session may take to end after it was asked to."""
SOON_S = 5.0
"""For what the contract says is immediate."""
API_KEY = "conformance-api-key-0123456789"


@dataclass
class SessionFixture:
    """One provider, a folder, and perhaps a stage."""

    name: str
    adapter: ProviderAdapter
    folder: Path
    env: Mapping[str, str]
    """Given by who runs the checks; it wins over the stage's."""
    sandbox: Sandbox
    held: AsyncExitStack
    """Closed after the check: it closes the guests."""
    maybe_stage: HarnessFixture | None = None
    sessions: list[Watched] = field(default_factory=list)
    """Those that were listened to, in order."""
    _count: int = field(default=0)

    @property
    def harness(self) -> HarnessFixture:
        """The stage; only a check that was declared with `on_stage` may ask for it."""
        if self.maybe_stage is None:
            raise NotApplicable("no stage")
        return self.maybe_stage

    async def config(self, prompt: str, **changed: Any) -> ProviderSessionConfig:
        """Return a session's configuration, with directories and a guest of its own."""
        self._count += 1
        place = self.folder / str(self._count)
        mounts = {name: place / name for name in ("home", "work", "private")}
        for folder in mounts.values():
            folder.mkdir(mode=0o700, parents=True)
        session_uuid = str(uuid4())
        spec = GuestSpec(name=session_uuid, mounts=mounts)
        guest = await self.held.enter_async_context(self.sandbox.open(spec))
        redactor = Scrubber()
        redactor.add("API_KEY", API_KEY)
        values: dict[str, Any] = {
            "prompt": prompt,
            "agent_id": "0c0f0000-0000-4000-8000-000000000001",
            "task_id": f"0c0f0000-0000-4000-8000-{self._count:012}",
            "session_uuid": session_uuid,
            "guest": guest,
            "api_url": "http://127.0.0.1:9",  # nobody is there: the contract needs no swarm
            "api_key": API_KEY,
            "cwd": PurePath(guest.path(mounts["work"])),
            "log_file": place / "journal.jsonl",
            "private_dir": PurePath(guest.path(mounts["private"])),
            "env": self.environment(guest, mounts["home"]),
            "redactor": redactor,
            "result_grace_s": 5.0,
        }
        config = ProviderSessionConfig(**{**values, **changed})
        Journal.begin(config.log_file, {"type": "conformance_metadata"})
        return config

    def environment(self, guest: Guest, home: Path) -> dict[str, str]:
        """The complete environment of a session."""
        of_stage = self.maybe_stage.env if self.maybe_stage else {}
        given = {**of_stage, **self.env}
        base = {"PATH": process_env().get("PATH", os.defpath), "HOME": guest.path(home)}
        return guest.environment({**base, **given}, given)

    async def session(self, prompt: str, **changed: Any) -> Watched:
        """Prepare a session and listen to it."""
        config = await self.config(prompt, **changed)
        watched = Watched(await self.adapter.create_session(config), config)
        self.sessions.append(watched)
        return watched

    async def answered(self, words: str = "Understood.", **changed: Any) -> Watched:
        """Run a session that answers `words`, to its end."""
        watched = await self.session(self.harness.answers(words), **changed)
        await watched.finish()
        return watched

    @asynccontextmanager
    async def at_work(self, seconds: float = 120, **changed: Any) -> AsyncIterator[Watched]:
        """Run a session beside the block, which begins when the agent is busy in a tool."""
        watched = await self.session(self.harness.works(seconds), **changed)
        async with anyio.create_task_group() as group:
            group.start_soon(watched.finish)
            await watched.until(lambda event: isinstance(event, ToolStart), "began to use a tool")
            yield watched
            await watched.ended(SESSION_S, "did not end")

    def seen(self) -> str:
        """Return what each session has said, for a check that took too long."""
        return "; ".join(watched.seen() for watched in self.sessions) or "no session was started"


class Watched:
    """A session with everything it said."""

    def __init__(self, session: ProviderSession, config: ProviderSessionConfig) -> None:
        self.session, self.config = session, config
        self.events: list[ProviderEvent] = []
        self.maybe_result: ProviderResult | None = None
        self._news = Broadcast()
        session.on_event(self._on_event)

    @property
    def result(self) -> ProviderResult:
        """How it ended."""
        assert self.maybe_result is not None
        return self.maybe_result

    @property
    def steerable(self) -> SteerableSession:
        """The session, if it can be sent messages."""
        if not isinstance(self.session, SteerableSession):
            raise NotApplicable("its sessions take no messages")
        return self.session

    def of(self, *kinds: type) -> list[Any]:
        """The events of some classes, in order."""
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def answer(self) -> str:
        """The agent's last words."""
        words = [m.content for m in self.of(Message) if m.role == "assistant" and m.content]
        return words[-1] if words else ""

    async def finish(self) -> None:
        """Run it to its end."""
        with anyio.move_on_after(SESSION_S):
            self.maybe_result = await self.session.wait_for_completion()
            self._news.notify()
            return
        broken(f"the session did not end within {SESSION_S:.0f} s; {self.seen()}")

    async def abort(self, reason: str = "cancelled") -> None:
        """Ask the session to end while its agent is busy in a tool; it must not be done before.

        Else the check would see how a session ends that had nothing left to do.
        """
        ended = {event.tool_call_id for event in self.of(ToolEnd)}
        is_busy = any(event.tool_call_id not in ended for event in self.of(ToolStart))
        if self.maybe_result is not None or not is_busy:
            broken(f"the tool call did not keep the agent busy until the abort; {self.seen()}")
        await within(SOON_S, "abort did not return", lambda: self.session.abort(reason))

    async def answer_to(self, timeout_s: float, what: str, action: Callable[[], Awaitable[T]]) -> T:
        """Await something for which the session answers, no longer than it lives and `SOON_S`.

        Raises:
            BrokenPromise: there was no answer; `what` says of what.
        """
        answers: list[T] = []

        async def answer() -> None:
            answers.append(await action())

        async def too_late() -> None:
            with anyio.move_on_after(timeout_s):
                await self._news.wait_for(lambda: self.maybe_result is not None)
                await anyio.sleep(SOON_S)

        await wait_any(answer, too_late)
        if not answers:
            broken(f"{what} was not answered; {self.seen()}")
        return answers[0]

    async def until(self, look: Callable[[ProviderEvent], bool], what: str) -> None:
        """Wait for an event; neither the session nor its agent must have ended before."""

        def is_over() -> bool:
            return self.maybe_result is not None or bool(self.of(Result))

        def is_found() -> bool:
            return any(map(look, self.events))

        with anyio.move_on_after(SESSION_S):
            await self._news.wait_for(lambda: is_found() or is_over())
        if is_found():
            return
        if self.maybe_result is not None:
            broken(f"the session ended before it {what}; {self.seen()}")
        if self.of(Result):
            broken(f"the agent had its last word before it {what}; {self.seen()}")
        broken(f"the session never {what}; {self.seen()}")

    async def ended(self, timeout_s: float, what: str) -> None:
        """Wait for the end of a session that runs beside."""
        with anyio.move_on_after(timeout_s):
            await self._news.wait_for(lambda: self.maybe_result is not None)
            return
        broken(f"the session {what} within {timeout_s:.0f} s; {self.seen()}")

    def processes(self) -> list[int]:
        """Pids of the session's processes; none where there is no ``/proc``."""
        mark = f"{TAG_VARIABLE}={self.config.session_uuid}".encode()
        return [
            pid
            for pid, info in procfs.snapshot().items()
            if not info.is_dead and procfs.has_variable(pid, mark)
        ]

    async def has_processes(self) -> bool:
        """True once it has one; a tool may start its own only after it was said to begin."""
        deadline_s = anyio.current_time() + (SOON_S if procfs.snapshot() else 0)
        while not self.processes():
            if anyio.current_time() >= deadline_s:
                return False
            await anyio.sleep(0.05)
        return True

    def seen(self) -> str:
        """Return how it ended, if it did, and the last events, for people."""
        told = [event for event in self.events if not isinstance(event, RawLog)]
        last = ", ".join(repr(event)[:200] for event in told[-5:]) or "no event"
        how = "still running" if self.maybe_result is None else described(self.maybe_result)
        return f"seen: {how}; {last}"

    def _on_event(self, event: ProviderEvent) -> None:
        self.events.append(event)
        self._news.notify()


async def within(timeout_s: float, what: str, action: Callable[[], Awaitable[Any]]) -> Any:
    """Do something that has to be done in time.

    Raises:
        BrokenPromise: it was not; `what` says so.
    """
    with anyio.move_on_after(timeout_s):
        return await action()
    raise BrokenPromise(what)


def described(result: ProviderResult) -> str:
    """Return how a session ended, for people."""
    how = "failed" if result.is_error else "succeeded"
    why = result.failure_reason or result.output or ""
    return f"{how}, exit code {result.exit_code}, {result.error_category}: {why[:300]}"
