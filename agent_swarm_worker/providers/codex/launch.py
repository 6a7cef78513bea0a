"""Build the launch of codex: arguments, ``config.toml``, private home, transport.

Any user can list the arguments, so they hold neither the task nor a secret. Each session has a
private ``CODEX_HOME``, so that parallel sessions never share a login or a configuration. Only the
records of sessions stay in the operator's home, where a later session resumes from them.
"""

from __future__ import annotations

import contextlib
import tomllib
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.codex.credentials import without_credentials
from agent_swarm_worker.providers.codex.permissions import guarded_config, guarded_server
from agent_swarm_worker.providers.codex.spec import CodexLogin, CodexOptions, Transport
from agent_swarm_worker.providers.kit.launch import Launch
from agent_swarm_worker.providers.kit.mcp_config import (
    mcp_table,
    register_secrets,
    swarm_server_of,
    toml_bytes,
)
from agent_swarm_worker.providers.kit.native import mapping, text
from agent_swarm_worker.text import text_of_file

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, ProviderSessionConfig
    from agent_swarm_worker.providers.codex.credentials import Credential
    from agent_swarm_worker.providers.codex.outcome import Plan


MAX_PROMPT_CHARS = 1_048_576
"""Longest prompt that the CLI takes (measured with 0.169.0)."""
PROBE_TIMEOUT_S = 20.0
MAX_HELP_BYTES = 1 << 20
_probed: dict[tuple[str, ...], bool] = {}
"""Cache: whether a program has an app server, by its path and modification time."""
STARTUP_TIMEOUT_S = 30
TOOL_TIMEOUT_S = 300
PROJECT_DOC_BYTES = 32 * 1024
"""Limit of a repository's ``AGENTS.md`` that the CLI reads by default."""
MAX_CONFIG_BYTES = 16 << 20
_COMMON = {
    "enabled": True,
    "startup_timeout_sec": STARTUP_TIMEOUT_S,
    "tool_timeout_sec": TOOL_TIMEOUT_S,
    "default_tools_approval_mode": "approve",
}
"""Keys of every tool server."""
FOLDER = "codex-home"
_PERSISTENT = ("sessions", "archived_sessions")
"""Folders of records, which outlive a session."""
_SHARED = ("AGENTS.md", "AGENTS.override.md", "prompts", "rules")
"""The operator's files for every session."""


