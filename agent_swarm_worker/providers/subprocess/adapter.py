"""Make sessions of any program: prompt on standard input, events or text on standard output.

Variables of the program besides those of the session:

* ``SWARM_SYSTEM_PROMPT_FILE``: the composed system prompt;
* ``SWARM_MCP_CONFIG``: an ``.mcp.json`` with the swarm's server and the installed ones;
* ``SWARM_MODEL``: the resolved model, if any;
* ``AGENT_SWARM_TASK_ID``, ``AGENT_SWARM_AGENT_ID``, ``MCP_BASE_URL``.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.errors import BadSetting, BinaryMissing
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, Launch, SpecAdapter
from agent_swarm_worker.providers.kit.mcp_config import mcp_config_bytes
from agent_swarm_worker.providers.subprocess.spec import SPEC, SubprocessOptions
from agent_swarm_worker.providers.subprocess.translate import SubprocessTranslator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import Guest, ProviderSession, ProviderSessionConfig


class SubprocessAdapter(SpecAdapter):
    """Runs each task in a process of the configured command."""

    spec = SPEC

    async def check(self, env: Mapping[str, str], guest: Guest) -> None:
        """Raise `BadSetting` or `BinaryMissing` if no session could start here."""
        program = command_words(env)[0]
        if await guest.files.which(program, env) is None:
            raise BinaryMissing(program)

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        """Prepare a session of the configured command."""
        program = command_words(config.env)

        def make_harness(config: ProviderSessionConfig) -> CliHarness:
            return CliHarness(
                launch=subprocess_launch(config, program), translator=_translator(config)
            )

        return CliSession(config, make_harness)

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:  # noqa: ARG002
        """Return False: an unknown program has no sessions to resume."""
        return False

    async def translator(self, config: ProviderSessionConfig) -> SubprocessTranslator:
        """Return a translator for the replay of a journal; raises `BadSetting`."""
        return _translator(config)


def _translator(config: ProviderSessionConfig) -> SubprocessTranslator:
    return SubprocessTranslator(SubprocessOptions.load(config.env).output, ClaudeTranslator(config))


def subprocess_launch(config: ProviderSessionConfig, program: tuple[str, ...]) -> Launch:
    """Build the launch of one session."""
    system_prompt = config.private_dir / "system-prompt.md"
    mcp_config = config.private_dir / "mcp.json"
    env = {
        **config.env,
        "SWARM_SYSTEM_PROMPT_FILE": str(system_prompt),
        "SWARM_MCP_CONFIG": str(mcp_config),
        "SWARM_MODEL": config.model,
        "MCP_BASE_URL": config.api_url,
        "AGENT_SWARM_TASK_ID": config.task_id,
        "AGENT_SWARM_AGENT_ID": config.agent_id,
    }
    return Launch(
        argv=(*program, *config.additional_args),
        env=env,
        cwd=config.cwd,
        stdin=config.prompt.encode("utf-8", "surrogatepass"),
        files=(
            PrivateFile(
                path=system_prompt, content=config.system_prompt.encode("utf-8", "replace")
            ),
            PrivateFile(path=mcp_config, content=mcp_config_bytes(config.mcp_servers)),
        ),
    )


def command_words(env: Mapping[str, str]) -> tuple[str, ...]:
    """Split ``HARNESS_COMMAND`` as a shell splits words; raises `BadSetting`."""
    command = SubprocessOptions.load(env).command
    try:
        program = tuple(shlex.split(command))
    except ValueError as error:
        raise BadSetting("HARNESS_COMMAND", command, str(error).lower()) from None
    if not program:
        raise BadSetting("HARNESS_COMMAND", command, "the subprocess harness needs a command line")
    return program
