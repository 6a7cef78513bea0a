"""The rate limits of a subscription: the state of each window, and when one that was hit ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent_swarm_worker.clock import Clock, wire_time
from agent_swarm_worker.contract import RateLimitWindow

if TYPE_CHECKING:
    from collections.abc import Iterable

REJECTED = "rejected"


class LimitWindows:
    """Remembers the state of every window that a harness reports."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.windows: dict[str, RateLimitWindow] = {}
        self.resets_at: datetime | None = None
        """When the limit ends that was hit last."""

    def note(
        self,
        name: str,
        status: str,
        *,
        utilization: float | None = None,
        resets_at_s: float | None = None,
        is_using_overage: bool | None = None,
        surpassed_threshold: float | None = None,
    ) -> None:
        """Note the state of one window.

        Args:
            name: as the server knows it (``five_hour``, ``seven_day``); without one it is skipped.
            status: ``allowed``, ``rejected`` or a word of the harness's own; as above.
            utilization: 0 to 1.
            resets_at_s: seconds since 1970.
            is_using_overage: whether calls beyond the limit are paid for one by one.
            surpassed_threshold: the share of the limit that the harness warned of.
        """
        if not name or not status:
            return
        resets_at = moment(resets_at_s)
        self.windows[name] = RateLimitWindow(
            status=status,
            utilization=utilization,
            resets_at_s=int(resets_at.timestamp()) if resets_at else None,
            is_using_overage=is_using_overage,
            surpassed_threshold=surpassed_threshold,
            last_seen_at=wire_time(self._clock.now()),
        )

    def note_end(self, ends_s: Iterable[float | None]) -> None:
        """Note that a limit is hit: it ends when the last window that rejects does."""
        known = [end for end in map(moment, ends_s) if end is not None]
        if known:
            self.resets_at = max(known)


def moment(seconds: float | None) -> datetime | None:
    """Return a time given as seconds since 1970; ``None`` if it is none, or 0."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, ValueError, OSError):
        return None
