"""Where Claude Code keeps its sessions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.claude.options import ClaudeOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def transcript(session_id: str, env: Mapping[str, str]) -> Path | None:
    """Return the transcript of a session that can be resumed, or ``None``.

    The CLI finds a session from any working directory, so every project is looked through. An id
    that is no UUID would be searched for among session titles; it names no session of ours.

    Args:
        session_id: the CLI's own id of the session.
        env: the environment the CLI will run in.
    """
    home = ClaudeOptions.load(env).sessions_home
    if not home or not _UUID.fullmatch(session_id):
        return None
    try:
        found = Path(home, "projects").glob(f"*/{session_id}.jsonl")
        return next((path for path in found if path.is_file() and path.stat().st_size), None)
    except OSError:
        return None
