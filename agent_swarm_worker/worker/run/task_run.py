"""Runs one task: claim, session, report.

Also links a task with the pull request that its agent opened (docs/api.md 5.11).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from agent_swarm_worker.aio import first_error, wait_all
from agent_swarm_worker.api.values import encode
from agent_swarm_worker.api.wire.bodies import vcs_body
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.contract import Message, ProviderResult, Result, ToolStart
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.errors import ApiError, ProviderError, SwarmWorkerError
from agent_swarm_worker.guards.tool_loop import ToolLoopGuard
from agent_swarm_worker.journal.writer import make_durable
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.providers.catalog import context_window
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.reporting.console import Console
from agent_swarm_worker.reporting.port import SessionInfo
from agent_swarm_worker.reporting.reporter import SessionReporter
from agent_swarm_worker.state.directory import Claim
from agent_swarm_worker.worker.boot.harness import wire_name
from agent_swarm_worker.worker.loops.heartbeat import check_before_session, create_session_row
from agent_swarm_worker.worker.loops.shutdown import supersede
from agent_swarm_worker.worker.recovery.upload_cursor import UploadCursor
from agent_swarm_worker.worker.run.continuity import HARNESS_KEY, finished_by_parent
from agent_swarm_worker.worker.run.finishing import (
    SessionOutcome,
    fail_unreported,
    finish_task,
    output_request,
    release_task,
)
from agent_swarm_worker.worker.run.permissions import SessionPermissions
from agent_swarm_worker.worker.run.preparation import PreparedSession, prepared
from agent_swarm_worker.worker.run.running_task import GRACEFUL_SHUTDOWN, PAUSED
from agent_swarm_worker.worker.run.session_credentials import tested_status
from agent_swarm_worker.worker.run.session_summary import makes_summaries
from agent_swarm_worker.worker.run.watchdog import Watchdog
from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.vcs import find_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.api.wire.tasks import Trigger
    from agent_swarm_worker.contract import EventListener, ProviderEvent, ProviderSession
    from agent_swarm_worker.worker.boot.parts import RunParts
    from agent_swarm_worker.worker.run.running_task import RunningTask

ABORTED = "aborted"
"""The error category of a session that was ended; `_with_cause` replaces it."""
PULL_REQUEST_INTERVAL_S = 60.0
PULL_REQUEST_CHECK_S = 10.0
"""How long the report of a session may wait for the last search for its pull request."""


async def run_trigger(worker: RunParts, task: RunningTask, trigger: Trigger) -> None:
    """Run one trigger; release its slot when its reports are delivered, or on disk."""
    log = worker.log.bind(task=task.task_id)
    try:
        _write_claim(worker, task)
        if await finished_by_parent(worker, task, trigger):
            task.session_ended(task.ended_by)
            await release_task(worker, task, log)
            return
        if worker.shutdown.is_draining:
            # Claimed by the last poll before the shutdown: handed back without a session.
            await supersede(worker, task)
            return
        row_created = anyio.Event()
        outcome, _ = await wait_all(
            partial(_run_session, worker, task, trigger, row_created, log),
            partial(_create_row, worker, task, row_created),
        )
        if task.is_live:
            task.session_ended(task.ended_by)
        await finish_task(worker, task, trigger, outcome, log)
    except Exception as error:  # an error in one task must not end the worker
        log.error(Event.TASK_FINISHED, why=repr(error))
        fail_unreported(worker, task, error)
    finally:
        worker.slots.remove(task)


async def _create_row(worker: RunParts, task: RunningTask, row_created: anyio.Event) -> None:
    """Create the session row at once: a claim without one is given to another worker."""
    try:
        await create_session_row(worker, task)
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="active-session", why=str(error))
    except Exception as error:  # a bug must not end the session that runs beside it
        worker.log.error(Event.API_REFUSED, call="active-session", why=repr(error))
    finally:
        row_created.set()


async def _run_session(
    worker: RunParts, task: RunningTask, trigger: Trigger, row_created: anyio.Event, log: Log
) -> SessionOutcome:
    """Prepare and run the session; an error becomes a failed result."""
    # Let `_create_row` start first: without a session row a sweep takes the task for lost.
    await checkpoint()
    try:
        with task.scope:
            final_check = partial(check_before_session, worker, task, row_created)
            async with prepared(worker, task, trigger, final_check) as setup:
                _write_claim(worker, task, setup)
                outcome = await _run_prepared(worker, task, setup, task.begin, log)
                if outcome.cause is None and task.ended_by is None:
                    outcome = await _with_fitting_output(worker, task, trigger, outcome, log)
                task.session_ended(outcome.cause)
                workspace = setup.workspace
                if workspace.repository and outcome.cause not in {GRACEFUL_SHUTDOWN, PAUSED}:
                    # Any other end leaves the changes: the work goes on later, or did not begin.
                    workspace.repository.report.uncommitted = workspace.rules.uncommitted
                if task.has_task and not task.observe_only and outcome.cause is None:
                    # Most pull requests are opened by the agent's last call.
                    with anyio.move_on_after(PULL_REQUEST_CHECK_S):
                        await link_pull_request(worker, task, setup)
                return outcome
    except Exception as error:
        return SessionOutcome(result=_failure_from(error, log))
    return SessionOutcome(result=_with_cause(_failure("cancelled", ABORTED), task.ended_by))


async def _run_prepared(
    worker: RunParts,
    task: RunningTask,
    setup: PreparedSession,
    begin: Callable[[ProviderSession], None],
    log: Log,
) -> SessionOutcome:
    reporter = _reporter(worker, task, setup, log)
    gate = setup.config.permissions
    if isinstance(gate, SessionPermissions):
        gate.note = partial(_note_question, reporter)
    watchdog = Watchdog(
        task,
        limits=setup.limits,
        report_progress=reporter.note,
        clock=worker.clock,
        log=log,
        hang_texts=adapter_spec(setup.adapter).hang_texts,
        is_waiting=lambda: isinstance(gate, SessionPermissions) and gate.waiting > 0,
    )
    reporter.received = watchdog.received
    session = await setup.adapter.create_session(replace(setup.config, sink=reporter))
    begin(session)
    log.info(Event.TASK_STARTED, harness=setup.adapter.name, cwd=str(setup.config.cwd))
    return await _drive(worker, task, setup, session, reporter=reporter, watchdog=watchdog, log=log)


def _note_question(reporter: SessionReporter, text: str) -> None:
    """Put a question into the session's log, and onto the task."""
    reporter.unwritten(encode({"type": "progress", "message": text}) + b"\n")
    reporter.note(text)


