"""Build the launch of the Cursor CLI: arguments, environment, a home with tool servers of its own.

The CLI reads tool servers from its home only, so each session has one, of links to the user's
files. It takes no system prompt, so that begins the first message.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import PrivateFile
from agent_swarm_worker.providers.cursor.spec import SPEC, CursorOptions
from agent_swarm_worker.providers.kit.cli_adapter import (
    encoded,
    linked_folder,
    read_settings,
    session_env,
    session_servers,
)
from agent_swarm_worker.providers.kit.launch import Launch
from agent_swarm_worker.providers.kit.mcp_config import mcp_config_bytes
from agent_swarm_worker.providers.kit.native import mapping

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.contract import ProviderSessionConfig

HOME = "cursor-home"
_SERVERS = "mcp.json"
_FOLDER = ".cursor"
_WITH_EFFORT = re.compile(r"^(gpt-[\d.]+(?:-codex(?:-\w+)?)?)(-fast)?$")
"""Models whose name may end with an effort."""


async def prepared(config: ProviderSessionConfig) -> Callable[[ProviderSessionConfig], Launch]:
    """Prepare the session's home; return the function that builds its launches."""
    home = config.private_dir / HOME
    user = PurePath(CursorOptions.load(config.env).home or config.private_dir / "no-home")
    own: dict[str, Any] = await read_settings(config, user / _FOLDER / _SERVERS)
    servers = mcp_config_bytes(session_servers(config), mapping(own.get("mcpServers")))
    await linked_folder(config, home, user, own=(_FOLDER,))
    folders = ("chats", "projects")
    await linked_folder(config, home / _FOLDER, user / _FOLDER, own=(_SERVERS,), persistent=folders)

    def launch(config: ProviderSessionConfig) -> Launch:
        model = with_effort(resolve_model(config.model), config.reasoning_effort)[0]
        chat = config.resume_session_id
        return Launch(
            argv=(
                *CursorOptions.load(config.env).program,
                *("--print", "--output-format", "stream-json"),
                *("--force", "--trust", "--approve-mcps"),
                *(("--model", model) if model else ()),
                # As one word, so that no id can be taken for an option.
                *((f"--resume={chat}",) if chat else ()),
                *config.additional_args,
            ),
            env=session_env(config, HOME=str(home), CURSOR_CONFIG_DIR=str(home / _FOLDER)),
            cwd=config.cwd,
            stdin=encoded(_message(config)),
            files=(PrivateFile(path=home / _FOLDER / _SERVERS, content=servers),),
        )

    return launch


def _message(config: ProviderSessionConfig) -> str:
    if not config.system_prompt or config.resume_session_id:
        return config.prompt
    system = f"<system_instructions>\n{config.system_prompt}\n</system_instructions>"
    return f"{system}\n\n{config.prompt}"


def resolve_model(model: str) -> str:
    """Return the name that the CLI knows; tasks may use another vendor's short names."""
    name = model.strip()
    return SPEC.models.aliases.get(name.lower(), name)


def with_effort(model: str, level: str | None) -> tuple[str, str | None]:
    """Return the name of a model with an effort, and the effort; ``None`` if it has none."""
    found = _WITH_EFFORT.match(model)
    if found is None or level not in SPEC.models.efforts:
        return model, None
    suffix = "" if level == "medium" else f"-{level}"
    return f"{found[1]}{suffix}{found[2] or ''}", level
