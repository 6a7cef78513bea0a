"""Answer polls: claim an agent's next item and return it as a trigger (docs/api.md 4.1, 4.2).

The item is claimed in the same transaction. There is no acknowledgement: a second poll claims the
next item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import access, agents, budgets, channels, tasks, telemetry
from agent_swarm_worker.local_swarm.endpoint import Call, Route
from agent_swarm_worker.local_swarm.tables import ATTACHMENTS, TASKS
from agent_swarm_worker.local_swarm.validation import Items, Shape, Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.local_swarm.store import Document, Store

MOST_URGENT_FIRST = "ORDER BY priority DESC, createdAt, rowid"

CURSORS = Shape(cursorUpdates=Items(Shape(channelId=Text(), ts=Text())))


def next_trigger(store: Store, agent: Document) -> Document | None:
    """Claim the next item for an agent and return it as a trigger.

    The order is: offers, the agent's own tasks, mentions, the pool. Leads get no pool tasks.
    """
    has_capacity = agents.has_capacity(store, agent)
    trigger = None
    if has_capacity:
        trigger = _offer(store, agent) or _assigned(store, agent, _pending(store, agent))
    trigger = trigger or channels.claim_mentions(store, agent["id"])
    if trigger is None and has_capacity and not agent["isLead"]:
        trigger = _assigned(store, agent, pool(store, agent))
    return trigger


def pool(store: Store, agent: Document) -> Iterable[Document]:
    """Yield the unassigned tasks that the agent may take, most urgent first."""
    for task in store.find(TASKS, f"status = 'unassigned' {MOST_URGENT_FIRST}"):
        # The public server also returns pool tasks whose dependencies are open.
        if is_eligible(agent, task) and tasks.is_ready(store, task):
            yield task


def is_eligible(agent: Document, task: Document) -> bool:
    """Return whether the task's affinity allows the agent (docs/api.md 7.5).

    Eligible are the source agent, and agents of the same role with all the capabilities. An agent
    without a role never matches.
    """
    affinity = task.get("routingAffinity")
    if affinity is None or affinity.get("sourceAgentId") == agent["id"]:
        return True
    role = agent.get("role")
    if not role or role != affinity.get("role"):
        return False
    return set(affinity.get("capabilities", ())) <= set(agent["capabilities"])


def _offer(store: Store, agent: Document) -> Document | None:
    where = "offeredTo = ? AND status = 'offered' ORDER BY createdAt, rowid"
    task = store.first(TASKS, where, agent["id"])
    if task is None:
        return None
    return _trigger(store, "task_offered", tasks.update(store, task, status="reviewing"))


def _pending(store: Store, agent: Document) -> Iterable[Document]:
    for task in store.find(
        TASKS, f"agentId = ? AND status = 'pending' {MOST_URGENT_FIRST}", agent["id"]
    ):
        if tasks.is_ready(store, task):
            yield task


def _assigned(store: Store, agent: Document, candidates: Iterable[Document]) -> Document | None:
    task = next(iter(candidates), None)
    if task is None:
        return None
    if refusal := budgets.refusal(store, agent["id"], task):
        budgets.notify_lead_once(store, agent["id"], task, refusal)
        return refusal
    tasks.update(store, task, status="in_progress", agentId=agent["id"])
    if task["status"] == "unassigned":
        telemetry.add_history(store, "task_claimed", agent_id=agent["id"], task_id=task["id"])
    agents.update_status(store, agent["id"])
    # The public server returns the row from before the claim with the new status.
    claimed = {**task, "status": "in_progress", "agentId": agent["id"]}
    claimed["attachments"] = _attachments(store, task["id"])
    return _trigger(store, "task_assigned", claimed)


def _trigger(store: Store, kind: str, task: Document) -> Document:
    return {"type": kind, "taskId": task["id"], "task": task, **access.requester(store, task)}


def _attachments(store: Store, task_id: str) -> list[Document]:
    shown = ("id", "name", "mimeType", "sizeBytes")
    return [
        {name: attachment[name] for name in shown if name in attachment}
        for attachment in store.find(ATTACHMENTS, "taskId = ? ORDER BY rowid", task_id)
    ]


# --- routes
def _poll(call: Call) -> Document:
    return {"trigger": next_trigger(call.store, agents.require(call.store, call.agent_id))}


def _commit_cursors(call: Call) -> Document:
    # Cursors belong to Slack channels, of which this server watches none.
    return {"success": True, "committed": len(call.body["cursorUpdates"])}


ROUTES = (
    Route("GET", "/api/poll", _poll, agent="known"),
    Route("POST", "/api/channel-activity/commit-cursors", _commit_cursors, body=CURSORS),
)
