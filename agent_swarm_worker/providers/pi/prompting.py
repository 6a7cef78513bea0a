"""The system prompt of a session: what the worker says, word for word, and what pi adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest
    from agent_swarm_worker.providers.pi.tool import Tool

CONTEXT_FILES = ("AGENTS.md", "CLAUDE.md")
"""The first one there is counts, as with the pi command line."""
MAX_CONTEXT_BYTES = 64 * 1024


async def system_prompt(
    own: str, guest: Guest, cwd: PurePath, tools: Iterable[Tool], skills: str
) -> str:
    """Compose the prompt; `own` stands first and unchanged."""
    parts = (own, _surroundings(cwd, tools), await _project_context(guest, cwd), skills)
    return "\n\n".join(part for part in parts if part.strip())


def _surroundings(cwd: PurePath, tools: Iterable[Tool]) -> str:
    names = ", ".join(tool.name for tool in tools) or "none"
    return (
        "## Your tools\n\n"
        f"You work in {cwd} with these tools: {names}. Use them to do the task rather than to "
        "describe it. Look at a file before you change it, and check what you did. When the task "
        "is done, say so in a final message without a tool call; that message is the result."
    )


async def _project_context(guest: Guest, cwd: PurePath) -> str:
    for name in CONTEXT_FILES:
        text = await _read(guest, cwd / name)
        if text:
            return f"## Project instructions ({name})\n\n{text}"
    return ""


async def _read(guest: Guest, path: PurePath) -> str:
    try:
        content = await guest.read(path, max_bytes=MAX_CONTEXT_BYTES + 1)
    except OSError:
        return ""
    text = content[:MAX_CONTEXT_BYTES].decode("utf-8", "replace").strip()
    cut = "\n\n[the rest of this file is left out]" if len(content) > MAX_CONTEXT_BYTES else ""
    return text + cut
