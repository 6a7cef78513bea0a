"""Detects outages of the API from the outcomes of ordinary calls.

An outage is logged once when it begins and once when it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.clock import Clock

OUTAGE_ERRORS, OUTAGE_ERRORS_S = 5, 3.0
"""So many answers of 500 in a row, over so many seconds, are an outage. One call that always fails
does not reach this: other calls, such as heartbeats, come in between."""


class ApiHealth:
    """Follows the calls of one client, and reports the end of an outage."""

    def __init__(self, clock: Clock, log: Log | None = None) -> None:
        self.clock = clock
        self._log = log or Log()
        self._down_since: float | None = None
        self.answers = 0
        """Count of answers with a complete body. Answers without a body do not count: a proxy that
        truncates every body lets them through."""
        self._errors, self._errors_since_s = 0, 0.0
        """Count of 500 answers in a row, and the time of the first."""
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_down(self) -> bool:
        """True from the first call without an answer to the next one with an answer."""
        return self._down_since is not None

    def on_recovered(self, callback: Callable[[], None]) -> None:
        """Call `callback` at the first answer after an outage, within the call that got it.

        The worker then sends a heartbeat for each running task: shortly after its own restart the
        server gives up every task without one (docs/api.md 16.1).
        """
        self._callbacks.append(callback)

    def record_answer(self, *, has_body: bool = False) -> None:
        """Note an answer of the API other than a server error."""
        self.answers += has_body
        self._errors = 0
        if self._down_since is None:
            return
        outage_s = self.clock.monotonic() - self._down_since
        self._down_since = None
        self._log.info(Event.API_RECOVERED, outage_s=round(outage_s, 1))
        for callback in self._callbacks:
            callback()

    def record_server_error(self, error: Exception) -> None:
        """Note a 500; enough of them in a row are an outage."""
        now_s = self.clock.monotonic()
        if self._errors == 0:
            self._errors_since_s = now_s
        self._errors += 1
        if self._errors >= OUTAGE_ERRORS and now_s - self._errors_since_s >= OUTAGE_ERRORS_S:
            self.record_failure(error)

    def record_failure(self, error: Exception) -> None:
        """Note that no answer came, or one that is not the API's."""
        if self._down_since is None:
            self._down_since = self.clock.monotonic()
            self._log.warning(Event.API_UNREACHABLE, error=str(error))
