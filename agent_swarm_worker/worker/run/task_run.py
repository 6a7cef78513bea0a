"""One task, from the claim to the finish.

Connects a task with the pull request its agent opened (docs/api.md 5.11).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.lowlevel import checkpoint

from agent_swarm_worker.aio import wait_all
from agent_swarm_worker.api.wire import vcs_body
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.contract import Message, ProviderResult, Result, ToolStart
from agent_swarm_worker.contract.listening import listens_to
from agent_swarm_worker.errors import ApiError, ProviderError, SwarmWorkerError
from agent_swarm_worker.guards.tool_loop import ToolLoopGuard
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.providers.catalog import context_window
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.reporting.console import Console
from agent_swarm_worker.reporting.port import SessionInfo
from agent_swarm_worker.reporting.reporter import SessionReporter
from agent_swarm_worker.state.directory import Claim
from agent_swarm_worker.worker.boot.harness import wire_name
from agent_swarm_worker.worker.boot.parts import (
    Api,
    Basics,
    Config,
    Host,
    Identity,
    Logins,
    Prompts,
    Running,
    Sessions,
    Storage,
    Workspace,
)
from agent_swarm_worker.worker.loops.heartbeat import announce, is_gone
from agent_swarm_worker.worker.loops.shutdown import GRACEFUL_SHUTDOWN, supersede
from agent_swarm_worker.worker.recovery.upload_cursor import LogCursor
from agent_swarm_worker.worker.run.continuity import HARNESS_KEY
from agent_swarm_worker.worker.run.finishing import Outcome, finish_task, give_up
from agent_swarm_worker.worker.run.preparation import Ready, prepared
from agent_swarm_worker.worker.run.watchdog import Watchdog
from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.vcs import find_request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent_swarm_worker.api.wire import Trigger
    from agent_swarm_worker.contract import ProviderEvent, ProviderSession
    from agent_swarm_worker.contract.listening import ByteRange
    from agent_swarm_worker.worker.run.running_task import RunningTask

ABORTED = "aborted"
"""The category of a session that failed because it was ended, until `_for_its_cause`."""
LAST_LOOK_S = 10.0
"""How long the result of a session may wait for a look for its pull request."""


class Parts(
    Identity,
    Config,
    Basics,
    Api,
    Storage,
    Running,
    Host,
    Logins,
    Prompts,
    Workspace,
    Sessions,
    Protocol,
):
    """What this module uses of the worker."""


async def run_trigger(worker: Parts, task: RunningTask, trigger: Trigger) -> None:
    """Run one trigger; gives its slot back when everything about it is told or kept on disk."""
    log = worker.log.bind(task=task.task_id)
    try:
        _remember(worker, task)
        if worker.shutdown.is_draining:
            # Claimed by the last poll: not begun here, but handed back for the next worker.
            await supersede(worker, task)
            return
        announced = anyio.Event()
        outcome, _ = await wait_all(
            partial(_run_session, worker, task, trigger, announced, log),
            partial(_announce, worker, task, announced),
        )
        if task.is_live:
            task.report(task.ended_by)
        await finish_task(worker, task, trigger, outcome, log)
    except Exception as error:  # one task's trouble must not end the worker
        log.error(Event.TASK_FINISHED, why=repr(error))
        give_up(worker, task, error)
    finally:
        worker.slots.remove(task)


async def _announce(worker: Parts, task: RunningTask, announced: anyio.Event) -> None:
    """Tell the server at once: a claim without a session is given to somebody else."""
    try:
        await announce(worker, task)
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="active-session", why=str(error))
    except Exception as error:  # a mistake of ours must not end the session beside it
        worker.log.error(Event.API_REFUSED, call="active-session", why=repr(error))
    finally:
        announced.set()


async def _last_look(worker: Parts, task: RunningTask, announced: anyio.Event) -> None:
    """End the task if the server gave it up before it heard of a session of it."""
    await announced.wait()
    await is_gone(worker, task)


async def _run_session(
    worker: Parts, task: RunningTask, trigger: Trigger, announced: anyio.Event, log: Log
) -> Outcome:
    """Prepare and run the session. Whatever goes wrong becomes a result that says so."""
    # The announcement goes first: until it is there, a sweep of the server takes the task for lost.
    await checkpoint()
    try:
        with task.scope:
            last_look = partial(_last_look, worker, task, announced)
            async with prepared(worker, task, trigger, last_look) as ready:
                _remember(worker, task, ready)
                reporter = _reporter(worker, task, ready, log)
                sink = _Sink(reporter, _watchdog(worker, task, ready, reporter, log))
                session = await ready.adapter.create_session(replace(ready.config, sink=sink))
                task.begin(session)
                log.info(Event.TASK_STARTED, harness=ready.adapter.name, cwd=str(ready.config.cwd))
                return await _drive(worker, task, ready, session, sink, log=log)
    except Exception as error:
        return Outcome(result=_as_result(error, log))
    return Outcome(result=_for_its_cause(_failure("cancelled", ABORTED), task.ended_by))


async def _drive(
    worker: Parts,
    task: RunningTask,
    ready: Ready,
    session: ProviderSession,
    sink: _Sink,
    *,
    log: Log,
) -> Outcome:
    """Run the session and report it; what it said counts even if it, or we, break."""
    try:
        result = await _watched(worker, task, ready, session, sink)
    except Exception as error:
        result = _as_result(error, log)
    result = _for_its_cause(result, task.ended_by)
    log.info(
        Event.SESSION_ENDED,
        exit_code=result.exit_code,
        is_error=result.is_error,
        category=result.error_category,
    )
    return Outcome(result=result, ready=ready, reporter=sink.reporter)


async def _watched(
    worker: Parts,
    task: RunningTask,
    ready: Ready,
    session: ProviderSession,
    sink: _Sink,
) -> ProviderResult:
    """Run the session with everything that listens to it and everything that may end it."""
    reporter, watchdog = sink.reporter, sink.watchdog
    log = worker.log.bind(task=task.task_id)
    loops = _LoopEnder(task)
    guard = ToolLoopGuard(loops.found, clock=worker.clock, log=log)
    console = Console(log)
    told = listens_to(Result, Message, ToolStart)(partial(_note_result, task))
    for listener in (reporter.on_event, watchdog.on_event, guard.on_event, console.on_event, told):
        session.on_event(listener)
    if task.ended_by is not None:
        await session.abort(task.ended_by)
    has_link = task.has_task and not task.observe_only
    async with anyio.create_task_group() as helpers:
        helpers.start_soon(reporter.run)
        helpers.start_soon(watchdog.run)
        helpers.start_soon(loops.run)
        if has_link:
            helpers.start_soon(watch_pull_request, worker, task, ready, reporter.lane)
        result = _failure("the session did not end when it was asked to", ABORTED)
        with watchdog.patience:
            result = await session.wait_for_completion()
        cause = watchdog.cause()
        if cause is None and result.error_category == ABORTED and worker.shutdown.is_draining:
            # Ended for its result at the shutdown, which then was not its last word.
            cause = GRACEFUL_SHUTDOWN
        task.report(cause)
        helpers.cancel_scope.cancel()
    if has_link and task.ended_by is None:
        # Most are opened with the agent's last call.
        with anyio.move_on_after(LAST_LOOK_S):
            await link_pull_request(worker, task, ready, reporter.lane)
    return result


def _watchdog(
    worker: Parts, task: RunningTask, ready: Ready, reporter: SessionReporter, log: Log
) -> Watchdog:
    return Watchdog(
        task,
        limits=ready.limits,
        say=reporter.note,
        clock=worker.clock,
        log=log,
        hang_texts=adapter_spec(ready.adapter).hang_texts,
    )


@dataclass(frozen=True, slots=True)
class _Sink:
    """A `SessionSink`: the journal is the reporter's affair, a sign of life the watchdog's."""

    reporter: SessionReporter
    watchdog: Watchdog

    def wrote(self, written: ByteRange) -> None:
        self.reporter.wrote(written)

    def switched(self, path: Path, start: int) -> None:
        self.reporter.switched(path, start)

    def unwritten(self, lines: bytes) -> None:
        self.reporter.unwritten(lines)

    def received(self, lines: Sequence[bytes]) -> None:
        self.watchdog.received(lines)


def _note_result(task: RunningTask, event: ProviderEvent) -> None:
    if isinstance(event, Message) and (event.subagent or event.role != "assistant"):
        return
    if isinstance(event, (Message, ToolStart, Result)):
        task.heard(is_result=isinstance(event, Result))


def _as_result(error: Exception, log: Log) -> ProviderResult:
    """Say what an exception means for the task."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ProviderError):
        return _failure(f"Spawn failed: {error}", error.category)
    if isinstance(error, SwarmWorkerError):
        return _failure(f"The session could not be prepared: {error}", "setup")
    log.error(Event.SESSION_ENDED, why=repr(error))
    return _failure(f"The worker failed: {error!r}", "internal")


