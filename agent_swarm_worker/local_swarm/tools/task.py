"""Tools for the task at hand: report on it, look at it, take in what people steer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import (
    agents,
    endings,
    files,
    finish,
    memory,
    steering,
    task_changes,
    task_views,
    tasks,
)
from agent_swarm_worker.local_swarm.fields import Choice, Flag, Text
from agent_swarm_worker.local_swarm.output_schema import schema_error
from agent_swarm_worker.local_swarm.tools.tool import Caller, Said, Tool
from agent_swarm_worker.local_swarm.validation import Items, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

NAME_CHARS = 80
TASK_ID = Text(form="uuid").optional().described("The task; by default the one you work on.")

POINTER = Shape(
    kind=Choice("agent-fs", "url", "shared-fs", "page"),
    name=Text(1),
    url=Text().optional(),
    path=Text().optional(),
    pageId=Text().optional(),
    mimeType=Text().optional(),
    intent=Text().optional(),
    description=Text().optional(),
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
    attachments=Items(POINTER, most=20).optional([]).described("Pointers to what you made."),
    persistMemory=Flag().optional(),
    force=Flag().optional().described("Replace the text of a result that was given before."),
)
ACCEPT_STEER = Shape(
    steeringMessageId=Text(form="uuid"),
    note=Text().optional().described("How you took the message into account."),
)


def _store_progress(caller: Caller, words: Document) -> Said:
    store = caller.store
    task = tasks.known(store, caller.task_id(words))
    for pointer in words["attachments"]:
        files.attach(store, task["id"], caller.agent_id, pointer)
    ending = words.get("status") if words.get("status") != "in_progress" else None
    if task["status"] in tasks.TERMINAL:
        return _late(store, task, words) if ending or words.get("force") else _stored(task)
    text = words.get("progress")
    if text and text != task.get("progress"):
        task = task_changes.progress(store, task, text)
    if ending is None:
        agents.settle(store, task["agentId"])
        return _stored(task)
    if ending == "completed" and (why := schema_error(task, words.get("output"))):
        return Said(why, success=False)
    return _end(caller, task, ending, words)


def _end(caller: Caller, task: Document, ending: str, words: Document) -> Said:
    if ending == "completed":
        ended = endings.complete(caller.store, task, words.get("output"))
    else:
        reason = words.get("failureReason") or "Unknown failure"
        ended = endings.fail(caller.store, task, reason)
    finish.tell_lead(caller.store, ended)
    _remember(caller, ended)
    return Said(f'Task "{task["id"]}" marked as {ending}.', {"task": _brief(ended)})


def _late(store: Store, task: Document, words: Document) -> Said:
    answer = finish.rewrite(store, task, words)
    marks = ("wasNoOp", "wasForcedOverwrite")
    data: Document = {name: answer[name] for name in marks if name in answer}
    data["task"] = _brief(answer["task"])
    return Said(answer["message"], data, success=answer["success"])


def _stored(task: Document) -> Said:
    return Said(f'Progress stored for task "{task["id"]}".', {"task": _brief(task)})


def _brief(task: Document) -> Document:
    return {name: task[name] for name in ("id", "status", "finishedAt") if name in task}


def _remember(caller: Caller, task: Document) -> None:
    """Keep what came of a task, so that a later one can find it."""
    result = task.get("output") or task.get("failureReason") or "(nothing said)"
    content = f"Task: {task['task']}\n\n{task['status'].capitalize()}: {result}"
    memory.remember(
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


def _details(caller: Caller, arguments: Document) -> Said:
    task = tasks.known(caller.store, caller.task_id(arguments))
    shown = task_views.details(caller.store, task)
    return Said(f'Task "{task["id"]}" is {task["status"]}.', {"task": shown})


def _accept_steer(caller: Caller, arguments: Document) -> Said:
    store, message_id = caller.store, arguments["steeringMessageId"]
    message = steering.own_message(store, message_id, caller.agent_id)
    # An agent that answers a message has evidently been given it.
    message = steering.deliver(store, message, message["mode"])
    handled = steering.handle(store, message, arguments.get("note", ""))
    return Said("Steering message acknowledged.", {"message": handled})


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
)
