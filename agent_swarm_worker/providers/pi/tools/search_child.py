"""Walk and search a directory, as a program that `search` runs in the guest.

A regular expression or a file system may take for ever: a signal ends a file that takes too long,
and the worker ends this process. A bare interpreter runs the source: standard library only.

Reads one JSON request from standard input and writes one JSON list per line, its kind first:
``match`` and ``around`` (path, line number, text), ``path`` (path), ``slow`` (path), ``error``
(message), ``end``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import sys
from collections import deque
from fnmatch import translate
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

SKIPPED = frozenset({".git", ".hg", ".svn", ".jj", "node_modules"})
MAX_LINE_BYTES = 20_000
"""A longer line is searched and shown in pieces of this size."""
SNIFF_BYTES = 8192
MAX_MEMORY_BYTES = 1024 * 1024 * 1024
MAX_BRACES = 64
MAX_DEPTH = 200
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class TookTooLong(Exception):
    """Searching the current file exceeds the time limit for one file."""


def main() -> None:
    """Answer the request on standard input."""
    with contextlib.suppress(ValueError, OSError):  # a lower limit may be in force
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    request = json.loads(sys.stdin.buffer.read())
    try:
        for found in find(request) if request["mode"] == "find" else grep(request):
            emit(*found)
    except (re.error, OverflowError, RecursionError) as error:
        emit("error", f"the pattern cannot be used: {error}")
    except MemoryError:
        emit("error", "the search needs too much memory")
    except OSError as error:
        emit("error", error.strerror or str(error))
    emit("end")


def emit(*record: Any) -> None:
    """Write one line and flush: this process may be killed at any moment."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


# --- walking


def walk(root: str, parts: list[str]) -> Iterator[tuple[int, str, tuple[str, ...], bool]]:
    """Yield entries below a directory: descriptor of its directory, name, path, is_dir.

    Follows no link below the root. A start that is a file is yielded alone, with an empty path.
    """
    fd = os.open(root, _PASS & ~os.O_NOFOLLOW)
    for index, part in enumerate(parts):
        try:
            fd = os.open(part, _PASS, dir_fd=fd)
        except NotADirectoryError:
            if index < len(parts) - 1:
                raise
            yield fd, part, (), False
            return
    with contextlib.suppress(PermissionError):
        yield from _below(fd, ".", ())


def _below(
    parent: int, folder: str, path: tuple[str, ...]
) -> Iterator[tuple[int, str, tuple[str, ...], bool]]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        with os.scandir(handle) as entries:
            names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        for name, is_dir in names:
            if name in SKIPPED and is_dir:
                continue
            yield handle, name, (*path, name), is_dir
            if is_dir and len(path) < MAX_DEPTH:
                with contextlib.suppress(OSError):
                    yield from _below(handle, name, (*path, name))
    finally:
        os.close(handle)


# --- names


class Glob:
    """A shell pattern: matches names, or paths if it has a slash; ``**`` spans directories.

    Matched part by part, so that no pattern takes long.
    """

    def __init__(self, pattern: str) -> None:
        self._patterns = [tuple(part for part in p.split("/") if part) for p in braces(pattern)]

    def matches(self, path: tuple[str, ...]) -> bool:
        """Return whether a path relative to the start of the search matches."""
        return any(
            _part(pattern[0]).match(path[-1]) is not None
            if len(pattern) == 1 and pattern[0] != "**"
            else _spans(pattern, path)
            for pattern in self._patterns
            if pattern
        )


def braces(pattern: str) -> list[str]:
    """Expand ``a.{b,c}`` to at most `MAX_BRACES` patterns."""
    done: list[str] = []
    todo = deque([pattern])
    while todo and len(done) + len(todo) <= MAX_BRACES:
        one = todo.popleft()
        group = re.search(r"\{([^{}]*,[^{}]*)\}", one)
        if group is None:
            done.append(one)
        else:
            todo.extend(
                one[: group.start()] + part + one[group.end() :] for part in group[1].split(",")
            )
    return done + list(todo)


@cache
def _part(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def _spans(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    reached = {0}
    """Numbers of pattern parts that may have matched so far."""
    for name in (*path, None):
        for index in sorted(reached):
            while index < len(pattern) and pattern[index] == "**":
                index += 1  # noqa: PLW2901 - ** may match nothing
                reached.add(index)
        if name is None:
            break
        reached = {
            index if pattern[index] == "**" else index + 1
            for index in reached
            if index < len(pattern)
            and (pattern[index] == "**" or _part(pattern[index]).match(name))
        }
    return len(pattern) in reached


def find(request: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the paths that match, up to one more than the limit."""
    glob, left = Glob(request["pattern"]), request["limit"] + 1
    for _, name, path, is_dir in walk(request["root"], request["parts"]):
        if glob.matches(path or (name,)):
            left -= 1
            yield "path", "/".join(path) + "/" * is_dir
        if not left:
            return


# --- contents


def grep(request: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield matching lines and their context, up to one match more than the limit."""
    pattern = re.escape(request["pattern"]) if request["literal"] else request["pattern"]
    found = re.compile(pattern, re.IGNORECASE if request["ignore_case"] else 0)
    glob = Glob(request["glob"]) if request["glob"] else None
    left = request["limit"] + 1
    signal.signal(signal.SIGALRM, _too_long)
    for fd, name, path, is_dir in walk(request["root"], request["parts"]):
        if is_dir or (glob and not glob.matches(path or (name,))):
            continue
        shown = "/".join(path)
        try:
            signal.setitimer(signal.ITIMER_REAL, request["file_s"])
            try:
                with os.fdopen(os.open(name, _FILE, dir_fd=fd), "rb") as file:
                    lines = list(_up_to(left, _search(file, found, request["context"])))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except TookTooLong:
            yield "slow", shown
            continue
        except OSError:
            continue
        yield from ((line[0], shown, *line[1:]) for line in lines)
        left -= sum(line[0] == "match" for line in lines)
        if not left:
            return


def _up_to(matches: int, lines: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for line in lines:
        yield line
        matches -= line[0] == "match"
        if not matches:
            return


def _search(file: BinaryIO, found: re.Pattern[str], context: int) -> Iterator[tuple[Any, ...]]:
    if b"\0" in file.read(SNIFF_BYTES):
        return
    file.seek(0)
    before: deque[tuple[int, str]] = deque(maxlen=context)
    number, after, is_new_line = 0, 0, True
    while piece := file.readline(MAX_LINE_BYTES):
        number += is_new_line
        is_new_line = piece.endswith(b"\n")
        text = piece.decode("utf-8", "replace").rstrip("\r\n")
        if found.search(text):
            yield from (("around", *line) for line in before)
            before.clear()
            yield "match", number, text
            after = context
        elif after:
            yield "around", number, text
            after -= 1
        else:
            before.append((number, text))


def _too_long(_: int, __: object) -> None:
    raise TookTooLong


if __name__ == "__main__":
    main()
