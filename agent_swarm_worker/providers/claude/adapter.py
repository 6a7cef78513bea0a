"""The harness ``claude``: Claude Code's command line.

Which version of Claude Code a command line starts, and whether it takes messages.

The program is asked once for as long as it does not change. One that is no Claude Code, or takes
too long to say so, has no version: it gets its prompt and nothing more.

Where Claude Code keeps its sessions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing, ProviderError
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.providers.claude.conversation import ClaudeConversation
from agent_swarm_worker.providers.claude.launch import (
    claude_launch,
    claude_program,
    session_mcp_config,
)
from agent_swarm_worker.providers.claude.spec import SPEC, ClaudeOptions
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import Guest, ProviderSession, ProviderSessionConfig


class ClaudeAdapter:
    """Runs each task in a Claude Code process of its own."""

    name = SPEC.name
    spec = SPEC
    traits = SPEC.traits

    def __init__(self) -> None:
        self._takes_messages = MessageSupport()

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Say whether sessions could start with this environment.

        Raises:
            CredentialsMissing: there is no Anthropic credential in it.
            BadSetting: ``CLAUDE_BINARY`` cannot be split into words.
            BinaryMissing: the CLI is not installed.
        """
        program = claude_program(env)[0]
        if await guest.files.which(program, env) is None:
            raise BinaryMissing(program)
        _require_credential(env)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Prepare a session.

        Raises:
            CredentialsMissing: the environment has no Anthropic credential.
            BadSetting: ``CLAUDE_BINARY`` cannot be split into words.
        """
        _require_credential(config.env)
        claude_program(config.env)
        mcp_config = await session_mcp_config(config)
        takes_messages = await self._takes_messages(config)

        def make_harness(config: ProviderSessionConfig) -> CliHarness:
            # An empty prompt is refused as such only where it is all there is to be read.
            talks = takes_messages and bool(config.prompt.strip())
            return CliHarness(
                launch=claude_launch(
                    config,
                    mcp_config=mcp_config,
                    is_root=config.guest.capabilities.is_root,
                    talks=talks,
                ),
                translator=ClaudeConversation(config) if talks else ClaudeTranslator(config),
                stale_resume=(ErrorClass.STALE_SESSION.value,),
            )

        return CliSession(config, make_harness)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """True if the transcript of that session is really there."""
        return await transcript(session_id, config.env, config.guest) is not None

    async def translator(self, config: ProviderSessionConfig) -> ClaudeTranslator:
        """Return what reads a journal again."""
        return ClaudeTranslator(config)

    def format_command(self, command_name: str) -> str:
        """Return a command as the CLI finds it among its skills."""
        return SPEC.skills.command_form.format(name=command_name)


def _require_credential(env: Mapping[str, str]) -> None:
    options = ClaudeOptions.load(env)
    if not (options.oauth_token or options.api_key):
        raise CredentialsMissing(SPEC.name, SPEC.credentials.variables)


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


_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


async def transcript(session_id: str, env: Mapping[str, str], guest: Guest) -> str | None:
    """Return the transcript of a session that can be resumed, or ``None``.

    The CLI finds a session from any working directory, so every project is looked through. An id
    that is no UUID would be searched for among session titles; it names no session of ours.

    Args:
        session_id: the CLI's own id of the session.
        env: the environment the CLI will run in.
        guest: where it will run.
    """
    home = ClaudeOptions.load(env).sessions_home
    if not home or not _UUID.fullmatch(session_id):
        return None
    found = await guest.files.glob(f"{home}/projects", f"*/{session_id}.jsonl")
    return next(iter(found), None)
