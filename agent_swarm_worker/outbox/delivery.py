"""Sends one write of the outbox: a table from its kind to the function that sends it.

After an attempt without an answer, the server may have carried out the write. Then:

* finish, session, vcs, clear_rate_limit, report_windows, provider_session, latest_model,
  commit_cursors, delete_active_session, steered are sent again: repeating them changes nothing.
* cost, logs, late_result, events, context, progress, note, memory, report_rate_limit, and
  report_usage of a task are read back first (`read_back`), and only the missing part is sent.
* report_usage without a task is sent again. Other workers use the same key, so its counter does not
  show whose use was counted; the counter only selects the key that is tried next.

A write is sent again if this server has no route to read it back: twice is better than never. A
request without an answer may also still be in flight when the write is read back.

A write that is refused over its content is sent again with less of it (`reduction`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.api.values import encode
from agent_swarm_worker.api.wire.tasks import TERMINAL_STATUSES, ChannelCursor
from agent_swarm_worker.errors import (
    ApiError,
    ApiGarbled,
    ApiRefused,
    GatewayRefused,
    Unauthorized,
)
from agent_swarm_worker.journal.files import AFTER_ALL_LINES
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox import read_back
from agent_swarm_worker.outbox.queue import Delivery, WriteKind
from agent_swarm_worker.outbox.reduction import (
    Reduction,
    escaped_json,
    is_failure,
    is_over_content,
    is_size,
    is_temporary,
    send_reduced,
)
from agent_swarm_worker.outbox.uploads import EventParts, LogParts, send_in_parts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from agent_swarm_worker.api.tasks import FinishAnswer

MAX_REPAIRS = 3

Handler: TypeAlias = "Callable[[Delivery], Awaitable[object]]"


async def deliver(delivery: Delivery) -> None:
    """Send one write; an `ApiError` means that the server did not acknowledge it."""
    kind = WriteKind(delivery.item.kind)
    try:
        await HANDLERS[kind](delivery)
    except ApiError as error:
        size = len(delivery.item.data)
        if kind not in _REDUCED or not is_over_content(error, delivery.persistence, size=size):
            raise
        is_servers = isinstance(error, ApiRefused) and error.body is not None
        is_over_text = kind is WriteKind.FINISH or is_size(error) or is_failure(error)
        if is_servers and not is_over_text:
            raise  # it may be about another field than a text
        await _deliver_reduced(delivery, HANDLERS[kind], error)


async def _deliver_reduced(delivery: Delivery, handler: Handler, error: ApiError) -> None:
    args, item = delivery.args, delivery.item
    tried = {item.data}
    refusal = error

    async def send(reduction: Reduction) -> None:
        nonlocal refusal
        data = encode(_reduced(args, reduction, refusal))
        if data in tried:
            raise refusal
        tried.add(data)
        maybe = item.maybe_delivered or read_back.may_have_arrived(refusal)
        smaller = replace(item, data=data, maybe_delivered=maybe)
        try:
            await handler(replace(delivery, item=smaller))
        except ApiError as again:
            refusal = again
            raise

    texts = (value for value in args.values() if isinstance(value, str))
    sizes = (len(text.encode("utf-8", "replace")) for text in texts)
    where = args.get("journal", "")
    size = max((*sizes, len(item.data) // 2))
    used = await send_reduced(error, send, size=size, where=where, persistence=delivery.persistence)
    delivery.dropped(f"it was refused as a whole, and was sent {used.how}", error=str(error))


def _reduced(args: Mapping[str, Any], reduction: Reduction, refusal: ApiError) -> Mapping[str, Any]:
    """Return the arguments with less text; a result that no longer fits its schema is a failure."""
    if not args.get("must_fit"):
        reduced: Mapping[str, Any] = reduction.value(args)
        return reduced
    output = str(args["output"])
    if len(output.encode("utf-8", "replace")) <= reduction.max_bytes:
        return {**args, "output": escaped_json(output, reduction.mask)}
    reason = (
        f"The output of {len(output)} characters fits the task's outputSchema, but cannot be sent"
        f" whole: {refusal}. The whole text: {args.get('journal', 'the log of the session')}"
    )
    failed = {"task_id": args["task_id"], "status": "failed", "failure_reason": reason}
    reduced = reduction.value(failed)
    return {**reduced, "session_uuid": args.get("session_uuid")}


async def _progress(delivery: Delivery) -> None:
    """Args: task_id, text."""
    if not await read_back.has_progress(delivery):
        await delivery.client.tasks.progress(delivery.args["task_id"], delivery.args["text"])


async def _note(delivery: Delivery) -> None:
    """Args: task_id, text."""
    if not await read_back.has_note(delivery):
        await delivery.client.tasks.progress(delivery.args["task_id"], delivery.args["text"])


async def _logs(delivery: Delivery) -> None:
    """Args: path, start, end (bytes), session_uuid, iteration, cli, task_id.

    For lines that are in no file: text instead of path, start and end.
    """
    await send_in_parts(delivery, LogParts(delivery))


async def _events(delivery: Delivery) -> None:
    """Args: events (a list of `wire.event_body`)."""
    if not await EventParts.send_whole(delivery):
        await send_in_parts(delivery, EventParts(delivery))


async def _cost(delivery: Delivery) -> None:
    """Args: the row, from `wire.cost_body`."""
    if not await read_back.has_cost(delivery):
        await delivery.client.records.cost(delivery.args)


async def _context(delivery: Delivery) -> None:
    """Args: task_id, snapshot (from `wire.context_body`)."""
    if not await read_back.has_context(delivery):
        await delivery.client.tasks.context(delivery.args["task_id"], delivery.args["snapshot"])


async def _finish(delivery: Delivery) -> None:
    """Args: task_id, status, output, failure_reason, must_fit, session_uuid, journal (its path).

    For a task that was put back in the queue meanwhile, the server answers 200 and drops the result
    (docs/api.md 7.1): progress sets the task to ``in_progress``, then the result is reported again.
    The result of a task that has ended otherwise, or is another agent's, is added to its log, and
    kept for a task that repeats it.
    """
    answer = await _report_result(delivery)
    if answer is not None and answer.status in TERMINAL_STATUSES - {delivery.args["status"]}:
        delivery.queue.keep_result(delivery.item)
    for _ in range(MAX_REPAIRS):
        if answer is None or not answer.was_lost:
            return
        task_id = delivery.args["task_id"]
        delivery.log.warning(Event.RESULT_REPAIRED, task=task_id, status=answer.status)
        await delivery.client.tasks.progress(task_id, "Reporting the result again")
        answer = await _report_result(delivery)
    if answer is not None and answer.was_lost:
        delivery.dropped("the server keeps putting the task back", status=answer.status)


async def _report_result(delivery: Delivery) -> FinishAnswer | None:
    """Return the server's answer; ``None`` if the result went to the log instead.

    Raises:
        GatewayRefused: also for a refusal while the task is ours, which the API does not answer.
    """
    try:
        return await delivery.client.tasks.finish(
            delivery.args["task_id"],
            status=delivery.args["status"],
            output=delivery.args.get("output"),
            failure_reason=delivery.args.get("failure_reason"),
        )
    except ApiRefused as refusal:
        if isinstance(refusal, Unauthorized) or is_temporary(refusal) or is_size(refusal):
            raise
        if refusal.status not in {400, 422} and await _is_in_progress_here(delivery):
            raise GatewayRefused(refusal.url, refusal.status, refusal.message) from None
        if refusal.status not in {403, 409}:
            raise
        await _late_result(delivery)
        return None


async def _is_in_progress_here(delivery: Delivery) -> bool:
    client = delivery.client
    try:
        task = await client.tasks.get(delivery.args["task_id"], logs_limit=1)
    except (ApiGarbled, ApiRefused):
        return False
    return task.agent_id == client.http.agent_id and task.status == "in_progress"


async def _late_result(delivery: Delivery) -> None:
    """Args: task_id, status, output, failure_reason, session_uuid.

    Adds a line to the session's log (docs/api.md 7.3).
    """
    args = delivery.args
    delivery.queue.keep_result(delivery.item)
    result = args.get("output") or args.get("failure_reason") or "nothing"
    line = {"type": "late_result", "status": args["status"], "content": result}
    text = encode(line).decode("utf-8", "replace")
    session = args.get("session_uuid") or args["task_id"]
    where = {"task_id": args["task_id"], "session_uuid": session, "number": AFTER_ALL_LINES}
    if delivery.item.maybe_delivered and await read_back.count_lines(delivery, [text], **where):
        return
    await delivery.client.records.session_logs(
        [text], session_uuid=session, iteration=AFTER_ALL_LINES, task_id=args["task_id"]
    )


async def _report_usage(delivery: Delivery) -> None:
    """Args: key (a `PoolKey`), task_id."""
    if not await read_back.has_usage(delivery):
        await delivery.client.keys.report_usage(
            delivery.pool_key, task_id=delivery.args.get("task_id")
        )


async def _report_rate_limit(delivery: Delivery) -> None:
    """Args: key (a `PoolKey`), until (UTC with a final ``Z``)."""
    if not await read_back.has_rate_limit(delivery):
        await delivery.client.keys.report_rate_limit(
            delivery.pool_key, until=delivery.args["until"]
        )


async def _memory(delivery: Delivery) -> None:
    """Args: the body of docs/api.md 15.5, with a ``sourcePath`` of its own."""
    if not await read_back.has_memory(delivery):
        await delivery.client.resources.index_memory(delivery.args)


async def _steered(delivery: Delivery) -> None:
    """Args: message_id, and mode if the session has the message, else reason."""
    steering = delivery.client.steering
    if "mode" in delivery.args:
        await steering.delivered(delivery.args["message_id"], delivery.args["mode"])
    else:
        await steering.undeliverable(delivery.args["message_id"], delivery.args["reason"])


_REDUCED = frozenset(
    {
        WriteKind.PROGRESS,
        WriteKind.NOTE,
        WriteKind.SESSION,
        WriteKind.COST,
        WriteKind.CONTEXT,
        WriteKind.FINISH,
        WriteKind.LATE_RESULT,
        WriteKind.STEERED,
        WriteKind.LATEST_MODEL,
        WriteKind.MEMORY,
    }
)
"""Kinds with texts. Logs and events are reduced by `uploads`, one by one."""

HANDLERS: Mapping[WriteKind, Handler] = {
    WriteKind.PROGRESS: _progress,
    WriteKind.NOTE: _note,
    WriteKind.SESSION: lambda d: d.client.tasks.store_session(d.args["task_id"], d.args["session"]),
    WriteKind.LOGS: _logs,
    WriteKind.EVENTS: _events,
    WriteKind.COST: _cost,
    WriteKind.CONTEXT: _context,
    WriteKind.FINISH: _finish,
    WriteKind.LATE_RESULT: _late_result,
    WriteKind.VCS: lambda d: d.client.tasks.link_vcs(d.args["task_id"], d.args["link"]),
    WriteKind.REPORT_USAGE: _report_usage,
    WriteKind.REPORT_RATE_LIMIT: _report_rate_limit,
    WriteKind.REPORT_WINDOWS: lambda d: d.client.keys.report_windows(d.pool_key, d.args["windows"]),
    WriteKind.CLEAR_RATE_LIMIT: lambda d: d.client.keys.clear(d.pool_key),
    WriteKind.PROVIDER_SESSION: lambda d: d.client.sessions.provider_session(
        d.args["task_id"], d.args["provider_session_id"]
    ),
    WriteKind.LATEST_MODEL: lambda d: d.client.agents.latest_model(
        d.args["agent_id"], d.args["latest_model"], d.args.get("cred_status")
    ),
    WriteKind.COMMIT_CURSORS: lambda d: d.client.polling.commit_cursors(
        [ChannelCursor(**row) for row in d.args["cursors"]]
    ),
    WriteKind.DELETE_ACTIVE_SESSION: lambda d: d.client.sessions.delete(d.args["task_id"]),
    WriteKind.STEERED: _steered,
    WriteKind.MEMORY: _memory,
}
