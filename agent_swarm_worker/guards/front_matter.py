"""Reading the front matter of a SKILL.md: the ``key: value`` lines it begins with."""

from __future__ import annotations

import json
import re

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_KEY_VALUE = re.compile(r"^([A-Za-z][\w-]*):(.*(?:\n[ \t]+.*)*)", re.MULTILINE)
"""A value may go on in lines that are indented."""


def front_matter(text: str) -> dict[str, str]:
    """Return the ``key: value`` lines of the front matter; empty if there is none."""
    found = _FRONT_MATTER.match(text.removeprefix("\ufeff"))
    if found is None:
        return {}
    pairs = _KEY_VALUE.findall(found[1].replace("\r\n", "\n"))
    return {key: _unquoted(" ".join(value.split())) for key, value in pairs}


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            return value
        return parsed if isinstance(parsed, str) else value
    return value.strip("'")