def _for_its_cause(result: ProviderResult, ended_by: str | None) -> ProviderResult:
    """Let a session that failed because it was ended fail for what it was ended for."""
    if ended_by is None or result.error_category != ABORTED:
        return result
    return replace(result, error_category=ended_by.partition(":")[0], failure_reason=ended_by)


class _LoopEnder:
    """Ends the task when the tool-loop guard, a listener that cannot wait, says so."""

    def __init__(self, task: RunningTask) -> None:
        self._task = task
        self._reason = ""
        self._found = anyio.Event()

    def found(self, reason: str) -> None:
        self._reason = reason
        self._found.set()

    async def run(self) -> None:
        await self._found.wait()
        await self._task.end(self._reason)


def _remember(worker: Parts, task: RunningTask, ready: Ready | None = None) -> None:
    """Note the run on disk, for the next process should this one be killed.

    Before it is `ready` there is no journal yet, only the folder it will lie in.
    """
    claim = Claim(
        task_id=task.task_id,
        session_uuid=task.session_uuid,
        harness=worker.harness.name,
        log_file=worker.log_dir,
        started_at=wire_time(worker.clock.now()),
        tag=task.session_uuid,
        phase="running" if task.has_task else "no_task",
    )
    if ready is not None:
        claim = replace(
            claim,
            harness=ready.adapter.name,
            log_file=ready.config.log_file,
            iteration=ready.config.iteration,
            log_offset=ready.metadata_bytes,
            handle=task.handle,
        )
    worker.state.claim(claim)


