"""Tools that find tasks, take the next one, stop one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import endings, poll, task_views, tasks
from agent_swarm_worker.local_swarm.endpoint import Refusal
from agent_swarm_worker.local_swarm.fields import Choice, Flag, Number, Text
from agent_swarm_worker.local_swarm.tables import TASKS
from agent_swarm_worker.local_swarm.tools.tool import Caller, Said, Tool
from agent_swarm_worker.local_swarm.validation import Items, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

LIST = Shape(
    status=Choice(*tasks.STATUSES).optional(),
    mineOnly=Flag().optional(False),
    unassigned=Flag().optional(False),
    offeredToMe=Flag().optional(False),
    readyOnly=Flag().optional(False),
    taskType=Text().optional(),
    tags=Items(Text()).optional([]),
    search=Text().optional(),
    limit=Number(1, 100, whole=True).optional(20),
)


def _poll(caller: Caller, _: Document) -> Said:
    trigger = poll.next_trigger(caller.store, caller.agent)
    if trigger is None:
        return Said("There is nothing to do.")
    return Said(f"Next: {trigger['type']}.", {"trigger": trigger})


def _list(caller: Caller, wanted: Document) -> Said:
    found = [
        task_views.in_short(task)
        for task in caller.store.find(TASKS, "1 ORDER BY lastUpdatedAt DESC, rowid DESC")
        if _matches(caller, task, wanted)
    ][: wanted["limit"]]
    return Said(f"{len(found)} task(s).", {"tasks": found})


def _matches(caller: Caller, task: Document, wanted: Document) -> bool:
    return (
        wanted.get("status", task["status"]) == task["status"]
        and wanted.get("taskType", task.get("taskType")) == task.get("taskType")
        and (not wanted["mineOnly"] or task["agentId"] == caller.agent_id)
        and (not wanted["unassigned"] or task["status"] == "unassigned")
        and (not wanted["offeredToMe"] or task.get("offeredTo") == caller.agent_id)
        and (not wanted["tags"] or not set(task["tags"]).isdisjoint(wanted["tags"]))
        and wanted.get("search", "").lower() in task["task"].lower()
        and (not wanted["readyOnly"] or tasks.is_ready(caller.store, task))
    )


def _cancel(caller: Caller, given: Document) -> Said:
    task = tasks.known(caller.store, given["taskId"])
    if not caller.agent["isLead"] and task.get("creatorAgentId") != caller.agent_id:
        raise Refusal(403, "Only the lead or the task's creator can cancel it")
    if task["status"] in tasks.TERMINAL:
        raise Refusal(400, f"Cannot cancel task with status '{task['status']}'")
    cancelled = endings.cancel(caller.store, task, given.get("reason"))
    return Said(f'Task "{task["id"]}" has been cancelled.', {"task": cancelled})


TOOLS = (
    Tool("poll-task", "Take the next thing there is for you to do.", _poll),
    Tool("get-tasks", "List tasks, newest first.", _list, LIST),
    Tool(
        "cancel-task",
        "Stop a task that you created, or any as the lead.",
        _cancel,
        Shape(taskId=Text(form="uuid"), reason=Text().optional()),
    ),
)
