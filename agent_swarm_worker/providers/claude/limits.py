"""The limits of a subscription, as ``rate_limit_event`` reports them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.clock import Clock, wire_time
from agent_swarm_worker.contract import RateLimitWindow
from agent_swarm_worker.providers.kit.native import mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Mapping

REJECTED = "rejected"


class RateLimits:
    """Remembers each window's last state, and when a limit that was hit ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.windows: dict[str, RateLimitWindow] = {}
        self.resets_at: datetime | None = None

    def take(self, info: Mapping[str, Any]) -> None:
        """Take one ``rate_limit_info``: one window, and in newer CLIs every window."""
        others = mapping(info.get("unifiedWindows"))
        for kind, window in others.items():
            self._note(kind, mapping(window))
        kind = text(info.get("rateLimitType"))
        self._note(kind, {**mapping(others.get(kind)), **info})
        if info.get("status") == REJECTED:
            self._note_end([info, *(mapping(window) for window in others.values())])

    def _note(self, kind: str, window: Mapping[str, Any]) -> None:
        status = text(window.get("status"))
        if not kind or not status:
            return
        overage = window.get("isUsingOverage")
        resets_at = _epoch(window)
        self.windows[kind] = RateLimitWindow(
            status=status,
            utilization=number(window.get("utilization")),
            resets_at_s=int(resets_at.timestamp()) if resets_at else None,
            is_using_overage=overage if isinstance(overage, bool) else None,
            surpassed_threshold=number(window.get("surpassedThreshold")),
            last_seen_at=wire_time(self._clock.now()),
        )

    def _note_end(self, windows: list[Mapping[str, Any]]) -> None:
        """The limit ends when the last window that rejects does; a later report wins."""
        ends = [_epoch(window) for window in windows if window.get("status") == REJECTED]
        known = [end for end in ends if end is not None]
        if known:
            self.resets_at = max(known)


def _epoch(window: Mapping[str, Any]) -> datetime | None:
    seconds = number(window.get("resetsAt"))
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, ValueError, OSError):
        return None
