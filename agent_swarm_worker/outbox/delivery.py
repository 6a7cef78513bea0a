"""How each kind of write is carried out: a table from kind to function.

The server cannot tell a repeated request from a new one for most of these, and an attempt may fail
after it was carried out. The trade made for each kind, when an attempt ended without an answer:

* finish, session, vcs, clear_rate_limit, report_windows, provider_session, latest_model,
  commit_cursors, delete_active_session, steered: repeated, they have the same effect.
* cost, logs, late_result, events, context, progress, note, report_rate_limit, report_usage of a
  task: read back first (mostly in `read_back`), and what is missing is sent.
* report_usage without a task: sent again. Others use the same key, so its counter does not tell
  whose use was counted; it only steers which key is tried next.

What cannot be read back, because this server does not show it, is sent again: a line twice is
better than never. And a request that was given up may still be on its way when it is looked for.

One attempt to carry out one write: what its handler is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.api.configuration import PoolKey
from agent_swarm_worker.api.wire import ChannelCursor
from agent_swarm_worker.api.wire.values import encode
from agent_swarm_worker.errors import ApiError, ApiGarbled, ApiRefused, ApiUnreachable, Unauthorized
from agent_swarm_worker.journal.files import AFTER_ALL_LINES
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.outbox import read_back
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.outbox.uploads import EventParts, LogParts, send_in_parts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.api.tasks import FinishAnswer
    from agent_swarm_worker.outbox.queue import Item, Queue

MAX_REPAIRS = 3

Handler: TypeAlias = "Callable[[Delivery], Awaitable[None]]"


async def deliver(delivery: Delivery) -> None:
    """Carry out one write.

    Raises:
        ApiError: it was not acknowledged.
    """
    await HANDLERS[WriteKind(delivery.item.kind)](delivery)


def may_have_arrived(error: ApiError) -> bool:
    """True if the server may have carried out what ended with this error."""
    match error:
        case ApiUnreachable():
            return error.ambiguous
        case ApiRefused():
            return error.status >= 500
        case _:
            return isinstance(error, ApiGarbled)


async def _progress(it: Delivery) -> None:
    """Args: task_id, text."""
    if not await read_back.has_progress(it):
        await it.client.tasks.progress(it.args["task_id"], it.args["text"])


async def _note(it: Delivery) -> None:
    """Args: task_id, text."""
    if not await read_back.has_note(it):
        await it.client.tasks.progress(it.args["task_id"], it.args["text"])


async def _session(it: Delivery) -> None:
    """Args: task_id, session (from `wire.session_body`)."""
    await it.client.tasks.store_session(it.args["task_id"], it.args["session"])


async def _logs(it: Delivery) -> None:
    """Args: path, start, end (bytes), session_uuid, iteration, cli, task_id.

    Or text instead of the range, for lines that are in no file.
    """
    await send_in_parts(it, LogParts(it))


async def _events(it: Delivery) -> None:
    """Args: events (a list of `wire.event_body`)."""
    if not await EventParts.send_whole(it):
        await send_in_parts(it, EventParts(it))


async def _cost(it: Delivery) -> None:
    """Args: the row, from `wire.cost_body`."""
    if not await read_back.has_cost(it):
        await it.client.telemetry.cost(it.args)


async def _context(it: Delivery) -> None:
    """Args: task_id, snapshot (from `wire.context_body`)."""
    if not await read_back.has_context(it):
        await it.client.tasks.context(it.args["task_id"], it.args["snapshot"])


async def _finish(it: Delivery) -> None:
    """Args: task_id, status, output, failure_reason, session_uuid.

    A task that was put back in the queue meanwhile answers 200 and forgets the result (docs/api.md
    7.1): progress brings it back to ``in_progress``, then the result is reported again.
    One that has ended otherwise, or is somebody else's, keeps its word; ours goes into its log.
    """
    answer = await _report_result(it)
    for _ in range(MAX_REPAIRS):
        if answer is None or not answer.was_lost:
            return
        task_id = it.args["task_id"]
        it.log.warning(Event.RESULT_REPAIRED, task=task_id, status=answer.status)
        await it.client.tasks.progress(task_id, "Reporting the result again")
        answer = await _report_result(it)
    if answer is not None and answer.was_lost:
        it.dropped("the server keeps putting the task back", status=answer.status)


async def _report_result(it: Delivery) -> FinishAnswer | None:
    """Return the server's answer; ``None`` if the task has another's word already."""
    try:
        return await it.client.tasks.finish(
            it.args["task_id"],
            status=it.args["status"],
            output=it.args.get("output"),
            failure_reason=it.args.get("failure_reason"),
        )
    except ApiRefused as refusal:
        if refusal.status not in {403, 409} or isinstance(refusal, Unauthorized):
            raise
        await _late_result(it)
        return None


async def _late_result(it: Delivery) -> None:
    """Args: task_id, status, output, failure_reason, session_uuid.

    One line in the session's log, for whoever wonders what became of the work.
    """
    args = it.args
    said = args.get("output") or args.get("failure_reason") or "nothing"
    line = {"type": "late_result", "status": args["status"], "content": said}
    text = encode(line).decode("utf-8", "replace")
    session = args.get("session_uuid") or args["task_id"]
    where = {"task_id": args["task_id"], "session_uuid": session, "number": AFTER_ALL_LINES}
    if it.item.maybe_delivered and await read_back.count_lines(it, [text], **where):
        return
    await it.client.telemetry.session_logs(
        [text],
        session_uuid=session,
        iteration=AFTER_ALL_LINES,
        task_id=args["task_id"],
    )


async def _vcs(it: Delivery) -> None:
    """Args: task_id, link (from `wire.vcs_body`)."""
    await it.client.tasks.link_vcs(it.args["task_id"], it.args["link"])


async def _report_usage(it: Delivery) -> None:
    """Args: key (a `PoolKey`), task_id."""
    if not await read_back.has_usage(it):
        await it.client.keys.report_usage(PoolKey(**it.args["key"]), task_id=it.args.get("task_id"))


async def _report_rate_limit(it: Delivery) -> None:
    """Args: key (a `PoolKey`), until (UTC with a final ``Z``)."""
    if not await read_back.has_rate_limit(it):
        await it.client.keys.report_rate_limit(PoolKey(**it.args["key"]), until=it.args["until"])


async def _report_windows(it: Delivery) -> None:
    """Args: key (a `PoolKey`), windows (from `wire.windows_body`)."""
    await it.client.keys.report_windows(PoolKey(**it.args["key"]), it.args["windows"])


async def _clear_rate_limit(it: Delivery) -> None:
    """Args: key (a `PoolKey`)."""
    await it.client.keys.clear(PoolKey(**it.args["key"]))


async def _provider_session(it: Delivery) -> None:
    """Args: task_id, provider_session_id."""
    await it.client.sessions.provider_session(it.args["task_id"], it.args["provider_session_id"])


async def _latest_model(it: Delivery) -> None:
    """Args: agent_id, latest_model (from `wire.latest_model_body`)."""
    await it.client.agents.latest_model(it.args["agent_id"], it.args["latest_model"])


async def _commit_cursors(it: Delivery) -> None:
    """Args: cursors (a list of `wire.ChannelCursor`)."""
    await it.client.polling.commit_cursors([ChannelCursor(**cursor) for cursor in it.args["cursors"]])


async def _delete_active_session(it: Delivery) -> None:
    """Args: task_id."""
    await it.client.sessions.delete(it.args["task_id"])


async def _steered(it: Delivery) -> None:
    """Args: message_id, mode if the session has the message, else reason."""
    steering = it.client.steering
    if "mode" in it.args:
        await steering.delivered(it.args["message_id"], it.args["mode"])
    else:
        await steering.undeliverable(it.args["message_id"], it.args["reason"])


HANDLERS: Mapping[WriteKind, Handler] = {
    WriteKind.PROGRESS: _progress,
    WriteKind.NOTE: _note,
    WriteKind.SESSION: _session,
    WriteKind.LOGS: _logs,
    WriteKind.EVENTS: _events,
    WriteKind.COST: _cost,
    WriteKind.CONTEXT: _context,
    WriteKind.FINISH: _finish,
    WriteKind.LATE_RESULT: _late_result,
    WriteKind.VCS: _vcs,
    WriteKind.REPORT_USAGE: _report_usage,
    WriteKind.REPORT_RATE_LIMIT: _report_rate_limit,
    WriteKind.REPORT_WINDOWS: _report_windows,
    WriteKind.CLEAR_RATE_LIMIT: _clear_rate_limit,
    WriteKind.PROVIDER_SESSION: _provider_session,
    WriteKind.LATEST_MODEL: _latest_model,
    WriteKind.COMMIT_CURSORS: _commit_cursors,
    WriteKind.DELETE_ACTIVE_SESSION: _delete_active_session,
    WriteKind.STEERED: _steered,
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to carry out one write."""

    client: SwarmClient
    queue: Queue
    item: Item
    log: Log

    @property
    def args(self) -> Mapping[str, Any]:
        """What was asked for; what was ``None`` is absent."""
        return self.item.args

    def dropped(self, why: str, **details: object) -> None:
        """Say that the write, or a part of it, will never arrive."""
        self.log.warning(
            Event.WRITE_DROPPED, lane=self.item.lane, kind=self.item.kind, why=why, **details
        )
