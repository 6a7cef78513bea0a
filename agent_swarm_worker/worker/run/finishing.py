"""After the session: its last lines, its cost, and the word on how the task ended.

What became of a run: handed from the session to the finish.

What a session's end says about its credential: limited until when, or in good health.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import anyio.to_thread

from agent_swarm_worker.api.wire import (
    ChannelActivity,
    Task,
    TaskAssigned,
    TaskOffered,
    windows_body,
)
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import ApiError, ApiRefused, RouteMissing
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.guards.rate_limits import LIMITS, clamp_reset, parse_reset_time
from agent_swarm_worker.journal.writer import make_durable
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.reporting.finish import (
    MAX_TEXT_CHARS,
    FinishBody,
    decide_finish,
    has_failed,
)
from agent_swarm_worker.reporting.port import task_lane
from agent_swarm_worker.text import clip, shorten
from agent_swarm_worker.worker.boot.parts import (
    Api,
    Basics,
    Config,
    Identity,
    Logins,
    Storage,
    Workspace,
)
from agent_swarm_worker.worker.loops.shutdown import GRACEFUL_SHUTDOWN
from agent_swarm_worker.worker.run.running_task import PAUSED
from agent_swarm_worker.worker.run.selection import put_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.api.wire import Trigger
    from agent_swarm_worker.contract import HarnessSpec, ProviderResult, Redactor
    from agent_swarm_worker.credentials.pools import Selection
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.reporting.reporter import SessionReporter
    from agent_swarm_worker.worker.run.preparation import Ready
    from agent_swarm_worker.worker.run.running_task import RunningTask

DELIVERY_WAIT_S = 3600.0
"""How long a slot is held for a finish that the API does not take. Meanwhile the task goes on
beating, so that an API that comes back does not start it a second time."""


class Parts(Identity, Config, Basics, Api, Storage, Logins, Workspace, Protocol):
    """What this module uses of the worker."""


async def finish_task(
    worker: Parts, task: RunningTask, trigger: Trigger, outcome: Outcome, log: Log
) -> None:
    """Write the end of a run, the finish behind all else; then wait until it has arrived."""
    lane = task_lane(task.task_id)
    is_handed_over = task.ended_by == GRACEFUL_SHUTDOWN
    if outcome.reporter is not None:
        # With the note that it was told: a crash in between would have it told again.
        with worker.state.database.transaction(durable=True):
            outcome.reporter.close(outcome.result, owns_task=task.is_ours and not is_handed_over)
            worker.state.set_reported(task.task_id)
    if outcome.ready is not None:
        # The outbox has ranges of it, and only it has the words.
        journal = outcome.ready.config.log_file
        await anyio.to_thread.run_sync(make_durable, journal, abandon_on_cancel=True)
    if outcome.ready is not None and task.ended_by is None:
        spec = adapter_spec(outcome.ready.adapter)
        report_limits(worker, outcome.ready.credentials, outcome.result, spec)
    if _is_ours_to_end(task):
        await _put_finish(worker, task, trigger, outcome, log)
    if _was_taken(task):
        await _keep_result(worker, task, outcome, log)
    if task.has_task and not is_handed_over:
        worker.state.set_phase(task.task_id, "finishing")
    worker.outbox.put(lane, WriteKind.DELETE_ACTIVE_SESSION, {"task_id": task.task_id})
    if isinstance(trigger, ChannelActivity) and not outcome.result.is_error:
        cursors = [{"channel_id": c.channel_id, "ts": c.ts} for c in trigger.cursors]
        worker.outbox.put(lane, WriteKind.COMMIT_CURSORS, {"cursors": cursors})
    await _sync_profile(worker, outcome, log)
    if not is_handed_over:
        worker.state.forget(task.task_id)
    if not await worker.outbox.flushed(lane, timeout_s=DELIVERY_WAIT_S):
        log.warning(Event.WRITE_RETRIED, lane=lane, pending=worker.outbox.pending(lane))


def give_up(worker: Parts, task: RunningTask, error: Exception) -> None:
    """End a task whose end we got wrong, so that it takes no place on the server for ever."""
    lane = task_lane(task.task_id)
    if _is_ours_to_end(task):
        reason = f"The worker failed to report the result: {type(error).__name__}"
        body = FinishBody(status="failed", failure_reason=reason)
        worker.outbox.put(lane, WriteKind.FINISH, body.args(task.task_id))
    worker.outbox.put(lane, WriteKind.DELETE_ACTIVE_SESSION, {"task_id": task.task_id})
    worker.state.forget(task.task_id)


def _is_ours_to_end(task: RunningTask) -> bool:
    is_handed_over = task.ended_by == GRACEFUL_SHUTDOWN
    return task.has_task and not task.observe_only and task.is_ours and not is_handed_over


def _was_taken(task: RunningTask) -> bool:
    """True if the task ended, or went to somebody else, while its session ran."""
    is_theirs = task.has_task and not task.observe_only and not task.is_ours
    return is_theirs and task.ended_by != PAUSED


async def _keep_result(worker: Parts, task: RunningTask, outcome: Outcome, log: Log) -> None:
    """Keep what the session came to as a line of its log: the task has another's word."""
    body = await _decide(worker, outcome, None, None, log)
    last_text = outcome.reporter.last_text if outcome.reporter else ""
    if body is None or not (body.output or last_text):
        return
    args = body.args(task.task_id) | {
        "session_uuid": task.session_uuid,
        "output": body.output or clip(_redactor(worker, outcome).text(last_text), MAX_TEXT_CHARS),
    }
    worker.outbox.put(task_lane(task.task_id), WriteKind.LATE_RESULT, args)


