"""Reports the end of a run: the last lines, the cost, and the finish of the task."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread

from agent_swarm_worker.api.wire.tasks import ChannelActivity, Task, TaskAssigned, TaskOffered
from agent_swarm_worker.errors import ApiError, ApiRefused, RouteMissing
from agent_swarm_worker.journal.writer import make_durable
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.reporting.finish import (
    MAX_MESSAGE_CHARS,
    FinishBody,
    decide_finish,
    has_failed,
)
from agent_swarm_worker.text import clip
from agent_swarm_worker.worker.run.running_task import GRACEFUL_SHUTDOWN, PAUSED
from agent_swarm_worker.worker.run.session_credentials import report_limits

if TYPE_CHECKING:
    from agent_swarm_worker.api.wire.tasks import Trigger
    from agent_swarm_worker.contract import ProviderResult, Redactor
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.reporting.reporter import SessionReporter
    from agent_swarm_worker.worker.boot.parts import SessionParts
    from agent_swarm_worker.worker.run.preparation import PreparedSession
    from agent_swarm_worker.worker.run.running_task import RunningTask

DELIVERY_WAIT_S = 3600.0
"""How long a slot is held for an undelivered finish; the task gets heartbeats meanwhile, so that
the server does not start it a second time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOutcome:
    """How a session ended, with the data that its report needs."""

    result: ProviderResult
    setup: PreparedSession | None = None
    reporter: SessionReporter | None = None
    """``None`` for both if the session never began."""
    cause: str | None = None
    """Why the worker ended the session; ``None`` if it ended by itself."""


async def finish_task(
    worker: SessionParts, task: RunningTask, trigger: Trigger, outcome: SessionOutcome, log: Log
) -> None:
    """Queue all reports of the end of a run, the finish last; then wait for their delivery."""
    lane = task.task_id
    is_handed_over = task.ended_by == GRACEFUL_SHUTDOWN
    if outcome.reporter is not None:
        # One transaction with `mark_fully_reported`: a crash in between would report it twice.
        with worker.state.database.transaction(durable=True):
            outcome.reporter.close(outcome.result, owns_task=task.is_ours and not is_handed_over)
            worker.state.mark_fully_reported(task.task_id)
    if outcome.setup is not None:
        # The outbox has ranges of the journal, which alone has the lines.
        journal = outcome.setup.config.log_file
        await anyio.to_thread.run_sync(make_durable, journal, abandon_on_cancel=True)
    if outcome.setup is not None and task.ended_by is None:
        spec = adapter_spec(outcome.setup.adapter)
        report_limits(worker, outcome.setup.credentials, outcome.result, spec)
    if _is_ours_to_end(task):
        await _put_finish(worker, task, trigger, outcome, log)
    if _is_lost(task):
        await _queue_late_result(worker, task, outcome, log)
    if task.has_task and not is_handed_over:
        worker.state.set_phase(task.task_id, "finishing")
    worker.outbox.put(lane, WriteKind.DELETE_ACTIVE_SESSION, {"task_id": task.task_id})
    if isinstance(trigger, ChannelActivity) and not outcome.result.is_error:
        cursors = [{"channel_id": c.channel_id, "ts": c.ts} for c in trigger.cursors]
        worker.outbox.put(lane, WriteKind.COMMIT_CURSORS, {"cursors": cursors})
    await _sync_profile(worker, outcome, log)
    if not is_handed_over:
        worker.state.forget(task.task_id)
    await _wait_for_delivery(worker, lane, log)


async def release_task(worker: SessionParts, task: RunningTask, log: Log) -> None:
    """Wait for the delivery of a result that was queued without a session."""
    lane = task.task_id
    worker.outbox.put(lane, WriteKind.DELETE_ACTIVE_SESSION, {"task_id": lane})
    worker.state.forget(lane)
    await _wait_for_delivery(worker, lane, log)


async def _wait_for_delivery(worker: SessionParts, lane: str, log: Log) -> None:
    if not await worker.outbox.flushed(lane, timeout_s=DELIVERY_WAIT_S):
        log.warning(Event.WRITE_RETRIED, lane=lane, pending=worker.outbox.pending(lane))


def fail_unreported(worker: SessionParts, task: RunningTask, error: Exception) -> None:
    """Fail a task whose report raised an error, so that it does not stay in progress."""
    if _is_ours_to_end(task):
        reason = f"The worker failed to report the result: {type(error).__name__}"
        body = FinishBody(status="failed", failure_reason=reason)
        worker.outbox.put(task.task_id, WriteKind.FINISH, body.args(task.task_id))
    worker.outbox.put(task.task_id, WriteKind.DELETE_ACTIVE_SESSION, {"task_id": task.task_id})
    worker.state.forget(task.task_id)


def _is_ours_to_end(task: RunningTask) -> bool:
    is_handed_over = task.ended_by == GRACEFUL_SHUTDOWN
    return task.has_task and not task.observe_only and task.is_ours and not is_handed_over