def _reporter(worker: Parts, task: RunningTask, ready: Ready, log: Log) -> SessionReporter:
    config, settings = ready.config, worker.settings
    spec = adapter_spec(ready.adapter)
    is_known = wire_name(ready.adapter) == ready.adapter.name
    info = SessionInfo(
        task_id=task.task_id if task.has_task else None,
        effective_id=task.task_id,
        agent_id=worker.agent_id,
        session_uuid=task.session_uuid,
        iteration=config.iteration,
        harness=ready.adapter.name,
        context_window=partial(context_window, models=spec.models),
        tools=spec.tools,
        wire_provider=wire_name(ready.adapter),
        session_meta={} if is_known else {HARNESS_KEY: ready.adapter.name},
        log_file=config.log_file,
        metadata_bytes=ready.metadata_bytes,
        model=ready.model.model,
        model_source=ready.model.source,
        observe_only=task.observe_only,
        log_flush_s=settings.log_flush_interval_s,
        sessions=lambda: len(worker.slots),
        events_flush_s=max(settings.log_flush_interval_s, settings.events_flush_interval_s),
    )
    reporter = SessionReporter(
        info,
        writes=LogCursor(worker.outbox, worker.state, task.task_id),
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


INTERVAL_S = 60.0


async def watch_pull_request(worker: Parts, task: RunningTask, ready: Ready, lane: str) -> None:
    """Look every minute until there is one; ends with the session."""
    while not await link_pull_request(worker, task, ready, lane):
        await worker.clock.sleep(INTERVAL_S)


async def link_pull_request(worker: Parts, task: RunningTask, ready: Ready, lane: str) -> bool:
    """Look once; true if a pull request was found and its link queued."""
    if not adapter_spec(ready.adapter).capabilities.has_local_environment:
        return False
    try:
        git = Git(ready.config.env, timeout_s=20.0, scrub=ready.config.redactor.text)
        found = await find_request(git, ready.directory)
    except Exception as error:  # a link that is missing costs less than a session
        worker.log.warning(Event.REPOSITORY, task=task.task_id, why=repr(error))
        return False
    if found is None:
        return False
    link = vcs_body(provider=found.provider, repo=found.repo, number=found.number, url=found.url)
    if link is not None:
        worker.outbox.put(lane, WriteKind.VCS, {"task_id": task.task_id, "link": link})
    return True
