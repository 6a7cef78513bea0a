"""Messages for a running session: held until a request carries them to the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.contract import SteerDelivery

if TYPE_CHECKING:
    from agent_swarm_worker.contract import SteerMode

ENDED = "the session ended before it took the message"


@dataclass(slots=True, eq=False)
class Letter:
    """One message; `delivery` is set once it is known what became of it."""

    mode: SteerMode
    text: str
    is_known: anyio.Event = field(default_factory=anyio.Event)
    delivery: SteerDelivery | None = None

    def settle(self, delivery: SteerDelivery) -> None:
        """Say what became of it, once."""
        if self.delivery is None:
            self.delivery = delivery
            self.is_known.set()


class Mailbox:
    """Takes messages from the worker and gives them to the agent."""

    def __init__(self) -> None:
        self._waiting: list[Letter] = []
        self._sent: list[Letter] = []
        self._is_closed = False

    async def deliver(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Leave a message and wait until the model has it, or cannot get it any more."""
        if self._is_closed:
            return SteerDelivery(False, reason="the session is over")
        letter = Letter(mode, text)
        self._waiting.append(letter)
        await letter.is_known.wait()
        assert letter.delivery is not None
        return letter.delivery

    def take(self, *, with_queued: bool) -> list[str]:
        """Return the texts to say now: those that steer, and at a stop the queued ones as well."""
        taken = [letter for letter in self._waiting if with_queued or letter.mode == "steer"]
        self._waiting = [letter for letter in self._waiting if letter not in taken]
        self._sent += taken
        return [letter.text for letter in taken]

    def read(self) -> None:
        """The model has answered a request with all that was taken so far."""
        sent, self._sent = self._sent, []
        for letter in sent:
            letter.settle(SteerDelivery(True, mode=letter.mode))

    def close(self, reason: str = ENDED) -> None:
        """Take no more; who still waits learns why there is no delivery."""
        self._is_closed = True
        for letter in (*self._sent, *self._waiting):
            letter.settle(SteerDelivery(False, reason=reason))
        self._sent, self._waiting = [], []
