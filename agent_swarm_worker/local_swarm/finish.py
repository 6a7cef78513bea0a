"""End tasks: completed, failed, cancelled or superseded (docs/api.md 7.1).

A task ends once. Ending it promotes its undelivered steering messages, fails the tasks that depend
on it unless it was completed, and updates its agent's status.

The first reported result counts; a later one is compared with it and replaces its text only by
force. Like the public server, the finish route answers success and stores nothing for a task that
is not running, and does not check ``outputSchema``; the MCP tool and a forced replacement do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.local_swarm import agents, steering, tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route
from agent_swarm_worker.local_swarm.scrub import scrub
from agent_swarm_worker.local_swarm.tables import AGENTS, TASKS
from agent_swarm_worker.local_swarm.validation import Choice, Flag, Shape, Text, optional
from agent_swarm_worker.processes.isolated_call import IsolatedCallFailed, call_isolated_blocking

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

MAX_ID_CHARS_SHOWN = 8
DEFAULT_OUTPUT = "Completed by the runner, which gave no output"
DEFAULT_FAILURE = "The session ended without saying how"
RESULT_TEXTS = ("output", "failureReason")
SUMMARY_CHARS = 500
TASK_CHARS = 200
PATTERN_LIMIT_S = 3.0
"""Time limit for matching patterns of a schema; the server answers nothing else meanwhile."""

FINISH = Shape(
    status=Choice("completed", "failed"),
    **optional(Text(), "output failureReason"),
    force=Flag().optional(),
)


def complete(store: Store, task: Document, output: str | None) -> Document:
    """Complete a task; `output` is scrubbed, and left as it is if empty."""
    return _end(store, task, "completed", output=scrub(store, output) if output else None)


def fail(store: Store, task: Document, reason: str) -> Document:
    """Fail a task; `reason` is scrubbed."""
    return _end(store, task, "failed", failureReason=scrub(store, reason))


def cancel(store: Store, task: Document, reason: str | None = None) -> Document:
    """Cancel a task; its worker learns of it by polling (docs/api.md 5.6)."""
    return _end(store, task, "cancelled", failureReason=reason or "Cancelled by user")


def supersede(store: Store, task: Document) -> Document:
    """End a task in favour of its resume task."""
    return _end(store, task, "superseded")


def _end(store: Store, task: Document, status: str, **texts: str | None) -> Document:
    task = tasks.require(store, task["id"])
    if task["status"] in tasks.TERMINAL:
        # It has ended meanwhile, perhaps because one that it depends on failed.
        return task
    # An absent text must not erase a stored one.
    given = {name: text for name, text in texts.items() if text is not None}
    ended = tasks.update(store, task, status=status, finishedAt=store.now(), **given)
    steering.promote_pending(store, task["id"])
    if status != "completed":
        _fail_dependents(store, ended)
    agents.update_status(store, task["agentId"])
    return ended


def _fail_dependents(store: Store, task: Document) -> None:
    reason = f"Blocked dependency {task['id'][:MAX_ID_CHARS_SHOWN]} was {task['status']}"
    # Terminates even if dependencies form a cycle: each task ends only once.
    where = "EXISTS (SELECT 1 FROM json_each(dependsOn) WHERE value = ?)"
    for dependent in store.find(TASKS, where, task["id"]):
        fail(store, dependent, reason)


# --- results
def handle_late_result(store: Store, task: Document, report: Document) -> Document:
    """Compare a reported result with the stored one of a task that has ended.

    Returns:
        the same keys for HTTP and MCP: ``success``, ``message``, ``task`` and ``wasNoOp`` or
        ``wasForcedOverwrite``. ``success`` is false if a differing text was discarded.
    """
    given = {name: scrub(store, report[name]) for name in RESULT_TEXTS if name in report}
    differing = {name: text for name, text in given.items() if text != task.get(name)}
    about = f'Task "{task["id"]}" is already {task["status"]}'
    if not differing:
        message = f"{about}; its result stays as it was."
        return {"success": True, "message": message, "task": task, "wasNoOp": True}
    if not report.get("force"):
        message = f"{about}; this differing result was discarded. Use force to replace the text."
        return {"success": False, "message": message, "task": task}
    if "output" in differing and (why := schema_error(task, report["output"])):
        return {"success": False, "message": why, "task": task}
    replaced = store.update(TASKS, task["id"], **differing)
    message = f"{about}; the text of its result was replaced."
    return {"success": True, "message": message, "task": replaced, "wasForcedOverwrite": True}


def notify_lead(store: Store, task: Document) -> Document | None:
    """Create a follow-up task for the lead about a result, unless the task disables it."""
    lead = agents.lead(store)
    agent = store.get(AGENTS, task["agentId"]) if task["agentId"] else None
    config = task.get("followUpConfig", {})
    if lead is None or agent is None or agent["isLead"] or config.get("disabled"):
        return None
    completed = task["status"] == "completed"
    result = task.get("output" if completed else "failureReason") or "(nothing said)"
    text = (
        f"{agent['name']} has {task['status']} a task. Decide whether anything is left to do.\n\n"
        f"Task {task['id']}: {task['task'][:TASK_CHARS]}\n\n"
        f"{'Output' if completed else 'Reason'}: {result[:SUMMARY_CHARS]}"
    )
    if more := config.get("onCompleted" if completed else "onFailed"):
        text += f"\n\nInstructions of whoever created the task: {more}"
    return tasks.create_follow_up(store, lead["id"], text, parent_id=task["id"])


def _finish(call: Call) -> Document | Reply:
    store, report = call.store, call.body
    task = tasks.require(store, call.path["id"])
    if task["agentId"] and task["agentId"] != call.agent_id:
        raise Refusal(403, "Task is assigned to another agent")
    if task["status"] in tasks.TERMINAL:
        answer = {**handle_late_result(store, task, report), "alreadyFinished": True}
        if not answer["success"]:
            return Reply(409, {**answer, "error": answer["message"]})
        return answer
    if task["status"] != "in_progress":
        return {"success": True, "alreadyFinished": True, "task": task}
    if report["status"] == "completed":
        ended = complete(store, task, report.get("output") or DEFAULT_OUTPUT)
    else:
        ended = fail(store, task, report.get("failureReason") or DEFAULT_FAILURE)
    notify_lead(store, ended)
    return {"success": True, "alreadyFinished": False, "task": ended}


# --- output schema
def schema_error(task: Document, output: str | None) -> str:
    """Return why `output` does not match the task's ``outputSchema``; empty if it does."""
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
    problems = (
        _problems_isolated(schema, value) if "pattern" in shown else _problems([schema, value])
    )
    if not problems:
        return ""
    return "The output does not match the outputSchema:\n" + "\n".join(problems) + f"\n\n{shown}"


def _problems_isolated(schema: dict[str, Any], value: Any) -> list[str]:
    """Match patterns in a separate process: a pattern may take exponential time."""
    try:
        return list(call_isolated_blocking(_problems, [schema, value], limit_s=PATTERN_LIMIT_S))
    except IsolatedCallFailed:
        return []  # as with an invalid schema


def _problems(asked: list[Any]) -> list[str]:
    # Imported only when a task has a schema: it would double the server's start time.
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
        # An own registry never fetches a remote reference.
        checker = kind(schema, registry=Registry())
        return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]
    except (SchemaError, Unresolvable, RecursionError, re.error):
        return []  # an invalid schema is not enforced


ROUTES = (Route("POST", "/api/tasks/{id}/finish", _finish, agent="header", body=FINISH),)
