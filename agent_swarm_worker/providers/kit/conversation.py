"""Exchange messages with a harness while it runs: its requests, steering, a soft interrupt.

A `Conversation` is a translator that also returns the bytes to be written next, and `StdinWriter`
writes them to the process. A steering message is a `SteerRequest`; `SteeringRouter` passes it to
the current process, whose conversation may keep it in a `SteeringQueue`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import anyio

from agent_swarm_worker.aio import Broadcast, wait_any
from agent_swarm_worker.contract import SteerDelivery, Translator

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from anyio.abc import TaskGroup

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Process, SteerMode

INTERRUPT_GRACE_S = 2.0
"""How long a harness may take to stop after `Conversation.interrupt` before signals are sent."""
SESSION_OVER = "the session is over"
ENDED = "the session ended before it took the message"


@runtime_checkable
class Conversation(Translator, Protocol):
    """A translator for a harness whose standard input stays open. Like any, it does no I/O."""

    def outgoing(self) -> bytes:
        """Return and clear the bytes to be written, first those behind `Launch.stdin`.

        Called at the start and after each read.
        """
        ...

    @property
    def is_input_over(self) -> bool:
        """True when nothing more will be written: standard input is then closed."""
        ...

    def steer(self, request: SteerRequest) -> None:
        """Take a message for the running session.

        It is settled when the harness has confirmed that it took the message, or cannot take it.
        """
        ...

    def interrupt(self) -> bool:
        """Queue a request to stop for the harness; false if its protocol has none now."""
        ...


class HandlerRun(Protocol):
    """A request of the harness that takes I/O."""

    async def run(self) -> None:
        """Work on the request, and make its answer part of the conversation's output."""


@runtime_checkable
class HandlesRequests(Conversation, Protocol):
    """A conversation whose harness makes requests that take I/O."""

    def handler_calls(self) -> Sequence[HandlerRun]:
        """Return and clear the calls to be run. Called whenever `outgoing` is.

        They add their answers to `outgoing`. They are cancelled when the session ends or its
        standard input is closed.
        """
        ...

    def note_unsent(self, size: int) -> None:
        """Take how many bytes of `outgoing` are not written yet: the harness may read nothing."""
        ...


class StdinWriter:
    """Writes the outgoing bytes of a conversation, until its end or the child's."""

    def __init__(self, child: Process, conversation: Conversation, *, clock: Clock) -> None:
        self._child = child
        self._conversation = conversation
        self._clock = clock
        self._requests = conversation if isinstance(conversation, HandlesRequests) else None
        self._unsent = bytearray()
        self._sending = 0
        """Bytes that are being written."""
        self._calls: list[HandlerRun] = []
        self._changed = Broadcast()
        self._waiting = 0
        """Callers that wait for what the conversation learns from the harness."""
        self._is_closed = False
        self._has_child_ended = False

    @property
    def is_closed(self) -> bool:
        """True when nothing more is written."""
        return self._is_closed

    async def run(self) -> None:
        """Write until the conversation is over or the child reads no more."""
        try:
            async with anyio.create_task_group() as handlers:
                await self._write(handlers)
                handlers.cancel_scope.cancel()
        finally:
            self._is_closed = True
            self.notify()

    async def _write(self, handlers: TaskGroup) -> None:
        while True:
            changed = self._changed.next
            self._collect()
            calls, self._calls = self._calls, []
            for call in calls:
                handlers.start_soon(self._handle, call)
            data = bytes(self._unsent)
            self._unsent.clear()
            self._sending = len(data)
            if data and not await self._child.send(data):
                return
            self._sending = 0
            if self._conversation.is_input_over:
                await self._child.close_stdin()
                return
            if not data:
                await changed.wait()

    def _collect(self) -> bool:
        """Take what the conversation wants done; return whether there is anything to do."""
        self._unsent += self._conversation.outgoing()
        if self._requests is not None:
            self._calls += self._requests.handler_calls()
            self._requests.note_unsent(len(self._unsent) + self._sending)
        return bool(self._unsent or self._calls or self._conversation.is_input_over)

    def after_read(self) -> None:
        """Wake those for whom the harness's latest output means something; mostly nobody."""
        if self._collect() or self._waiting:
            self.notify()

    async def _handle(self, call: HandlerRun) -> None:
        await call.run()
        self.notify()

    def notify(self) -> None:
        """Wake the writer and all waiting callers."""
        self._changed.notify()

    async def steer(self, mode: SteerMode, text: str) -> SteerDelivery | None:
        """Pass on one message and wait until its delivery is settled.

        Returns:
            ``None`` if the harness ended without settling it.
        """
        if self._has_child_ended:
            return None
        if self._is_closed:
            return SteerDelivery(False, reason="the harness takes no more input")
        request = SteerRequest(mode, text)
        self._conversation.steer(request)
        self.notify()
        # A message that was written before the child closed its input may still be confirmed.
        await self._wait_for(lambda: request.delivery is not None or self._has_child_ended)
        return request.delivery

    async def interrupt(self) -> None:
        """Ask the harness to stop; wait until it is final, at most `INTERRUPT_GRACE_S`."""
        if self._is_closed or not self._conversation.interrupt():
            return
        self.notify()
        await wait_any(
            partial(self._wait_for, lambda: self._conversation.is_final or self._is_closed),
            partial(self._clock.sleep, INTERRUPT_GRACE_S),
        )

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        self._waiting += 1
        try:
            await self._changed.wait_for(condition)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End every wait for a delivery: the child has ended."""
        self._has_child_ended = True
        self.notify()


class SteeringRouter:
    """Passes the messages for a session to its current process.

    Messages wait while there is none. One that a process left unsettled goes to the next process.
    """

    def __init__(self) -> None:
        self._writer: StdinWriter | None = None
        self._refusal: str | None = None
        self._changed = Broadcast()

    @property
    def writer(self) -> StdinWriter | None:
        """The writer to the current process."""
        return self._writer

    def connect(self, writer: StdinWriter | None) -> None:
        """Pass messages to `writer` from now on; with ``None`` they wait."""
        if self._writer is not None:
            self._writer.close()
        self._writer = writer
        self._changed.notify()

    def refuse(self, reason: str) -> None:
        """Refuse all messages from now on, for this reason."""
        self.connect(None)
        self._refusal = reason
        self._changed.notify()

    async def deliver(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Pass on one message and wait until its delivery is settled."""
        while self._refusal is None:
            changed, writer = self._changed.next, self._writer
            delivery = await writer.steer(mode, text) if writer is not None else None
            if delivery is not None:
                return delivery
            if self._writer is writer and self._refusal is None:
                await changed.wait()
        return SteerDelivery(False, reason=self._refusal)


