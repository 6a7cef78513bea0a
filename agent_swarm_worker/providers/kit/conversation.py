"""Talking with a harness while it runs: questions it asks, messages it takes, a polite stop.

A `Conversation` is a translator that also speaks: still without I/O, it says which bytes are to be
written next. `StdinWriter` writes them, to one process; so a two-way protocol is tested like any
recorded stream. If the harness asks for work that takes I/O, the conversation `HandlesRequests`:
it names the handler, and the writer runs it beside itself.

Steering: messages for a running session, from the worker until the harness has taken them in.

`SteerRequest` is one message. `SteeringQueue` keeps those of one harness process; it does no I/O,
so a conversation can hold one. `conversation.SteeringRouter` finds the process that runs now.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import anyio

from agent_swarm_worker.aio import Broadcast, wait_any
from agent_swarm_worker.contract import SteerDelivery
from agent_swarm_worker.providers.kit.launch import Translator

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from anyio.abc import TaskGroup

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Process, SteerMode
    from agent_swarm_worker.providers.kit.jsonrpc import HandlerCall

INTERRUPT_GRACE_S = 2.0
"""How long a harness may take to stop by its own means before signals are sent."""


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


@runtime_checkable
class HandlesRequests(Conversation, Protocol):
    """A conversation whose harness asks for work that takes I/O."""

    def handler_calls(self) -> Sequence[HandlerCall]:
        """Return the calls to be run now, and forget them. Asked when `outgoing` is.

        They run in the session's task group, are cancelled with it and when standard input is
        closed, and add their answers to `outgoing`.
        """
        ...


class StdinWriter:
    """Writes what a conversation has to say, until its end or the child's."""

    def __init__(self, child: Process, conversation: Conversation, *, clock: Clock) -> None:
        self._child = child
        self._conversation = conversation
        self._clock = clock
        self._news = Broadcast()
        self._is_mute = False
        """Nothing can be written any more."""
        self._is_over = False

    async def run(self) -> None:
        """Write until the conversation is over or the child takes no more."""
        try:
            async with anyio.create_task_group() as handlers:
                await self._write(handlers)
                handlers.cancel_scope.cancel()
        finally:
            self._is_mute = True
            self.heard()

    async def _write(self, handlers: TaskGroup) -> None:
        conversation = self._conversation
        asks = conversation if isinstance(conversation, HandlesRequests) else None
        while True:
            news = self._news.next
            for call in asks.handler_calls() if asks is not None else ():
                handlers.start_soon(self._handle, call)
            data = conversation.outgoing()
            if data and not await self._child.send(data):
                return
            if conversation.is_input_over:
                await self._child.close_stdin()
                return
            if not data:
                await news.wait()

    async def _handle(self, call: HandlerCall) -> None:
        await call.run()
        self.heard()

    def heard(self) -> None:
        """Something was read: the conversation may have more to say, or know more."""
        self._news.notify()

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
        await self._news.wait_for(lambda: request.delivery is not None or self._is_over)
        return request.delivery

    async def interrupt(self) -> None:
        """Ask the harness to stop; returns when it said its last word or took too long."""
        if self._is_mute or not self._conversation.interrupt():
            return
        self.heard()
        await wait_any(
            partial(self._news.wait_for, lambda: self._conversation.is_final or self._is_mute),
            partial(self._clock.sleep, INTERRUPT_GRACE_S),
        )

    def close(self) -> None:
        """The child has ended: whoever still waits for a delivery learns that there is none."""
        self._is_over = True
        self.heard()


