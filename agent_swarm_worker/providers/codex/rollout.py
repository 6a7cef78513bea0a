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
    from pathlib import Path

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MARK = b'"token_count"'


def is_thread_id(name: str) -> bool:
    """True for a UUID; anything else would make the CLI start a new session without a word."""
    return _UUID.fullmatch(name) is not None


def find_rollout(thread_id: str, home: Path | None) -> Path | None:
    """Return the record of a session that can be continued, or ``None``.

    Args:
        thread_id: the CLI's own id of the session.
        home: the folder that keeps the records of all sessions.
    """
    if home is None or not is_thread_id(thread_id):
        return None
    pattern = f"*/*/*/rollout-*-{thread_id.lower()}.jsonl"
    try:
        found = (home / "sessions").glob(pattern)
        return next((path for path in found if path.is_file() and path.stat().st_size), None)
    except OSError:
        return None


def used_before(rollout: Path | None, *, until: datetime | None = None) -> Tokens:
    """Return the tokens that a session has used so far: what it reports later includes them.

    Args:
        rollout: its record, if it has one.
        until: what was recorded later does not count.
    """
    try:
        lines = rollout.read_bytes().splitlines() if rollout else []
    except OSError:
        lines = []
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


def was_told(rollout: Path, instructions: str) -> bool:
    """True if a session's record has these instructions to the letter."""
    try:
        return orjson.dumps(instructions)[1:-1] in rollout.read_bytes()
    except (OSError, TypeError):  # TypeError: half a surrogate pair
        return False
