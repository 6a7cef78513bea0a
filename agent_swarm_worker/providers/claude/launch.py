"""Build the launch of Claude Code: arguments, environment, tool servers, reasoning effort.

The prompt goes to standard input, not into the arguments: there it may be of any size, may begin
with a dash, and is hidden from users who list processes. For the same reason the system prompt and
the tool servers with their keys are private files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.claude.effort import effort_env
from agent_swarm_worker.providers.claude.permissions import NOTES_VARIABLE, guard_arguments
from agent_swarm_worker.providers.claude.spec import ANTHROPIC_KEY, SPEC, ClaudeOptions
from agent_swarm_worker.providers.kit.launch import Launch
from agent_swarm_worker.providers.kit.mcp_config import (
    SWARM_SERVER,
    is_like_swarms,
    mcp_config_bytes,
    merged_entry,
    read_mcp_config,
    register_secrets,
    swarm_server_of,
)
from agent_swarm_worker.providers.kit.permissions import repository_folders

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, ProviderSessionConfig

# Two switches are left out on purpose. CLAUDE_CODE_SKIP_PROMPT_HISTORY=1
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
DEFAULT_MODEL = SPEC.models.default
"""Of a session whose configuration names none (docs/api.md 15.8)."""
FILE_NAME = ".mcp.json"
MAX_FILE_BYTES = 1024 * 1024


def claude_launch(
    config: ProviderSessionConfig,
    *,
    mcp_config: bytes | None,
    is_root: bool = False,
    streams_input: bool = False,
    guarded_notes: Sequence[PurePath] | None = None,
) -> Launch:
    """Build the launch of one session; raises `BadSetting` for an open quote in its program.

    Args:
        config: of the session.
        mcp_config: the file of tool servers; with it the CLI reads no other.
        is_root: the session runs as root, which the CLI accepts only in a sandbox.
        streams_input: a `ClaudeConversation` writes the prompt and later messages.
        guarded_notes: folders with notes of a session that asks for permission; ``None``: it does
            not ask.
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
        options += ["--fork-session"] * config.forks
    return Launch(
        argv=(
            *ClaudeOptions.load(config.env).program,
            "-p",
            *("--output-format", "stream-json", "--verbose"),
            *(("--input-format", "stream-json") if streams_input else ()),
            *(
                ("--dangerously-skip-permissions",)
                if guarded_notes is None
                else guard_arguments(guarded_notes)
            ),
            *options,
            *config.additional_args,
        ),
        env=_environment(config, is_root=is_root)
        | ({} if guarded_notes is None else {NOTES_VARIABLE: "1"}),
        cwd=config.cwd,
        stdin=b"" if streams_input else _encoded(config.prompt),
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
    # JSON allows half a surrogate pair, UTF-8 does not.
    return prompt.encode("utf-8", "replace")


async def session_mcp_config(config: ProviderSessionConfig, *, log: Log | None = None) -> bytes:
    """Return the tool server file of a session: inherited, installed, and the swarm's own server.

    The CLI reads this file and no other, so the swarm's server is always in it, with the headers
    that attribute nested calls to this task (docs/api.md 15.3).
    """
    outside = await _folders_outside(config)
    inherited = await inherited_servers(config.guest, outside, log=log or Log())
    for entry in inherited.values():
        register_secrets(entry, config.redactor)
    ours = swarm_server_of(config)
    installed = [server for server in config.mcp_servers if server.name != SWARM_SERVER]
    if SWARM_SERVER in inherited:
        inherited[SWARM_SERVER] = merged_entry(inherited[SWARM_SERVER], ours)
        return mcp_config_bytes(installed, inherited)
    return mcp_config_bytes([ours, *installed], inherited)


async def _folders_outside(config: ProviderSessionConfig) -> Sequence[PurePath]:
    """Return the folders, upwards, whose servers a session inherits.

    Under a permission policy they are above the working directory and every repository around it:
    what lies there would be started unasked.
    """
    folders = (config.cwd, *config.cwd.parents)
    if config.permissions is None:
        return folders
    return folders[len(await repository_folders(config)) :]


async def inherited_servers(
    guest: Guest, folders: Sequence[PurePath], *, log: Log
) -> dict[str, dict[str, Any]]:
    """Collect the servers of every ``.mcp.json`` in `folders`, from the lowest up.

    Of two entries with one name the one nearer to the root counts: it is the operator's, and a
    repository must not replace it. None has a name that may be taken for the swarm's.
    """
    servers: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for name, entry in (await _read(guest, folder / FILE_NAME, log)).items():
            if isinstance(entry, dict) and (name == SWARM_SERVER or not is_like_swarms(name)):
                servers[name] = entry
            else:
                log.warning(Event.MCP_CONFIG, path=str(folder / FILE_NAME), skipped=name)
    return servers


async def _read(guest: Guest, path: PurePath, log: Log) -> dict[str, Any]:
    try:
        found = await guest.files.info(str(path))
        if found is None or found.kind != "file":
            return {}
        if found.size > MAX_FILE_BYTES:
            log.warning(Event.MCP_CONFIG, path=str(path), why="too large")
            return {}
        return read_mcp_config(await guest.read(path, max_bytes=MAX_FILE_BYTES))
    except (OSError, ValueError) as error:
        log.warning(Event.MCP_CONFIG, path=str(path), why=str(error))
        return {}
