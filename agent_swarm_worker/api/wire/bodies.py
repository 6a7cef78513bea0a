"""Builds request bodies, without values that the server would refuse.

The server validates a body as a whole: one fractional count or unknown name voids the row and,
in a batch, every other row (docs/api.md 1.3). So an invalid value is left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from agent_swarm_worker.api.values import MAX_INT, whole_number
from agent_swarm_worker.api.wire.harness_names import COST_NAMES, REQUIRED_METADATA
from agent_swarm_worker.contract.events import Compaction, ContextUsage, SessionInit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.contract.events import CostData, ModelCost
    from agent_swarm_worker.contract.session import RateLimitWindow

_CONTEXT_FORMULAS = frozenset(
    {
        "input-cache-output",
        "input-cache-no-output",
        "input-output-no-cache",
        "peak-proxy",
        "pi-delegated",
        "harness-reported",
        "unknown",
    }
)
_COMPACT_TRIGGERS = frozenset({"auto", "manual", "auto-inferred"})
_MODEL_SOURCES = frozenset({"task", "agent_config", "adapter_default", "custom"})
_EVENT_STATUSES = frozenset({"ok", "error", "timeout", "skipped"})
_EVENT_SOURCES = frozenset({"worker", "api", "hook", "scheduler", "cli"})
_EVENT_NAMES = frozenset(
    f"{group}.{name}"
    for group, names in {
        "tool": ("start", "end"),
        "skill": ("invoke", "complete"),
        "session": ("start", "end", "resume", "cost"),
        "api": ("request", "error"),
        "task": ("poll", "assign", "timeout"),
        "system": ("boot", "error", "profile_sync_rejected", "profile_sync_reconciled"),
    }.items()
    for name in names
)
_EFFORTS = frozenset({"off", "low", "medium", "high", "xhigh", "max"})
NEAREST = "nearestProvider"
"""Of a cost row: the harness to name if the server refuses the other name; it is not sent."""
_VCS_PROVIDERS = frozenset({"github", "gitlab"})


def cost_body(
    cost: CostData,
    *,
    session_id: str,
    task_id: str | None,
    agent_id: str,
    created_at_ms: int | None = None,
    provider: str | None = None,
    nearest: str | None = None,
) -> dict[str, Any] | None:
    """Return the row of docs/api.md 10.1, ``None`` if neither cost nor tokens are known.

    There is one row per session id, the worker's. The time of the spending selects the prices.
    `provider` is the harness, unless the cost names one, and `nearest` that of a server which
    refuses it.
    """
    provider = _one_of(cost.provider, COST_NAMES) or provider
    total = _amount(cost.total_cost_usd)
    body = {
        "sessionId": session_id,
        "agentId": agent_id,
        "taskId": task_id,
        "totalCostUsd": total,
        "inputTokens": _count(cost.input_tokens),
        "outputTokens": _count(cost.output_tokens),
        "cacheReadTokens": _count(cost.cache_read_tokens),
        "cacheWriteTokens": _count(cost.cache_write_tokens),
        "cacheWrite5mTokens": _count(cost.cache_write_5m_tokens),
        "cacheWrite1hTokens": _count(cost.cache_write_1h_tokens),
        "reasoningOutputTokens": _count(cost.reasoning_output_tokens),
        "thinkingTokens": _count(cost.thinking_tokens),
        "durationMs": _count(cost.duration_ms),
        "numTurns": _count(cost.num_turns),
        "model": cost.model or None,
        "models": _models(cost.models),
        "isError": cost.is_error,
        "provider": provider,
        NEAREST: None if provider in COST_NAMES else nearest,
        "createdAt": created_at_ms,
    }
    if total is None:
        # The server requires a total and has no value for "unknown". Given provider, model and
        # tokens it prices the row itself and ignores the 0, or marks the row as unpriced.
        if not any(key.endswith("Tokens") and value for key, value in body.items()):
            return None
        body["totalCostUsd"] = 0
    return _without_none(body)


def context_body(
    event: ContextUsage | Compaction,
    *,
    session_id: str,
    cumulative_output_tokens: int | None = None,
) -> dict[str, Any]:
    """Return the snapshot of docs/api.md 11.1 for one event of the session."""
    body: dict[str, Any]
    if isinstance(event, Compaction):
        body = {
            "eventType": "compaction",
            "preCompactTokens": _count(event.pre_compact_tokens),
            "compactTrigger": _one_of(event.compact_trigger, _COMPACT_TRIGGERS),
        }
    else:
        percent = _amount(event.context_percent)
        body = {
            "eventType": "progress",
            "contextUsedTokens": _count(event.context_used_tokens),
            "contextPercent": percent if percent is not None and percent <= 100 else None,
            "cumulativeInputTokens": _count(event.context_used_tokens),
            "cumulativeOutputTokens": _count(cumulative_output_tokens),
            "contextFormula": _one_of(event.context_formula, _CONTEXT_FORMULAS),
        }
    body["sessionId"] = session_id
    body["contextTotalTokens"] = _count(event.context_total_tokens)
    return _without_none(body)


def completion_body(
    *,
    session_id: str,
    cumulative_input_tokens: int | None,
    cumulative_output_tokens: int | None,
    context_total_tokens: int | None,
) -> dict[str, Any]:
    """Return the last snapshot of a session (docs/api.md 11.2)."""
    return _without_none(
        {
            "eventType": "completion",
            "sessionId": session_id,
            "cumulativeInputTokens": _count(cumulative_input_tokens),
            "cumulativeOutputTokens": _count(cumulative_output_tokens),
            "contextTotalTokens": _count(context_total_tokens),
        }
    )


def session_body(init: SessionInit, *, model: str | None = None) -> dict[str, Any]:
    """Return the session that is stored with a task (docs/api.md 5.10).

    Its harness must be one that the server accepts (`harness_names`).
    """
    provider = init.provider
    meta = dict(init.provider_meta)
    required = REQUIRED_METADATA.get(provider or "")
    if required is not None and not isinstance(meta.get(required), str):
        provider = None
    return _without_none(
        {
            "claudeSessionId": init.session_id,
            "provider": provider,
            "providerMeta": meta if provider and meta else None,
            "model": model or init.model or None,
            "harnessVariant": init.harness_variant or None,
            "harnessVariantMeta": dict(init.harness_variant_meta) or None,
        }
    )


def windows_body(
    windows: Mapping[str, RateLimitWindow], *, seen_at: str
) -> dict[str, dict[str, Any]]:
    """Return the rate-limit windows of a vendor (docs/api.md 14.4), by name.

    Windows without a time in the wire's format get `seen_at`.
    """
    return {
        name: _without_none(
            {
                "status": window.status,
                "utilization": _number(window.utilization),
                "resetsAt": _number(window.resets_at_s),
                "isUsingOverage": window.is_using_overage,
                "surpassedThreshold": _number(window.surpassed_threshold),
                "lastSeenAt": window.last_seen_at if window.last_seen_at[-1:] == "Z" else seen_at,
            }
        )
        for name, window in windows.items()
    }


def event_body(
    event: str,
    *,
    status: str | None = None,
    source: str = "worker",
    agent_id: str | None = None,
    task_id: str | None = None,
    session_id: str | None = None,
    duration_ms: float | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Return one event of a batch (docs/api.md 9.1), ``None`` if the server would refuse it."""
    if event not in _EVENT_NAMES or source not in _EVENT_SOURCES:
        return None
    return _without_none(
        {
            "event": event,
            "category": event.partition(".")[0],
            "status": _one_of(status, _EVENT_STATUSES),
            "source": source,
            "agentId": agent_id,
            "taskId": task_id,
            "sessionId": session_id,
            "durationMs": _count(duration_ms),
            "data": None if data is None else dict(data),
        }
    )