def _is_lost(task: RunningTask) -> bool:
    """True if the task ended, or was reassigned, while its session ran."""
    is_theirs = task.has_task and not task.observe_only and not task.is_ours
    return is_theirs and task.ended_by != PAUSED


async def _queue_late_result(
    worker: SessionParts, task: RunningTask, outcome: SessionOutcome, log: Log
) -> None:
    """Queue the result as a line of the session's log: the task has another result already."""
    body = await _decide(worker, outcome, None, None, log)
    last_text = outcome.reporter.last_text if outcome.reporter else ""
    if body is None or not (body.output or last_text):
        return
    args = body.args(task.task_id) | {
        "session_uuid": task.session_uuid,
        "output": body.output
        or clip(_redactor(worker, outcome).text(last_text), MAX_MESSAGE_CHARS),
    }
    worker.outbox.put(task.task_id, WriteKind.LATE_RESULT, args)


async def _put_finish(
    worker: SessionParts, task: RunningTask, trigger: Trigger, outcome: SessionOutcome, log: Log
) -> None:
    """Decide how the task ends and queue it, unless the task is no longer ours to end."""
    current = await _read_task(worker, task, log)
    if not task.is_ours:
        log.warning(Event.TASK_LOST, task=task.task_id)
        return
    row = current or (trigger.task if isinstance(trigger, TaskAssigned | TaskOffered) else None)
    body = await _decide(worker, outcome, current, row, log)
    if body is None:
        log.info(Event.TASK_FINISHED, status=current.status if current else None, by="the agent")
        if current is not None and current.status == "failed" and not has_failed(outcome.result):
            # The server failed it because it took the session for dead; the result is kept.
            await _queue_late_result(worker, task, outcome, log)
        return
    args = body.args(task.task_id) | {"session_uuid": task.session_uuid}
    if outcome.setup is not None:
        args["journal"] = f"{outcome.setup.config.log_file} on the worker's disk"
    worker.outbox.put(task.task_id, WriteKind.FINISH, args)
    reason = body.failure_reason
    why = reason.splitlines()[0][:300] if reason else None
    log.info(Event.TASK_FINISHED, status=body.status, why=why, note=body.note)


async def schema_mismatch(
    worker: SessionParts, task: RunningTask, row: Task, outcome: SessionOutcome, log: Log
) -> str:
    """Return why the output of a session that went well does not fit the task's schema, or ""."""
    current = None
    with contextlib.suppress(ApiError):
        current = await worker.client.tasks.get(task.task_id)
    if current is not None and task.is_assigned_elsewhere(current, worker.agent_id):
        return ""
    body = await _decide(worker, outcome, current, current or row, log)
    return body.failure_reason or "" if body is not None else ""


async def _decide(
    worker: SessionParts, outcome: SessionOutcome, current: Task | None, row: Task | None, log: Log
) -> FinishBody | None:
    """Return the finish; an error over what the agent or the task's author wrote fails it."""
    try:
        return await decide_finish(
            outcome.result,
            harness=outcome.setup.adapter.name if outcome.setup else worker.harness.name,
            redactor=_redactor(worker, outcome),
            last_text=outcome.reporter.last_text if outcome.reporter else "",
            task_status=current.status if current else None,
            existing_output=current.output if current else None,
            output_schema=row.output_schema if row else None,
        )
    except Exception as error:
        log.error(Event.TASK_FINISHED, why=repr(error))
        reason = f"The worker could not judge the result: {type(error).__name__}"
        return FinishBody(status="failed", failure_reason=reason)


def _redactor(worker: SessionParts, outcome: SessionOutcome) -> Redactor:
    return outcome.setup.config.redactor if outcome.setup else worker.scrubber


async def _read_task(worker: SessionParts, task: RunningTask, log: Log) -> Task | None:
    """Read the task, and mark it lost if it was reassigned; ``None`` if it cannot be read."""
    try:
        current = await worker.client.tasks.get(task.task_id)
    except ApiError as error:
        # An unknown task is lost; an unknown route says nothing about the task.
        is_unknown = isinstance(error, ApiRefused) and error.status == 404
        if is_unknown and not isinstance(error, RouteMissing):
            task.lose()
        log.debug(Event.API_REFUSED, call="task", why=str(error))
        return None
    is_reassigned = task.is_assigned_elsewhere(current, worker.agent_id)
    if is_reassigned or current.status in {"cancelled", "superseded"}:
        task.lose()
    return current


async def _sync_profile(worker: SessionParts, outcome: SessionOutcome, log: Log) -> None:
    if worker.profile_sync is None or outcome.setup is None:
        return
    if not adapter_spec(outcome.setup.adapter).capabilities.has_local_environment:
        return
    try:
        await worker.profile_sync.sync()
    except (ApiError, OSError) as error:
        log.warning(Event.IDENTITY, step="sync", why=str(error))
