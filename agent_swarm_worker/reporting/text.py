"""Making foreign text fit for a single line or a bounded field."""

from __future__ import annotations

import re

# Control characters, line and paragraph separators, direction overrides that reorder what follows,
# and lone surrogates, which no JSON encoder accepts.
_UNFIT = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def one_line(text: str, max_chars: int) -> str:
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
