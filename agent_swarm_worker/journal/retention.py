"""Deletes old journals of this worker, the oldest first.

Other agents, machines and programs may use the same log folder. So a journal is deleted only if its
first record names this worker as owner, by a unique id that is stored in the state directory.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_swarm_worker.journal.files import NAME, first_of, owner_of
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

YOUNG_S = 300.0
"""Age below which a journal is kept: its session may have just begun."""
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Greatest total size and age of journals; 0 = no limit."""

    total_bytes: int
    age_s: float


@dataclass(slots=True, kw_only=True)
class Journals:
    """The files of one session."""

    paths: list[Path] = field(default_factory=list)
    size_bytes: int = 0
    changed_at_s: float = 0.0
    """Unix time of the last line."""


def find(roots: dict[Path, bool], owner_id: str) -> list[Journals]:
    """Return the journals of this worker.

    `roots` are folders of folders of journals; true for one that only this worker uses, where a
    journal without an owner belongs to it as well.
    """
    found: dict[Path, Journals] = {}
    for root, is_ours_alone in roots.items():
        for path, status in _files(root):
            first = first_of(path)
            if owner_of(first) not in ({owner_id, ""} if is_ours_alone else {owner_id}):
                continue
            journals = found.setdefault(first, Journals())
            journals.paths.append(path)
            journals.size_bytes += status.st_size
            journals.changed_at_s = max(journals.changed_at_s, status.st_mtime)
    return list(found.values())


def choose(
    found: Iterable[Journals], limits: Limits, *, needed: Collection[str], now_s: float
) -> list[tuple[Journals, str]]:
    """Return the journals to delete, each with the reason, the oldest first.

    `needed` are the names of files that a running task writes, or that are not uploaded completely.
    """
    in_order = sorted(found, key=lambda journals: journals.changed_at_s)
    total = sum(journals.size_bytes for journals in in_order)
    chosen = []
    for journals in in_order:
        age_s = now_s - journals.changed_at_s
        if age_s < YOUNG_S or any(path.name in needed for path in journals.paths):
            continue
        if limits.age_s and age_s > limits.age_s:
            chosen.append((journals, f"older than {limits.age_s / DAY_S:g} days"))
        elif limits.total_bytes and total > limits.total_bytes:
            chosen.append((journals, f"more than {limits.total_bytes >> 20} MiB of journals"))
        else:
            continue
        total -= journals.size_bytes
    return chosen


def _files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files named like journals; links and unreadable folders are skipped."""
    for folder, status in _entries(root):
        if not stat.S_ISDIR(status.st_mode):
            continue
        for path, file_status in _entries(folder):
            is_file = stat.S_ISREG(file_status.st_mode) and file_status.st_uid == os.geteuid()
            if is_file and NAME.fullmatch(path.name):
                yield path, file_status


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            with contextlib.suppress(OSError):
                yield path, path.lstat()


def delete(chosen: list[tuple[Journals, str]], in_use: Path, log: Log) -> None:
    """Delete journals, and folders that become empty, except for the one in use."""
    for journals, why in chosen:
        try:
            for path in sorted(journals.paths):  # the one that names the owner last
                path.unlink()
            folder = journals.paths[0].parent
            if folder != in_use and not any(folder.iterdir()):
                folder.rmdir()
        except OSError as error:
            log.debug(Event.JOURNAL_REMOVED, path=str(journals.paths[0]), failed=error.strerror)
            continue
        log.info(
            Event.JOURNAL_REMOVED, path=str(journals.paths[0]), bytes=journals.size_bytes, why=why
        )
