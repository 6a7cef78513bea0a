"""Sweep periodically: resume dead sessions, assign pool tasks, clean up (docs/api.md 16).

Each sweep is a function of the store, so that a test can run it at any time of a manual clock;
`run_sweeps` runs them on schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import (
    agents,
    channels,
    finish,
    poll,
    sessions,
    supersede,
    tasks,
)
from agent_swarm_worker.local_swarm.endpoint import Call, Route
from agent_swarm_worker.local_swarm.tables import AGENTS, STEERING, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.local_swarm.store import Document, Store

NEVER_RESUMED = frozenset({"heartbeat", "heartbeat-checklist", "boot-triage", "reroute-decision"})
"""System tasks, which could be resumed without end."""
REBOOT_REASON = "Auto-failed by reboot sweep: worker session not found after server restart"
REBOOT_TAGS = ("reboot-retry", "auto-generated")
REBOOT_PIN_TAG = "reboot-retry-pin"
MAX_ASSIGNED = 5
TASK_CHARS = 200


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """Schedule and limits of sweeps, in seconds; the defaults are the public server's."""

    first_after_s: float = 5
    every_s: float = 90
    reboot_skew_s: float = 5
    """A heartbeat up to this long before the boot counts as one after it."""
    no_session_s: float = 300
    stale_heartbeat_s: float = 900
    steering_grace_s: float = 300
    """A pending steering message this recent keeps its task from being resumed."""
    cleanup_s: float = 1800
    pin_grace_s: float = 600
    max_generations: int = 3
    enabled: bool = True


async def run_sweeps(store: Store, settings: SweepSettings) -> None:
    """Run the reboot sweep once, then `sweep` on schedule until cancelled."""
    booted_at = store.ago(settings.reboot_skew_s)
    await store.clock.sleep(settings.first_after_s)
    with store.transaction():
        reboot_sweep(store, booted_at)
    while True:
        with store.transaction():
            sweep(store, settings)
        await store.clock.sleep(settings.every_s)


# --- after a restart
def reboot_sweep(store: Store, booted_at: str) -> list[Document]:
    """Fail tasks without a heartbeat since `booted_at`, and return the tasks that retry them."""
    retries = []
    for task in _running(store, store.now()):
        session = sessions.of_task(store, task["id"])
        if session is not None and session["lastHeartbeatAt"] >= booted_at:
            continue
        sessions.end(store, task["id"])
        failed = finish.fail(store, task, REBOOT_REASON)
        if task.get("taskType") not in NEVER_RESUMED and not _has_open_child(store, task):
            retries.append(_retry(store, failed))
    return retries


def _retry(store: Store, task: Document) -> Document:
    agent = store.get(AGENTS, task["agentId"])
    pinned = supersede.can_return_to(store, agent)
    return tasks.create(
        store,
        task["task"],
        agentId=task["agentId"] if pinned else None,
        parentTaskId=task["id"],
        tags=[*REBOOT_TAGS, REBOOT_PIN_TAG] if pinned else [*REBOOT_TAGS],
        priority=task["priority"],
        source=task["source"],
        taskType=task.get("taskType"),
        routingAffinity=supersede.affinity_of(agent) if agent else None,
    )


# --- periodically
def sweep(store: Store, settings: SweepSettings) -> None:
    """Run every periodic sweep once."""
    _release_offers_to_offline_agents(store)
    _resume_dead_sessions(store, settings)
    _correct_statuses(store)
    _assign_pool(store)
    _escalate_unclaimed_pins(store, settings)
    _clean_up(store, settings)


def _release_offers_to_offline_agents(store: Store) -> None:
    where = (
        "status = 'offered' AND offeredTo NOT IN (SELECT id FROM agents WHERE status != 'offline')"
    )
    for task in store.find(TASKS, where):
        tasks.update(store, task, status="unassigned", offeredTo=None, offeredAt=None)


def _resume_dead_sessions(store: Store, settings: SweepSettings) -> None:
    for task in _running(store, store.ago(settings.no_session_s)):
        session = sessions.of_task(store, task["id"])
        if session is not None and not _is_stale(store, task, session, settings):
            continue
        if not _has_fresh_steering(store, task, settings):
            sessions.end(store, task["id"])
            _resume_or_fail(store, task, settings)


