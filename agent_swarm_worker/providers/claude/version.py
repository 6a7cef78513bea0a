"""Which version of Claude Code a command line starts, and whether it takes messages.

The program is asked once for as long as it does not change. One that is no Claude Code, or takes
too long to say so, has no version: it gets its prompt and nothing more.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import anyio

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.processes.drain import pump
from agent_swarm_worker.processes.spawn import ProcessSpec
from agent_swarm_worker.providers.claude.launch import claude_program
from agent_swarm_worker.providers.claude.options import ClaudeOptions
from agent_swarm_worker.sandboxes.local import LocalSandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.sandboxes.port import Sandbox

Version: TypeAlias = tuple[int, int, int]

TAKES_MESSAGES: Version = (2, 1, 205)
"""The first version that says which of several messages it has taken in."""
PROBE_S = 10.0
MAX_ANSWER_BYTES = 4096

_YES, _NO = frozenset({"1", "true", "on", "yes"}), frozenset({"0", "false", "off", "no"})
_SAYS = re.compile(
    r"^(?:claude(?: code)? version:? )?v?(\d+)\.(\d+)\.(\d+)(?=$|[ -])",
    re.IGNORECASE | re.MULTILINE,
)


class MessageSupport:
    """Decides per session whether the CLI is started so that it takes messages.

    ``CLAUDE_QUEUE_STEERING`` decides if it is on or off; else the version does.
    """

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        self._sandbox = sandbox or LocalSandbox()
        self._known: dict[object, Version | None] = {}

    async def __call__(self, config: ProviderSessionConfig) -> bool:
        """True if messages can be sent to a session with this configuration."""
        wish = ClaudeOptions.load(config.env).queue_steering
        if wish in _YES | _NO:
            return wish in _YES
        words = claude_program(config.env)
        identity = _identity(words, config.env)
        if identity not in self._known:
            answer = await self._ask(words, config)
            if answer is None:
                return False  # it may answer the next time, when the machine is less busy
            self._known[identity] = parse_version(answer)
        version = self._known[identity]
        return version is not None and version >= TAKES_MESSAGES

    async def _ask(self, words: tuple[str, ...], config: ProviderSessionConfig) -> str | None:
        """Return what the program says to ``--version``; ``None`` if it does not end in time."""
        spec = ProcessSpec(
            argv=(*words, "--version"), cwd=config.cwd, env=config.env, tag=config.session_uuid
        )
        answer = bytearray()

        def on_chunk(chunk: bytes) -> None:
            answer.extend(chunk[: MAX_ANSWER_BYTES - len(answer)])

        try:
            child = await self._sandbox.start(spec)
        except ProviderError:
            return None  # starting the session will say so
        async with child:
            try:
                with anyio.move_on_after(PROBE_S) as patience:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(pump, child.stderr, lambda _: None)
                        await pump(child.stdout, on_chunk)
                        await child.wait()
                        tasks.cancel_scope.cancel()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._sandbox.kill(child)
        return None if patience.cancelled_caught else answer.decode("utf-8", "replace")


def parse_version(said: str) -> Version | None:
    """Read what ``claude --version`` prints; ``None`` if it is something else."""
    found = _SAYS.search(said.strip())
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _identity(words: tuple[str, ...], env: Mapping[str, str]) -> object:
    """What tells one program from another, and from the same one after an update."""
    path = shutil.which(words[0], path=env.get("PATH"))
    try:
        stat = Path(path or words[0]).stat()
    except OSError:
        return words
    return words, path, stat.st_mtime_ns, stat.st_size
