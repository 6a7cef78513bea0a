"""Run one session of a command-line harness as a child process.

The adapter supplies launch and translator (`CliHarness`). `CliSession` does framing, scrubbing,
standard input, abort, the end of a harness that does not exit after its result, a fresh start if
the session to resume does not exist, and the end of every process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.clock import Clock, SystemClock, wire_time
from agent_swarm_worker.contract import (
    DEFAULT_GRACE,
    NO_GRACE,
    Command,
    Ending,
    Grace,
    Progress,
    ProviderResult,
    SteerDelivery,
    TextTranslator,
)
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.journal.files import continuation_of, continuation_record
from agent_swarm_worker.logs import Event
from agent_swarm_worker.processes.pipes import DRAIN_S, LineFramer, drain, pump
from agent_swarm_worker.processes.procfs import oom_kills
from agent_swarm_worker.providers.kit.conversation import Conversation, StdinWriter, SteeringRouter
from agent_swarm_worker.providers.kit.launch import CliHarness
from agent_swarm_worker.providers.kit.outcome import ABORTED_EXIT, KILLED_EXIT, as_aborted
from agent_swarm_worker.providers.kit.progress_bar import BAR_QUIET_S, newest_state
from agent_swarm_worker.providers.kit.session import BaseSession

if TYPE_CHECKING:
    from agent_swarm_worker.contract import Process, ProviderSessionConfig, SteerMode, Translator
    from agent_swarm_worker.providers.kit.launch import Launch

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longest line taken whole; a screenshot in a tool result has several MiB."""
CUT_LINE_BYTES = 64 * 1024
"""Longest line of standard error; a longer one is cut."""
CATCH_UP_ROUNDS = 5
"""Rounds of the event loop between `abort` and the first signal, in which the readers take what the
harness wrote before. A round takes microseconds and is enough for the first 64 KiB."""
GIVE_UP_S = DRAIN_S + 1.0
"""Wait for a process that survived SIGKILL, as one that hangs in the kernel does."""
INPUT_END_GRACE_S = 2.0
"""Wait, after an abort, for a harness that stopped as asked, and whose input is closed."""
MAX_CHATTER_GRACES = 3
"""Graces after which a harness is ended that goes on printing after its final event."""
STAYS_GRACE_S = 2.0
"""Wait after the result of a harness that never exits by itself; its last files are written."""
SHORT_GRACE = Grace(interrupt_s=1.0, terminate_s=1.0)
UNKNOWN_EXIT = 255
"""Exit code of a process that did not end."""
HarnessFactory: TypeAlias = Callable[["ProviderSessionConfig"], CliHarness]
"""Builds a launch with a new translator; called again for a fresh start."""


@dataclass(slots=True)
class _Run:
    """One launch of the harness."""

    translator: Translator
    stays: bool
    """It does not exit by itself after its result."""
    started_at_s: float
    last_output_at_s: float
    truncated: bool = False
    hung_after_result: bool = False
    is_output_over: bool = False
    """Standard output was closed."""
    closed_output: bool = False
    """It was closed before the final event, so that none can come, and the process went on."""
    framer: LineFramer = field(default_factory=lambda: LineFramer(MAX_LINE_BYTES))
    """Of standard output."""
    bar: str = ""
    """The last state of a progress bar that was reported."""
    abort_reason: str | None = None
    """Set if the abort came before the translator was final."""


