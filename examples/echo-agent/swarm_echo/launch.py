"""The first pure part: from a session's configuration to a command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.providers.kit.launch import Launch, PrivateFile

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderSessionConfig

PROGRAM = "echo-agent"


def echo_launch(config: ProviderSessionConfig) -> Launch:
    """Say how to start the agent.

    The prompt goes through standard input and the system prompt through a private file: both may be
    long, and nobody who lists processes sees them.
    """
    system = config.private_dir / "system.md"
    options = ["--system-file", str(system)]
    if config.model:
        options += ["--model", config.model]
    if config.resume_session_id:
        options.append(f"--resume={config.resume_session_id}")
    return Launch(
        argv=(PROGRAM, *options, *config.additional_args),
        env=config.env,
        cwd=config.cwd,
        stdin=config.prompt.encode("utf-8", "replace"),
        files=(PrivateFile(path=system, content=config.system_prompt.encode("utf-8", "replace")),),
    )
