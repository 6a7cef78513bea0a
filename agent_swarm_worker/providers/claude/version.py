"""Which version of Claude Code a command line starts, and whether it takes messages.

The program is asked once for as long as it does not change. One that is no Claude Code, or takes
too long to say so, has no version: it gets its prompt and nothing more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.claude.launch import claude_program
from agent_swarm_worker.providers.claude.options import ClaudeOptions

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderSessionConfig

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

    def __init__(self) -> None:
        self._known: dict[object, Version | None] = {}

    async def __call__(self, config: ProviderSessionConfig) -> bool:
        """True if messages can be sent to a session with this configuration."""
        wish = ClaudeOptions.load(config.env).queue_steering
        if wish in _YES | _NO:
            return wish in _YES
        words = claude_program(config.env)
        identity = await _identity(words, config)
        if identity not in self._known:
            answer = await self._ask(words, config)
            if answer is None:
                return False  # it may answer the next time, when the machine is less busy
            self._known[identity] = parse_version(answer)
        version = self._known[identity]
        return version is not None and version >= TAKES_MESSAGES

    async def _ask(self, words: tuple[str, ...], config: ProviderSessionConfig) -> str | None:
        """Return what the program says to ``--version``; ``None`` if it does not end in time."""
        try:
            answer = await config.guest.run(
                (*words, "--version"),
                cwd=config.cwd,
                env=config.env,
                timeout_s=PROBE_S,
                max_output=MAX_ANSWER_BYTES,
                name="probe",
            )
        except ProviderError:
            return None  # starting the session will say so
        return None if answer.timed_out else answer.stdout.decode("utf-8", "replace")


def parse_version(said: str) -> Version | None:
    """Read what ``claude --version`` prints; ``None`` if it is something else."""
    found = _SAYS.search(said.strip())
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


async def _identity(words: tuple[str, ...], config: ProviderSessionConfig) -> object:
    """What tells one program from another, and from the same one after an update."""
    files = config.guest.files
    path = await files.which(words[0], config.env)
    found = await files.info(path or words[0])
    if found is None:
        return words
    return words, path, found.modified_ns, found.size
