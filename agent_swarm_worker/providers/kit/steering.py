"""Steering: messages for a running session, from the worker until the harness has taken them in.

`SteerRequest` is one message. `SteeringQueue` keeps those of one harness process; it does no I/O,
so a conversation can hold one. `conversation.SteeringRouter` finds the process that runs now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.contract import SteerDelivery

if TYPE_CHECKING:
    from collections.abc import Hashable

    from agent_swarm_worker.contract import SteerMode

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
