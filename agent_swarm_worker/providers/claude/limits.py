"""The limits of a subscription, as ``rate_limit_event`` reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.kit.limits import REJECTED, LimitWindows
from agent_swarm_worker.providers.kit.native import mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Mapping


def take_limits(limits: LimitWindows, info: Mapping[str, Any]) -> None:
    """Take one ``rate_limit_info``: one window, and in newer CLIs every window."""
    others = {kind: mapping(one) for kind, one in mapping(info.get("unifiedWindows")).items()}
    for kind, window in others.items():
        _note(limits, kind, window)
    kind = text(info.get("rateLimitType"))
    _note(limits, kind, {**others.get(kind, {}), **info})
    if info.get("status") == REJECTED:
        rejecting = [one for one in (info, *others.values()) if one.get("status") == REJECTED]
        limits.note_end(number(window.get("resetsAt")) for window in rejecting)


def _note(limits: LimitWindows, kind: str, window: Mapping[str, Any]) -> None:
    overage = window.get("isUsingOverage")
    limits.note(
        kind,
        text(window.get("status")),
        utilization=number(window.get("utilization")),
        resets_at_s=number(window.get("resetsAt")),
        is_using_overage=overage if isinstance(overage, bool) else None,
        surpassed_threshold=number(window.get("surpassedThreshold")),
    )
