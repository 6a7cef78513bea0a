"""Where the conversations of pi are saved, without knowing what is in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import UnreadableFile
from agent_swarm_worker.providers.pi.files import agent_dir

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{7,63}\Z")


def session_path(env: Mapping[str, str], session_id: str) -> PurePath:
    """Return the file of a session.

    A folder of our own: the pi command line reads the others, and not our form.

    Raises:
        UnreadableFile: this can be no id of a session.
    """
    folder = agent_dir(env) / "sessions" / "swarm-worker"
    if not _ID.match(session_id):
        raise UnreadableFile(folder, f"{session_id!r} is no session id")
    return folder / f"{session_id}.jsonl"


async def is_saved(env: Mapping[str, str], session_id: str, guest: Guest) -> bool:
    """True if that session is really there, with something said in it."""
    try:
        path = session_path(env, session_id)
        async with guest.files.open(str(path), within=str(path.parent)) as file:
            head = await file.read(64 * 1024, 0)
    except (OSError, ValueError, UnreadableFile):
        return False
    return head.startswith(b'{"type":"session"') and b'{"type":"message"' in head
