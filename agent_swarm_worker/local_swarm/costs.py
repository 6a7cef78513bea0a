"""What sessions cost (docs/api.md 10). Budgets are enforced on these rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.endpoint import Call, Reply, Route
from agent_swarm_worker.local_swarm.fields import Choice, Flag, Number, Text
from agent_swarm_worker.local_swarm.tables import COSTS
from agent_swarm_worker.local_swarm.validation import Items, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

DEFAULT_LIMIT = 100
LEGACY_MODEL = "opus"
"""What a row without model and provider is filed under."""

TOKENS = Number(0, whole=True)
MODEL_SHARE = Shape(
    model=Text(),
    inputTokens=TOKENS,
    outputTokens=TOKENS,
    cacheReadTokens=TOKENS,
    cacheWriteTokens=TOKENS,
    webSearchRequests=TOKENS.optional().nullable(),
    harnessCostUsd=Number().optional().nullable(),
)
COST = Shape(
    sessionId=Text(1),
    agentId=Text(1),
    totalCostUsd=Number(),
    taskId=Text().optional(),
    inputTokens=TOKENS.optional(0),
    outputTokens=TOKENS.optional(0),
    cacheReadTokens=TOKENS.optional(0),
    cacheWriteTokens=TOKENS.optional(0).nullable(),
    cacheWrite5mTokens=TOKENS.optional().nullable(),
    cacheWrite1hTokens=TOKENS.optional().nullable(),
    reasoningOutputTokens=TOKENS.optional(0),
    thinkingTokens=TOKENS.optional(0),
    durationMs=Number(whole=True).optional(0),
    numTurns=Number(whole=True).optional(None).nullable(),
    model=Text().optional(""),
    models=Items(MODEL_SHARE).optional(),
    isError=Flag().optional(False),
    provider=Choice(
        "claude", "claude-managed", "codex", "pi", "opencode", "devin", "gemini"
    ).optional(),
    createdAt=Number(0, whole=True).optional(),
)
FILTER = Shape(
    agentId=Text().optional(),
    taskId=Text().optional(),
    startDate=Text().optional(),
    endDate=Text().optional(),
    limit=Number(1, whole=True, from_text=True).optional(DEFAULT_LIMIT),
)
SUMMED = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens")


def _store(call: Call) -> Reply:
    row = dict(call.body)
    row.pop("createdAt", None)  # it selects a price; this server has none
    provider, shares = row.pop("provider", None), row.pop("models", None)
    if shares:
        # The totals at the top cover the main thread only.
        row |= {name: sum(share[name] for share in shares) for name in SUMMED}
    row["cacheWriteTokens"] = row["cacheWriteTokens"] or 0
    row["model"] = row["model"] or ("" if provider else LEGACY_MODEL)
    row |= {
        "taskId": row.get("taskId") or None,
        # With a provider the public server prices the row itself. Without a price list the
        # harness's own number stands, and is marked as such.
        "costSource": "unpriced" if provider else "harness",
        "harnessCostUsd": row["totalCostUsd"],
        "modelBreakdown": shares or None,
        "createdAt": call.store.now(),
    }
    return Reply(201, {"success": True, "cost": call.store.insert(COSTS, row)})


def _find(call: Call) -> Document:
    conditions = {
        "taskId": "taskId = ?",
        "agentId": "agentId = ?",
        "startDate": "createdAt >= ?",
        "endDate": "createdAt <= ?",
    }
    used = {part: call.query[name] for name, part in conditions.items() if call.query.get(name)}
    where = f"{' AND '.join(used) or '1'} ORDER BY createdAt DESC, rowid DESC LIMIT ?"
    return {"costs": call.store.find(COSTS, where, *used.values(), call.query["limit"])}


ROUTES = (
    Route("POST", "/api/session-costs", _store, body=COST),
    Route("GET", "/api/session-costs", _find, query=FILTER),
)
