"""Talking with a harness while it runs: questions it asks, messages it takes, a polite stop.

A `Conversation` is a translator that also speaks: still without I/O, it says which bytes are to be
written next. `Talk` writes them. So a two-way protocol is tested like any recorded stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import anyio

from agent_swarm_worker.contract import SteerDelivery
from agent_swarm_worker.providers.launch import Translator

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import SteerMode
    from agent_swarm_worker.sandboxes.port import SandboxChild

INTERRUPT_GRACE_S = 2.0
"""How long a harness may take to stop by its own means before signals are sent."""


@dataclass(slots=True, eq=False)
class SteerRequest:
    """One message for the harness; the conversation sets `delivery` once it knows."""

    mode: SteerMode
    text: str
    delivery: SteerDelivery | None = None


@runtime_checkable
class Conversation(Translator, Protocol):
    """A translator for a harness that is talked to over standard input, which stays open."""

    def outgoing(self) -> bytes:
        """Return what is to be written now, and forget it. Asked at the start and after each read.

        The first answer follows `Launch.stdin`, which a conversation may leave empty.
        """
        ...

    @property
    def is_input_over(self) -> bool:
        """True when nothing more will be said: standard input is closed for good."""
        ...

    def steer(self, request: SteerRequest) -> None:
        """Take a message for the running session.

        `request.delivery` is set when the harness has confirmed that it took the message in, or
        when it cannot; at the end of the session the caller sets what is still open.
        """
        ...

    def interrupt(self) -> bool:
        """Ask the harness to stop by its own means; false if there is no such way now."""
        ...


class Talk:
    """Writes what a conversation has to say, until its end or the child's."""

    def __init__(self, child: SandboxChild, conversation: Conversation, *, clock: Clock) -> None:
        self._child = child
        self._conversation = conversation
        self._clock = clock
        self._news = anyio.Event()
        self._open: list[SteerRequest] = []
        self._is_over = False

    async def run(self) -> None:
        """Write until the conversation is over or the child takes no more."""
        while True:
            news = self._news
            data = self._conversation.outgoing()
            if data and not await self._child.send(data):
                return
            if self._conversation.is_input_over:
                await self._child.close_stdin()
                return
            if not data:
                await news.wait()

    def heard(self) -> None:
        """Something was read: the conversation may have more to say, or know more."""
        self._news.set()
        self._news = anyio.Event()

    async def steer(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Hand over one message and wait until it is known what became of it."""
        if self._is_over:
            return SteerDelivery(False, reason="the session is over")
        request = SteerRequest(mode, text)
        self._open.append(request)
        self._conversation.steer(request)
        self.heard()
        while request.delivery is None:
            await self._news.wait()
        return request.delivery

    async def interrupt(self) -> None:
        """Ask the harness to stop; returns when it said its last word or took too long."""
        if not self._conversation.interrupt():
            return
        self.heard()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._grace, tasks.cancel_scope)
            while not self._conversation.is_final:
                await self._news.wait()
            tasks.cancel_scope.cancel()

    def close(self) -> None:
        """The session has ended: whoever still waits for a delivery learns that there is none."""
        self._is_over = True
        for request in self._open:
            if request.delivery is None:
                reason = "the session ended before it took the message"
                request.delivery = SteerDelivery(False, reason=reason)
        self.heard()

    async def _grace(self, scope: anyio.CancelScope) -> None:
        await self._clock.sleep(INTERRUPT_GRACE_S)
        scope.cancel()
