"""The CLI's own record of a session: whether there is one to continue, and what it has used."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.providers.codex.usage import read_tokens
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.native import mapping, text

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MAX_ROLLOUT_BYTES = 1 << 30
_MARK = b'"token_count"'


def is_thread_id(name: str) -> bool:
    """True for a UUID; anything else would make the CLI start a new session without a word."""
    return _UUID.fullmatch(name) is not None


async def find_rollout(thread_id: str, home: PurePath | None, guest: Guest) -> str | None:
    """Return the record of a session that can be continued, or ``None``.

    Args:
        thread_id: the CLI's own id of the session.
        home: the folder that keeps the records of all sessions.
        guest: where that folder is.
    """
    if home is None or not is_thread_id(thread_id):
        return None
    pattern = f"*/*/*/rollout-*-{thread_id.lower()}.jsonl"
    return next(iter(await guest.files.glob(f"{home}/sessions", pattern)), None)


async def read_rollout(thread_id: str, home: PurePath | None, guest: Guest) -> bytes | None:
    """Return what is in that record; ``None`` if there is none, nothing if it cannot be read."""
    path = await find_rollout(thread_id, home, guest)
    if path is None:
        return None
    try:
        return await guest.read(path, max_bytes=MAX_ROLLOUT_BYTES)
    except OSError:
        return b""


def used_before(rollout: bytes | None, *, until: datetime | None = None) -> Tokens:
    """Return the tokens that a session has used so far: what it reports later includes them.

    Args:
        rollout: its record, if it has one.
        until: what was recorded later does not count.
    """
    lines = (rollout or b"").splitlines()
    for line in reversed(lines):
        if _MARK not in line:
            continue
        try:
            record = mapping(orjson.loads(line))
        except orjson.JSONDecodeError:  # cut off when the CLI was killed
            continue
        if until is not None and not _is_of(record, until):
            continue
        payload = mapping(record.get("payload"))
        if payload.get("type") == "token_count" and mapping(payload.get("info")):
            return read_tokens(mapping(payload["info"]).get("total_token_usage"))
    return Tokens()


def _is_of(record: dict[str, Any], until: datetime) -> bool:
    try:
        return datetime.fromisoformat(text(record.get("timestamp"))) <= until
    except (ValueError, TypeError):  # TypeError: a time of nowhere in particular
        return False


def was_told(rollout: bytes, instructions: str) -> bool:
    """True if a session's record has these instructions to the letter."""
    try:
        return orjson.dumps(instructions)[1:-1] in rollout
    except TypeError:  # half a surrogate pair
        return False
