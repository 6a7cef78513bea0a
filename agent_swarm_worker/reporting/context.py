"""Report how full the model's context window is (docs/api.md 11), at most once per interval."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from agent_swarm_worker.api.wire.bodies import completion_body, context_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Compaction, ContextUsage, CostData

INTERVAL_S = 30.0


class ContextReports:
    """Keeps the token sums of one session's main thread and sends snapshots of them.

    The window's size is the one that the harness reports; before it does, `context_window` gives
    the model's.
    """

    def __init__(
        self,
        *,
        send: Callable[[dict[str, Any]], None],
        session_uuid: str,
        model: str,
        clock: Clock,
        context_window: Callable[[str], int | None],
    ) -> None:
        self._context_window = context_window
        self._send, self._session_uuid, self._model = send, session_uuid, model
        self._throttle = Throttle(interval_s=lambda: INTERVAL_S, send=self._send_usage, clock=clock)
        self._total_tokens: int | None = None
        self._used_tokens: int | None = None
        self._output_tokens = 0

    def model_known(self, model: str) -> None:
        """Use the model that the harness named."""
        self._model = model

    def usage(self, event: ContextUsage) -> None:
        """Add one measurement; few are sent."""
        self._output_tokens += max(0, event.output_tokens or 0)
        self._used_tokens = event.context_used_tokens
        self._total_tokens = event.context_total_tokens or self._total_tokens
        self._throttle.offer(event)

    def _send_usage(self, event: ContextUsage) -> None:
        total = self._window(event.context_total_tokens)
        percent = event.context_percent
        if percent is None and total:
            percent = round(event.context_used_tokens / total * 100, 2)
        if percent is not None:
            percent = min(max(percent, 0.0), 100.0)
        complete = replace(event, context_total_tokens=total, context_percent=percent)
        self._send(
            context_body(
                complete,
                session_id=self._session_uuid,
                cumulative_output_tokens=self._output_tokens,
            )
        )

    def compaction(self, event: Compaction) -> None:
        """Send a compaction at once: the server counts them."""
        self._throttle.flush()
        complete = replace(event, context_total_tokens=self._window(event.context_total_tokens))
        self._send(context_body(complete, session_id=self._session_uuid))

    def tick(self) -> None:
        """Send the waiting snapshot if it is due."""
        self._throttle.tick()

    def completion(self, cost: CostData | None) -> None:
        """Send the final sums, if any are known."""
        self._throttle.flush()
        if cost is None and self._used_tokens is None:
            return
        spent_input = cost.input_tokens if cost else None
        spent_output = cost.output_tokens if cost else None
        self._send(
            completion_body(
                session_id=self._session_uuid,
                cumulative_input_tokens=(self._used_tokens if spent_input is None else spent_input),
                cumulative_output_tokens=spent_output or self._output_tokens,
                context_total_tokens=self._window(None),
            )
        )

    def _window(self, reported: int | None) -> int | None:
        """Return the reported size, else the last reported one, else the model's."""
        if reported and reported > 0:
            self._total_tokens = reported
        return self._total_tokens or self._context_window(self._model)


T = TypeVar("T")


class Throttle(Generic[T]):
    """Sends the first value at once, then the newest value of each interval when it ends."""

    def __init__(
        self, *, interval_s: Callable[[], float], send: Callable[[T], None], clock: Clock
    ) -> None:
        self._interval_s, self._send, self._clock = interval_s, send, clock
        self._sent_at: float | None = None
        self._waiting: list[T] = []

    def offer(self, value: T) -> None:
        """Send `value` now, or when the interval ends unless a newer one replaces it."""
        self._waiting = [value]
        self.tick()

    def tick(self) -> None:
        """Send the waiting value if the interval is over."""
        now = self._clock.monotonic()
        if self._sent_at is None or now - self._sent_at >= self._interval_s():
            self.flush()

    def flush(self) -> None:
        """Send the waiting value now."""
        if self._waiting:
            self._send(self._waiting[0])
            self._waiting.clear()
            self._sent_at = self._clock.monotonic()

    def drop(self) -> None:
        """Discard the waiting value."""
        self._waiting.clear()
