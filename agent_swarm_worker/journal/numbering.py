"""Upload numbering: how the lines of a session keep their order on the server.

The server numbers lines within one request only, and sorts by the request's ``iteration`` first. So
each request says in ``iteration`` how many bytes of the session's log went before it, counted from
the session's own iteration. Whoever sends a part of a range adds the bytes of the range that lie
before the part; two neighbouring ranges joined are numbered as the two would have been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_AFTER_ALL_BYTES = 1 << 20
"""Puts what a recovery uploads behind all that the session had sent, an earlier file included."""
AFTER_ALL_LINES = 2_000_000_000
"""The number of a line that is to be the last of its session."""


def number(iteration: int, bytes_before: int) -> int:
    """Return the number of lines with so many bytes of the session's log before them."""
    return iteration + bytes_before


def number_of_rest(iteration: int, offset: int) -> int:
    """Return the number of what a recovery uploads of a file, from this offset on."""
    return iteration + offset + _AFTER_ALL_BYTES


def possible_offsets(number: int, *, iteration: int, head_bytes: int) -> Iterator[int]:
    """Yield where the lines of a request may begin in the session's file, likeliest first.

    Args:
        number: of the request.
        iteration: of the session.
        head_bytes: length of the file's first record, which is not uploaded.
    """
    yield head_bytes + number - iteration
    yield number - iteration - _AFTER_ALL_BYTES
