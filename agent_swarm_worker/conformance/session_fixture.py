"""Provide a check with directories, session configurations and observed sessions.

A check reports a broken promise by raising `BrokenPromise`.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from uuid import uuid4

import anyio

from agent_swarm_worker.aio import Broadcast, wait_any
from agent_swarm_worker.contract import (
    Message,
    Progress,
    ProviderResult,
    ProviderSessionConfig,
    RawLog,
    Result,
    SessionInit,
    SteerableSession,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.journal.writer import Journal
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.subreaper import TAG_VARIABLE
from agent_swarm_worker.providers.registry import adapter_spec
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
"""Time limit of a session, however slow the machine."""
ABORT_S = 20.0
"""Time limit of a session's end after `abort`."""
SOON_S = 5.0
"""Time limit of calls that the contract calls immediate."""
API_KEY = "conformance-api-key-0123456789"


class BrokenPromise(Exception):
    """The provider breaks a promise; the message says how."""


class NotApplicable(Exception):
    """The promise does not apply to this provider, or cannot be checked on this machine."""


def broken(how: str) -> NoReturn:
    """Raise `BrokenPromise`."""
    raise BrokenPromise(how)


@dataclass
class SessionFixture:
    """One provider, a directory, and a harness fixture if there is one."""

    name: str
    adapter: ProviderAdapter
    folder: Path
    env: Mapping[str, str]
    """The caller's variables; they override the harness fixture's."""
    sandbox: Sandbox
    resources: AsyncExitStack
    """Closed after the check; holds the guests."""
    maybe_harness: HarnessFixture | None = None
    sessions: list[ObservedSession] = field(default_factory=list)
    _count: int = field(default=0)

    @property
    def harness(self) -> HarnessFixture:
        """The harness fixture; for checks declared with `session_check` only."""
        if self.maybe_harness is None:
            raise NotApplicable("no harness fixture")
        return self.maybe_harness

    async def config(self, prompt: str, **changed: Any) -> ProviderSessionConfig:
        """Return a session's configuration, with directories and a guest of its own."""
        self._count += 1
        place = self.folder / str(self._count)
        mounts = {name: place / name for name in ("home", "work", "private")}
        for folder in mounts.values():
            folder.mkdir(mode=0o700, parents=True)
        session_uuid = str(uuid4())
        spec = GuestSpec(name=session_uuid, mounts=mounts)
        guest = await self.resources.enter_async_context(self.sandbox.open(spec))
        redactor = Scrubber()
        redactor.add("API_KEY", API_KEY)
        values: dict[str, Any] = {
            "prompt": prompt,
            "agent_id": "0c0f0000-0000-4000-8000-000000000001",
            "task_id": f"0c0f0000-0000-4000-8000-{self._count:012}",
            "session_uuid": session_uuid,
            "guest": guest,
            "api_url": "http://127.0.0.1:9",  # the discard port: the contract needs no swarm
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
        of_fixture = self.maybe_harness.env if self.maybe_harness else {}
        given = {**of_fixture, **self.env}
        base = {"PATH": process_env().get("PATH", os.defpath), "HOME": guest.path(home)}
        return guest.environment({**base, **given}, given)

    async def session(self, prompt: str, **changed: Any) -> ObservedSession:
        """Prepare a session and observe it."""
        config = await self.config(prompt, **changed)
        session = await self.adapter.create_session(config)
        shows_tools = adapter_spec(self.adapter).capabilities.shows_tools
        observed = ObservedSession(session, config, shows_tools=shows_tools)
        self.sessions.append(observed)
        return observed

    async def answered(self, words: str = "Understood.", **changed: Any) -> ObservedSession:
        """Run a session that answers `words`; return when it has ended."""
        observed = await self.session(self.harness.answers(words), **changed)
        await observed.finish()
        return observed

    @asynccontextmanager
    async def busy_session(
        self, seconds: float = 120, **changed: Any
    ) -> AsyncIterator[ObservedSession]:
        """Run a session beside the block, which begins when the agent has called a tool."""
        observed = await self.session(self.harness.works(seconds), **changed)
        async with anyio.create_task_group() as group:
            group.start_soon(observed.finish)
            await observed.until(observed.tells_of_work, "began to use a tool")
            yield observed
            await observed.ended(SESSION_S, "did not end")

    def summary(self) -> str:
        """Return the last events of each session, for a check that took too long."""
        return "; ".join(one.summary() for one in self.sessions) or "no session was started"


class ObservedSession:
    """A session with all its events."""

    def __init__(
        self, session: ProviderSession, config: ProviderSessionConfig, *, shows_tools: bool = True
    ) -> None:
        self.session, self.config, self.shows_tools = session, config, shows_tools
        self.events: list[ProviderEvent] = []
        self.maybe_result: ProviderResult | None = None
        self._changed = Broadcast()
        session.on_event(self._on_event)

    @property
    def result(self) -> ProviderResult:
        """The result of a session that has ended."""
        assert self.maybe_result is not None
        return self.maybe_result

    @property
    def steerable(self) -> SteerableSession:
        """The session, if it takes messages."""
        if not isinstance(self.session, SteerableSession):
            raise NotApplicable("its sessions take no messages")
        return self.session

    def of(self, *kinds: type) -> list[Any]:
        """Return the events of some classes, in order."""
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def answer(self) -> str:
        """The agent's last message."""
        texts = [m.content for m in self.of(Message) if m.role == "assistant" and m.content]
        return texts[-1] if texts else ""

    async def finish(self) -> None:
        """Run the session to its end."""
        with anyio.move_on_after(SESSION_S):
            self.maybe_result = await self.session.wait_for_completion()
            self._changed.notify()
            return
        broken(f"the session did not end within {SESSION_S:.0f} s; {self.summary()}")

    async def abort(self, reason: str = "cancelled") -> None:
        """Abort the session, which breaks the promise unless its agent is busy in a tool."""
        ended = {event.tool_call_id for event in self.of(ToolEnd)}
        is_busy = any(event.tool_call_id not in ended for event in self.of(ToolStart))
        is_busy = is_busy or not self.shows_tools
        if self.maybe_result is not None or not is_busy:
            broken(f"the tool call did not keep the agent busy until the abort; {self.summary()}")
        await within(SOON_S, "abort did not return", lambda: self.session.abort(reason))

    async def answer_to(self, timeout_s: float, what: str, action: Callable[[], Awaitable[T]]) -> T:
        """Await the session's answer to `action`, at most `SOON_S` longer than the session runs."""
        answers: list[T] = []

        async def answer() -> None:
            answers.append(await action())

        async def too_late() -> None:
            with anyio.move_on_after(timeout_s):
                await self._changed.wait_for(lambda: self.maybe_result is not None)
                await anyio.sleep(SOON_S)

        await wait_any(answer, too_late)
        if not answers:
            broken(f"{what} was not answered; {self.summary()}")
        return answers[0]

    async def until(self, look: Callable[[ProviderEvent], bool], what: str) -> None:
        """Wait for an event that has to come before the agent's result and the session's end."""

        def is_over() -> bool:
            return self.maybe_result is not None or bool(self.of(Result))

        def is_found() -> bool:
            return any(map(look, self.events))

        with anyio.move_on_after(SESSION_S):
            await self._changed.wait_for(lambda: is_found() or is_over())
        if is_found():
            return
        if self.maybe_result is not None:
            broken(f"the session ended before it {what}; {self.summary()}")
        if self.of(Result):
            broken(f"the agent reported its result before it {what}; {self.summary()}")
        broken(f"the session never {what}; {self.summary()}")

    def tells_of_work(self, event: ProviderEvent) -> bool:
        """True for a tool call; for progress of a session, if the tool calls are no events."""
        if self.shows_tools:
            return isinstance(event, ToolStart)
        return isinstance(event, Progress) and bool(self.of(SessionInit))

    async def ended(self, timeout_s: float, what: str) -> None:
        """Wait for the end of a session that runs in another task."""
        with anyio.move_on_after(timeout_s):
            await self._changed.wait_for(lambda: self.maybe_result is not None)
            return
        broken(f"the session {what} within {timeout_s:.0f} s; {self.summary()}")

    def processes(self) -> list[int]:
        """Return the pids of the session's processes; empty without ``/proc``."""
        mark = f"{TAG_VARIABLE}={self.config.session_uuid}".encode()
        return [
            pid
            for pid, info in procfs.snapshot().items()
            if not info.is_dead and procfs.has_variable(pid, mark)
        ]

    async def has_processes(self) -> bool:
        """Wait up to `SOON_S` for a process: a tool may start one after its event."""
        deadline_s = anyio.current_time() + (SOON_S if procfs.snapshot() else 0)
        while not self.processes():
            if anyio.current_time() >= deadline_s:
                return False
            await anyio.sleep(0.05)
        return True

    def summary(self) -> str:
        """Describe the outcome, if there is one, and the last events."""
        events = [event for event in self.events if not isinstance(event, RawLog)]
        last = ", ".join(repr(event)[:200] for event in events[-5:]) or "no event"
        how = "still running" if self.maybe_result is None else described(self.maybe_result)
        return f"seen: {how}; {last}"

    def _on_event(self, event: ProviderEvent) -> None:
        self.events.append(event)
        self._changed.notify()


async def within(timeout_s: float, what: str, action: Callable[[], Awaitable[Any]]) -> Any:
    """Await `action` for a limited time, after which the promise is broken by `what`."""
    with anyio.move_on_after(timeout_s):
        return await action()
    raise BrokenPromise(what)


def described(result: ProviderResult) -> str:
    """Describe the outcome of a session."""
    how = "failed" if result.is_error else "succeeded"
    why = result.failure_reason or result.output or ""
    return f"{how}, exit code {result.exit_code}, {result.error_category}: {why[:300]}"
