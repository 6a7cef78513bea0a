"""Finds out whether the server has a write whose last attempt ended without an answer.

Costs a request, so it is done for such writes only. If the stored rows do not show it, the answer
is no and the write is sent again. The same holds if the server lacks the route, or if the route
keeps failing: a write must not wait for it without end.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from agent_swarm_worker.api.capabilities import Feature
from agent_swarm_worker.errors import (
    ApiError,
    ApiGarbled,
    ApiRefused,
    ApiUnreachable,
    GatewayRefused,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from agent_swarm_worker.api.wire.resources import LogEntry
    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.outbox.queue import Delivery

T = TypeVar("T")

MAX_HISTORY = 200
MAX_EVENTS = 500
MAX_SNAPSHOTS = 500
"""Most rows of one request. The server returns the oldest, so a full list may lack the newest."""
_REDACTED = re.compile(r"\[REDACTED:[^\]]*\]")
"""Replaces secrets that the server has removed (docs/api.md 16.4)."""


def may_have_arrived(error: ApiError) -> bool:
    """True if the server may have carried out a request that ended with this error."""
    match error:
        case GatewayRefused():
            return False
        case ApiUnreachable():
            return error.ambiguous
        case ApiRefused():
            return error.status >= 500
        case _:
            return isinstance(error, ApiGarbled)


async def has_cost(delivery: Delivery) -> bool:
    """True if a cost of this session is stored."""
    row = delivery.args
    stored = await _read(
        delivery,
        Feature.STORED_COSTS,
        lambda: delivery.client.records.costs_of(
            task_id=row.get("taskId"), agent_id=row.get("agentId")
        ),
    )
    return any(known.get("sessionId") == row["sessionId"] for known in stored or ())


async def has_progress(delivery: Delivery) -> bool:
    """True if the text is the task's present progress."""
    task = await _task(delivery, logs_limit=1)
    return task is not None and is_same_text(delivery.args["text"], task.progress or "")


async def has_note(delivery: Delivery) -> bool:
    """True if the text is in the task's history."""
    text, task = delivery.args["text"], await _task(delivery, logs_limit=MAX_HISTORY)
    rows = task.logs if task is not None else ()
    notes = (row.new_value for row in rows if row.event_type == "task_progress")
    return any(is_same_text(text, stored) for stored in notes)


async def has_context(delivery: Delivery) -> bool:
    """True if the newest snapshot of the session is this one.

    Of two equal snapshots in a row, one is enough.
    """
    task_id, sent = delivery.args["task_id"], delivery.args["snapshot"]
    stored = await _read(
        delivery,
        Feature.STORED_CONTEXT,
        lambda: delivery.client.tasks.snapshots(task_id, limit=MAX_SNAPSHOTS),
    )
    if not stored or len(stored) >= MAX_SNAPSHOTS:
        return False
    ours = [row for row in stored if row.get("sessionId") == sent.get("sessionId")]
    newest = max((str(row.get("createdAt", "")) for row in ours), default="")
    return any(_has_all(row, sent) for row in ours if str(row.get("createdAt", "")) == newest)


async def has_usage(delivery: Delivery) -> bool:
    """True if the key is stored with the task, which only the report of its use does."""
    key = delivery.args["key"]
    if delivery.args.get("task_id") is None:
        return False
    task = await _task(delivery, logs_limit=1)
    return task is not None and (
        task.raw.get("credentialKeyType"),
        task.raw.get("credentialKeySuffix"),
    ) == (key["key_type"], key["suffix"])


async def has_rate_limit(delivery: Delivery) -> bool:
    """True if the stored limit of the key ends at this time."""
    key, until = delivery.args["key"], delivery.args["until"]
    limited = await _read(
        delivery, Feature.STORED_KEYS, lambda: delivery.client.keys.limited(key["key_type"])
    )
    return limited is not None and _is_same_moment(limited.get(key["suffix"], ""), until)


async def has_memory(delivery: Delivery) -> bool:
    """True if the agent has a memory of this path; the server replaces one that is sent again."""
    agent_id, path = delivery.args["agentId"], delivery.args["sourcePath"]
    stored = await _read(
        delivery,
        Feature.STORED_MEMORIES,
        lambda: delivery.client.resources.memory_paths(agent_id, path),
    )
    return path in (stored or ())


