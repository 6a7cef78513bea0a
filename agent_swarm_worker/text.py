"""Making foreign text fit for a single line or a bounded field.

Reading the front matter of a SKILL.md: the ``key: value`` lines it begins with.
"""

from __future__ import annotations

import json
import re
import sys

# Control characters, line and paragraph separators, direction overrides that reorder what follows,
# and lone surrogates, which no JSON encoder accepts.
_UNFIT = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def one_line(text: str, max_chars: int = sys.maxsize) -> str:
    """Put `text` on one line: runs of blanks and control characters become one space.

    Scrub before: a secret that is cut in half is no longer recognised.
    """
    if len(text) <= max_chars and text.isprintable() and "  " not in text:
        return text.strip()
    line = stripped = text.strip()
    # Cutting first keeps a huge text cheap; what is mostly blanks gets a second, longer look.
    for kept_chars in (max_chars * 3, max_chars * 16):
        line = stripped[:kept_chars]
        if "  " in line or not line.isprintable():
            line = _UNFIT.sub(" ", line).strip()
        if len(line) > max_chars or len(stripped) <= kept_chars:
            break
    return line if len(line) <= max_chars else line[: max_chars - 1].rstrip() + "…"


def clip(text: str, max_chars: int) -> str:
    """Keep the first `max_chars` characters and mark the cut; line breaks stay."""
    kept = text if len(text) <= max_chars else f"{text[:max_chars]}\n[… cut here]"
    return _SURROGATE.sub("\ufffd", kept)


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
