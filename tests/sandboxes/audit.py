"""Audit hook: record files and processes opened or started for a session outside of its guest."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_FILE_EVENTS = frozenset(
    {
        "open",
        "os.listdir",
        "os.scandir",
        "os.rename",
        "os.remove",
        "os.symlink",
        "os.link",
        "os.chmod",
        "os.chown",
        "os.truncate",
        "os.mkdir",
        "os.rmdir",
        "glob.glob",
        "shutil.rmtree",
    }
)
_PROCESS_EVENTS = frozenset(
    {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork"}
)
_BACKEND = "/tests/sandboxes/namespace_sandbox.py"
_OF_THE_CHECKS = (("/conformance/of_adapter.py", "_run"),)
"""Starts an interpreter to see how long an import takes; no session has to do with it."""

_prefixes: list[tuple[str, ...]] = []
violations: list[str] = []


@contextmanager
def watched(prefixes: tuple[str, ...]) -> Iterator[None]:
    """Note what happens to paths with these beginnings, and each start of a process."""
    _prefixes.append(prefixes)
    try:
        yield
    finally:
        _prefixes.remove(prefixes)


def _hook(event: str, args: tuple[object, ...]) -> None:
    if not _prefixes:
        return
    if event in _PROCESS_EVENTS:
        if not _is_allowed():
            violations.append(f"{event} {args[:2]!r} {_where()}")
    elif event in _FILE_EVENTS and args and isinstance(args[0], str | bytes):
        path = os.fsdecode(args[0])
        if any(path == one or path.startswith(f"{one}/") for some in _prefixes for one in some):
            violations.append(f"{event} {path} {_where()}")


def _frames() -> Iterator[tuple[str, str]]:
    frame = sys._getframe(2)
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]


def _is_allowed() -> bool:
    return any(
        file.endswith(_BACKEND) or any(file.endswith(f) and name == n for f, n in _OF_THE_CHECKS)
        for file, name in _frames()
    )


def _where() -> str:
    ours = [
        f"{file.rpartition('/')[2]}:{name}"
        for file, name in _frames()
        if "/swarm_" in file or "_worker/" in file or "/tests/" in file
    ]
    return "in " + " < ".join(ours[:4])


sys.addaudithook(_hook)
