"""The harness ``claude``: Claude Code's command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.providers.claude.conversation import ClaudeConversation
from agent_swarm_worker.providers.claude.launch import (
    claude_launch,
    claude_program,
)
from agent_swarm_worker.providers.claude.mcp import session_mcp_config
from agent_swarm_worker.providers.claude.options import ClaudeOptions
from agent_swarm_worker.providers.claude.resume import transcript
from agent_swarm_worker.providers.claude.spec import SPEC
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.claude.version import MessageSupport
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
