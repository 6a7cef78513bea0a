"""The tool `bash`: a command with the rights of the worker."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker.contract import NO_GRACE, Command
from agent_swarm_worker.processes.drain import drain
from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools.arguments import Param, ToolRefusal
from agent_swarm_worker.providers.pi.tools.base import CodingTool
from agent_swarm_worker.providers.pi.tools.files import to_utf8
from agent_swarm_worker.providers.pi.tools.output import Output

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Process, ProviderSessionConfig
    from agent_swarm_worker.providers.pi.tools.place import Place

DEFAULT_TIMEOUT_S = 120
MAX_TIMEOUT_S = 3600
DRAIN_S = 0.5
"""How long output is read after the exit, while something in the background holds the pipe."""


class BashTool(CodingTool):
    """Runs a command.

    Standard error goes where standard output goes, so both come in the order they were written.
    What a command leaves in the background goes on until the session ends; its pipe is closed.
    """

    name = "bash"
    description = (
        "Run a bash command in the working directory. Answers with what it prints (standard error"
        " included; of long output the beginning and the end) and its exit code, if that is not"
        f" 0. It is ended after {DEFAULT_TIMEOUT_S} s unless timeout says otherwise. There is no"
        " standard input. To leave a program running, redirect its output to a file and end with &."
    )
    params = (
        Param("command", "string", "What to run", True),
        Param("timeout", "integer", "Seconds it may take", least=1, most=MAX_TIMEOUT_S),
    )

    def __init__(
        self,
        place: Place,
        config: ProviderSessionConfig,
        *,
        clock: Clock,
        output_dir: PurePath,
    ) -> None:
        super().__init__(place, config.redactor)
        self._config = config
        self._guest = config.guest
        self._clock = clock
        self._output_dir = output_dir
        self._numbers = itertools.count(1)

    async def use(self, args: dict[str, Any]) -> ToolOutcome:
        """Run a command; cancelled, it leaves nothing of it."""
        to_utf8(args["command"], "command")
        number = next(self._numbers)
        output = Output(self._guest, self._output_dir / f"bash-{number}.log")
        limit_s = args.get("timeout", DEFAULT_TIMEOUT_S)
        async with await self._guest.start(await self._command(args["command"], number)) as child:
            try:
                in_time = await self._live(child, output, limit_s)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._guest.end(child, NO_GRACE)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    text = await output.text()
            text = text.rstrip() or "(no output)"
            if not in_time:
                return ToolOutcome(f"{text}\n\n[ended: it took longer than {limit_s} s]", True)
            if child.returncode != 0:
                code = "unknown" if child.returncode is None else child.returncode
                return ToolOutcome(f"{text}\n\n[exit code {code}]", True)
            return ToolOutcome(text)

    async def _command(self, command: str, number: int) -> Command:
        env, which = self._config.env, self._guest.files.which
        shell = await which("bash", env) or await which("sh", {"PATH": os.defpath})
        if shell is None:
            msg = "there is no shell on this machine"
            raise ToolRefusal(msg)
        return Command(
            # One pipe for both streams; the shell that arranges it becomes the other one.
            argv=("/bin/sh", "-c", 'exec "$0" -c "$1" 2>&1', shell, command),
            cwd=self._config.cwd,
            env=env,
            name=f"bash-{number}",
        )

    async def _live(self, child: Process, output: Output, limit_s: float) -> bool:
        """Read until the command is done; false if it was ended for taking too long."""
        scrubber = self.redactor.stream()
        in_time = True

        async def read() -> None:
            with contextlib.suppress(anyio.EndOfStream, anyio.ClosedResourceError):
                while True:
                    # Taken before anything can be cancelled; the file is written afterwards.
                    output.take(scrubber.feed(await child.stdout.receive()))
                    await output.save()

        async def end_in_time() -> None:
            nonlocal in_time
            await self._clock.sleep(limit_s)
            in_time = False
            await self._guest.end(child)  # not shielded: an abort cuts it short

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(end_in_time)
                await drain(child, read, clock=self._clock, drain_s=DRAIN_S)
                await child.wait()  # it may have closed its output and go on
                # A command that has ended is not ended again, unless that is under way.
                if in_time:
                    tasks.cancel_scope.cancel()
        finally:
            output.take(scrubber.close())
        return in_time
