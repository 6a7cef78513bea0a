"""How much of a text a model is shown, and what it is told about the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_swarm_worker.contract import Redactor

MAX_BYTES = 50 * 1024
MAX_LINES = 2000


def size_of(count: int) -> str:
    """Return a number of bytes for people."""
    if count < 1024:
        return f"{count} bytes"
    for unit in ("KB", "MB", "GB"):
        count_in_unit = count / 1024
        if count_in_unit < 1024 or unit == "GB":
            return f"{count_in_unit:.1f} {unit}"
        count //= 1024
    raise AssertionError


def cut(text: str, max_bytes: int) -> str:
    """Return the beginning of `text` in at most `max_bytes` of UTF-8, no character halved."""
    raw = text.encode("utf-8", "surrogatepass")
    return text if len(raw) <= max_bytes else raw[:max_bytes].decode("utf-8", "ignore")


def clipped(
    text: str, *, max_bytes: int = MAX_BYTES, max_lines: int = MAX_LINES, dropped: int = 0
) -> str:
    """Return `text`, or its beginning and its end with a note in between on what is missing.

    The end is the longer part: that is where errors and sums stand.

    Args:
        text: of which nothing is missing yet, but for `dropped` bytes somewhere in the middle.
        max_bytes: how much of it is shown.
        max_lines: how many lines are shown.
        dropped: what has been left out before.
    """
    lines = text.splitlines(keepends=True)
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= max_bytes and len(lines) <= max_lines and not dropped:
        return text
    head = cut("".join(lines[: max_lines * 2 // 5]), max_bytes * 2 // 5)
    tail_lines = "".join(lines[-(max_lines * 3 // 5) :]).encode("utf-8", "surrogatepass")
    tail = tail_lines[-(max_bytes * 3 // 5) :].decode("utf-8", "ignore")
    missing = dropped + len(raw) - len(head.encode("utf-8", "surrogatepass"))
    missing -= len(tail.encode("utf-8", "surrogatepass"))
    return f"{head}\n\n[… {size_of(max(0, missing))} left out …]\n\n{tail}"


def scrubbed_part(redactor: Redactor, before: str, part: str, after: str) -> str:
    """Scrub a part of a longer text.

    A secret that lies across an edge of the part is known only together with what is beyond. It is
    left out of the part altogether.
    """
    clean = redactor.text(part)
    if after:
        whole = redactor.text(part + after)
        if whole != clean + redactor.text(after):
            clean = _common_prefix(clean, whole)
    if before:
        whole = redactor.text(before + part)
        if whole != redactor.text(before) + redactor.text(part):
            clean = _common_prefix(clean[::-1], whole[::-1])[::-1]
    return clean


def _common_prefix(one: str, other: str) -> str:
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return one[:index]
    return one[: len(other)]
