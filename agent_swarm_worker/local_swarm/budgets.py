"""Store costs of sessions (docs/api.md 10); refuse work over a daily budget (docs/api.md 4.5).

The wire writes the global budget's empty scope id as ``_global``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent_swarm_worker.clock import epoch_ms, wire_time
from agent_swarm_worker.local_swarm import agents, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route
from agent_swarm_worker.local_swarm.tables import BUDGETS, COSTS
from agent_swarm_worker.local_swarm.validation import (
    Choice,
    Flag,
    Items,
    Number,
    Shape,
    Text,
    optional,
)

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

GLOBAL_SCOPE_ID = "_global"
TASK_CHARS = 200

# --- budgets
BUDGET = Shape(dailyBudgetUsd=Number(0))
SCOPE = Shape(scope=Choice("global", "agent", "user"))

_SPEND_OF_USER = " AND taskId IN (SELECT id FROM tasks WHERE requestedByUserId = ?)"


def refusal(store: Store, agent_id: str, task: Document) -> Document | None:
    """Return the trigger that refuses `task` for today, or ``None`` if it may be claimed.

    The budgets are checked in this order: global, the agent's, the requester's.
    """
    user_id = task.get("requestedByUserId", "")
    scopes = (
        ("global", "", "", ()),
        ("agent", agent_id, " AND agentId = ?", (agent_id,)),
        ("user", user_id, _SPEND_OF_USER, (user_id,)),
    )
    for cause, scope_id, condition, values in scopes:
        sql = "SELECT dailyBudgetUsd FROM budgets WHERE scope = ? AND scopeId = ?"
        budget = store.value(sql, cause, scope_id)
        if budget is None:
            continue
        spent = _spent_today(store, condition, values)
        if spent >= budget:
            return {
                "type": "budget_refused",
                "cause": cause,
                f"{cause}Spend": spent,
                f"{cause}Budget": budget,
                "resetAt": _next_midnight(store),
            }
    return None


def notify_lead_once(store: Store, agent_id: str, task: Document, trigger: Document) -> None:
    """Create a task for the lead about a refusal, once per task and day."""
    sql = "INSERT OR IGNORE INTO budget_refusals (taskId, date) VALUES (?, ?)"
    if not store.run(sql, task["id"], store.now()[:10]):
        return
    lead = agents.lead(store)
    if lead is None or lead["id"] == agent_id:
        return
    text = (
        f"The daily budget ({trigger['cause']}) is used up until {trigger['resetAt']}, so this"
        f" task was not started: {task['task'][:TASK_CHARS]}"
    )
    tasks.create_follow_up(store, lead["id"], text, parent_id=task["id"])


def _spent_today(store: Store, condition: str, values: tuple[str, ...]) -> float:
    # `condition` is one of the constants above.
    sql = f"SELECT SUM(totalCostUsd) FROM session_costs WHERE createdAt >= ?{condition}"  # noqa: S608
    return float(store.value(sql, store.now()[:10], *values) or 0)


def _next_midnight(store: Store) -> str:
    tomorrow = store.clock.now() + timedelta(days=1)
    return wire_time(tomorrow.replace(hour=0, minute=0, second=0, microsecond=0))


def _scope(call: Call) -> tuple[str, str]:
    scope = SCOPE.parse({"scope": call.path["scope"]})["scope"]
    scope_id = call.path["scopeId"]
    return scope, "" if scope_id == GLOBAL_SCOPE_ID else scope_id


def _find(call: Call) -> Document | None:
    return call.store.first(BUDGETS, "scope = ? AND scopeId = ?", *_scope(call))


def _list(call: Call) -> Document:
    return {"budgets": call.store.find(BUDGETS, "1 ORDER BY scope, scopeId")}


def _get(call: Call) -> Document:
    if (budget := _find(call)) is None:
        raise Refusal(404, "Budget not configured")
    return budget


def _put(call: Call) -> Document:
    scope, scope_id = _scope(call)
    now = epoch_ms(call.store.clock.now())
    call.store.run(
        "INSERT INTO budgets (id, scope, scopeId, dailyBudgetUsd, createdAt, lastUpdatedAt)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (scope, scopeId) DO UPDATE SET"
        " dailyBudgetUsd = excluded.dailyBudgetUsd, lastUpdatedAt = excluded.lastUpdatedAt",
        *(call.store.new_id(), scope, scope_id, call.body["dailyBudgetUsd"], now, now),
    )
    return _get(call)


def _delete(call: Call) -> None:
    if not call.store.delete(BUDGETS, "scope = ? AND scopeId = ?", *_scope(call)):
        raise Refusal(404, "Budget not configured")


# --- costs
DEFAULT_LIMIT = 100
LEGACY_MODEL = "opus"
"""Model of a row that names neither model nor provider."""

TOKENS = Number(0, integer=True)
SUMMED = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens")
MODEL_SHARE = Shape(
    model=Text(),
    **dict.fromkeys(SUMMED, TOKENS),
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
    durationMs=Number(integer=True).optional(0),
    numTurns=Number(integer=True).optional(None).nullable(),
    model=Text().optional(""),
    models=Items(MODEL_SHARE).optional(),
    isError=Flag().optional(False),
    provider=Choice(
        "claude", "claude-managed", "codex", "pi", "opencode", "devin", "gemini"
    ).optional(),
    createdAt=Number(0, integer=True).optional(),
)
FILTER = Shape(
    **optional(Text(), "agentId taskId startDate endDate"),
    limit=Number(1, integer=True, from_text=True).optional(DEFAULT_LIMIT),
)


def _store(call: Call) -> Reply:
    row = dict(call.body)
    row.pop("createdAt", None)  # the public server selects a price by it; this one has no prices
    provider, shares = row.pop("provider", None), row.pop("models", None)
    if shares:
        # The totals at the top cover the main thread only.
        row |= {name: sum(share[name] for share in shares) for name in SUMMED}
    row["cacheWriteTokens"] = row["cacheWriteTokens"] or 0
    row["model"] = row["model"] or ("" if provider else LEGACY_MODEL)
    row |= {
        "taskId": row.get("taskId") or None,
        # The public server prices a row with a provider itself. This one has no price list: the
        # harness's own cost is stored, and marked as unpriced.
        "costSource": "unpriced" if provider else "harness",
        "harnessCostUsd": row["totalCostUsd"],
        "modelBreakdown": shares or None,
        "createdAt": call.store.now(),
    }
    return Reply(201, {"success": True, "cost": call.store.insert(COSTS, row)})


def _find_costs(call: Call) -> Document:
    conditions = {
        "taskId": "taskId = ?",
        "agentId": "agentId = ?",
        "startDate": "createdAt >= ?",
        "endDate": "createdAt <= ?",
    }
    used = {sql: call.query[name] for name, sql in conditions.items() if call.query.get(name)}
    where = f"{' AND '.join(used) or '1'} ORDER BY createdAt DESC, rowid DESC LIMIT ?"
    return {"costs": call.store.find(COSTS, where, *used.values(), call.query["limit"])}


ROUTES = (
    Route("GET", "/api/budgets", _list),
    Route("GET", "/api/budgets/{scope}/{scopeId}", _get),
    Route("PUT", "/api/budgets/{scope}/{scopeId}", _put, body=BUDGET),
    Route("DELETE", "/api/budgets/{scope}/{scopeId}", _delete),
    Route("POST", "/api/session-costs", _store, body=COST),
    Route("GET", "/api/session-costs", _find_costs, query=FILTER),
)
