"""Make foreign text plain; shorten it for a line, a field or a prompt.

``one_line`` and ``shorten*`` mark a cut with an ellipsis, ``clip*`` with a notice on a line of its
own, ``truncate_bytes`` not at all. Scrub before: a secret that is cut in half is not recognised.
"""

from __future__ import annotations

import re
import sys
from unicodedata import combining, east_asian_width

# White space, control characters, line and paragraph separators, direction controls that reorder
# what follows, and lone surrogates, which no JSON encoder accepts.
# Listed one by one: with the class ``\s`` a substitution takes half as long again.
_UNFIT = re.compile(
    r"[\x00-\x20\x7f-\xa0\u061c\u1680\u2000-\u200a\u200e\u200f\u2028-\u202f\u205f\u2066-\u2069\u3000"
    r"\ud800-\udfff]+"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
TERMINAL_SEQUENCE = (
    # A string with its end (title, link, image); CSI (colours, cursor); any other; a lone escape.
    r"(?:(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\n\x1b\x90\x98\x9c-\x9f]*+(?:\x07|\x9c|\x1b\\)"
    r"|(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]?|\x1b[ -/]*+[0-~]?)"
)
"""A pattern for one control sequence of a terminal (ECMA-48), also a cut one."""
_SEQUENCES = re.compile(TERMINAL_SEQUENCE)
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)
"""Control characters but tab and line feed, direction controls, byte order marks."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LINE_ENDS = re.compile(r"\r\n|[\r\x0b\x0c\x85]")
_BACKSPACED = re.compile(r"[^\n\x08]\x08")
"""A character that the next one replaces, as in spinners and in bold text of old printers."""


_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def text_of_file(content: bytes, *, errors: str = "replace") -> str:
    """Decode a file that a person wrote: UTF-8, or what its byte order mark says; lines end in LF.

    Raises:
        UnicodeDecodeError: with `errors` ``strict``, it is neither.
    """
    mark = next(filter(content.startswith, _MARKS), b"")
    text = content.removeprefix(mark).decode(_MARKS.get(mark, "utf-8"), errors)
    return text.replace("\r\n", "\n")


def plain(text: str) -> str:
    """Remove terminal sequences and direction controls; a control character becomes a blank.

    Scrub the result: the parts of a secret with a sequence between them come together.
    """
    if _is_plain(text):
        return text
    text = _LINE_ENDS.sub("\n", _SEQUENCES.sub("", text))
    return _HIDDEN.sub("", _CONTROLS.sub(" ", _BACKSPACED.sub("", text)))


def plain_line(line: str) -> str:
    """Return one line as plain text: what a terminal shows of it, of a progress bar its last state.

    A bar returns to the start of its line (carriage return) for each new state.
    """
    if _is_plain(line):
        return line
    states = plain(line).split("\n")
    return next((state for state in reversed(states) if state.strip()), "")


def _is_plain(text: str) -> bool:
    # The first two take a fraction of the time of the search.
    return (
        text.isprintable()
        or text.replace("\t", "").replace("\n", "").isprintable()
        or not _HIDDEN.search(text)
    )


def one_line(text: str, max_chars: int = sys.maxsize) -> str:
    """Put `text` on one line: runs of white space and control characters become one space.

    Terminal sequences are removed.
    """
    if len(text) <= max_chars and text.isprintable() and "  " not in text:
        return text.strip()
    line = stripped = text.strip()
    if "\x1b" in line or "\x9b" in line or "\x9d" in line:
        line = stripped = _SEQUENCES.sub("", line[: max_chars * 32]).strip()
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
