"""What a SKILL.md must be before it is written: small enough, and with front matter that says what.

A harness finds a skill by the name and description in its front matter; without them it is dead
weight at best, and some harnesses refuse the whole folder.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from agent_swarm_worker.guards.front_matter import front_matter

MAX_FILES = 100
MAX_FILE_BYTES = 512_000
MAX_TOTAL_BYTES = 10 * 1024 * 1024
"""The server's own limits (docs/skills.md), checked again here."""

_UNSAFE_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_PATH_CHARS = 240
_MAX_DEPTH = 10


def folder_name(skill_name: str) -> str:
    """Return the folder of a skill: its name with everything unusual as ``_``."""
    return _UNSAFE_IN_NAME.sub("_", skill_name)


def refusal(text: str) -> str:
    """Return why `text` is no SKILL.md; empty if it is one."""
    if not text.strip():
        return "it is empty"
    if len(text.encode(errors="replace")) > MAX_FILE_BYTES:
        return f"it is larger than {MAX_FILE_BYTES} bytes"
    found = front_matter(text)
    absent = [key for key in ("name", "description") if not found.get(key)]
    return f"its front matter has no {' and no '.join(absent)}" if absent else ""


def is_safe_path(path: str) -> bool:
    """True for the relative path of a bundled file that stays inside the skill's folder.

    The server checks this too, but what it sends is written to somebody's home directory.
    """
    parts = path.split("/")
    return (
        0 < len(path) <= _MAX_PATH_CHARS
        and len(parts) <= _MAX_DEPTH
        and path.isprintable()
        and "\\" not in path
        and ":" not in path
        and all(part not in {"", ".", ".."} for part in parts)
        and not PurePosixPath(path).is_absolute()
        and path.casefold() not in {"skill.md", ".swarm-managed"}
    )