async def _with_fitting_output(
    worker: RunParts, task: RunningTask, trigger: Trigger, outcome: SessionOutcome, log: Log
) -> SessionOutcome:
    """Ask the session once more if its output does not fit the task's schema."""
    request = await output_request(worker, task, trigger, outcome, log)
    if request is None or outcome.reporter is None or outcome.setup is None:
        return replace(outcome, cause=task.ended_by)
    session_id = request.setup.config.resume_session_id
    log.warning(Event.SESSION_RESUMED, session=session_id, state="asked for fitting output")
    with worker.state.database.transaction(durable=True):
        outcome.reporter.close(outcome.result)
        _write_claim(worker, task, request.setup)
    await anyio.to_thread.run_sync(make_durable, outcome.setup.config.log_file)
    try:
        second = await _run_prepared(worker, task, request.setup, task.continue_with, log)
    except Exception as error:
        second = SessionOutcome(result=_failure_from(error, log), setup=request.setup)
    return replace(second, result=request.answered(second.result))


async def _drive(
    worker: RunParts,
    task: RunningTask,
    setup: PreparedSession,
    session: ProviderSession,
    *,
    reporter: SessionReporter,
    watchdog: Watchdog,
    log: Log,
) -> SessionOutcome:
    """Run the session to its result; its output is reported even after an error."""
    try:
        result, cause = await _run_with_listeners(
            worker, task, setup, session, reporter=reporter, watchdog=watchdog, log=log
        )
    except Exception as error:
        result, cause = _failure_from(error, log), task.ended_by
    result = _with_cause(result, cause)
    log.info(
        Event.SESSION_ENDED,
        exit_code=result.exit_code,
        is_error=result.is_error,
        category=result.error_category,
    )
    return SessionOutcome(result=result, setup=setup, reporter=reporter, cause=cause)


async def _run_with_listeners(
    worker: RunParts,
    task: RunningTask,
    setup: PreparedSession,
    session: ProviderSession,
    *,
    reporter: SessionReporter,
    watchdog: Watchdog,
    log: Log,
) -> tuple[ProviderResult, str | None]:
    """Run the session with its listeners; return its result, and why the worker ended it."""
    async with anyio.create_task_group() as helpers:

        def end_soon(reason: str) -> None:  # listeners cannot await
            helpers.start_soon(task.end, reason)

        guard = ToolLoopGuard(end_soon, clock=worker.clock, log=log)
        tracker = listens_to(Result, Message, ToolStart)(partial(_track_result, task))
        console = Console(log, adapter_spec(setup.adapter).tools).on_event
        listeners: list[EventListener] = [
            reporter.on_event,
            watchdog.on_event,
            guard.on_event,
            console,
            tracker,
        ]
        if makes_summaries(worker):
            listeners.append(setup.transcript.on_event)
        for listener in listeners:
            session.on_event(listener)
        if task.ended_by is not None:
            await session.abort(task.ended_by)
        helpers.start_soon(reporter.run)
        helpers.start_soon(watchdog.run)
        if task.has_task and not task.observe_only:
            helpers.start_soon(pull_request_loop, worker, task, setup)
        result = _failure("the session did not end when it was asked to", ABORTED)
        with watchdog.abort_scope:
            result = await session.wait_for_completion()
        cause = watchdog.cause()
        if cause is None and result.error_category == ABORTED and worker.shutdown.is_draining:
            # Ended for its result at the shutdown, but the session had more output.
            cause = GRACEFUL_SHUTDOWN
        helpers.cancel_scope.cancel()
    return result, cause