def _running(store: Store, not_touched_since: str) -> Iterator[Document]:
    """Yield running tasks; each is read again first, since ending one can end another."""
    where = "status = 'in_progress' AND agentId IS NOT NULL AND lastUpdatedAt <= ?"
    for found in store.find(TASKS, where, not_touched_since):
        task = tasks.require(store, found["id"])
        if task["status"] == "in_progress":
            yield task


def _is_stale(store: Store, task: Document, session: Document, settings: SweepSettings) -> bool:
    limit = store.ago(settings.stale_heartbeat_s)
    return bool(session["lastHeartbeatAt"] <= limit and task["lastUpdatedAt"] <= limit)


def _has_fresh_steering(store: Store, task: Document, settings: SweepSettings) -> bool:
    where = "taskId = ? AND status = 'pending' AND createdAt > ?"
    since = store.ago(settings.steering_grace_s)
    return store.first(STEERING, where, task["id"], since) is not None


def _resume_or_fail(store: Store, task: Document, settings: SweepSettings) -> None:
    if task.get("taskType") in NEVER_RESUMED or _has_open_child(store, task, "resume"):
        finish.fail(store, task, "Auto-failed by heartbeat: the worker's session is gone")
    elif supersede.generation(task) >= settings.max_generations:
        finish.fail(store, task, "resume_budget_exhausted")
    else:
        supersede.supersede(store, task, "crash_recovery")


def _has_open_child(store: Store, task: Document, task_type: str | None = None) -> bool:
    children = store.find(
        TASKS, "parentTaskId = ? AND IFNULL(?, taskType) IS taskType", task["id"], task_type
    )
    return any(child["status"] not in tasks.TERMINAL for child in children)


def _correct_statuses(store: Store) -> None:
    for agent in store.find(AGENTS, "status IN ('busy', 'idle')"):
        agents.update_status(store, agent["id"])


def _assign_pool(store: Store) -> None:
    assigned = 0
    for agent in store.find(AGENTS, "status = 'idle' AND isLead = 0 ORDER BY rowid"):
        # Pending tasks of the agent will need slots too.
        waiting = "SELECT COUNT(*) FROM tasks WHERE agentId = ? AND status = 'pending'"
        taken = agents.load(store, agent["id"]) + store.value(waiting, agent["id"])
        free = min(agent["maxTasks"] - taken, MAX_ASSIGNED - assigned)
        for task in list(poll.pool(store, agent))[: max(0, free)]:
            tasks.update(store, task, status="pending", agentId=agent["id"])
            assigned += 1


def _escalate_unclaimed_pins(store: Store, settings: SweepSettings) -> None:
    lead = agents.lead(store)
    if lead is None or lead["status"] == "offline":
        return  # no lead could decide, and the agent may still return
    pins = {*supersede.PIN_TAGS.values(), REBOOT_PIN_TAG}
    where = "status = 'pending' AND agentId != ? AND createdAt < ?"
    for task in store.find(TASKS, where, lead["id"], store.ago(settings.pin_grace_s)):
        if pins.isdisjoint(task["tags"]):
            continue
        finish.cancel(store, task, "Its agent did not come back for it")
        text = (
            "An interrupted task waited in vain for its agent. Give it to another one with"
            f" send-task (name the agent), or drop it.\n\nTask {task['parentTaskId']}:"
            f" {task['task'][:TASK_CHARS]}"
        )
        parent_id = task["parentTaskId"]
        tasks.create_follow_up(
            store, lead["id"], text, parent_id=parent_id, kind="reroute-decision"
        )


def _clean_up(store: Store, settings: SweepSettings) -> None:
    limit = store.ago(settings.cleanup_s)
    sessions.delete_stale(store, limit)
    for task in store.find(TASKS, "status = 'reviewing' AND lastUpdatedAt < ?", limit):
        tasks.update(store, task, status="offered")
    channels.release_stale_claims(store, limit)


def routes(settings: SweepSettings) -> tuple[Route, ...]:
    """Return the route that runs a sweep at once."""

    def sweep_now(call: Call) -> Document:
        sweep(call.store, settings)
        return {"success": True, "message": "Heartbeat sweep completed"}

    return (Route("POST", "/api/heartbeat/sweep", sweep_now),)
