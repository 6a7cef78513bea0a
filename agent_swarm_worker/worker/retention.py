"""Deletes old journals, so that they do not fill the disk: the oldest first, when all has arrived.

What may be deleted is only what is certainly this worker's: the log folder can be shared with other
agents, with other machines, and with whatever somebody keeps there. So a journal names its owner in
its first record: an id that lies in the state directory, of which there is one in the world.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread

from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.swarm.state import StateDir
    from agent_swarm_worker.worker.context import Worker

INTERVAL_S = 600.0
YOUNG_S = 300.0
"""A journal is left alone for so long after its last line: its session may just have begun."""
DAY_S = 86_400.0
_OWNER_NOTE = "journals' owner"
_NAME = re.compile(r"\d{4}-\d\d-\d\dT[\d-]+Z-[\w-]+\.jsonl", re.ASCII)
_FIRST_RECORD = re.compile(rb'\{"type":"\w+_metadata","owner":"([^"]{1,100})"')
_FRESH = "-fresh"
"""A session that could not be resumed goes on in a second file, which belongs to the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept, and for how long; 0 = for ever."""

    total_bytes: int
    age_s: float


@dataclass(slots=True, kw_only=True)
class Journals:
    """The files of one session."""

    paths: list[Path] = field(default_factory=list)
    size_bytes: int = 0
    changed_at_s: float = 0.0
    """Unix time of the last line."""


def owner(state: StateDir, ids: IdSource) -> str:
    """Return the id by which this worker knows its journals, made up once per state directory."""
    known = state.noted(_OWNER_NOTE)
    if known is None:
        known = ids()
        state.note(_OWNER_NOTE, known)
    return known


async def retention_loop(worker: Worker) -> None:
    """Tidy up until cancelled."""
    mine = owner(worker.state, worker.ids)
    while True:
        await _tidy_up(worker, mine)
        await worker.clock.sleep(INTERVAL_S)


async def _tidy_up(worker: Worker, mine: str) -> None:
    """Look once; a function of its own, so that what was found is not held until the next look."""
    settings = worker.settings
    limits = Limits(
        total_bytes=settings.journals_total_mb << 20, age_s=settings.journals_max_days * DAY_S
    )
    roots = {worker.log_dir.parent: False, worker.state.path / "logs": True}
    found = await to_thread.run_sync(partial(find, roots, mine))
    # Without its database the worker does not know what has arrived.
    if not worker.state.database.is_degraded:
        needed = {Path(path).name for path in worker.outbox.journals()}
        needed |= {claim.log_file.name for claim in worker.state.running()}
        now_s = worker.clock.now().timestamp()
        old = choose(found, limits, needed=needed, now_s=now_s)
        await to_thread.run_sync(partial(_delete, old, worker.log_dir, worker.log))


def find(roots: dict[Path, bool], owner_id: str) -> list[Journals]:
    """Return the journals of this worker.

    Args:
        roots: folders of folders of journals; true for one that is the worker's alone, where a
            journal that names no owner is its own as well.
        owner_id: of this worker.
    """
    found: dict[Path, Journals] = {}
    for root, is_ours_alone in roots.items():
        for path, status in _files(root):
            first = path.with_stem(path.stem.removesuffix(_FRESH))
            if _owner_of(first) not in ({owner_id, ""} if is_ours_alone else {owner_id}):
                continue
            journals = found.setdefault(first, Journals())
            journals.paths.append(path)
            journals.size_bytes += status.st_size
            journals.changed_at_s = max(journals.changed_at_s, status.st_mtime)
    return list(found.values())


def choose(
    found: Iterable[Journals], limits: Limits, *, needed: Collection[str], now_s: float
) -> list[tuple[Journals, str]]:
    """Return which journals are to go, and why, the oldest first.

    Args:
        found: all there are.
        limits: what may stay.
        needed: names of files that a running task writes, or of which not all has arrived.
        now_s: Unix time.
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
    """Yield what looks like a journal. No link is followed; what cannot be read is no matter."""
    for folder, status in _entries(root):
        if not stat.S_ISDIR(status.st_mode):
            continue
        for path, file_status in _entries(folder):
            is_file = stat.S_ISREG(file_status.st_mode) and file_status.st_uid == os.geteuid()
            if is_file and _NAME.fullmatch(path.name):
                yield path, file_status


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            with contextlib.suppress(OSError):
                yield path, path.lstat()


def _owner_of(journal: Path) -> str | None:
    """Return whom a journal names as its owner, "" if nobody; ``None`` if it cannot be read."""
    try:
        handle = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            named = _FIRST_RECORD.match(file.read(256))
    except OSError:
        return None
    return named[1].decode("ascii", "replace") if named else ""


def _delete(chosen: list[tuple[Journals, str]], in_use: Path, log: Log) -> None:
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
