"""Build the launch of ``echo-agent`` from a session's configuration (the first pure part)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.providers.kit.launch import Launch

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderSessionConfig

PROGRAM = "echo-agent"


def echo_launch(config: ProviderSessionConfig) -> Launch:
    """Build the launch of one session.

    The prompt goes to standard input and the system prompt into a private file: both may be long,
    and users who list processes must not see them.
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
