"""Make sessions of Claude Code; find its version and its transcripts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing, ProviderError
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.ids import is_uuid
from agent_swarm_worker.providers.claude.conversation import ClaudeConversation
from agent_swarm_worker.providers.claude.launch import (
    claude_launch,
    session_mcp_config,
)
from agent_swarm_worker.providers.claude.permissions import notes_folders, require_guard
from agent_swarm_worker.providers.claude.spec import SPEC, ClaudeOptions
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, SpecAdapter
from agent_swarm_worker.settings.base import NO, YES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, ProviderSession, ProviderSessionConfig

Version: TypeAlias = tuple[int, int, int]

TAKES_MESSAGES: Version = (2, 1, 205)
"""The first version that reports which of several messages it has taken."""
PROBE_S = 10.0
MAX_ANSWER_BYTES = 4096

_VERSION = re.compile(
    r"^(?:claude(?: code)? version:? )?v?(\d+)\.(\d+)\.(\d+)(?=$|[ -])",
    re.IGNORECASE | re.MULTILINE,
)


class ClaudeAdapter(SpecAdapter):
    """Runs each task in a Claude Code process of its own."""

    spec = SPEC

    def __init__(self) -> None:
        self._takes_messages = MessageSupport()

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Check that sessions could start with this environment.

        Raises:
            CredentialsMissing: it has no Anthropic credential.
            BadSetting: ``CLAUDE_BINARY`` cannot be split into words.
            BinaryMissing: the CLI is not installed.
        """
        program = ClaudeOptions.load(env).program[0]
        if await guest.files.which(program, env) is None:
            raise BinaryMissing(program)
        _require_credential(env)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Prepare a session.

        Raises:
            CredentialsMissing, BadSetting: as in `check`.
            UnguardedSession: the CLI would not ask for permission.
        """
        _require_credential(config.env)
        mcp_config = await session_mcp_config(config)
        takes_messages = await self._takes_messages(config)
        notes: tuple[PurePath, ...] | None = None
        if config.permissions is not None:
            require_guard(config, streams_input=takes_messages)
            notes = await notes_folders(config)

        def make_harness(config: ProviderSessionConfig) -> CliHarness:
            # The CLI refuses an empty prompt only if it is not streamed.
            streams_input = takes_messages and bool(config.prompt.strip())
            return CliHarness(
                launch=claude_launch(
                    config,
                    mcp_config=mcp_config,
                    is_root=config.guest.capabilities.is_root,
                    streams_input=streams_input,
                    guarded_notes=notes,
                ),
                translator=ClaudeConversation(config)
                if streams_input
                else ClaudeTranslator(config),
                stale_resume=(ErrorClass.STALE_SESSION.value,),
            )

        return CliSession(config, make_harness)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        """True if the transcript of that session exists."""
        return await transcript(session_id, config.env, config.guest) is not None

    async def translator(self, config: ProviderSessionConfig) -> ClaudeTranslator:
        """Return a translator for the replay of a journal."""
        return ClaudeTranslator(config)


def _require_credential(env: Mapping[str, str]) -> None:
    options = ClaudeOptions.load(env)
    if not (options.oauth_token or options.api_key):
        raise CredentialsMissing(SPEC.name, SPEC.credentials.variables)


class MessageSupport:
    """Decides per session whether the CLI is started so that it takes messages.

    ``CLAUDE_QUEUE_STEERING`` decides if it is on or off, else the program's version, asked for once
    until its file changes. A program that is not Claude Code takes none.
    """

    def __init__(self) -> None:
        self._versions: dict[object, Version | None] = {}

    async def __call__(self, config: ProviderSessionConfig) -> bool:
        """Return whether a session with this configuration takes messages."""
        options = ClaudeOptions.load(config.env)
        setting, program = options.queue_steering, options.program
        if setting in YES | NO:
            return setting in YES
        identity = await _identity(program, config)
        if identity not in self._versions:
            answer = await self._ask(program, config)
            if answer is None:
                return False  # not cached: the next session may find the machine less busy
            self._versions[identity] = parse_version(answer)
        version = self._versions[identity]
        return version is not None and version >= TAKES_MESSAGES

    async def _ask(self, program: tuple[str, ...], config: ProviderSessionConfig) -> str | None:
        """Return the output of ``--version``; ``None`` if the program does not end in time."""
        try:
            answer = await config.guest.run(
                (*program, "--version"),
                cwd=config.cwd,
                env=config.env,
                timeout_s=PROBE_S,
                max_output=MAX_ANSWER_BYTES,
                name="probe",
            )
        except ProviderError:
            return None  # the start of the session reports the error
        return None if answer.timed_out else answer.stdout.decode("utf-8", "replace")


def parse_version(output: str) -> Version | None:
    """Parse the output of ``claude --version``; ``None`` if it is that of another program."""
    found = _VERSION.search(output.strip())
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


async def _identity(program: tuple[str, ...], config: ProviderSessionConfig) -> object:
    """Return a key that differs between programs, and after an update of one."""
    files = config.guest.files
    path = await files.which(program[0], config.env)
    found = await files.info(path or program[0])
    if found is None:
        return program
    return program, path, found.modified_ns, found.size


async def transcript(session_id: str, env: Mapping[str, str], guest: Guest) -> str | None:
    """Return the transcript of a session that can be resumed, or ``None``.

    The CLI finds a session from any working directory, so all projects are searched. It would look
    up an id that is not a UUID among the titles of sessions, so such an id has no transcript here.
    """
    home = ClaudeOptions.load(env).sessions_home
    if not home or not is_uuid(session_id):
        return None
    found = await guest.files.glob(f"{home}/projects", f"*/{session_id}.jsonl")
    return next(iter(found), None)
