"""Print lines, tables and JSON; make foreign text safe for a terminal.

Text from agents and servers passes through `plain`: control characters could move the cursor or
type into the terminal, and direction marks could reorder a line.
"""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import IO, TYPE_CHECKING, AnyStr, TextIO

import orjson

from agent_swarm_worker.errors import OutputLost
from agent_swarm_worker.text import columns, fit_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_DIRECTION_MARKS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_BEYOND_ASCII = (*range(127, 160), 0x2028, 0x2029, *_DIRECTION_MARKS)
_REMOVED = dict.fromkeys((*(code for code in range(32) if code not in (9, 10)), *_BEYOND_ASCII))
# JSON escapes what is below 32 by itself.
_ESCAPED = {code: f"\\u{code:04x}" for code in _BEYOND_ASCII}


def write(text: str, stream: TextIO | None = None) -> None:
    """Write `text` unchanged and flush, by default to standard output; may raise `OutputLost`."""
    _put(stream or sys.stdout, text)


def notice(text: str) -> None:
    """Print a message to standard error; a failure is ignored."""
    with contextlib.suppress(OSError):
        print(plain(text), file=sys.stderr, flush=True)


def print_line(text: str) -> None:
    """Print one line."""
    write(f"{text}\n")


def print_json(value: object) -> None:
    """Print one JSON document in UTF-8, whatever the locale."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2).decode()
    _put(sys.stdout.buffer, f"{text.translate(_ESCAPED)}\n".encode())


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns; the last may have any length and several lines."""
    table = [list(headings), *[[plain(cell) for cell in row] for row in rows]]
    widths = [max(columns(row[i]) for row in table) for i in range(len(headings) - 1)]
    indent = "\n" + " " * (sum(widths) + 2 * len(widths))
    for row in table:
        cells = [
            cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=False)
        ]
        print_line("  ".join([*cells, row[-1].rstrip().replace("\n", indent)]).rstrip())


def plain(text: str) -> str:
    """Remove control characters and direction marks; newlines and tabs stay."""
    return text.translate(_REMOVED)


def fit_line(text: str, width: int) -> str:
    """Return `text` on one line of at most `width` columns."""
    return fit_columns(plain(" ".join(text.split())), width)


def _put(stream: IO[AnyStr], data: AnyStr) -> None:
    try:
        stream.write(data)
        stream.flush()
    except OSError as error:
        reader_left = error.errno == errno.EPIPE
        raise OutputLost(error.strerror or str(error), reader_left=reader_left) from None
