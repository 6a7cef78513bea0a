"""Replays the session of a killed worker: its journal, and its unread output.

Lines and events behind the two offsets of the claim, and the cost, are reported by the same
reporter that a running session has.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import (
    Ending,
    HarnessSpec,
    Message,
    ProviderResult,
    ProviderSessionConfig,
    RemoteSessions,
    ReplayableAdapter,
    Result,
    ToolStart,
)
from agent_swarm_worker.contract.listening import ByteRange
from agent_swarm_worker.errors import SwarmWorkerError
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.journal.files import continuation_of, number_of_rest, read_head
from agent_swarm_worker.journal.reading import split_at_lines
from agent_swarm_worker.journal.records import replay
from agent_swarm_worker.journal.repair import repair
from agent_swarm_worker.journal.writer import MAX_RANGE_BYTES
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.catalog import context_window
from agent_swarm_worker.providers.kit.session import BaseSession
from agent_swarm_worker.providers.registry import adapter_spec, create_provider
from agent_swarm_worker.reporting.finish import LatestCost
from agent_swarm_worker.reporting.port import SessionInfo
from agent_swarm_worker.reporting.reporter import SessionReporter
from agent_swarm_worker.state.directory import FULLY_REPORTED
from agent_swarm_worker.worker.boot.harness import HARNESS_PROFILE_KEY, server_names
from agent_swarm_worker.worker.recovery.upload_cursor import UploadCursor
from agent_swarm_worker.worker.run.continuity import meta_of
from agent_swarm_worker.worker.run.launch_files import SESSIONS_DIR
from agent_swarm_worker.worker.run.session_summary import Transcript, requested_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.contract import Guest, ProviderAdapter, ProviderEvent, Translator
    from agent_swarm_worker.contract.guest import Unread
    from agent_swarm_worker.journal.repair import Unrecorded
    from agent_swarm_worker.state.directory import Claim
    from agent_swarm_worker.worker.boot.parts import Core
    from agent_swarm_worker.worker.run.pending_summaries import SummaryRequest


VENDOR_S = 600.0
"""How long a task waits for the end of its session at a vendor that does not answer."""


class OrphanedSession:
    """One session of a killed worker."""

    def __init__(self, worker: Core, claim: Claim, guest: Guest) -> None:
        self._worker, self._claim = worker, claim
        self._adapter = _adapter_of(worker, claim.harness)
        self._config = _config(worker, claim, guest)
        self._cursor = UploadCursor(worker.outbox, worker.state, claim.task_id, may_repeat=True)
        self._reporter = self._new_reporter()
        self.replayed = ReplayedOutcome(NoTranslator())
        self.transcript = Transcript()
        self.result: ProviderResult | None = None
        """The session's result; ``None`` if it had not finished."""
        self.runs_at_vendor = False
        """The vendor at which it ran has not confirmed its end."""
        self._translator_at_end: Translator | None = None
        self._replayed_s = worker.clock.monotonic()

    async def replay(self, unread: Unread) -> None:
        """Read the journal and the unread output; report what was not reported yet."""
        claim, path = self._claim, self._claim.log_file
        is_reported = claim.reported_offset == FULLY_REPORTED
        fresh = continuation_of(path)
        stdout, stderr = repair(fresh if fresh.is_file() else path, unread)
        if not (path.is_file() or stdout or stderr):
            return  # killed before the session began
        if not is_reported:
            self._upload(path, claim.log_offset)
        offset = sys.maxsize if is_reported else claim.reported_offset
        translator = await self._replay(path, reported_offset=offset)
        if fresh.is_file():
            # The session was restarted without its history; none of that was reported.
            begin = self._switch_to(fresh)
            offset = sys.maxsize if is_reported else begin
            translator = await self._replay(fresh, reported_offset=offset)
        self._take(stdout, stderr, translator)
        self._translator_at_end = translator
        if not is_reported:
            await self.end_at_vendor()
        result = self.replayed.conclude()
        self.result = result if self.replayed.has_result else None
        if not is_reported:
            self._reporter.stop_progress()
            with self._worker.state.database.transaction(durable=True):
                self._reporter.close(result)
                self._worker.state.mark_fully_reported(claim.task_id)

    async def end_at_vendor(self, take: Callable[[Sequence[bytes]], None] | None = None) -> None:
        """End the session at its vendor if it runs at one, after taking what it said since."""
        adapter: object = self._adapter
        if not isinstance(adapter, RemoteSessions) or self._translator_at_end is None:
            return
        translator, session = self._translator_at_end, self._session()
        take = take or partial(session.take, translator=translator)
        try:
            await adapter.end_remote(self._config, translator, take)
            self.runs_at_vendor = False
        except SwarmWorkerError as error:
            self.runs_at_vendor = True
            self._worker.log.error(
                Event.SESSION_HUNG, task=self._claim.task_id, why=str(error), at="vendor"
            )
        finally:
            session.close_journal()

    async def end_at_vendor_late(self) -> None:
        """Try again to end it there, for `VENDOR_S` after the first time; nothing is reported."""
        now_s = self._worker.clock.monotonic()
        if now_s - self._replayed_s < VENDOR_S:
            await self.end_at_vendor(lambda _: None)
        else:
            self.runs_at_vendor = False
            why = "its vendor has not confirmed its end; look there"
            self._worker.log.error(Event.SESSION_HUNG, task=self._claim.task_id, why=why)

    def _session(self) -> BaseSession:
        config = replace(self._config, sink=self._reporter)
        session = BaseSession(config, clock=self._worker.clock, log=self._worker.log)
        session.on_event(self._listen)
        session.on_event(self._reporter.on_event)
        return session

    def _upload(self, path: Path, start: int) -> None:
        with suppress(OSError):
            rest = ByteRange(start, path.stat().st_size)
            for part in split_at_lines(path, rest, MAX_RANGE_BYTES):
                self._reporter.wrote(part)

    async def _replay(self, path: Path, *, reported_offset: int) -> Translator:
        translator = await self._translator()
        self.replayed = ReplayedOutcome(translator)
        with suppress(OSError):
            await replay(
                path,
                translator,
                self._listen,
                redactor=self._config.redactor,
                reported_offset=reported_offset,
                unreported=self._reporter.on_event,
            )
        return translator

    def summary(self, task: Task) -> SummaryRequest | None:
        """Return the request for the summary of a session that had finished."""
        assert self.result is not None
        return requested_summary(
            self._worker,
            session_uuid=self._claim.session_uuid,
            task_id=task.id,
            lane=task.id,
            text=task.text,
            transcript=self.transcript,
            result=self.result,
            redactor=self._config.redactor,
        )

    def _listen(self, event: ProviderEvent) -> None:
        self.replayed.on_event(event)
        self.transcript.on_event(event)

    def _switch_to(self, fresh: Path) -> int:
        """Continue with the journal of the restarted session; return where its lines begin."""
        begin = read_head(fresh).size
        self._config = replace(self._config, log_file=fresh, resume_session_id=None)
        self._reporter.switched(fresh, begin)
        self._upload(fresh, begin)
        return begin

    def _take(
        self, stdout: list[Unrecorded], stderr: list[Unrecorded], translator: Translator
    ) -> None:
        """Process the output that is not in the journal as a running session would."""
        session = self._session()
        for stream, rest in stdout:
            session.take(rest.split(b"\n"), translator, stream.checkpoint)
        for stream, rest in stderr:
            text = self._config.redactor.data(rest).rstrip(b"\n")
            session.take_stderr(text, translator, stream.checkpoint)
        session.close_journal()

    async def _translator(self) -> Translator:
        adapter: object = self._adapter
        if isinstance(adapter, ReplayableAdapter):
            try:
                return await adapter.translator(self._config) or NoTranslator()
            except SwarmWorkerError as error:
                self._worker.log.debug(Event.TASK_RECOVERED, why=str(error))
        return NoTranslator()

    def _new_reporter(self) -> SessionReporter:
        worker, claim = self._worker, self._claim
        adapter, sent = self._adapter, None
        spec = HarnessSpec(name=claim.harness) if adapter is None else adapter_spec(adapter)
        if adapter is not None:
            sent = worker.client.capabilities.harness_names.sent_for(server_names(spec))
        info = SessionInfo(
            task_id=claim.task_id if claim.phase != "no_task" else None,
            effective_id=claim.task_id,
            agent_id=worker.agent_id,
            session_uuid=claim.session_uuid,
            iteration=number_of_rest(claim.iteration, claim.log_offset),
            harness=claim.harness,
            context_window=partial(context_window, models=spec.models),
            tools=spec.tools,
            wire_provider=sent.session if sent else None,
            cost_provider=sent.cost if sent else None,
            nearest_provider=sent.nearest if sent else None,
            session_meta=meta_of(claim.harness, sent.session if sent else None),
            log_file=claim.log_file,
            metadata_bytes=claim.log_offset,
            elapsed_s=_elapsed_s(claim),
            observe_only=claim.phase == "offer",
        )
        return SessionReporter(
            info,
            writes=self._cursor,
            clock=worker.clock,
            redactor=self._config.redactor,
            log=worker.log,
        )


