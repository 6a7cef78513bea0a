"""The limits of a subscription, as ``account/rateLimits/updated`` reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.kit.limits import REJECTED, LimitWindows
from agent_swarm_worker.providers.kit.native import count, mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = {300: "five_hour", 1440: "one_day", 10080: "seven_day"}
"""By the length of the window in minutes; the server knows the names of claude's windows."""


def take_limits(limits: LimitWindows, snapshot: Mapping[str, Any]) -> None:
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
        limits.note(
            name,
            REJECTED if is_full else "allowed",
            utilization=used_percent / 100,
            resets_at_s=count(window.get("resetsAt")),
        )
    windows = limits.windows.values()
    limits.resets_at = None  # a snapshot tells of every window
    limits.note_end(window.resets_at_s for window in windows if window.status == REJECTED)