class SteeringRouter:
    """Hands messages for a session to the process that runs now.

    Before the harness is up, and between one that could not resume and its successor, they wait;
    what a harness left untouched when it ended goes to its successor, if there is one.
    """

    def __init__(self) -> None:
        self._writer: StdinWriter | None = None
        self._refusal: str | None = None
        self._changed = Broadcast()

    @property
    def writer(self) -> StdinWriter | None:
        """The writer to the harness that runs now."""
        return self._writer

    def connect(self, writer: StdinWriter | None) -> None:
        """Hand messages to `writer` from now on; ``None``: let them wait."""
        if self._writer is not None:
            self._writer.close()
        self._writer = writer
        self._changed.notify()

    def refuse(self, reason: str) -> None:
        """Take no messages any more, for this reason."""
        self.connect(None)
        self._refusal = reason
        self._changed.notify()

    async def deliver(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Hand over one message and wait until it is known what became of it."""
        while self._refusal is None:
            changed, writer = self._changed.next, self._writer
            delivery = await writer.steer(mode, text) if writer is not None else None
            if delivery is not None:
                return delivery
            if self._writer is writer and self._refusal is None:
                await changed.wait()
        return SteerDelivery(False, reason=self._refusal)


SESSION_OVER = "the session is over"
ENDED = "the session ended before it took the message"


class SteerRequest:
    """One message for the harness; `delivery` is set once it is known, and then stands."""

    __slots__ = ("_delivery", "_is_known", "mode", "text")

    def __init__(self, mode: SteerMode, text: str) -> None:
        self.mode = mode
        self.text = text
        self._delivery: SteerDelivery | None = None
        self._is_known = anyio.Event()

    @property
    def delivery(self) -> SteerDelivery | None:
        """What became of the message; ``None`` while that is open."""
        return self._delivery

    @delivery.setter
    def delivery(self, delivery: SteerDelivery) -> None:
        if self._delivery is None:
            self._delivery = delivery
            self._is_known.set()

    def confirm(self, mode: SteerMode | None = None) -> None:
        """The harness took the message in, in the mode that was asked for or in another."""
        self.delivery = SteerDelivery(True, mode or self.mode)

    def refuse(self, reason: str) -> None:
        """The harness does not get the message."""
        self.delivery = SteerDelivery(False, reason=reason)

    async def settled(self) -> SteerDelivery:
        """Wait until it is known what became of the message."""
        await self._is_known.wait()
        assert self._delivery is not None
        return self._delivery


class SteeringQueue:
    """The messages of one harness process: waiting, sent, accepted, and at last settled.

    A message waits until the harness can take it. One that was sent is known by a key, for instance
    the id under which the harness confirms it. *Accepted* means that the harness has read it, and
    the model has not yet.
    """

    def __init__(self) -> None:
        self._waiting: list[SteerRequest] = []
        self._sent: dict[Hashable, SteerRequest] = {}
        self._accepted: set[Hashable] = set()
        self._is_closed = False

    @property
    def has_accepted(self) -> bool:
        """True while the harness has read a message that the model has not."""
        return bool(self._accepted)

    def add(self, request: SteerRequest) -> None:
        """Let a message wait; after `close` it is refused."""
        if self._is_closed:
            request.refuse(SESSION_OVER)
        else:
            self._waiting.append(request)

    async def deliver(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Add a message and wait until it is known what became of it."""
        request = SteerRequest(mode, text)
        self.add(request)
        return await request.settled()

    def take(
        self, mode: SteerMode | None = None, *, at_most: int | None = None
    ) -> list[SteerRequest]:
        """Return the messages that wait, of one mode or all, and let them wait no longer."""
        taken = [one for one in self._waiting if mode is None or one.mode == mode][:at_most]
        self._waiting = [one for one in self._waiting if one not in taken]
        return taken

    def sent(self, key: Hashable, request: SteerRequest) -> None:
        """Note that a message was handed to the harness."""
        self._sent[key] = request

    def accept(self, key: Hashable) -> None:
        """Note that the harness has read a message."""
        if key in self._sent:
            self._accepted.add(key)

    def confirm(self, key: Hashable, mode: SteerMode | None = None) -> None:
        """Note that the model has a message; an unknown key is passed over."""
        if request := self._pop(key):
            request.confirm(mode)

    def refuse(self, key: Hashable, reason: str) -> None:
        """Note that the model will not have a message; an unknown key is passed over."""
        if request := self._pop(key):
            request.refuse(reason)

    def confirm_sent(self, *, only_accepted: bool = False) -> None:
        """Note that the model has all that was sent, or all that was accepted."""
        for key in tuple(self._accepted if only_accepted else self._sent):
            self.confirm(key)

    def refuse_sent(self, reason: str) -> None:
        """Note that the model will have nothing of what was sent."""
        for key in tuple(self._sent):
            self.refuse(key, reason)

    def close(self, reason: str = ENDED) -> None:
        """Refuse what is not settled, for this reason, and whatever comes."""
        self._is_closed = True
        self.refuse_sent(reason)
        for request in self.take():
            request.refuse(reason)

    def _pop(self, key: Hashable) -> SteerRequest | None:
        self._accepted.discard(key)
        return self._sent.pop(key, None)
