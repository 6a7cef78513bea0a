"""The end of a session as the worker reports it (docs/api.md 7.1).

First come, first served: whoever ends a task first has said its result. Later words are compared
with the stored ones, never silently merged. A task that is not running answers success and keeps
nothing, which is a trap that workers have to know; so this server has it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, endings, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route
from agent_swarm_worker.local_swarm.fields import Choice, Flag, Text
from agent_swarm_worker.local_swarm.output_schema import schema_error
from agent_swarm_worker.local_swarm.scrub import scrub
from agent_swarm_worker.local_swarm.tables import AGENTS, TASKS
from agent_swarm_worker.local_swarm.validation import Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

DEFAULT_OUTPUT = "Completed by the runner, which gave no output"
DEFAULT_FAILURE = "The session ended without saying how"
RESULT_TEXTS = ("output", "failureReason")
SUMMARY_CHARS = 500
TASK_CHARS = 200

FINISH = Shape(
    status=Choice("completed", "failed"),
    output=Text().optional(),
    failureReason=Text().optional(),
    force=Flag().optional(),
)


def rewrite(store: Store, task: Document, words: Document) -> Document:
    """Answer a result for a task that has one already.

    Returns:
        the same keys for HTTP and MCP: ``success``, ``message``, ``task`` and ``wasNoOp`` or
        ``wasForcedOverwrite``. ``success`` is false when different words were thrown away.
    """
    given = {name: scrub(store, words[name]) for name in RESULT_TEXTS if name in words}
    differing = {name: text for name, text in given.items() if text != task.get(name)}
    about = f'Task "{task["id"]}" is already {task["status"]}'
    if not differing:
        message = f"{about}; its result stays as it was."
        return {"success": True, "message": message, "task": task, "wasNoOp": True}
    if not words.get("force"):
        message = f"{about}; this differing result was discarded. Use force to replace the text."
        return {"success": False, "message": message, "task": task}
    if "output" in differing and (why := schema_error(task, words["output"])):
        return {"success": False, "message": why, "task": task}
    replaced = store.update(TASKS, task["id"], **differing)
    message = f"{about}; the text of its result was replaced."
    return {"success": True, "message": message, "task": replaced, "wasForcedOverwrite": True}


def tell_lead(store: Store, task: Document) -> Document | None:
    """Give the lead a follow-up task about a result, unless nobody wants one."""
    lead = agents.lead(store)
    agent = store.get(AGENTS, task["agentId"]) if task["agentId"] else None
    wishes = task.get("followUpConfig", {})
    if lead is None or agent is None or agent["isLead"] or wishes.get("disabled"):
        return None
    completed = task["status"] == "completed"
    result = task.get("output" if completed else "failureReason") or "(nothing said)"
    text = (
        f"{agent['name']} has {task['status']} a task. Decide whether anything is left to do.\n\n"
        f"Task {task['id']}: {task['task'][:TASK_CHARS]}\n\n"
        f"{'Output' if completed else 'Reason'}: {result[:SUMMARY_CHARS]}"
    )
    if more := wishes.get("onCompleted" if completed else "onFailed"):
        text += f"\n\nInstructions of whoever created the task: {more}"
    return tasks.create(
        store,
        text,
        agentId=lead["id"],
        source="system",
        taskType="follow-up",
        parentTaskId=task["id"],
    )


def _finish(call: Call) -> Document | Reply:
    store, words = call.store, call.body
    task = tasks.known(store, call.path["id"])
    if task["agentId"] and task["agentId"] != call.agent_id:
        raise Refusal(403, "Task is assigned to another agent")
    if task["status"] in tasks.TERMINAL:
        answer = {**rewrite(store, task, words), "alreadyFinished": True}
        if not answer["success"]:
            return Reply(409, {**answer, "error": answer["message"]})
        return answer
    if task["status"] != "in_progress":
        return {"success": True, "alreadyFinished": True, "task": task}
    if words["status"] == "completed":
        ended = endings.complete(store, task, words.get("output") or DEFAULT_OUTPUT)
    else:
        ended = endings.fail(store, task, words.get("failureReason") or DEFAULT_FAILURE)
    tell_lead(store, ended)
    return {"success": True, "alreadyFinished": False, "task": ended}


ROUTES = (Route("POST", "/api/tasks/{id}/finish", _finish, agent="header", body=FINISH),)
