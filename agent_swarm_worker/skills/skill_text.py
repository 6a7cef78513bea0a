"""What a SKILL.md must be before it is written: small enough, and with front matter that says what.

A harness finds a skill by the name and description in its front matter; without them it is dead
weight at best, and some harnesses refuse the whole folder.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath

MAX_FILES = 100
MAX_FILE_BYTES = 512_000
MAX_TOTAL_BYTES = 10 * 1024 * 1024
"""The server's own limits (prompt reference section 3.2), checked again here."""

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_KEY_VALUE = re.compile(r"^([A-Za-z][\w-]*):(.*(?:\n[ \t]+.*)*)", re.MULTILINE)
"""A value may go on in lines that are indented."""
_UNSAFE_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_PATH_CHARS = 240
_MAX_DEPTH = 10


def folder_name(skill_name: str) -> str:
    """Return the folder of a skill: its name with everything unusual as ``_``."""
    return _UNSAFE_IN_NAME.sub("_", skill_name)


def front_matter(text: str) -> dict[str, str]:
    """Return the ``key: value`` lines of the front matter; empty if there is none."""
    found = _FRONT_MATTER.match(text.removeprefix("\ufeff"))
    if found is None:
        return {}
    pairs = _KEY_VALUE.findall(found[1].replace("\r\n", "\n"))
    return {key: _unquoted(" ".join(value.split())) for key, value in pairs}


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


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            return value
        return parsed if isinstance(parsed, str) else value
    return value.strip("'")