def codex_launch(config: ProviderSessionConfig, plan: Plan, config_toml: bytes) -> Launch:
    """Build the launch of one session; raises `BadSetting` for an open quote in its program."""
    is_exec = plan.transport == "exec"
    return Launch(
        argv=(
            *CodexOptions.load(config.env).program,
            *(_exec_arguments(config) if is_exec else ("app-server",)),
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


def _exec_arguments(config: ProviderSessionConfig) -> tuple[str, ...]:
    options = ("--json", "--skip-git-repo-check")
    if config.resume_session_id is None:
        return ("exec", *options)
    return ("exec", "resume", *options, config.resume_session_id)


def _input(config: ProviderSessionConfig, plan: Plan) -> bytes:
    """Return the prompt; with ``exec`` only it can give a resumed thread new instructions."""
    prompt = config.prompt
    if plan.changed_system_prompt:
        block = f"<swarm_system_prompt>\n{plan.changed_system_prompt}\n</swarm_system_prompt>"
        prompt = f"{block}\n\n{prompt}"
    return prompt.encode("utf-8", "replace")


async def operator_config(guest: Guest, home: PurePath | None, log: Log) -> dict[str, Any]:
    """Return the operator's configuration; one that cannot be read is logged and ignored."""
    path = home / "config.toml" if home else None
    if path is None:
        return {}
    try:
        content = await guest.read(path, max_bytes=MAX_CONFIG_BYTES)
        return tomllib.loads(text_of_file(content, errors="strict"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        log.warning(Event.CONFIG_IGNORED, key=str(path), why=str(error))
        return {}


def session_config(
    config: ProviderSessionConfig, plan: Plan, base: dict[str, Any], log: Log
) -> bytes:
    """Return ``config.toml`` of a session: `base`, the operator's, overridden to be headless."""
    table: dict[str, Any] = {
        **base,
        "approval_policy": "never",
        "sandbox_mode": "danger-full-access",
        "check_for_update_on_startup": False,
        "cli_auth_credentials_store": "file",
        # By default a turn begins after a second, without the tools of slower servers.
        "mcp_optional_startup_grace_ms": STARTUP_TIMEOUT_S * 1000,
        "analytics": {**mapping(base.get("analytics")), "enabled": False},
        # Both download a catalogue from the vendor before each session.
        "features": {"apps": False, "plugins": False, **mapping(base.get("features"))},
        "mcp_servers": _servers(config, mapping(base.get("mcp_servers")), log),
    }
    if config.permissions is not None:
        table = guarded_config(table, str(config.cwd))
    if plan.model:
        table["model"] = plan.model
    if plan.effort:
        table["model_reasoning_effort"] = plan.effort
    if plan.uses_agents_md:
        limit = base.get("project_doc_max_bytes")
        limit = limit if isinstance(limit, int) else PROJECT_DOC_BYTES
        table["project_doc_max_bytes"] = limit + len(config.system_prompt.encode()) + 1024
    elif config.system_prompt:
        own = text(base.get("developer_instructions"))
        table["developer_instructions"] = "\n\n".join(filter(None, (own, config.system_prompt)))
    return toml_bytes(table)


def _servers(
    config: ProviderSessionConfig, own: dict[str, Any], log: Log
) -> dict[str, dict[str, Any]]:
    """Return the operator's tool servers, overridden by the installed and the swarm's own."""
    tables: dict[str, dict[str, Any]] = {
        name: table for name, table in own.items() if isinstance(table, dict)
    }
    for table in tables.values():
        register_secrets(table, config.redactor, headers="http_headers")
    ours = swarm_server_of(config, CodexOptions.load(config.env).runtime_id)
    for server in (*config.mcp_servers, ours):
        if server.transport == "sse":
            log.warning(Event.MCP_CONFIG, skipped=server.name, why="codex has no sse transport")
            continue
        tables[server.name] = mcp_table(server, _COMMON)
    if config.permissions is not None:
        return {name: guarded_server(table) for name, table in tables.items()}
    return tables


async def prepare_home(config: ProviderSessionConfig, credential: Credential) -> PurePath:
    """Make the session's home with its login, and link the operator's files into it.

    It is in the private directory of the session. Raises `ProviderError` if it cannot be written.
    """
    guest, home = config.guest, config.private_dir / FOLDER
    try:
        await guest.files.make_dir(str(home))
        await _log_in(guest, home / "auth.json", credential)
    except OSError as error:
        msg = f"cannot prepare {home}: {error.strerror or error}"
        raise ProviderError(msg) from error
    target = CodexLogin.load(config.env).operator_home
    if target is not None:
        # The CLI does not ask about what its rules allow.
        is_guarded = config.permissions is not None
        shared = tuple(name for name in _SHARED if not (is_guarded and name == "rules"))
        await _link(guest, home, target, shared)
    return home


async def _log_in(guest: Guest, path: PurePath, credential: Credential) -> None:
    """Write the session's login, or link the operator's, which the CLI renews in place."""
    await guest.files.remove(str(path))
    if credential.file is not None:
        await guest.files.link(str(path), str(credential.file))
        return
    await guest.put([PrivateFile(path=path, content=credential.content)])


async def _link(guest: Guest, home: PurePath, operator: PurePath, shared: tuple[str, ...]) -> None:
    files = guest.files
    for name in (*_PERSISTENT, *shared):
        target, link = str(operator / name), str(home / name)
        try:
            if name in _PERSISTENT:
                await files.make_dir(target)
            if await files.info(target) is not None and await files.info(link) is None:
                await files.link(link, target)
        except OSError as error:
            # The session runs without its record, but cannot be resumed.
            Log().warning(Event.STATE_DEGRADED, path=target, why=error.strerror or str(error))


async def choose_transport(config: ProviderSessionConfig) -> Transport:
    """Return the transport of a session."""
    match CodexOptions.load(config.env).transport:
        case "app-server":
            return "app-server"
        case "exec":
            return "exec"
    if await _has_app_server(config):
        return "app-server"
    Log().warning(Event.CONFIG_IGNORED, key="CODEX_TRANSPORT", why="this codex has no app-server")
    return "exec"


async def _has_app_server(config: ProviderSessionConfig) -> bool:
    """Ask for the help of the subcommand; a CLI without it prints its general help."""
    program, guest = CodexOptions.load(config.env).program, config.guest
    path = await guest.files.which(program[0], config.env)
    found = await guest.files.info(path) if path is not None else None
    if path is None or found is None:
        return True  # the start of the session reports the error
    key = (*program, path, str(found.modified_ns))
    if key not in _probed:
        help_text = ""
        with contextlib.suppress(ProviderError):
            asked = await guest.run(
                (*program, "app-server", "--help"),
                env=config.env,
                cwd=config.cwd,
                timeout_s=PROBE_TIMEOUT_S,
                max_output=MAX_HELP_BYTES,
                name="probe",
            )
            help_text = asked.stdout.decode(errors="replace") if asked.exit_code == 0 else ""
        usage = [line for line in help_text.splitlines() if line.startswith("Usage:")]
        _probed[key] = any("app-server" in line for line in usage)
    return _probed[key]
