"""Names journal files, reads and writes their first record, and numbers uploads.

A session writes one file, or two: if the session to be resumed does not exist any more, a new one
is recorded in a *continuation* beside the first file. The first record of a file describes the run;
it is not uploaded.

The server sorts lines by their request's ``iteration``, then by their index in the request. So
``iteration`` is sent as the session's iteration plus the number of bytes of the session's log
before the request.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CONTINUED = "-fresh"
NAME = re.compile(r"\d{4}-\d\d-\d\dT[\d-]+Z-[\w-]+\.jsonl", re.ASCII)
_METADATA = "_metadata"
_CONTINUATION_RECORD = "fresh_session"
_OWNER = re.compile(rb'\{"type":"\w+_metadata","owner":"([^"]{1,100})"')
_OWNER_WITHIN_BYTES = 256


class Head(NamedTuple):
    """The first record of a file, and its length in bytes with the newline."""

    record: dict[str, Any]
    size: int


def file_name(*, timestamp: str, label: str, session_uuid: str, resumes_task: bool) -> str:
    """Return the name of a session's first file; `clock.wire_time` gives the timestamp."""
    stamp = timestamp.replace(":", "-").replace(".", "-")
    kind = "resume-" if resumes_task else ""
    name = "".join(c for c in label[:8] if c.isalnum() or c in "-_") or "task"
    return f"{stamp}-{kind}{name}-{session_uuid[:4]}.jsonl"


def continuation_of(first: Path) -> Path:
    """Return the second file of the session whose first one is given."""
    return first.with_stem(first.stem + _CONTINUED)


def first_of(path: Path) -> Path:
    """Return the first file of the session that a file belongs to."""
    return path.with_stem(path.stem.removesuffix(_CONTINUED))


def first_record(role: str, owner: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first record of a session's first file; `owner_of` relies on its beginning."""
    return {"type": f"{role}{_METADATA}", "owner": owner, **fields}


def continuation_record(*, stale_session_id: str | None, timestamp: str) -> dict[str, Any]:
    """Return the first record of a continuation."""
    return {
        "type": _CONTINUATION_RECORD,
        "staleSessionId": stale_session_id,
        "timestamp": timestamp,
    }


def read_head(path: Path) -> Head:
    """Return the first record of a file; an empty one of length 0 if it is not there.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        line = file.readline()
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return Head({}, 0)
    kind = record.get("type") if isinstance(record, dict) else None
    is_head = kind == _CONTINUATION_RECORD or (isinstance(kind, str) and kind.endswith(_METADATA))
    return Head(record, len(line)) if is_head else Head({}, 0)


def end_of(first: Path) -> int:
    """Return the number of bytes in a session's files."""
    return sum(path.stat().st_size for path in (first, continuation_of(first)) if path.is_file())


def owner_of(first: Path) -> str | None:
    """Return the owner that a session's first file names, or ""; ``None`` if it is unreadable.

    Follows no link and reads only the beginning, since other users may write to the folder.
    """
    try:
        handle = os.open(first, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            named = _OWNER.match(file.read(_OWNER_WITHIN_BYTES))
    except OSError:
        return None
    return named[1].decode("ascii", "replace") if named else ""


_AFTER_ALL_BYTES = 1 << 20
"""Orders lines that recovery uploads behind all others, those of an earlier file included."""
AFTER_ALL_LINES = 2_000_000_000
"""Number of a line that is ordered last in its session."""


def number(iteration: int, bytes_before: int) -> int:
    """Return the upload number of lines with so many bytes of the log before them."""
    return iteration + bytes_before


def number_of_rest(iteration: int, offset: int) -> int:
    """Return the upload number of lines that recovery uploads from this offset of a file."""
    return iteration + offset + _AFTER_ALL_BYTES


def possible_offsets(number: int, *, iteration: int, head_bytes: int) -> Iterator[int]:
    """Yield the possible offsets of a request's lines in the session's file, likeliest first."""
    yield head_bytes + number - iteration
    yield number - iteration - _AFTER_ALL_BYTES
