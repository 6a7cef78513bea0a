"""Whether the server has a write already whose attempt ended without an answer.

Asked only then, because it costs a request, and believed only as far as the stored rows can tell:
whoever cannot tell says no, and the write is sent again. That holds also for a server without the
route, and for one on which it keeps failing: a write must not wait for ever for being looked up.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from agent_swarm_worker.api.capabilities import Feature
from agent_swarm_worker.errors import ApiGarbled, ApiRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from agent_swarm_worker.api.wire import LogEntry
    from agent_swarm_worker.outbox.delivery import Delivery

T = TypeVar("T")

MAX_HISTORY = 200
MAX_EVENTS = 500
MAX_SNAPSHOTS = 500
"""The most that one request returns, and the oldest: a longer list does not show the newest."""
_REDACTED = re.compile(r"\[REDACTED:[^\]]*\]")
"""What the server's own scrubbing leaves behind (docs/api.md 16.4)."""


async def has_cost(it: Delivery) -> bool:
    """True if there is a cost of this session."""
    row = it.args
    stored = await _ask(
        it,
        Feature.STORED_COSTS,
        lambda: it.client.telemetry.costs_of(
            task_id=row.get("taskId"), agent_id=row.get("agentId")
        ),
    )
    return any(known.get("sessionId") == row["sessionId"] for known in stored or ())


async def has_progress(it: Delivery) -> bool:
    """True if the words are what the task says now: sending them would change nothing."""
    task_id, text = it.args["task_id"], it.args["text"]
    task = await _ask(it, Feature.STORED_TASK, lambda: it.client.tasks.get(task_id, logs_limit=1))
    return task is not None and is_same_text(text, task.progress or "")


async def has_note(it: Delivery) -> bool:
    """True if the words are in the task's history."""
    task_id, text = it.args["task_id"], it.args["text"]
    task = await _ask(
        it, Feature.STORED_TASK, lambda: it.client.tasks.get(task_id, logs_limit=MAX_HISTORY)
    )
    rows = task.logs if task is not None else ()
    said = (row.new_value for row in rows if row.event_type == "task_progress")
    return any(is_same_text(text, stored) for stored in said)


async def has_context(it: Delivery) -> bool:
    """True if the newest snapshot of the session is this one.

    Two in a row that say the same cannot be told apart; of them one is enough.
    """
    task_id, sent = it.args["task_id"], it.args["snapshot"]
    stored = await _ask(
        it,
        Feature.STORED_CONTEXT,
        lambda: it.client.tasks.snapshots(task_id, limit=MAX_SNAPSHOTS),
    )
    if not stored or len(stored) >= MAX_SNAPSHOTS:
        return False
    ours = [row for row in stored if row.get("sessionId") == sent.get("sessionId")]
    newest = max((str(row.get("createdAt", "")) for row in ours), default="")
    return any(_has_all(row, sent) for row in ours if str(row.get("createdAt", "")) == newest)


async def has_usage(it: Delivery) -> bool:
    """True if the key is noted with the task, which only the report of its use does."""
    key, task_id = it.args["key"], it.args.get("task_id")
    if task_id is None:
        return False
    task = await _ask(it, Feature.STORED_TASK, lambda: it.client.tasks.get(task_id, logs_limit=1))
    return task is not None and (
        task.raw.get("credentialKeyType"),
        task.raw.get("credentialKeySuffix"),
    ) == (key["key_type"], key["suffix"])


async def has_rate_limit(it: Delivery) -> bool:
    """True if the key is limited until that very moment."""
    key, until = it.args["key"], it.args["until"]
    limited = await _ask(it, Feature.STORED_KEYS, lambda: it.client.keys.limited(key["key_type"]))
    return limited is not None and _is_same_moment(limited.get(key["suffix"], ""), until)


async def count_events(it: Delivery, events: Sequence[Any], *, at_any_time: bool = False) -> int:
    """Return how many of these events, from the first, are stored.

    An event has no name of its own, but it says when it happened and of which call it speaks.

    Args:
        it: the write.
        events: what was to be sent.
        at_any_time: they were read from a journal again, which does not tell when they happened.
    """
    first = events[0]
    stored = await _ask(
        it,
        Feature.STORED_EVENTS,
        lambda: it.client.telemetry.stored_events(
            task_id=first.get("taskId"), agent_id=first.get("agentId"), limit=MAX_EVENTS
        ),
    )
    left_out = ("clientTimestamp",) if at_any_time else ()
    there = Counter(_event_key(row, left_out) for row in stored or ())
    count = 0
    for event in events:
        key = _event_key(event, left_out)
        if not _is_dated(event) or there[key] < 1:
            break
        there[key] -= 1
        count += 1
    return count


async def count_lines(
    it: Delivery, lines: Sequence[str], *, task_id: str, session_uuid: str, number: int
) -> int:
    """Return how many of these lines, from the first, are stored.

    The request they were in has a number of its own, and each line its place in it. A server stores
    a request in several steps, so that a part of it may be there.

    Args:
        it: the write.
        lines: what was to be sent.
        task_id: of the task.
        session_uuid: of the session.
        number: the request's, which the server keeps as ``iteration``.
    """
    stored = await _ask(it, Feature.STORED_LOGS, lambda: it.client.tasks.session_logs(task_id))
    there: dict[int, list[LogEntry]] = {}
    for entry in stored or ():
        if (entry.session_id, entry.iteration) == (session_uuid, number):
            there.setdefault(entry.line_number, []).append(entry)
    count = 0
    for line in lines:
        if not any(is_same_text(line, entry.content) for entry in there.get(count, ())):
            break
        count += 1
    return count


def is_same_text(sent: str, stored: str) -> bool:
    """True if `stored` is what was sent, but for what the server took out as secret."""
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


async def _ask(it: Delivery, feature: Feature, call: Callable[[], Awaitable[T]]) -> T | None:
    """Make a call, if this attempt is not the first; ``None`` if it cannot tell.

    Raises:
        ApiError: it may be able to tell later.
    """
    if not it.item.maybe_delivered:
        return None
    capabilities = it.client.capabilities
    try:
        return await capabilities.attempt(feature, call)
    except (ApiGarbled, ApiRefused) as error:
        is_refused = isinstance(error, ApiRefused) and not error.is_server_fault
        if is_refused or not capabilities.is_worth_waiting_for(
            feature, answers=it.client.http.health.answers
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
