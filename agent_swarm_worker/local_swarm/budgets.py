"""Daily budgets, and the refusal of work when one is used up (docs/api.md 4.5).

The wire writes the global budget's empty scope id as ``_global``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent_swarm_worker.clock import epoch_ms, wire_time
from agent_swarm_worker.local_swarm import agents, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route
from agent_swarm_worker.local_swarm.fields import Choice, Number
from agent_swarm_worker.local_swarm.tables import BUDGETS
from agent_swarm_worker.local_swarm.validation import Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

GLOBAL_ON_THE_WIRE = "_global"
TASK_CHARS = 200

BUDGET = Shape(dailyBudgetUsd=Number(0))
SCOPE = Shape(scope=Choice("global", "agent", "user"))

_SPEND_OF_USER = " AND taskId IN (SELECT id FROM tasks WHERE requestedByUserId = ?)"


def refusal(store: Store, agent_id: str, task: Document) -> Document | None:
    """Return the trigger that refuses `task` for today, or ``None`` if it may be claimed.

    The first budget that is used up decides: global, then the agent's, then the requester's.
    """
    user_id = task.get("requestedByUserId", "")
    gates = (
        ("global", "", "", ()),
        ("agent", agent_id, " AND agentId = ?", (agent_id,)),
        ("user", user_id, _SPEND_OF_USER, (user_id,)),
    )
    for cause, scope_id, condition, values in gates:
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


def tell_lead_once(store: Store, agent_id: str, task: Document, trigger: Document) -> None:
    """Let the lead know of a refusal, once per task and day."""
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
    tasks.create(
        store,
        text,
        agentId=lead["id"],
        source="system",
        taskType="follow-up",
        parentTaskId=task["id"],
    )


def _spent_today(store: Store, condition: str, values: tuple[str, ...]) -> float:
    # `condition` is one of the constants above.
    sql = f"SELECT SUM(totalCostUsd) FROM session_costs WHERE createdAt >= ?{condition}"  # noqa: S608
    return float(store.value(sql, store.now()[:10], *values) or 0)


def _next_midnight(store: Store) -> str:
    tomorrow = store.clock.now() + timedelta(days=1)
    return wire_time(tomorrow.replace(hour=0, minute=0, second=0, microsecond=0))


# --- routes
def _scope(call: Call) -> tuple[str, str]:
    scope = SCOPE.parse({"scope": call.path["scope"]})["scope"]
    scope_id = call.path["scopeId"]
    return scope, "" if scope_id == GLOBAL_ON_THE_WIRE else scope_id


def _find(call: Call) -> Document | None:
    return call.store.first(BUDGETS, "scope = ? AND scopeId = ?", *_scope(call))


def _list(call: Call) -> Document:
    return {"budgets": call.store.find(BUDGETS, "1 ORDER BY scope, scopeId")}


def _get(call: Call) -> Document:
    if (found := _find(call)) is None:
        raise Refusal(404, "Budget not configured")
    return found


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


ROUTES = (
    Route("GET", "/api/budgets", _list),
    Route("GET", "/api/budgets/{scope}/{scopeId}", _get),
    Route("PUT", "/api/budgets/{scope}/{scopeId}", _put, body=BUDGET),
    Route("DELETE", "/api/budgets/{scope}/{scopeId}", _delete),
)
