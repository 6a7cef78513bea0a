"""Read the agent directory: ``auth.json``, ``models.json`` and the files of saved sessions.

The first two have the format of the pi command line and are never written here, so that one
directory serves both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.errors import UnreadableFile
from agent_swarm_worker.providers.kit.native import parse_file
from agent_swarm_worker.providers.pi.spec import PiOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest

MAX_FILE_BYTES = 4 * 1024 * 1024
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{7,63}\Z")


@dataclass(frozen=True, slots=True)
class AgentFiles:
    """Content of the two files; empty if the file does not exist."""

    auth: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """Per provider: ``{"type": "api_key", "key": …}`` or ``{"type": "oauth", "access": …}``."""
    providers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """Custom providers by name."""


async def read_agent_files(env: Mapping[str, str], guest: Guest) -> AgentFiles:
    """Read both files; raise `UnreadableFile` if one exists and cannot be used."""
    folder = PiOptions.load(env).agent_dir
    auth_path, models_path = folder / "auth.json", folder / "models.json"
    auth = _objects(auth_path, await _json_object(guest, auth_path))
    providers = (await _json_object(guest, models_path)).get("providers", {})
    if not isinstance(providers, dict):
        raise UnreadableFile(models_path, "its providers are not an object")
    return AgentFiles(auth, _objects(models_path, providers))


async def _json_object(guest: Guest, path: PurePath) -> dict[str, Any]:
    try:
        content = await guest.read(path, max_bytes=MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UnreadableFile(path, error.strerror or repr(error)) from error
    if len(content) > MAX_FILE_BYTES:
        raise UnreadableFile(path, f"it is longer than {MAX_FILE_BYTES} bytes")
    try:
        value = parse_file(content)
    except orjson.JSONDecodeError as error:  # its message has no content of the file
        raise UnreadableFile(path, f"not JSON: {error.msg} at {error.pos}") from None
    except UnicodeDecodeError as error:
        raise UnreadableFile(path, f"not text: {error.reason} at {error.start}") from None
    if not isinstance(value, dict):
        raise UnreadableFile(path, "not a JSON object")
    return value


def _objects(path: PurePath, value: dict[str, Any]) -> dict[str, Mapping[str, Any]]:
    for name, entry in value.items():
        if not isinstance(entry, dict):
            raise UnreadableFile(path, f"{name!r} is not an object")
    return value


def session_path(env: Mapping[str, str], session_id: str) -> PurePath:
    """Return the file of a session; raise `UnreadableFile` if this cannot be the id of one.

    It is in a folder of its own, since the pi command line reads the others and not this format.
    """
    folder = PiOptions.load(env).agent_dir / "sessions" / "swarm-worker"
    if not _ID.match(session_id):
        raise UnreadableFile(folder, f"{session_id!r} is no session id")
    return folder / f"{session_id}.jsonl"


async def is_saved(env: Mapping[str, str], session_id: str, guest: Guest) -> bool:
    """Return whether that session is saved and has a message."""
    try:
        path = session_path(env, session_id)
        async with guest.files.open(str(path), within=str(path.parent)) as file:
            head = await file.read(64 * 1024, 0)
    except (OSError, ValueError, UnreadableFile):
        return False
    return head.startswith(b'{"type":"session"') and b'{"type":"message"' in head
