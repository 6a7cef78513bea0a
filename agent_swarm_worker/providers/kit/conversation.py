"""Talking with a harness while it runs: questions it asks, messages it takes, a polite stop.

A `Conversation` is a translator that also speaks: still without I/O, it says which bytes are to be
written next. `StdinWriter` writes them, to one process; so a two-way protocol is tested like any
recorded stream. If the harness asks for work that takes I/O, the conversation `HandlesRequests`:
it names the handler, and the writer runs it beside itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import anyio

from agent_swarm_worker.contract import SteerDelivery
from agent_swarm_worker.providers.kit.launch import Translator
from agent_swarm_worker.providers.kit.steering import SteerRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        self._news = anyio.Event()
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
            news = self._news
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
