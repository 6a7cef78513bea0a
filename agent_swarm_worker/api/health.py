"""Whether the API answers, noticed by the calls that are made anyway.

An outage is one line when it begins and one when it ends, however many calls fail in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.clock import Clock

FAULTS_IN_A_ROW, FAULTY_FOR_S = 5, 3.0
"""An API that says 500 so often and for so long, and nothing else, is as good as away. A call that
it always stumbles over does not get there: others, beats among them, come in between."""


class ApiHealth:
    """Follows the calls of one client and tells when the API is back."""

    def __init__(self, clock: Clock, log: Log | None = None) -> None:
        self._clock = clock
        self._log = log or Log()
        self._down_since: float | None = None
        self.answers = 0
        """How often the API has answered with a whole document. A status alone says little: what
        cuts every answer in half cannot harm an empty one."""
        self._faults, self._faulty_since_s = 0, 0.0
        """How often it has failed over a request since it last did not, and since when."""
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_down(self) -> bool:
        """True from the first call without an answer to the next one with an answer."""
        return self._down_since is not None

    def on_recovered(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, at once, by the first success after an outage.

        The worker wants all running tasks to beat then: shortly after its own restart the server
        gives up every task that has not (docs/api.md 16.1).
        """
        self._callbacks.append(callback)

    def ok(self, *, is_document: bool = False) -> None:
        """Note an answer of the API, whatever it said."""
        self.answers += is_document
        self._faults = 0
        if self._down_since is None:
            return
        outage_s = self._clock.monotonic() - self._down_since
        self._down_since = None
        self._log.info(Event.API_RECOVERED, outage_s=round(outage_s, 1))
        for callback in self._callbacks:
            callback()

    def stumbled(self, error: Exception) -> None:
        """Note that the API failed over a request."""
        now_s = self._clock.monotonic()
        if self._faults == 0:
            self._faulty_since_s = now_s
        self._faults += 1
        if self._faults >= FAULTS_IN_A_ROW and now_s - self._faulty_since_s >= FAULTY_FOR_S:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Note that nothing answered, or something that is not the API."""
        if self._down_since is None:
            self._down_since = self._clock.monotonic()
            self._log.warning(Event.API_UNREACHABLE, error=str(error))