def credential_snapshot(
    *,
    missing: Sequence[str],
    satisfied_by: str | None,
    kind: Literal["boot", "post_task"],
    reported_at_ms: int,
    live_test: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the ``cred_status`` of a report on credentials (docs/api.md 3.6).

    `details` are further fields, which a harness's own login has.
    """
    return {
        **(details or {}),
        "ready": not missing,
        "missing": list(missing),
        "satisfiedBy": satisfied_by,
        "hint": f"Set {' or '.join(missing)}" if missing else None,
        "liveTest": live_test,
        "reportKind": kind,
        "reportedAt": reported_at_ms,
    }


def latest_model_body(
    *,
    model: str,
    source: str,
    task_id: str | None,
    harness: str | None,
    reported_at_ms: int,
    reasoning_effort: str | None = None,
) -> dict[str, Any] | None:
    """Return the model in use (docs/api.md 3.6), ``None`` if it is not known.

    `harness` must be a name that the server accepts.
    """
    if not model or source not in _MODEL_SOURCES:
        return None
    return _without_none(
        {
            "model": model,
            "source": source,
            "taskId": task_id,
            "harnessProvider": harness,
            "reportedAt": reported_at_ms,
            "reasoningEffort": _one_of(reasoning_effort, _EFFORTS),
        }
    )


def vcs_body(*, provider: str, repo: str, number: int, url: str) -> dict[str, Any] | None:
    """Return a pull request (docs/api.md 5.11), ``None`` if the server would refuse it."""
    is_url = url.startswith(("http://", "https://"))
    if provider not in _VCS_PROVIDERS or not repo or number <= 0 or not is_url:
        return None
    return {"vcsProvider": provider, "vcsRepo": repo, "vcsNumber": number, "vcsUrl": url}


def _models(models: tuple[ModelCost, ...]) -> list[dict[str, Any]] | None:
    """Return the split by model; ``None`` if a part of it is unknown.

    The server takes the sum of the split for the totals, so an incomplete split would lower them.
    """
    rows = []
    for share in models:
        counts = {
            "inputTokens": _count(share.input_tokens),
            "outputTokens": _count(share.output_tokens),
            "cacheReadTokens": _count(share.cache_read_tokens),
            "cacheWriteTokens": _count(share.cache_write_tokens),
        }
        if not share.model or None in counts.values():
            return None
        rows.append(
            _without_none(
                {
                    "model": share.model,
                    **counts,
                    "webSearchRequests": _count(share.web_search_requests),
                    "harnessCostUsd": _amount(share.harness_cost_usd),
                }
            )
        )
    return rows or None


def _count(value: float | None) -> int | None:
    """Return a whole number of at least 0; harnesses report fractions and NaN."""
    whole = whole_number(value)
    return whole if whole is not None and whole >= 0 else None


def _amount(value: float | None) -> float | None:
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and abs(value) <= MAX_INT else None


def _one_of(value: str | None, allowed: frozenset[str]) -> str | None:
    return value if value in allowed else None


def _without_none(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}
