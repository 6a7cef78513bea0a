"""Build the launch of the Gemini CLI: arguments, environment, a home with settings of its own.

The CLI reads tool servers and notes from its home only, so each session has one, of links to the
user's files, with private settings and notes. Logins and sessions stay in the user's home.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.providers.catalog import lowered_effort
from agent_swarm_worker.providers.gemini.spec import SPEC, GeminiOptions
from agent_swarm_worker.providers.kit.cli_adapter import (
    MAX_FILE_BYTES,
    encoded,
    linked_folder,
    read_settings,
    session_env,
    session_servers,
)
from agent_swarm_worker.providers.kit.launch import Launch
from agent_swarm_worker.providers.kit.native import items, mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.contract import McpServer, ProviderSessionConfig

HOME = "gemini-home"
NOTES = "GEMINI.md"
_SETTINGS = "settings.json"
_IMPORT = re.compile(r"(?<!\S)@(?=\S)")
"""In notes the CLI takes such a word for a file to be included."""
_BUDGETS = {"low": 1024, "medium": 8192, "high": 24_576}
_MODELS_2 = "chat-base-2.5"
_MODELS_3 = "chat-base-3"
"""The CLI's names for the settings common to a generation of models."""


async def prepared(config: ProviderSessionConfig) -> Callable[[ProviderSessionConfig], Launch]:
    """Prepare the session's home; return the function that builds its launches."""
    home = config.private_dir / HOME
    folder = home / ".gemini"
    user_home = PurePath(GeminiOptions.load(config.env).user_home or home)
    user = user_home / ".gemini"
    values: dict[str, str] = {}
    settings = orjson.dumps(
        session_settings(config, await read_settings(config, user / _SETTINGS), values)
    )
    notes = await _notes(config, user / NOTES)
    await linked_folder(config, folder, user, own=(_SETTINGS, NOTES), persistent=("tmp", "history"))
    for name in (".agents", ".env"):
        if await config.guest.exists(user_home / name):
            await config.guest.files.link(str(home / name), str(user_home / name))

    def launch(config: ProviderSessionConfig) -> Launch:
        model = resolve_model(config.model)
        return Launch(
            argv=(
                *GeminiOptions.load(config.env).program,
                *("--output-format", "stream-json", "--yolo"),
                *((f"--model={model}",) if model else ()),
                # As one word, so that no id can be taken for an option.
                *((f"--resume={config.resume_session_id}",) if config.resume_session_id else ()),
                *config.additional_args,
            ),
            env={
                # A second process of the CLI would not be told of signals.
                "GEMINI_CLI_NO_RELAUNCH": "true",
                **session_env(config, GEMINI_CLI_HOME=str(home), GEMINI_CLI_TRUST_WORKSPACE="true"),
                **values,
            },
            cwd=config.cwd,
            stdin=encoded(config.prompt),
            files=(
                PrivateFile(path=folder / _SETTINGS, content=settings),
                PrivateFile(path=folder / NOTES, content=notes),
            ),
        )

    return launch


async def _notes(config: ProviderSessionConfig, path: PurePath) -> bytes:
    """Return the user's notes and the system prompt, which together follow the CLI's own prompt."""
    try:
        own = await config.guest.read(path, max_bytes=MAX_FILE_BYTES)
    except OSError:
        own = b""
    return b"\n\n".join(filter(None, (own, encoded(_IMPORT.sub(r"\\@", config.system_prompt)))))


def session_settings(
    config: ProviderSessionConfig, own: Mapping[str, Any], values: dict[str, str]
) -> dict[str, Any]:
    """Return the settings of a session: the user's `own`, overridden to be headless.

    `values` receives the variables that the settings refer to.
    """
    settings = dict(own)

    def override(key: str, **more: Any) -> None:
        settings[key] = {**mapping(settings.get(key)), **more}

    override("general", enableAutoUpdate=False, enableAutoUpdateNotification=False)
    override("privacy", usageStatisticsEnabled=False)
    override("context", fileName=_note_names(mapping(own.get("context")).get("fileName")))
    servers = {one.name: _server(one, values) for one in session_servers(config)}
    override("mcpServers", **servers)
    if login := _login(GeminiOptions.load(config.env)):
        security = mapping(settings.get("security"))
        auth = {**mapping(security.get("auth")), "selectedType": login}
        override("security", auth=auth)
    if level := applied_effort(config.reasoning_effort):
        overrides = items(mapping(own.get("modelConfigs")).get("customOverrides"))
        override("modelConfigs", customOverrides=[*overrides, *_thinking(level)])
    return settings


def _note_names(own: Any) -> list[Any]:
    names = own if isinstance(own, list) else [own] if isinstance(own, str) and own else []
    return names if NOTES in names else [*names, NOTES]


def _login(options: GeminiOptions) -> str:
    """Return the CLI's name for the login to use; empty to leave it to the user's settings."""
    if options.uses_vertex:
        return "vertex-ai"
    return "gemini-api-key" if options.api_key else ""


def _server(server: McpServer, values: dict[str, str]) -> dict[str, Any]:
    """Return a tool server as an entry of ``mcpServers``."""

    def literal(value: str) -> str:
        """Return a text that the CLI, which puts in the values of variables, reads as `value`."""
        if "$" not in value:
            return value
        name = f"SWARM_MCP_VALUE_{len(values) + 1}"
        values[name] = value
        return f"${{{name}}}"

    common = {"trust": True, "timeout": 300_000}
    if server.transport == "stdio":
        env = {name: literal(value) for name, value in server.env.items()}
        args = [literal(word) for word in server.args]
        return {"command": literal(server.command), "args": args, "env": env, **common}
    key = "httpUrl" if server.transport == "http" else "url"
    headers = {name: literal(value) for name, value in server.headers.items()}
    return {key: literal(server.url), "headers": headers, **common}


def resolve_model(model: str) -> str:
    """Return the name that the CLI knows; tasks may use another vendor's short names."""
    name = model.strip()
    return SPEC.models.aliases.get(name.lower(), name)


def applied_effort(level: str | None) -> str | None:
    """Return the effort that can be asked for; the CLI has none for ``off``."""
    return None if level is None else lowered_effort(level, SPEC.models.efforts)


def _thinking(level: str) -> list[dict[str, Any]]:
    """Return the overrides that set the effort of every model the CLI may choose."""
    configs = (
        (_MODELS_2, {"thinkingBudget": _BUDGETS[level]}),
        (_MODELS_3, {"thinkingLevel": "LOW" if level == "low" else "HIGH"}),
    )
    return [
        {
            "match": {"model": name},
            "modelConfig": {"generateContentConfig": {"thinkingConfig": thinking}},
        }
        for name, thinking in configs
    ]
