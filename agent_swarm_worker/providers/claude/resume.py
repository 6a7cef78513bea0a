"""Where Claude Code keeps its sessions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.claude.options import ClaudeOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import Guest

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


async def transcript(session_id: str, env: Mapping[str, str], guest: Guest) -> str | None:
    """Return the transcript of a session that can be resumed, or ``None``.

    The CLI finds a session from any working directory, so every project is looked through. An id
    that is no UUID would be searched for among session titles; it names no session of ours.

    Args:
        session_id: the CLI's own id of the session.
        env: the environment the CLI will run in.
        guest: where it will run.
    """
    home = ClaudeOptions.load(env).sessions_home
    if not home or not _UUID.fullmatch(session_id):
        return None
    found = await guest.files.glob(f"{home}/projects", f"*/{session_id}.jsonl")
    return next(iter(found), None)