async def count_events(
    delivery: Delivery, events: Sequence[Any], *, ignores_time: bool = False
) -> int:
    """Return how many of these events, from the first, are stored.

    Events have no id; they are compared by time, call and content. Those of a journal's replay are
    compared without the time, which a journal does not have.
    """
    first = events[0]
    stored = await _read(
        delivery,
        Feature.STORED_EVENTS,
        lambda: delivery.client.records.stored_events(
            task_id=first.get("taskId"), agent_id=first.get("agentId"), limit=MAX_EVENTS
        ),
    )
    left_out = ("clientTimestamp",) if ignores_time else ()
    unmatched = Counter(_event_key(row, left_out) for row in stored or ())
    count = 0
    for event in events:
        key = _event_key(event, left_out)
        if not _is_dated(event) or unmatched[key] < 1:
            break
        unmatched[key] -= 1
        count += 1
    return count


async def count_lines(
    delivery: Delivery, lines: Sequence[str], *, task_id: str, session_uuid: str, number: int
) -> int:
    """Return how many of these lines, from the first, are stored.

    A line is found by the number of its request (``iteration``) and its index in that. The server
    stores a request in several steps, so that a part of it may be stored.
    """
    stored = await _read(
        delivery, Feature.STORED_LOGS, lambda: delivery.client.tasks.session_logs(task_id)
    )
    by_index: dict[int, list[LogEntry]] = {}
    for entry in stored or ():
        if (entry.session_id, entry.iteration) == (session_uuid, number):
            by_index.setdefault(entry.line_number, []).append(entry)
    count = 0
    for line in lines:
        if not any(is_line(line, entry.content) for entry in by_index.get(count, ())):
            break
        count += 1
    return count


def is_line(line: str, stored: str) -> bool:
    """True if `stored` is this line, or the record that `uploads` sent in its place."""
    kind = f'_line","chars":{len(line)},'
    is_record = stored.startswith((f'{{"type":"cut{kind}', f'{{"type":"masked{kind}'))
    return is_record or is_same_text(line, stored)


def is_same_text(sent: str, stored: str) -> bool:
    """True if `stored` is the text that was sent, except for secrets removed by the server."""
    if sent == stored:
        return True
    first, *rest = _REDACTED.split(stored)
    if not rest or not sent.startswith(first) or not sent.endswith(rest[-1]):
        return False
    position = len(first)
    for piece in rest:
        found = sent.find(piece, position)
        if found < 0:
            return False
        position = found + len(piece)
    return True


async def _task(delivery: Delivery, *, logs_limit: int) -> Task | None:
    task_id, tasks = delivery.args["task_id"], delivery.client.tasks
    return await _read(
        delivery, Feature.STORED_TASK, lambda: tasks.get(task_id, logs_limit=logs_limit)
    )


async def _read(delivery: Delivery, feature: Feature, call: Callable[[], Awaitable[T]]) -> T | None:
    """Make a call if the write may be delivered; ``None`` if it is not, or cannot be read back.

    Raises:
        ApiError: the call may succeed later.
    """
    if not delivery.item.maybe_delivered:
        return None
    capabilities = delivery.client.capabilities
    try:
        return await capabilities.attempt(feature, call)
    except ApiError as error:
        error.is_of_reading = True
        is_refused = isinstance(error, ApiRefused) and not error.is_server_fault
        if is_refused or not capabilities.is_worth_waiting_for(
            feature, answers=delivery.client.http.health.answers
        ):
            return None
        raise


def _has_all(stored: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    return all(name in stored and stored[name] == value for name, value in sent.items())


def _is_same_moment(stored: str, sent: str) -> bool:
    try:
        return datetime.fromisoformat(stored) == datetime.fromisoformat(sent)
    except (ValueError, TypeError):
        return False


def _event_key(event: Mapping[str, Any], left_out: tuple[str, ...]) -> tuple[object, ...]:
    data = event.get("data")
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name not in left_out}
    data = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    return (data, *(str(event.get(name) or "") for name in ("event", "taskId", "sessionId")))


def _is_dated(event: Mapping[str, Any]) -> bool:
    data = event.get("data")
    return isinstance(data, dict) and bool(data.get("clientTimestamp"))