async def _put_finish(
    worker: Parts, task: RunningTask, trigger: Trigger, outcome: Outcome, log: Log
) -> None:
    """Decide how the task ends and queue it, unless the task is no longer ours to end."""
    current = await _current(worker, task, log)
    if not task.is_ours:
        log.warning(Event.TASK_LOST, task=task.task_id)
        return
    row = current or (trigger.task if isinstance(trigger, TaskAssigned | TaskOffered) else None)
    body = await _decide(worker, outcome, current, row, log)
    if body is None:
        log.info(Event.TASK_FINISHED, status=current.status if current else None, by="the agent")
        if current is not None and current.status == "failed" and not has_failed(outcome.result):
            # Rather the server's word, which took the session for dead, than the agent's own.
            await _keep_result(worker, task, outcome, log)
        return
    args = body.args(task.task_id) | {"session_uuid": task.session_uuid}
    worker.outbox.put(task_lane(task.task_id), WriteKind.FINISH, args)
    why = shorten(body.failure_reason.partition("\n")[0], 300) if body.failure_reason else None
    log.info(Event.TASK_FINISHED, status=body.status, why=why, note=body.note)


async def _decide(
    worker: Parts, outcome: Outcome, current: Task | None, row: Task | None, log: Log
) -> FinishBody | None:
    """Decide how the task ends; what the agent or the task's author wrote must not stop us."""
    try:
        return await decide_finish(
            outcome.result,
            harness=outcome.ready.adapter.name if outcome.ready else worker.harness.name,
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


def _redactor(worker: Parts, outcome: Outcome) -> Redactor:
    return outcome.ready.config.redactor if outcome.ready else worker.scrubber


async def _current(worker: Parts, task: RunningTask, log: Log) -> Task | None:
    """Ask what the task is now, and notice if it is somebody else's; ``None`` = cannot be asked."""
    try:
        current = await worker.client.tasks.get(task.task_id)
    except ApiError as error:
        # The server does not know the task; that it does not know the route says nothing.
        is_unknown = isinstance(error, ApiRefused) and error.status == 404
        if is_unknown and not isinstance(error, RouteMissing):
            task.lose()
        log.debug(Event.API_REFUSED, call="task", why=str(error))
        return None
    is_elsewhere = current.agent_id not in (None, worker.agent_id)
    if is_elsewhere or current.status in {"cancelled", "superseded"}:
        task.lose()
    return current


async def _sync_profile(worker: Parts, outcome: Outcome, log: Log) -> None:
    """Send what the agent changed in its own files (docs/api.md 3.7)."""
    if worker.profile_sync is None or outcome.ready is None:
        return
    if not adapter_spec(outcome.ready.adapter).capabilities.has_local_environment:
        return
    try:
        await worker.profile_sync.sync()
    except (ApiError, OSError) as error:
        log.warning(Event.IDENTITY, step="sync", why=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a session ended, with what its report needs."""

    result: ProviderResult
    ready: Ready | None = None
    reporter: SessionReporter | None = None
    """``None`` for both if the session never began."""


UNKNOWN_LIMIT = timedelta(minutes=5)
"""How long a key rests that hit a limit of which no end is known."""
LONGEST_REST = timedelta(days=7)


def report_limits(
    worker: Parts, chosen: Sequence[Selection], result: ProviderResult, spec: HarnessSpec
) -> None:
    """Report what the session learned of its credential's limits; the first one is the one used.

    A key that served a whole session is cleared, whatever its windows say: a subscription may go
    on beyond them. One that hit a limit rests until the time the vendor named, or for a while if
    none was (docs/api.md 14.3). Never both.
    """
    if not chosen:
        return
    used, now = chosen[0], worker.clock.now()
    key = (used.key_type, used.suffix)
    if result.rate_limit_windows:
        windows = windows_body(result.rate_limit_windows, seen_at=wire_time(now))
        put_report(worker, WriteKind.REPORT_WINDOWS, used, {"windows": windows})
    if not result.is_error:
        # Another session may have found the limit after this one got past it.
        if worker.logins.limited_at_s.get(key, -1.0) < used.chosen_at_s:
            put_report(worker, WriteKind.CLEAR_RATE_LIMIT, used, {})
        return
    rest = timedelta(milliseconds=worker.settings.codex_credits_exhausted_cooldown_ms)
    until = limited_until(result, now, credits_rest=rest, error_texts=spec.error_texts)
    if until is not None:
        worker.logins.limited_at_s[key] = worker.clock.monotonic()
        worker.log.warning(Event.CREDENTIAL_LIMITED, key=used.key_type, until=wire_time(until))
        put_report(worker, WriteKind.REPORT_RATE_LIMIT, used, {"until": wire_time(until)})


def limited_until(
    result: ProviderResult,
    now: datetime,
    *,
    credits_rest: timedelta,
    error_texts: Mapping[str, Sequence[str]] | None = None,
) -> datetime | None:
    """Return until when a failed session's credential is of no use; ``None`` if it is not to blame.

    Args:
        result: of the session.
        now: the present moment, aware.
        credits_rest: how long one rests that has no credit left.
        error_texts: what the harness's own errors look like, by class.
    """
    reason = result.failure_reason or ""
    kind = classify_error(reason, category=result.error_category, also=error_texts)
    told = _told(result, reason, now)
    if kind not in LIMITS:
        return clamp_reset(told, now) if told and result.rate_limit_reset_at else None
    if told is not None:
        return clamp_reset(told, now)
    if kind is ErrorClass.BILLING_ERROR:
        return now + min(max(credits_rest, UNKNOWN_LIMIT), LONGEST_REST)
    return now + UNKNOWN_LIMIT


def _told(result: ProviderResult, reason: str, now: datetime) -> datetime | None:
    """The end of the limit: as the harness has it, in the words of the error, by its windows."""
    if result.rate_limit_reset_at:
        try:
            moment = datetime.fromisoformat(result.rate_limit_reset_at)
        except ValueError:
            pass
        else:
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    told = parse_reset_time(reason, now)
    ends = [
        window.resets_at_s
        for window in result.rate_limit_windows.values()
        if window.status == "rejected" and window.resets_at_s
    ]
    if told is None and ends:
        return datetime.fromtimestamp(min(max(ends), 32_503_680_000), UTC)
    return told
