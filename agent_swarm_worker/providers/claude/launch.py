"""How Claude Code is started for one session.

The prompt goes to standard input, never into the arguments: there it may be of any size, may begin
with a dash, and is seen by nobody who lists processes. The same holds for the system prompt and
for the tool servers with their keys, which are files that only we can read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.providers.claude.models import DEFAULT_MODEL, effort_env
from agent_swarm_worker.providers.claude.options import ClaudeOptions
from agent_swarm_worker.providers.claude.spec import ANTHROPIC_KEY
from agent_swarm_worker.providers.kit.launch import Launch, PrivateFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import ProviderSessionConfig

# Two switches of the public worker are left out on purpose. CLAUDE_CODE_SKIP_PROMPT_HISTORY=1
# keeps the CLI from writing the transcript that a later session resumes from, and
# CLAUDE_CODE_DISABLE_ATTACHMENTS=1 hides from the model which tools ToolSearch could load, the
# swarm's own among them (both measured with 2.1.329).
_SWITCHES = {
    "CLAUDE_CODE_DISABLE_FILE_CHECKPOINTING": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_BUG_COMMAND": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_FEEDBACK_COMMAND": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "ENABLE_TOOL_SEARCH": "true",
}


def claude_program(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of ``CLAUDE_BINARY``, split as a shell splits them; by default ``claude``.

    Raises:
        BadSetting: the value has an open quote.
    """
    return ClaudeOptions.load(env).program


def claude_launch(
    config: ProviderSessionConfig,
    *,
    mcp_config: bytes | None,
    is_root: bool = False,
    talks: bool = False,
) -> Launch:
    """Say how to start the CLI.

    Args:
        config: the session; with ``resume_session_id`` it goes on from an earlier one.
        mcp_config: the tool servers; with it the CLI looks nowhere else for any.
        is_root: true if the worker runs as root, which the CLI only accepts in a sandbox.
        talks: true if a `ClaudeConversation` hands over the prompt, and messages after it.

    Raises:
        BadSetting: ``CLAUDE_BINARY`` cannot be split into words.
    """
    options, files = ["--model", config.model or DEFAULT_MODEL], []
    if config.system_prompt:
        path = config.private_dir / "system-prompt.md"
        files.append(PrivateFile(path=path, content=_encoded(config.system_prompt)))
        options += ["--append-system-prompt-file", str(path)]
    if mcp_config is not None:
        path = config.private_dir / "mcp.json"
        files.append(PrivateFile(path=path, content=mcp_config))
        options += ["--mcp-config", str(path), "--strict-mcp-config"]
    if config.resume_session_id:
        # As one word, so that no id can be taken for an option.
        options.append(f"--resume={config.resume_session_id}")
    return Launch(
        argv=(
            *claude_program(config.env),
            "-p",
            *("--output-format", "stream-json", "--verbose"),
            *(("--input-format", "stream-json") if talks else ()),
            "--dangerously-skip-permissions",
            *options,
            *config.additional_args,
        ),
        env=_environment(config, is_root=is_root),
        cwd=config.cwd,
        stdin=b"" if talks else _encoded(config.prompt),
        files=tuple(files),
    )


def _environment(config: ProviderSessionConfig, *, is_root: bool) -> dict[str, str]:
    env = {
        "ENABLE_PROMPT_CACHING_1H": "1",
        **config.env,
        **_SWITCHES,
        **effort_env(config.reasoning_effort),
        "AGENT_SWARM_TASK_ID": config.task_id,
        "AGENT_SWARM_AGENT_ID": config.agent_id,
    }
    if is_root:
        env["IS_SANDBOX"] = "1"
    if ClaudeOptions.load(config.env).oauth_token:
        # With both set the CLI would use the key, while limits are counted for the token.
        env.pop(ANTHROPIC_KEY, None)
    return env


def _encoded(prompt: str) -> bytes:
    """JSON may carry half a surrogate pair, UTF-8 may not."""
    return prompt.encode("utf-8", "replace")