def _adapter_of(worker: Core, harness: str) -> ProviderAdapter | None:
    if harness == worker.harness.name:
        return worker.harness.adapter
    try:
        return create_provider(harness)
    except (SwarmWorkerError, ImportError):
        return None


def _config(worker: Core, claim: Claim, guest: Guest) -> ProviderSessionConfig:
    first = _first_record(claim.log_file)
    profile = worker.harness.recorded_variables(claim.harness, first.get(HARNESS_PROFILE_KEY))
    worker.scrubber.add_env(profile)
    env = {**worker.environment.values(), **profile}
    return ProviderSessionConfig(
        prompt="",
        agent_id=worker.agent_id,
        task_id=claim.task_id,
        session_uuid=claim.session_uuid,
        api_url=worker.settings.api_url,
        api_key=worker.settings.api_key,
        guest=guest,
        cwd=worker.state.path,
        log_file=claim.log_file,
        private_dir=worker.state.path / SESSIONS_DIR / claim.session_uuid,
        env=guest.environment(env, profile),
        redactor=Scrubber(worker.scrubber),
        model=str(first.get("model") or ""),
        resume_session_id=first.get("resumes"),
        forks=first.get("forks") is True,
        iteration=claim.iteration,
    )


def _first_record(journal: Path) -> dict[str, Any]:
    try:
        return read_head(journal).record
    except OSError:
        return {}