def _track_result(task: RunningTask, event: ProviderEvent) -> None:
    if isinstance(event, Message) and (event.subagent or event.role != "assistant"):
        return
    if isinstance(event, (Message, ToolStart, Result)):
        task.track_output(is_result=isinstance(event, Result))


def _failure_from(raised: Exception, log: Log) -> ProviderResult:
    error = first_error(raised)
    if isinstance(error, ProviderError):
        return _failure(f"Spawn failed: {error}", error.category)
    if isinstance(error, SwarmWorkerError):
        return _failure(f"The session could not be prepared: {error}", "setup")
    log.error(Event.SESSION_ENDED, why=repr(error))
    return _failure(f"The worker failed: {error!r}", "internal")


def _with_cause(result: ProviderResult, ended_by: str | None) -> ProviderResult:
    if ended_by is None or result.error_category != ABORTED:
        return result
    return replace(result, error_category=ended_by.partition(":")[0], failure_reason=ended_by)


def _write_claim(worker: RunParts, task: RunningTask, setup: PreparedSession | None = None) -> None:
    """Write the claim to disk, from which the next process recovers the task.

    Before the session is prepared, `log_file` is only the directory of its journal.
    """
    claim = Claim(
        task_id=task.task_id,
        session_uuid=task.session_uuid,
        harness=worker.harness.name,
        log_file=worker.log_dir,
        started_at=wire_time(worker.clock.now()),
        tag=task.session_uuid,
        phase="offer" if task.observe_only else "running" if task.has_task else "no_task",
    )
    if setup is not None:
        claim = replace(
            claim,
            session_uuid=setup.config.session_uuid,
            harness=setup.adapter.name,
            log_file=setup.config.log_file,
            iteration=setup.config.iteration,
            log_offset=setup.metadata_bytes,
            handle=task.handle,
        )
    worker.state.claim(claim)


def _reporter(
    worker: RunParts, task: RunningTask, setup: PreparedSession, log: Log
) -> SessionReporter:
    config, settings = setup.config, worker.settings
    spec = adapter_spec(setup.adapter)
    is_known = wire_name(setup.adapter) == setup.adapter.name
    facts = SessionInfo(
        task_id=task.task_id if task.has_task else None,
        effective_id=task.task_id,
        agent_id=worker.agent_id,
        session_uuid=config.session_uuid,
        iteration=config.iteration,
        harness=setup.adapter.name,
        context_window=partial(context_window, models=spec.models),
        tools=spec.tools,
        wire_provider=wire_name(setup.adapter),
        session_meta={} if is_known else {HARNESS_KEY: setup.adapter.name},
        log_file=config.log_file,
        metadata_bytes=setup.metadata_bytes,
        model=setup.model.model,
        model_source=setup.model.source,
        cred_status=partial(tested_status, worker, setup.credentials, spec),
        observe_only=task.observe_only,
        log_flush_s=settings.log_flush_interval_s,
        sessions=lambda: len(worker.slots),
        events_flush_s=max(settings.log_flush_interval_s, settings.events_flush_interval_s),
    )
    reporter = SessionReporter(
        facts,
        writes=UploadCursor(worker.outbox, worker.state, task.task_id),
        clock=worker.clock,
        redactor=config.redactor,
        log=log,
    )
    task.stop_progress = reporter.stop_progress
    return reporter


def _failure(reason: str, category: str) -> ProviderResult:
    return ProviderResult(
        exit_code=1, is_error=True, failure_reason=reason, error_category=category
    )


async def pull_request_loop(worker: RunParts, task: RunningTask, setup: PreparedSession) -> None:
    """Search for a pull request every minute until there is one."""
    await worker.clock.sleep(PULL_REQUEST_INTERVAL_S)
    while not await link_pull_request(worker, task, setup):
        await worker.clock.sleep(PULL_REQUEST_INTERVAL_S)


async def link_pull_request(worker: RunParts, task: RunningTask, setup: PreparedSession) -> bool:
    """Search once; true if a pull request was found and its link queued."""
    if not adapter_spec(setup.adapter).capabilities.has_local_environment:
        return False
    try:
        env = worker.environment.for_own_git(setup.config.env)
        git = Git(env, timeout_s=20.0, scrub=setup.config.redactor.text)
        found = await find_request(git, setup.directory)
    except Exception as error:  # a missing link is better than a failed session
        worker.log.warning(Event.REPOSITORY, task=task.task_id, why=repr(error))
        return False
    if found is None:
        return False
    link = vcs_body(provider=found.provider, repo=found.repo, number=found.number, url=found.url)
    if link is not None:
        args = {"task_id": task.task_id, "link": link}
        worker.outbox.put(task.task_id, WriteKind.VCS, args)
    return True
