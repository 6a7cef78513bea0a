"""Running `search_child`: bounded in time and in what it may say, and gone when it is cancelled."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from agent_swarm_worker.contract import NO_GRACE, Command
from agent_swarm_worker.processes.drain import drain, pump
from agent_swarm_worker.processes.framing import LineFramer
from agent_swarm_worker.providers.pi.tools import search_child
from agent_swarm_worker.providers.pi.tools.arguments import ToolRefusal

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Guest, Process
    from agent_swarm_worker.providers.pi.tools.place import Spot

SEARCH_S = 30.0
"""How long a search may take; what was found until then is shown."""
FILE_S = 2.0
"""How long one file may take."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MAX_LINE_BYTES = 1024 * 1024


@dataclass(slots=True)
class Findings:
    """What a search said."""

    lines: list[list[Any]]
    is_complete: bool = False
    """It came to its end, or as far as it was asked to go."""


class Searcher:
    """Starts searches, each a process of its own.

    Args:
        guest: where they run.
        clock: measures their time.
        search_s: how long one may take.
        file_s: how long one file of it may take.
    """

    def __init__(
        self,
        guest: Guest,
        *,
        clock: Clock,
        search_s: float = SEARCH_S,
        file_s: float = FILE_S,
    ) -> None:
        self._guest = guest
        self._clock = clock
        self._names = (f"search-{number}" for number in itertools.count(1))
        self.search_s = search_s
        self._file_s = file_s

    async def search(self, spot: Spot, **request: Any) -> Findings:
        """Search below a place.

        Raises:
            ToolRefusal: the pattern or the place cannot be used, or there is no Python.
            ProviderError: the process cannot be started.
        """
        asked = {"root": spot.root, "parts": spot.parts, "file_s": self._file_s, **request}
        findings = Findings([])
        python = self._guest.capabilities.python
        if python is None:
            msg = "there is no Python where this session runs; use bash"
            raise ToolRefusal(msg)
        command = Command(
            argv=(python, "-I", "-S", "-B", "-X", "utf8", "-c", _program()),
            cwd=PurePosixPath("/"),
            env={},
            name=next(self._names),
            stdin=True,
        )
        async with await self._guest.start(command) as child:
            try:
                await self._converse(child, orjson.dumps(asked), findings)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._guest.end(child, NO_GRACE)
        for line in findings.lines:
            if line[0] == "error":
                raise ToolRefusal(line[1])
        return findings

    async def _converse(self, child: Process, request: bytes, findings: Findings) -> None:
        framer = LineFramer(_MAX_LINE_BYTES)
        size = 0

        async def stop_in_time(scope: anyio.CancelScope) -> None:
            await self._clock.sleep(self.search_s)
            scope.cancel()

        async with anyio.create_task_group() as tasks:

            def on_chunk(chunk: bytes) -> None:
                nonlocal size
                size += len(chunk)
                for line in framer.feed(chunk):
                    said = orjson.loads(line)
                    findings.is_complete |= said == ["end"]
                    findings.lines += [] if said == ["end"] else [said]
                if size > MAX_ANSWER_BYTES:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(stop_in_time, tasks.cancel_scope)
            await child.send(request)
            await child.close_stdin()
            await drain(child, lambda: pump(child.stdout, on_chunk), clock=self._clock)
            tasks.cancel_scope.cancel()


@functools.cache
def _program() -> str:
    """The text of `search_child`: a guest does not have our files."""
    return Path(search_child.__file__).read_text(encoding="utf-8")
