"""The limits of a subscription, as ``account/rateLimits/updated`` reports them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.clock import Clock, wire_time
from agent_swarm_worker.contract import RateLimitWindow
from agent_swarm_worker.providers.kit.native import count, mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = {300: "five_hour", 1440: "one_day", 10080: "seven_day"}
"""By the length of the window in minutes; the server knows the names of claude's windows."""


class RateLimits:
    """Remembers each window's last state, and when a limit that was hit ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.windows: dict[str, RateLimitWindow] = {}

    def take(self, snapshot: Mapping[str, Any]) -> None:
        """Take one snapshot of the account's windows."""
        reached = text(snapshot.get("rateLimitReachedType"))
        for place in ("primary", "secondary"):
            window = mapping(snapshot.get(place))
            used_percent = number(window.get("usedPercent"))
            if used_percent is None:
                continue
            minutes = count(window.get("windowDurationMins"))
            name = _NAMES.get(minutes or 0) or (f"{minutes}_minutes" if minutes else place)
            is_full = used_percent >= 100 or (bool(reached) and place in reached.lower())
            self.windows[name] = RateLimitWindow(
                status="rejected" if is_full else "allowed",
                utilization=used_percent / 100,
                resets_at_s=count(window.get("resetsAt")),
                last_seen_at=wire_time(self._clock.now()),
            )

    @property
    def resets_at(self) -> datetime | None:
        """When the last window that rejects opens again."""
        ends = [w.resets_at_s for w in self.windows.values() if w.status == "rejected"]
        known = [end for end in ends if end]
        try:
            return datetime.fromtimestamp(max(known), UTC) if known else None
        except (OverflowError, ValueError, OSError):
            return None
