"""Talking with a harness while it runs: questions it asks, messages it takes, a polite stop.

A `Conversation` is a translator that also speaks: still without I/O, it says which bytes are to be
written next. `Talk` writes them, to one process; `Mailbox` is the session's side of it. So a
two-way protocol is tested like any recorded stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import anyio

from agent_swarm_worker.contract import SteerDelivery
from agent_swarm_worker.providers.kit.launch import Translator

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Process, SteerMode

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
        when it cannot. One that is still open when the harness ends counts as not delivered.
        """
        ...

    def interrupt(self) -> bool:
        """Ask the harness to stop by its own means; false if there is no such way now."""
        ...


class Talk:
    """Writes what a conversation has to say, until its end or the child's."""

    def __init__(self, child: Process, conversation: Conversation, *, clock: Clock) -> None:
        self._child = child
        self._conversation = conversation
        self._clock = clock
        self._news = anyio.Event()
        self._is_mute = False
        """Nothing can be written any more."""
        self._is_over = False

    async def run(self) -> None:
        """Write until the conversation is over or the child takes no more."""
        try:
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
        finally:
            self._is_mute = True
            self.heard()

    def heard(self) -> None:
        """Something was read: the conversation may have more to say, or know more."""
        self._news.set()
        self._news = anyio.Event()

    async def steer(self, mode: SteerMode, text: str) -> SteerDelivery | None:
        """Hand over one message and wait until it is known what became of it.

        Returns:
            ``None`` if the harness ended without a word about it.
        """
        if self._is_over:
            return None
        if self._is_mute:
            return SteerDelivery(False, reason="the harness takes no more input")
        request = SteerRequest(mode, text)
        self._conversation.steer(request)
        self.heard()
        # A message that was written before the child closed its input may still be confirmed.
        while request.delivery is None and not self._is_over:
            await self._news.wait()
        return request.delivery

    async def interrupt(self) -> None:
        """Ask the harness to stop; returns when it said its last word or took too long."""
        if self._is_mute or not self._conversation.interrupt():
            return
        self.heard()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._grace, tasks.cancel_scope)
            while not (self._conversation.is_final or self._is_mute):
                await self._news.wait()
            tasks.cancel_scope.cancel()

    def close(self) -> None:
        """The child has ended: whoever still waits for a delivery learns that there is none."""
        self._is_over = True
        self.heard()

    async def _grace(self, scope: anyio.CancelScope) -> None:
        await self._clock.sleep(INTERRUPT_GRACE_S)
        scope.cancel()


class Mailbox:
    """Where the messages for a session go, however many processes it takes.

    Before the harness is up, and between one that could not resume and its successor, they wait;
    what a harness left untouched when it ended goes to its successor, if there is one.
    """

    def __init__(self) -> None:
        self._talk: Talk | None = None
        self._refusal: str | None = None
        self._changed = anyio.Event()

    @property
    def talk(self) -> Talk | None:
        """The talk with the harness that runs now."""
        return self._talk

    def connect(self, talk: Talk | None) -> None:
        """Hand messages to `talk` from now on; ``None``: let them wait."""
        if self._talk is not None:
            self._talk.close()
        self._talk = talk
        self._notify()

    def refuse(self, reason: str) -> None:
        """Take no messages any more, for this reason."""
        self.connect(None)
        self._refusal = reason
        self._notify()

    async def deliver(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Hand over one message and wait until it is known what became of it."""
        while self._refusal is None:
            changed, talk = self._changed, self._talk
            delivery = await talk.steer(mode, text) if talk is not None else None
            if delivery is not None:
                return delivery
            if self._talk is talk and self._refusal is None:
                await changed.wait()
        return SteerDelivery(False, reason=self._refusal)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
