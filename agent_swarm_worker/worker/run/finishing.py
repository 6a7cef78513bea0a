"""Reports the end of a run: the last lines, the cost, and the finish of the task.

A session whose output does not fit the task's ``outputSchema`` is resumed once to be asked for it
(docs/api.md 7.2), with a journal, a cost and a claim of its own, so that a crash in between is
recovered like one of any session. Harnesses that cannot resume are not asked.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio.to_thread

from agent_swarm_worker.api.values import encode
from agent_swarm_worker.api.wire.tasks import ChannelActivity, Task, TaskAssigned, TaskOffered
from agent_swarm_worker.errors import ApiError, ApiRefused, RouteMissing
from agent_swarm_worker.journal.files import end_of
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
from agent_swarm_worker.worker.run.preparation import begin_journal, log_file
from agent_swarm_worker.worker.run.running_task import GRACEFUL_SHUTDOWN, PAUSED
from agent_swarm_worker.worker.run.session_credentials import report_limits
from agent_swarm_worker.worker.run.session_summary import requested_summary
from agent_swarm_worker.worker.run.watchdog import SessionLimits

if TYPE_CHECKING:
    from agent_swarm_worker.api.wire.tasks import Trigger
    from agent_swarm_worker.contract import ProviderResult, Redactor
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.reporting.reporter import SessionReporter
    from agent_swarm_worker.worker.boot.parts import RunParts, SessionParts
    from agent_swarm_worker.worker.run.pending_summaries import SummaryRequest
    from agent_swarm_worker.worker.run.preparation import PreparedSession
    from agent_swarm_worker.worker.run.running_task import RunningTask

DELIVERY_WAIT_S = 3600.0
"""How long a slot is held for an undelivered finish; the task gets heartbeats meanwhile, so that
the server does not start it a second time."""
UNDECIDED = (
    "its session ended without accepting or rejecting the offer, which counts as a running task of"
    " this agent until the server offers it again, after 30 minutes"
)
REQUEST_LIMIT_S = 300.0
"""How long a resumed session may take: it only has to put into form what is known."""
MAX_QUOTED_CHARS = 20_000


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
    if task.observe_only and not is_handed_over:
        await _note_undecided(worker, task, log)
    if outcome.reporter is not None and outcome.setup is not None:
        line = _last_line(outcome.setup, log)
        if line:
            outcome.reporter.unwritten(line)
    summary = _requested_summary(worker, task, trigger, outcome)
    if outcome.reporter is not None:
        # One transaction with `mark_fully_reported`: a crash in between would report it twice.
        with worker.state.database.transaction(durable=True):
            outcome.reporter.close(outcome.result, owns_task=task.is_ours and not is_handed_over)
            worker.state.mark_fully_reported(task.task_id)
            if summary is not None:
                worker.summaries.store(summary)
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
    worker.summaries.release(summary)


def _requested_summary(
    worker: SessionParts, task: RunningTask, trigger: Trigger, outcome: SessionOutcome
) -> SummaryRequest | None:
    """Return the request for the summary of a session that ended by itself."""
    setup = outcome.setup
    has_ended = outcome.cause is None and task.ended_by is None and task.is_ours
    if setup is None or not has_ended:
        return None
    row = trigger.task if isinstance(trigger, TaskAssigned | TaskOffered) else None
    return requested_summary(
        worker,
        session_uuid=setup.config.session_uuid,
        task_id=task.task_id if task.has_task else None,
        lane=task.task_id,
        text=row.text if row else "",
        transcript=setup.transcript,
        result=outcome.result,
        redactor=setup.config.redactor,
    )


async def _note_undecided(worker: SessionParts, task: RunningTask, log: Log) -> None:
    """Log an offer that the agent has not decided on; only its own tools can return it."""
    try:
        current = await worker.client.tasks.get(task.task_id, logs_limit=1)
    except ApiError as error:
        log.debug(Event.API_REFUSED, call="task", why=str(error))
        return
    if current.status == "reviewing" and current.offered_to == worker.agent_id:
        log.warning(Event.OFFER_UNDECIDED, task=task.task_id, why=UNDECIDED)


def _last_line(setup: PreparedSession, log: Log) -> bytes:
    """Return the line of the session's log about its clone and commands; empty without either."""
    repository = setup.workspace.repository
    said: dict[str, object] = {}
    notes = setup.notes
    if repository is not None and repository.clone_path is not None:
        report = repository.report
        said = {"commitBefore": report.before, "commitAfter": report.after}
        log.info(Event.REPOSITORY, commit_before=report.before, commit_after=report.after)
        notes = [*notes, *report.notes]
    if not said and not notes:
        return b""
    said["notes"] = [setup.config.redactor.text(note) for note in notes]
    return encode({"type": "worker_session_end", **said}) + b"\n"


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


# --- asking for fitting output
@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRequest:
    """A session to run for the output of one that has ended."""

    setup: PreparedSession
    mismatch: str

    def answered(self, result: ProviderResult) -> ProviderResult:
        """Return the result of the task; a failed request fails it for the first mismatch, too."""
        if not has_failed(result):
            return result
        why = result.failure_reason or f"exit code {result.exit_code}"
        reason = f"Asked once more for fitting output, the session failed: {why}\n\n{self.mismatch}"
        return replace(result, failure_reason=reason)


async def output_request(
    worker: RunParts, task: RunningTask, trigger: Trigger, outcome: SessionOutcome, log: Log
) -> OutputRequest | None:
    """Return the session that asks for fitting output; ``None`` if there is no need or no way."""
    setup, row = outcome.setup, trigger.task if isinstance(trigger, TaskAssigned) else None
    if setup is None or outcome.reporter is None or row is None or not row.output_schema:
        return None
    session_id = outcome.result.session_id
    if not session_id or not adapter_spec(setup.adapter).capabilities.can_resume:
        return None
    if worker.shutdown.is_draining or task.ended_by is not None or has_failed(outcome.result):
        return None
    mismatch = await schema_mismatch(worker, task, row, outcome, log)
    if not mismatch or task.ended_by is not None:
        return None
    last_words = outcome.result.output or outcome.reporter.last_text
    config = replace(
        setup.config,
        session_uuid=worker.ids(),
        resume_session_id=session_id,
        forks=False,
        prompt=_prompt(row, mismatch.partition("\n")[0]),
        fresh_prompt=_prompt(row, mismatch.partition("\n")[0], last_words=last_words),
        # Lines are ordered by this number: behind those of the first run.
        iteration=setup.config.iteration + end_of(setup.config.log_file),
    )
    config = replace(config, log_file=log_file(worker, task, config.session_uuid))
    limits = SessionLimits(
        wall_s=min(setup.limits.wall_s or REQUEST_LIMIT_S, REQUEST_LIMIT_S),
        silence_s=setup.limits.silence_s,
    )
    again = replace(
        setup,
        config=config,
        limits=limits,
        metadata_bytes=begin_journal(worker, config, task, setup.profile),
    )
    return OutputRequest(setup=again, mismatch=mismatch)


def _prompt(row: Task, why: str, *, last_words: str = "") -> str:
    schema = json.dumps(row.output_schema, indent=2, ensure_ascii=False)
    context = (
        f"The task was:\n\n{clip(row.text, MAX_QUOTED_CHARS)}\n\nIt ended with these words:\n\n"
        f"{clip(last_words, MAX_QUOTED_CHARS)}\n\n"
        if last_words
        else ""
    )
    return (
        f"{context}The task must end with output that is JSON for its schema, and did not ({why})."
        " Do no further work. Answer with the JSON alone, made of what you have found:"
        f"\n\n```json\n{schema}\n```"
    )