def _elapsed_s(claim: Claim) -> float:
    """Return the seconds from the claim to the last change of the journal."""
    try:
        began = datetime.fromisoformat(claim.started_at).timestamp()
        return max(0.0, claim.log_file.stat().st_mtime - began)
    except (OSError, ValueError):
        return 0.0


KILLED = 137
"""Exit code after SIGKILL."""
WHY_KILLED = "the worker was killed"


class NoTranslator:
    """Translates nothing; for a harness that is not installed any more or cannot replay."""

    is_final = False

    def feed(self, native: Any) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Return no events."""
        return ()

    feed_text = feed_stderr = feed

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return a result that says that the worker was killed."""
        return ProviderResult(
            exit_code=ending.exit_code,
            is_error=True,
            error_category="aborted",
            failure_reason=WHY_KILLED,
        )


class ReplayedOutcome:
    """Listens to a replay and derives how the session ended."""

    def __init__(self, translator: Translator) -> None:
        self._translator = translator
        self._costs = LatestCost()
        self._is_final = False
        self.last_text = ""

    def on_event(self, event: ProviderEvent) -> None:
        """Record one event; output after a result is another turn."""
        match event:
            case Result():
                self._costs.add(event.cost)
                self._is_final = True
            case Message(role="assistant", subagent=False):
                self.last_text = event.content if event.content.strip() else self.last_text
                self._is_final = False
            case ToolStart():
                self._is_final = False

    @property
    def has_result(self) -> bool:
        """True if the session had finished, so that its task needs no second run."""
        return self._is_final and self._translator.is_final

    def conclude(self) -> ProviderResult:
        """Return the result; for an unfinished session, an aborted one with its cost until then."""
        over = Ending(exit_code=0, hung_after_result=True)
        killed = Ending(exit_code=KILLED, aborted=WHY_KILLED)
        result = self._translator.conclude(over if self.has_result else killed)
        self._costs.add(result.cost)
        return replace(result, cost=self._costs.cost)