class CliSession(BaseSession):
    """Runs one child process; all its tasks live inside `wait_for_completion`."""

    def __init__(
        self,
        config: ProviderSessionConfig,
        make_harness: HarnessFactory,
        *,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(config, clock=clock or SystemClock())
        self._make_harness = make_harness
        self._guest = config.guest
        self._abort_reason: str | None = None
        self._abort_asked = anyio.Event()
        self._result: ProviderResult | None = None
        self._steering = SteeringRouter()

    async def deliver_steering(self, mode: SteerMode, text: str) -> SteerDelivery:
        """Pass a message to the harness; wait until its delivery is settled."""
        return await self._steering.deliver(mode, text)

    async def abort(self, reason: str = "cancelled") -> None:
        """Ask the session to end; the escalation runs inside `wait_for_completion`."""
        self.stop(reason)

    def stop(self, reason: str) -> None:
        """Do the same at once."""
        if self._abort_reason is None:
            self._abort_reason = reason
            self.log.info(Event.SESSION_ABORTED, reason=reason)
        self._abort_asked.set()

    async def wait_for_completion(self) -> ProviderResult:
        """Run the harness to its end; if the session cannot be resumed, once more without it."""
        if self._result is None:
            try:
                result = await self._run_with_fallback()
                result = as_aborted(result, self.breach) if self.breach else result
                self._result = replace(result, session_id=result.session_id or self.session_id)
            finally:
                self._steering.refuse("the session has ended")
                self.close_journal()
        return self._result

    async def _run_with_fallback(self) -> ProviderResult:
        resume = self.config.resume_session_id
        harness = self._make_harness(self.config)
        result = await self._run(harness)
        is_stale = resume is not None and result.error_category in harness.stale_resume
        if not is_stale or self._abort_reason is not None:
            return result
        self.log.warning(Event.SESSION_RESUMED, session=resume, state="not found")
        self.emit(Progress("The earlier session is gone; starting afresh"))
        self.journal.switch(
            continuation_of(self.config.log_file),
            continuation_record(stale_session_id=resume, timestamp=wire_time(self.clock.now())),
        )
        prompt = self.config.fresh_prompt or self.config.prompt
        config = replace(self.config, resume_session_id=None, prompt=prompt)
        return await self._run(self._make_harness(config))

    async def _run(self, harness: CliHarness) -> ProviderResult:
        launch, translator = harness.launch, harness.translator
        if not isinstance(translator, Conversation):
            self._steering.refuse("this harness takes no messages while it runs")
        if self._abort_reason is not None:
            return translator.conclude(Ending(exit_code=ABORTED_EXIT, aborted=self._abort_reason))
        now_s, kills_before = self.clock.monotonic(), oom_kills()
        run = _Run(translator, harness.stays_after_result, now_s, last_output_at_s=now_s)
        try:
            await self._write_files(launch)
            child = await self._guest.start(
                Command(
                    argv=launch.argv,
                    cwd=launch.cwd,
                    env=launch.env,
                    stdin=bool(launch.stdin) or isinstance(translator, Conversation),
                    durable=True,
                )
            )
        except ProviderError as error:
            return ProviderResult(
                exit_code=127,
                is_error=True,
                error_category=error.category,
                failure_reason=f"Spawn failed: {error}",
            )
        else:
            program = PurePath(launch.argv[0]).name
            self.log.info(Event.SESSION_STARTED, program=program, child=child.label)
            async with child:
                exit_code = await self._attend(child, launch, run)
        finally:
            with anyio.CancelScope(shield=True):
                for file in launch.files:
                    # It may be something else by now; the directory is removed later.
                    with contextlib.suppress(OSError):
                        await self._guest.files.remove(str(file.path))
        result = translator.conclude(
            Ending(
                exit_code=exit_code,
                aborted=self._abort_reason,
                hung_after_result=run.hung_after_result,
                closed_output=run.closed_output,
                out_of_memory=exit_code == KILLED_EXIT and oom_kills() > kills_before,
                truncated=run.truncated,
                stderr_tail=self.stderr_tail,
                duration_ms=round((self.clock.monotonic() - run.started_at_s) * 1000),
            )
        )
        return result if run.abort_reason is None else as_aborted(result, run.abort_reason)

    async def _write_files(self, launch: Launch) -> None:
        for file in launch.files:
            try:
                await self._guest.put([file])
            except OSError as error:
                msg = f"cannot write {file.path.name}: {error.strerror}"
                raise ProviderError(msg) from error

    async def _attend(self, child: Process, launch: Launch, run: _Run) -> int:
        """Attend to the child until its end and its last byte; return its exit code.

        However this returns, no process of the session is left.
        """
        stdout = partial(self._read_stdout, child, run)
        stderr = partial(self._read_stderr, child, run)
        grace, writer = DEFAULT_GRACE, None
        exit_code, has_ended = None, False
        if isinstance(run.translator, Conversation):
            writer = StdinWriter(child, run.translator, clock=self.clock)
            self._steering.connect(writer)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write_stdin, child, launch.stdin, writer)
                tasks.start_soon(self._end_on_abort, child, run, tasks.cancel_scope)
                tasks.start_soon(self._end_after_result, child, run, tasks.cancel_scope)
                await drain(child.wait, stdout, stderr, clock=self.clock)
                exit_code, has_ended = await child.wait(), True
                tasks.cancel_scope.cancel()
            grace = DEFAULT_GRACE if has_ended else NO_GRACE  # `_end` gave up
        except anyio.get_cancelled_exc_class():
            grace = NO_GRACE  # a cancelled session kills at once
            raise
        finally:
            self._steering.connect(None)
            with anyio.CancelScope(shield=True):
                await self._guest.end(child, grace, on_step=self._log_step)
        return UNKNOWN_EXIT if exit_code is None else exit_code

    async def _write_stdin(self, child: Process, data: bytes, writer: StdinWriter | None) -> None:
        if data:
            await child.send(data)
        if writer is not None:
            await writer.run()
        elif data:
            await child.close_stdin()

    async def _end_on_abort(self, child: Process, run: _Run, scope: anyio.CancelScope) -> None:
        """End the harness after `abort`; record whether it was final before that.

        An outcome reported after the request follows from the request, a success too: some agents
        count a command that the interrupt ended as done.
        """
        await self._abort_asked.wait()
        for _ in range(CATCH_UP_ROUNDS):
            await checkpoint()
        if not run.translator.is_final and child.returncode is None:
            run.abort_reason = self._abort_reason
        if self._steering.writer is not None:
            await self._steering.writer.interrupt()
            if self._steering.writer.is_closed:
                # At the end of its input it may end by itself, with all that it started.
                await wait_any(child.wait, partial(self.clock.sleep, INPUT_END_GRACE_S))
        await self._end(child, scope)

    async def _end_after_result(self, child: Process, run: _Run, scope: anyio.CancelScope) -> None:
        grace_s, final_for_s, step_s = self.config.result_grace_s, 0.0, 0.0
        mute_for_s = 0.0
        grace_s = min(grace_s, STAYS_GRACE_S) if run.stays else grace_s
        while True:
            final_for_s = final_for_s + step_s if run.translator.is_final else 0.0
            is_mute = run.is_output_over and isinstance(run.translator, Conversation)
            mute_for_s = mute_for_s + step_s if is_mute and child.returncode is None else 0.0
            if mute_for_s >= grace_s and not run.translator.is_final:
                run.closed_output = True
                self.log.warning(Event.SESSION_HUNG, why="no exit after the end of its output")
                await self._end(child, scope)
                return
            step_s = min(1.0, grace_s)
            await self.clock.sleep(step_s)
            quiet_s = self.clock.monotonic() - run.last_output_at_s
            self._report_bar(run, is_quiet=quiet_s >= BAR_QUIET_S)
            if self._steering.writer is not None:
                self._steering.writer.after_read()  # a time limit may have passed
            is_over = quiet_s >= grace_s or final_for_s >= MAX_CHATTER_GRACES * grace_s
            if run.translator.is_final and is_over and run.stays:
                await self._end(child, scope, SHORT_GRACE)
                return
            if run.translator.is_final and is_over:
                run.hung_after_result = True
                self.log.warning(Event.SESSION_HUNG, why="no exit after the result")
                self.emit(Progress("The harness stayed after its result and was ended"))
                await self._end(child, scope)
                return

    def _report_bar(self, run: _Run, *, is_quiet: bool) -> None:
        """Report the newest state of a progress bar in an incomplete line of plain text."""
        translator = run.translator
        if not isinstance(translator, TextTranslator):
            return
        newest = newest_state(run.framer.states(), self.config.redactor, is_quiet=is_quiet)
        if newest and newest != run.bar and translator.is_text({}):
            run.bar = newest
            self.emit(Progress(newest))

    async def _end(
        self, child: Process, scope: anyio.CancelScope, grace: Grace = DEFAULT_GRACE
    ) -> None:
        """Escalate until the child has ended; if it survives, end the session without it."""
        await self._guest.end(child, grace, on_step=self._log_step)
        await self.clock.sleep(GIVE_UP_S)
        scope.cancel()

    async def _read_stdout(self, child: Process, run: _Run) -> None:
        framer, output = run.framer, child.stdout

        def on_chunk(chunk: bytes) -> None:
            run.last_output_at_s = self.clock.monotonic()
            cut_before = framer.oversize
            lines = framer.feed(chunk)
            is_cutting = framer.is_cutting
            if lines or is_cutting:
                pending = 0 if is_cutting else framer.pending_bytes
                checkpoint = partial(output.checkpoint, pending, ends_inside=is_cutting)
                self.take(lines, run.translator, checkpoint)
            elif self.config.sink is not None:
                self.config.sink.received(())  # part of a line is a sign of life
            if self._steering.writer is not None:
                self._steering.writer.after_read()
            if framer.oversize > cut_before:
                self.log.warning(Event.LINE_OVERSIZE, bytes=framer.last_oversize_bytes)

        try:
            await pump(output, on_chunk)
            run.is_output_over = True
        finally:
            rest = framer.close()
            if rest:
                run.truncated = True
                self.take([rest], run.translator, partial(output.checkpoint, 0))

    async def _read_stderr(self, child: Process, run: _Run) -> None:
        scrubber = self.config.redactor.stream()
        framer, output = LineFramer(CUT_LINE_BYTES), child.stderr
        partial_line = bytearray()
        """Not scrubbed before it is complete."""

        def on_chunk(chunk: bytes) -> None:
            run.last_output_at_s = self.clock.monotonic()
            if self.config.sink is not None:
                self.config.sink.received(())
            end = chunk.rfind(b"\n") + 1
            if not end and len(partial_line) < CUT_LINE_BYTES:
                partial_line.extend(chunk)
                return
            end = end or len(chunk)
            lines = framer.feed(scrubber.feed(bytes(partial_line) + chunk[:end]))
            partial_line[:] = chunk[end:]
            if lines or framer.is_cutting:
                pending = len(partial_line) + scrubber.held_bytes
                checkpoint = partial(output.checkpoint, pending, ends_inside=framer.is_cutting)
                self.take_stderr(b"\n".join(lines), run.translator, checkpoint)

        try:
            await pump(output, on_chunk)
        finally:
            lines = framer.feed(scrubber.feed(bytes(partial_line)) + scrubber.close())
            if rest := framer.close():
                lines.append(rest)
            if lines:
                checkpoint = partial(output.checkpoint, 0)
                self.take_stderr(b"\n".join(lines), run.translator, checkpoint)

    def _log_step(self, step: str, elapsed_s: float) -> None:
        # Every session ends with a sweep; the other steps are exceptional.
        log = self.log.debug if step == "sweep" else self.log.info
        log(Event.KILL_STEP, step=step, elapsed_s=round(elapsed_s, 2))
