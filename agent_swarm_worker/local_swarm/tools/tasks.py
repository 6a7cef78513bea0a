"""Tools that work on tasks: report on one, show, claim, list and cancel them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import (
    agents,
    budgets,
    files,
    finish,
    memory,
    poll,
    steering,
    task_views,
    tasks,
    telemetry,
)
from agent_swarm_worker.local_swarm.endpoint import Refusal
from agent_swarm_worker.local_swarm.finish import schema_error
from agent_swarm_worker.local_swarm.tables import TASKS
from agent_swarm_worker.local_swarm.tools.channels import NEW_TASK, UUID
from agent_swarm_worker.local_swarm.tools.tool import Caller, Tool, ToolResult
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

NAME_CHARS = 80
TASK_ID = Text(form="uuid").optional().described("The task; by default the one you work on.")

POINTER = Shape(
    kind=Choice("agent-fs", "url", "shared-fs", "page"),
    name=Text(1),
    **optional(Text(), "url path pageId mimeType intent description"),
    isPrimary=Flag().optional(),
)
STORE_PROGRESS = Shape(
    taskId=TASK_ID,
    progress=Text().optional().described("What you are doing now, in a few words."),
    status=Choice("in_progress", "completed", "failed")
    .optional()
    .described("completed or failed ends the task; leave it out to report progress only."),
    output=Text().optional().described("The result, when completing."),
    failureReason=Text().optional().described("Why it failed, when failing."),
    attachments=Items(POINTER, max_items=20).optional([]).described("Pointers to what you made."),
    persistMemory=Flag().optional(),
    force=Flag().optional().described("Replace the text of a result that was given before."),
)
ACCEPT_STEER = Shape(
    steeringMessageId=Text(form="uuid"),
    note=Text().optional().described("How you took the message into account."),
)


def _store_progress(caller: Caller, report: Document) -> ToolResult:
    store = caller.store
    task = tasks.require(store, caller.task_id(report))
    for pointer in report["attachments"]:
        files.attach(store, task["id"], caller.agent_id, pointer)
    ending = report.get("status") if report.get("status") != "in_progress" else None
    if task["status"] in tasks.TERMINAL:
        return _late(store, task, report) if ending or report.get("force") else _stored(task)
    text = report.get("progress")
    if text and text != task.get("progress"):
        task = tasks.progress(store, task, text)
    if ending is None:
        agents.update_status(store, task["agentId"])
        return _stored(task)
    if ending == "completed" and (why := schema_error(task, report.get("output"))):
        return ToolResult(why, success=False)
    return _end(caller, task, ending, report)


def _end(caller: Caller, task: Document, ending: str, report: Document) -> ToolResult:
    if ending == "completed":
        ended = finish.complete(caller.store, task, report.get("output"))
    else:
        reason = report.get("failureReason") or "Unknown failure"
        ended = finish.fail(caller.store, task, reason)
    finish.notify_lead(caller.store, ended)
    _store_memory(caller, ended)
    return ToolResult(f'Task "{task["id"]}" marked as {ending}.', {"task": _brief(ended)})


def _late(store: Store, task: Document, report: Document) -> ToolResult:
    answer = finish.handle_late_result(store, task, report)
    marks = ("wasNoOp", "wasForcedOverwrite")
    data: Document = {name: answer[name] for name in marks if name in answer}
    data["task"] = _brief(answer["task"])
    return ToolResult(answer["message"], data, success=answer["success"])


def _stored(task: Document) -> ToolResult:
    return ToolResult(f'Progress stored for task "{task["id"]}".', {"task": _brief(task)})


def _brief(task: Document) -> Document:
    return {name: task[name] for name in ("id", "status", "finishedAt") if name in task}


def _store_memory(caller: Caller, task: Document) -> None:
    """Store the result of a task as a memory."""
    result = task.get("output") or task.get("failureReason") or "(nothing said)"
    content = f"Task: {task['task']}\n\n{task['status'].capitalize()}: {result}"
    memory.put(
        caller.store,
        {
            "agentId": caller.agent_id,
            "name": f"Task: {task['task'][:NAME_CHARS]}",
            "content": content,
            "scope": "agent",
            "source": "task_completion",
            "sourceTaskId": task["id"],
        },
    )


def _details(caller: Caller, arguments: Document) -> ToolResult:
    task = tasks.require(caller.store, caller.task_id(arguments))
    shown = task_views.details(caller.store, task)
    return ToolResult(f'Task "{task["id"]}" is {task["status"]}.', {"task": shown})


def _accept_steer(caller: Caller, arguments: Document) -> ToolResult:
    store, message_id = caller.store, arguments["steeringMessageId"]
    message = steering.own_message(store, message_id, caller.agent_id)
    # An agent that acknowledges a message has received it.
    message = steering.deliver(store, message, message["mode"])
    handled = steering.handle(store, message, arguments.get("note", ""))
    return ToolResult("Steering message acknowledged.", {"message": handled})


ACTION = Shape(
    action=Choice("create", "claim", "release", "accept", "reject", "to_backlog", "from_backlog"),
    taskId=UUID.optional(),
    task=Text(1).optional().described("What is to be done, for create."),
    reason=Text().optional().described("Why, for reject."),
    **NEW_TASK,
)


def _act(caller: Caller, given: Document) -> ToolResult:
    action = given["action"]
    if action == "create":
        fields = {name: given[name] for name in NEW_TASK if name in given}
        if "task" not in given:
            raise Refusal(400, "create needs the task's text")
        task = tasks.create(caller.store, given["task"], creatorAgentId=caller.agent_id, **fields)
    else:
        if "taskId" not in given:
            raise Refusal(400, f"{action} needs a taskId")
        task = tasks.require(caller.store, given["taskId"])
        task = _ACTIONS[action](caller, task, given)
    return ToolResult(f'{action}: task "{task["id"]}" is {task["status"]}.', {"task": task})


def _claim(caller: Caller, task: Document, _: Document) -> Document:
    _require_status(task, "unassigned")
    _require_admission(caller, task)
    if not poll.is_eligible(caller.agent, task):
        raise Refusal(403, "This task needs another role or other capabilities")
    claimed = tasks.update(caller.store, task, status="in_progress", agentId=caller.agent_id)
    telemetry.add_history(
        caller.store, "task_claimed", agent_id=caller.agent_id, task_id=task["id"]
    )
    agents.update_status(caller.store, caller.agent_id)
    return claimed


def _release(caller: Caller, task: Document, _: Document) -> Document:
    if task["agentId"] != caller.agent_id:
        raise Refusal(403, "This task is not yours")
    _require_status(task, "pending", "in_progress")
    released = tasks.update(caller.store, task, status="unassigned", agentId=None)
    agents.update_status(caller.store, caller.agent_id)
    return released


def _accept(caller: Caller, task: Document, _: Document) -> Document:
    _require_offer(caller, task)
    _require_budget(caller, task)
    return tasks.update(
        caller.store,
        task,
        status="pending",
        agentId=caller.agent_id,
        acceptedAt=caller.store.now(),
    )


def _reject(caller: Caller, task: Document, given: Document) -> Document:
    _require_offer(caller, task)
    changes = {"status": "unassigned", "offeredTo": None, "offeredAt": None}
    reason = given.get("reason")
    return tasks.update(caller.store, task, **changes, rejectionReason=reason)


def _to_backlog(caller: Caller, task: Document, _: Document) -> Document:
    _require_status(task, "unassigned")
    return tasks.update(caller.store, task, status="backlog")


def _from_backlog(caller: Caller, task: Document, _: Document) -> Document:
    _require_status(task, "backlog")
    return tasks.update(caller.store, task, status="unassigned")


_ACTIONS = {
    "claim": _claim,
    "release": _release,
    "accept": _accept,
    "reject": _reject,
    "to_backlog": _to_backlog,
    "from_backlog": _from_backlog,
}


def _require_status(task: Document, *statuses: str) -> None:
    if task["status"] not in statuses:
        raise Refusal(409, f"The task is {task['status']}, not {' or '.join(statuses)}")


def _require_offer(caller: Caller, task: Document) -> None:
    # The public server requires "offered", which a polled offer no longer is (docs/api.md 4.4), so
    # that there it can be neither accepted nor rejected. Here it can.
    _require_status(task, "offered", "reviewing")
    if task.get("offeredTo") != caller.agent_id:
        raise Refusal(403, "This task was not offered to you")


def _require_admission(caller: Caller, task: Document) -> None:
    if not agents.has_capacity(caller.store, caller.agent):
        raise Refusal(409, "You have no capacity left; complete a task first")
    if not tasks.is_ready(caller.store, task):
        raise Refusal(409, "The task depends on others that are not completed")
    _require_budget(caller, task)


def _require_budget(caller: Caller, task: Document) -> None:
    if refusal := budgets.refusal(caller.store, caller.agent_id, task):
        raise Refusal(403, f"The daily budget ({refusal['cause']}) is used up")


LIST = Shape(
    status=Choice(*tasks.STATUSES).optional(),
    mineOnly=Flag().optional(False),
    unassigned=Flag().optional(False),
    offeredToMe=Flag().optional(False),
    readyOnly=Flag().optional(False),
    taskType=Text().optional(),
    tags=Items(Text()).optional([]),
    search=Text().optional(),
    limit=Number(1, 100, integer=True).optional(20),
)


def _poll(caller: Caller, _: Document) -> ToolResult:
    trigger = poll.next_trigger(caller.store, caller.agent)
    if trigger is None:
        return ToolResult("There is nothing to do.")
    return ToolResult(f"Next: {trigger['type']}.", {"trigger": trigger})


def _list(caller: Caller, wanted: Document) -> ToolResult:
    summaries = [
        task_views.summary(task)
        for task in caller.store.find(TASKS, "1 ORDER BY lastUpdatedAt DESC, rowid DESC")
        if _matches(caller, task, wanted)
    ][: wanted["limit"]]
    return ToolResult(f"{len(summaries)} task(s).", {"tasks": summaries})


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


def _cancel(caller: Caller, given: Document) -> ToolResult:
    task = tasks.require(caller.store, given["taskId"])
    if not caller.agent["isLead"] and task.get("creatorAgentId") != caller.agent_id:
        raise Refusal(403, "Only the lead or the task's creator can cancel it")
    if task["status"] in tasks.TERMINAL:
        raise Refusal(400, f"Cannot cancel task with status '{task['status']}'")
    cancelled = finish.cancel(caller.store, task, given.get("reason"))
    return ToolResult(f'Task "{task["id"]}" has been cancelled.', {"task": cancelled})


TOOLS = (
    Tool(
        "store-progress",
        "Report progress on a task, or end it as completed or failed.",
        _store_progress,
        STORE_PROGRESS,
    ),
    Tool(
        "get-task-details",
        "Show a task in full: text, status, result, history and attachments.",
        _details,
        Shape(taskId=TASK_ID),
    ),
    Tool(
        "accept-steer",
        "Confirm that you have taken a steering message into account.",
        _accept_steer,
        ACCEPT_STEER,
    ),
    Tool(
        "task-action",
        "Create a task for the pool, claim or release one, accept or reject an offer.",
        _act,
        ACTION,
    ),
    Tool("poll-task", "Take the next thing there is for you to do.", _poll),
    Tool("get-tasks", "List tasks, newest first.", _list, LIST),
    Tool(
        "cancel-task",
        "Stop a task that you created, or any as the lead.",
        _cancel,
        Shape(taskId=Text(form="uuid"), reason=Text().optional()),
    ),
)
