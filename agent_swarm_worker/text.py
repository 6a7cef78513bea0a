"""Shorten foreign text for a line, a field or a prompt.

``one_line`` and ``shorten*`` mark a cut with an ellipsis, ``clip*`` with a notice on a line of its
own, ``truncate_bytes`` not at all. Scrub before: a secret that is cut in half is not recognised.
"""

from __future__ import annotations

import re
import sys
from unicodedata import combining, east_asian_width

# White space, control characters, line and paragraph separators, direction overrides that reorder
# what follows, and lone surrogates, which no JSON encoder accepts.
# Listed one by one: with the class ``\s`` a substitution takes half as long again.
_UNFIT = re.compile(
    r"[\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028-\u202f\u205f\u2066-\u2069\u3000\ud800-\udfff]+"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def one_line(text: str, max_chars: int = sys.maxsize) -> str:
    """Put `text` on one line: runs of white space and control characters become one space."""
    if len(text) <= max_chars and text.isprintable() and "  " not in text:
        return text.strip()
    line = stripped = text.strip()
    # Cutting first keeps a huge text cheap; one that is mostly blanks gets a second, longer look.
    for read_chars in (max_chars * 3, max_chars * 16):
        line = stripped[:read_chars]
        if "  " in line or not line.isprintable():
            line = _UNFIT.sub(" ", line).strip()
        if len(line) > max_chars or len(stripped) <= read_chars:
            break
    return line if len(line) <= max_chars else line[: max_chars - 1].rstrip() + "…"


def shorten(text: str, max_chars: int) -> str:
    """Return at most `max_chars` characters from the start; an ellipsis marks a cut."""
    if len(text) <= max_chars:
        return text
    return f"{text[: max_chars - 1].rstrip()}…" if max_chars > 0 else ""


def shorten_start(text: str, max_chars: int) -> str:
    """Return at most `max_chars` characters from the end; an ellipsis marks a cut."""
    return text if len(text) <= max_chars else f"…{text[1 - max_chars :]}"


def shorten_middle(text: str, max_chars: int) -> str:
    """Return about `max_chars` characters, half of them from each end."""
    half = max_chars // 2
    return text if len(text) <= max_chars else f"{text[:half]} […] {text[-half:]}"


def fit_columns(text: str, width: int) -> str:
    """Return the start of `text` that fits into `width` columns of a terminal, with an ellipsis."""
    if columns(text) <= width:
        return text
    used, kept_chars = 0, 0
    for character in text:
        used += columns(character)
        if used > width - 1:
            break
        kept_chars += 1
    return text[:kept_chars] + "…"


def columns(text: str) -> int:
    """Return how many columns `text` takes on a terminal: wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1
        for character in text
    )


def clip(text: str, max_chars: int) -> str:
    """Return the first `max_chars` characters, and a notice if there are more; line breaks stay."""
    clipped = text if len(text) <= max_chars else f"{text[:max_chars]}\n[… cut here]"
    return _SURROGATE.sub("\ufffd", clipped)


def clip_bytes(text: str, max_bytes: int, notice: str) -> str:
    """Return `text` in at most `max_bytes` bytes of UTF-8, ending in `notice` if it was cut.

    Whole lines are kept where that costs little. Empty if not even the notice fits.
    """
    if len(text.encode(errors="replace")) <= max_bytes:
        return text
    room = max_bytes - len(notice.encode(errors="replace")) - 1
    if room < 0:
        return ""
    kept = truncate_bytes(text, room, errors="replace")
    line_end = kept.rfind("\n")
    if line_end > len(kept) * 3 // 4:
        kept = kept[:line_end]
    return f"{kept.rstrip()}\n{notice}"


def truncate_bytes(text: str, max_bytes: int, *, errors: str = "surrogatepass") -> str:
    """Return the start of `text` in at most `max_bytes` bytes of UTF-8; no character is halved."""
    raw = text.encode("utf-8", errors)
    return text if len(raw) <= max_bytes else raw[:max_bytes].decode("utf-8", "ignore")