class SteerRequest:
    """One message for the harness; the first value of `delivery` is final."""

    __slots__ = ("_delivery", "_is_known", "is_waiting", "mode", "text")

    def __init__(self, mode: SteerMode, text: str) -> None:
        self.mode = mode
        self.text = text
        self.is_waiting = True
        """It has not been written to the harness."""
        self._delivery: SteerDelivery | None = None
        self._is_known = anyio.Event()

    @property
    def delivery(self) -> SteerDelivery | None:
        """``None`` while it is open."""
        return self._delivery

    @delivery.setter
    def delivery(self, delivery: SteerDelivery) -> None:
        if self._delivery is None:
            self._delivery = delivery
            self._is_known.set()

    def confirm(self, mode: SteerMode | None = None) -> None:
        """Settle as delivered, in the requested mode or in `mode`."""
        self.delivery = SteerDelivery(True, mode or self.mode)

    def refuse(self, reason: str) -> None:
        """Settle as not delivered."""
        self.delivery = SteerDelivery(False, reason=reason)

    async def settled(self) -> SteerDelivery:
        """Wait for the outcome."""
        await self._is_known.wait()
        assert self._delivery is not None
        return self._delivery


class SteeringQueue:
    """The messages of one harness process: waiting, sent, accepted, settled.

    A sent one has a key, such as the id under which the harness confirms it. *Accepted*: the
    harness has read it, the model has not yet.
    """

    def __init__(self) -> None:
        self._waiting: list[SteerRequest] = []
        self._sent: dict[Hashable, SteerRequest] = {}
        self._accepted: set[Hashable] = set()
        self._is_closed = False

    @property
    def has_accepted(self) -> bool:
        """True while a message is accepted and not settled."""
        return bool(self._accepted)

    @property
    def is_empty(self) -> bool:
        """True if no message waits."""
        return not self._waiting

    def add(self, request: SteerRequest) -> None:
        """Add a waiting message; after `close` it is refused."""
        if self._is_closed:
            request.refuse(SESSION_OVER)
        else:
            self._waiting.append(request)

    async def deliver(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Add a message and wait until its delivery is settled."""
        request = SteerRequest(mode, text)
        self.add(request)
        return await request.settled()

    def take(
        self, mode: SteerMode | None = None, *, at_most: int | None = None
    ) -> list[SteerRequest]:
        """Return and remove the waiting messages, of one mode or all."""
        taken = [one for one in self._waiting if mode is None or one.mode == mode][:at_most]
        self._waiting = [one for one in self._waiting if one not in taken]
        for one in taken:
            one.is_waiting = False
        return taken

    def sent(self, key: Hashable, request: SteerRequest) -> None:
        """Record that a message was written to the harness."""
        self._sent[key] = request

    def accept(self, key: Hashable) -> None:
        """Record that the harness has read a message."""
        if key in self._sent:
            self._accepted.add(key)

    def confirm(self, key: Hashable, mode: SteerMode | None = None) -> None:
        """Settle a message as delivered; an unknown key is ignored."""
        if request := self._pop(key):
            request.confirm(mode)

    def refuse(self, key: Hashable, reason: str) -> None:
        """Settle a message as not delivered; an unknown key is ignored."""
        if request := self._pop(key):
            request.refuse(reason)

    def confirm_sent(self, *, only_accepted: bool = False) -> None:
        """Settle the sent messages, or the accepted ones, as delivered."""
        for key in tuple(self._accepted if only_accepted else self._sent):
            self.confirm(key)

    def refuse_sent(self, reason: str) -> None:
        """Settle all sent messages as not delivered."""
        for key in tuple(self._sent):
            self.refuse(key, reason)

    def close(self, reason: str = ENDED) -> None:
        """Refuse all unsettled messages for this reason, and every later one."""
        self._is_closed = True
        self.refuse_sent(reason)
        for request in self.take():
            request.refuse(reason)

    def _pop(self, key: Hashable) -> SteerRequest | None:
        self._accepted.discard(key)
        return self._sent.pop(key, None)
