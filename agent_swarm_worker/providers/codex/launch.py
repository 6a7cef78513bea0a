"""How the CLI is started for one session.

The prompt goes to standard input, everything else into the private ``CODEX_HOME``: the arguments,
which anybody can list, say nothing of the task and hold no secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.providers.codex.credentials import without_credentials
from agent_swarm_worker.providers.codex.program import codex_program
from agent_swarm_worker.providers.kit.launch import Launch

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.codex.plan import Plan

MAX_PROMPT_CHARS = 1_048_576
"""The CLI takes no longer input (measured with 0.169.0)."""


def codex_launch(config: ProviderSessionConfig, plan: Plan, config_toml: bytes) -> Launch:
    """Say how to start the CLI.

    Args:
        config: the session; with ``resume_session_id`` it goes on from an earlier one.
        plan: what was decided for it.
        config_toml: its configuration file.

    Raises:
        BadSetting: the program's variable cannot be split into words.
    """
    is_exec = plan.transport == "exec"
    return Launch(
        argv=(
            *codex_program(config.env),
            *(_exec_words(config) if is_exec else ("app-server",)),
            *config.additional_args,
            *(("-",) if is_exec else ()),
        ),
        env={
            **without_credentials(config.env, plan.credential),
            "CODEX_HOME": str(plan.home),
            "AGENT_SWARM_TASK_ID": config.task_id,
            "AGENT_SWARM_AGENT_ID": config.agent_id,
        },
        cwd=config.cwd,
        stdin=_input(config, plan) if is_exec else b"",
        files=(PrivateFile(path=plan.home / "config.toml", content=config_toml),),
    )


def _exec_words(config: ProviderSessionConfig) -> tuple[str, ...]:
    options = ("--json", "--skip-git-repo-check")
    if config.resume_session_id is None:
        return ("exec", *options)
    return ("exec", "resume", *options, config.resume_session_id)


def _input(config: ProviderSessionConfig, plan: Plan) -> bytes:
    """The prompt; a resumed thread can be told its new instructions nowhere else."""
    prompt = config.prompt
    if plan.changed_system_prompt:
        block = f"<swarm_system_prompt>\n{plan.changed_system_prompt}\n</swarm_system_prompt>"
        prompt = f"{block}\n\n{prompt}"
    return prompt.encode("utf-8", "replace")
