"""The end of a session as the worker reports it (docs/api.md 7.1).

First come, first served: whoever ends a task first has said its result. Later words are compared
with the stored ones, never silently merged. A task that is not running answers success and keeps
nothing, which is a trap that workers have to know; so this server has it too.

The four ways a task ends, and what always follows.

A task ends once. With it go its undelivered steering messages (promoted), the tasks that depend on
it unless it was completed (failed), and the place it took in its agent's load.

Does an output have the form that its task asks for?

Checked where the agent itself reports (MCP) and where a text is replaced by force. The finish
route leaves it to the worker, as the public one does (docs/api.md 7.1).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.local_swarm import agents, steering, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route
from agent_swarm_worker.local_swarm.scrub import scrub
from agent_swarm_worker.local_swarm.tables import AGENTS, TASKS
from agent_swarm_worker.local_swarm.validation import Choice, Flag, Shape, Text
from agent_swarm_worker.processes.isolated_call import IsolatedCallFailed, call_isolated_blocking

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

MAX_ID_CHARS_SHOWN = 8


def complete(store: Store, task: Document, output: str | None) -> Document:
    """End a task well. `output` is scrubbed; nothing is stored if there is none."""
    return _end(store, task, "completed", output=scrub(store, output) if output else None)


def fail(store: Store, task: Document, reason: str) -> Document:
    """End a task badly."""
    return _end(store, task, "failed", failureReason=scrub(store, reason))


def cancel(store: Store, task: Document, reason: str | None = None) -> Document:
    """End a task because somebody asked for it; its worker asks for it (docs/api.md 5.6)."""
    return _end(store, task, "cancelled", failureReason=reason or "Cancelled by user")


def supersede(store: Store, task: Document) -> Document:
    """End a task in favour of another one that carries it on."""
    return _end(store, task, "superseded")


def _end(store: Store, task: Document, status: str, **texts: str | None) -> Document:
    task = tasks.known(store, task["id"])
    if task["status"] in tasks.TERMINAL:
        # It has ended meanwhile, perhaps with another one that it depends on.
        return task
    # A text that is not given must not wipe out one that is there.
    given = {name: text for name, text in texts.items() if text is not None}
    ended = tasks.touch(store, task, status=status, finishedAt=store.now(), **given)
    steering.promote_pending(store, task["id"])
    if status != "completed":
        _fail_dependents(store, ended)
    agents.settle(store, task["agentId"])
    return ended


def _fail_dependents(store: Store, task: Document) -> None:
    reason = f"Blocked dependency {task['id'][:MAX_ID_CHARS_SHOWN]} was {task['status']}"
    # This comes to an end even if tasks depend on each other in a circle: each ends only once.
    where = "EXISTS (SELECT 1 FROM json_each(dependsOn) WHERE value = ?)"
    for dependent in store.find(TASKS, where, task["id"]):
        fail(store, dependent, reason)


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
        ended = complete(store, task, words.get("output") or DEFAULT_OUTPUT)
    else:
        ended = fail(store, task, words.get("failureReason") or DEFAULT_FAILURE)
    tell_lead(store, ended)
    return {"success": True, "alreadyFinished": False, "task": ended}


ROUTES = (Route("POST", "/api/tasks/{id}/finish", _finish, agent="header", body=FINISH),)


PATTERN_LIMIT_S = 3.0
"""How long patterns may be matched; this server does nothing else meanwhile."""


def schema_error(task: Document, output: str | None) -> str:
    """Say why `output` is not what the task's ``outputSchema`` asks for, or nothing."""
    schema = task.get("outputSchema")
    if not isinstance(schema, dict):
        return ""
    shown = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
    if not output:
        return f"This task has an outputSchema: give an output that is JSON of this form:\n{shown}"
    try:
        value = orjson.loads(output)
    except orjson.JSONDecodeError as error:
        return f"The output is not JSON ({error}). It has to be JSON of this form:\n{shown}"
    problems = _problems_apart(schema, value) if "pattern" in shown else _problems([schema, value])
    if not problems:
        return ""
    return "The output does not match the outputSchema:\n" + "\n".join(problems) + f"\n\n{shown}"


def _problems_apart(schema: dict[str, Any], value: Any) -> list[str]:
    """Ask a process of its own: a pattern may be one that never comes to an end."""
    try:
        return list(call_isolated_blocking(_problems, [schema, value], limit_s=PATTERN_LIMIT_S))
    except IsolatedCallFailed:
        return []  # as with any schema that makes no sense


def _problems(asked: list[Any]) -> list[str]:
    # Loaded only when a task has a schema: it would double the time the server needs to start.
    from jsonschema import (  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no type stubs
        SchemaError,
        validators,
    )
    from referencing import Registry  # noqa: PLC0415 - as above
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - as above

    schema, value = asked
    kind = validators.validator_for(schema)
    try:
        kind.check_schema(schema)
        # With a registry of its own it never fetches a remote reference.
        checker = kind(schema, registry=Registry())
        return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]
    except (SchemaError, Unresolvable, RecursionError, re.error):
        # A schema that makes no sense can hold nobody to anything.
        return []
