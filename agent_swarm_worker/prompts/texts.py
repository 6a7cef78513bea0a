"""Small things done to text before it goes into a prompt: clean, shorten, put on one line."""

from __future__ import annotations

import re

_LINE_ENDS = re.compile(r"\r\n?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n{3,}")
_WHITESPACE = re.compile(r"\s+")


def clean(text: str) -> str:
    """Return `text` without what no prompt can carry.

    Control characters other than newline and tab go (a NUL cannot be an argument, an escape could
    drive a terminal), line ends become newlines, and halves of surrogate pairs, which have no
    UTF-8 form, become U+FFFD.
    """
    text = _LINE_ENDS.sub("\n", text)
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def one_line(text: str, max_chars: int | None = None) -> str:
    """Return `text` cleaned, with every run of whitespace as one space, and cut."""
    flat = _WHITESPACE.sub(" ", clean(text)).strip()
    return flat if max_chars is None else cut(flat, max_chars)


def cut(text: str, max_chars: int) -> str:
    """Return at most `max_chars` characters; the last one is an ellipsis if something is gone."""
    if len(text) <= max_chars:
        return text
    return f"{text[: max_chars - 1].rstrip()}…" if max_chars > 0 else ""


def cut_bytes(text: str, max_bytes: int, notice: str) -> str:
    """Return `text` in at most `max_bytes` bytes of UTF-8, ending in `notice` if it was cut.

    Whole lines are kept where that costs little. Empty if not even the notice fits.
    """
    encoded = text.encode(errors="replace")
    if len(encoded) <= max_bytes:
        return text
    room = max_bytes - len(notice.encode(errors="replace")) - 1
    if room < 0:
        return ""
    kept = encoded[:room].decode(errors="ignore")
    at_line = kept.rfind("\n")
    if at_line > len(kept) * 3 // 4:
        kept = kept[:at_line]
    return f"{kept.rstrip()}\n{notice}"


def squeeze(text: str) -> str:
    """Return `text` with at most one blank line in a row."""
    return _BLANK_LINES.sub("\n\n", text)


def block(text: str) -> str:
    """Set `text` off by blank lines, for templates that place several values side by side."""
    return f"\n{text.strip()}\n" if text.strip() else ""


def join(*parts: str) -> str:
    """Join the parts that are not blank with a blank line each."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip())
