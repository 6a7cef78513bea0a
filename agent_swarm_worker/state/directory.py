"""The worker's own directory: one per agent, owned by one process at a time.

It holds ``worker.sqlite`` with the tasks this worker has claimed, so that the next process knows
what the last one left behind, and the outbox (see `queue`).

Whether the machine was started anew since the last process of this agent.

A process that is killed leaves the kernel with all it has written. A machine without power has only
what the disk was told to keep (`Database.run_durably`): writes that had arrived wait in the outbox
again, and the cursors are where they were some time ago.

The lock by which a directory belongs to one process at a time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

import orjson

from agent_swarm_worker.api.wire import is_identifier
from agent_swarm_worker.errors import StateLocked, StateNewer, StateUnwritable
from agent_swarm_worker.files import make_private_dir
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.state.database import Database

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.ids import IdSource

LOCK_FILE = "lock"
"""Held by the process that owns the directory, and says which one that is."""
REPORTED = -1
AGENT_ID_FILE = "agent-id"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One task that this worker has taken, and where its session is."""

    task_id: str
    session_uuid: str
    harness: str
    log_file: Path
    """The journal."""
    started_at: str
    """As the wire wants times."""
    iteration: int = 1
    tag: str = ""
    """What the session's processes carry in their environment; of use if there is no handle."""
    phase: str = "claimed"
    """How far the run got; the worker's own words."""
    log_offset: int = 0
    """Bytes of the journal that were handed to the outbox."""
    told: int = 0
    """Bytes of the journal whose events were handed to the outbox; `REPORTED` if all was, with the
    session's end and cost."""
    handle: str = ""
    """By which the sandbox finds the session's guest; empty before it is opened."""


_CLAIM_COLUMNS = tuple(field.name for field in fields(Claim))


class StateDir:
    """The opened and locked directory. Use as a context manager."""

    def __init__(self, path: Path, lock: int, database: Database) -> None:
        self.path = path
        self.database = database
        self._lock = lock
        self.was_cut_off = was_restarted(database)
        """True if the machine was started anew, until `mark_in_order`: what is in here may be older
        than the last word."""
        if self.was_cut_off:
            doubt_everything(database)
        self._catch_up()

    @classmethod
    def open(cls, root: Path, agent_id: str, *, clock: Clock, log: Log | None = None) -> StateDir:
        """Create the directory of one agent if need be, and take possession of it.

        Args:
            root: directory of all agents' directories.
            agent_id: any string; the directory's name is derived from it.
            clock: for the database.
            log: where a degraded state is reported.

        Raises:
            StateLocked: another process has it.
            StateNewer: a later version of the worker wrote it.
            StateUnwritable: it cannot be created or written.
        """
        path = agent_dir(root, agent_id)
        _make_private(path)
        lock = take_lock(path / LOCK_FILE, log or Log())
        try:
            database = Database(path / "worker.sqlite", clock=clock, log=log)
        except StateNewer:
            os.close(lock)
            raise
        return cls(path, lock, database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the directory up."""
        self.database.close()
        os.close(self._lock)

    def mark_in_order(self) -> None:
        """Note that whatever the machine's last boot had left was seen to."""
        self.was_cut_off = False
        note_boot(self.database)

    # --- claimed tasks

    def claim(self, claim: Claim) -> None:
        """Remember a task from the moment it is ours."""
        values = [getattr(claim, name) for name in _CLAIM_COLUMNS]
        self.database.run_durably(
            f"INSERT OR REPLACE INTO claims ({', '.join(_CLAIM_COLUMNS)})"  # noqa: S608 - our names
            f" VALUES ({', '.join('?' * len(values))})",
            *(str(value) if isinstance(value, Path) else value for value in values),
        )

    def set_phase(self, task_id: str, phase: str) -> None:
        """Remember how far a task got."""
        self.database.run("UPDATE claims SET phase = ? WHERE task_id = ?", phase, task_id)

    def set_log_offset(self, task_id: str, offset: int, log_file: str) -> None:
        """Remember how many bytes of a task's journal the outbox has, and which file that is."""
        self.database.run(
            "UPDATE claims SET log_offset = ?, told = CASE log_file WHEN ? THEN told ELSE 0 END,"
            " log_file = ? WHERE task_id = ?",
            offset,
            log_file,
            log_file,
            task_id,
        )

    def set_told(self, task_id: str) -> None:
        """Remember that the events of all lines the outbox has are in the outbox, too."""
        self.database.run("UPDATE claims SET told = log_offset WHERE task_id = ?", task_id)

    def set_reported(self, task_id: str) -> None:
        """Remember that the session was told to its end, and what it cost."""
        self.database.run("UPDATE claims SET told = ? WHERE task_id = ?", REPORTED, task_id)

    def forget(self, task_id: str) -> None:
        """Remember a task no longer: it is finished, or somebody else's."""
        self.database.run("DELETE FROM claims WHERE task_id = ?", task_id)

    def running(self) -> tuple[Claim, ...]:
        """Return the claimed tasks, those of an earlier process included, oldest first."""
        rows = self.database.run(
            f"SELECT {', '.join(_CLAIM_COLUMNS)} FROM claims"  # noqa: S608 - our names
            " ORDER BY started_at, rowid"
        )
        found = (dict(zip(_CLAIM_COLUMNS, row, strict=True)) for row in rows)
        return tuple(Claim(**{**row, "log_file": Path(row["log_file"])}) for row in found)

    def _catch_up(self) -> None:
        """Move each cursor to where the outbox is: its owner may have died between the two."""
        for (data,) in self.database.run("SELECT args FROM outbox WHERE kind = 'logs' ORDER BY id"):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                args = orjson.loads(data)
                self.database.run(
                    "UPDATE claims SET log_offset = max(log_offset, ?)"
                    " WHERE session_uuid = ? AND log_file = ?",
                    *(int(args["end"]), str(args["session_uuid"]), str(args["path"])),
                )

    # --- notes

    def note(self, name: str, value: str) -> None:
        """Remember a value under a name."""
        self.database.run("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, value)

    def noted(self, name: str) -> str | None:
        """Return what is remembered under a name."""
        rows = self.database.run("SELECT value FROM notes WHERE name = ?", name)
        return str(rows[0][0]) if rows else None


def made_up_agent_id(root: Path, ids: IdSource) -> str:
    """Return the identity of a worker that was given none; made up once per root.

    Two workers without ``AGENT_ID`` get the same one, and the second is told by the lock.

    Raises:
        StateUnwritable: it cannot be stored, so that the next start would be another agent.
    """
    path = root / AGENT_ID_FILE
    try:
        make_private_dir(root)
        with path.open("a+", encoding="utf-8", errors="replace") as file:
            # Two first starts at once agree on what the first of them writes.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            kept = file.read(1000).strip()
            if is_identifier(kept):
                return kept
            made_up = ids()
            file.truncate(0)
            file.write(f"{made_up}\n")
    except OSError as error:
        raise StateUnwritable(root, error.strerror or str(error)) from None
    return made_up


def kept_agent_id(root: Path) -> str | None:
    """Return the identity that was made up for a worker without one, if any was."""
    try:
        kept = (root / AGENT_ID_FILE).read_text("utf-8", "replace")[:1000].strip()
    except OSError:
        return None
    return kept if is_identifier(kept) else None


def agent_dir(root: Path, agent_id: str) -> Path:
    """Return the directory of one agent; `root` is that of all of them."""
    return root / _directory_name(agent_id)


def _directory_name(agent_id: str) -> str:
    """Return a name that cannot leave the root, and differs for different agents."""
    if _PLAIN_NAME.fullmatch(agent_id):
        return agent_id
    digest = hashlib.sha256(agent_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', agent_id)[:60]}-{digest}"


def _make_private(path: Path) -> None:
    try:
        make_private_dir(path)
        for place in (path.parent, path):
            if _is_a_strangers(place):
                raise StateUnwritable(place, "another user made it where everybody can")
    except OSError as error:
        raise StateUnwritable(path, error.strerror or str(error)) from None
    # One that was there may be open to others; some mounted volumes have only one mode.
    with contextlib.suppress(OSError):
        path.chmod(0o700)


def _is_a_strangers(place: Path) -> bool:
    """True if somebody may have put it there, or a link of that name, to read what we write.

    Elsewhere an unknown owner is no sign of that: some mounted volumes show only one.
    """
    return (
        place.lstat().st_uid not in {0, os.geteuid()}
        and place.parent.stat().st_mode & stat.S_IWOTH != 0
    )


BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Another one after each boot of the kernel, the same in all containers on it."""
NOTE = "boot_id"


def was_restarted(database: Database) -> bool:
    """True until `note_boot` in each new boot; false where nobody can tell."""
    rows = database.run("SELECT value FROM notes WHERE name = ?", NOTE)
    if not rows:
        note_boot(database)
    return bool(rows) and rows != [(_boot_id(),)]


def note_boot(database: Database) -> None:
    """Note that what the last boot had left is in order."""
    database.run("INSERT OR REPLACE INTO notes VALUES (?, ?)", NOTE, _boot_id())


def doubt_everything(database: Database) -> None:
    """Have every write that waits looked for on the server before it is sent."""
    database.run("UPDATE outbox SET uncertain = 1")


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


_TRIES = 50
_PAUSE_S = 0.01
_IN_USE = {errno.EWOULDBLOCK, errno.EACCES}


def take_lock(path: Path, log: Log) -> int:
    """Return the descriptor that holds the lock; the kernel frees it when the process dies.

    Not quite at once: what a killed process was about to start has a copy of the descriptor until
    it has become another program. So a lock that is taken is tried for half a second.

    Raises:
        StateLocked: another process has it.
        StateUnwritable: there can be no such file.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateUnwritable(path.parent, error.strerror or str(error)) from None
    try:
        _take(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError as error:
        if error.errno in _IN_USE:
            owner = os.pread(descriptor, 32, 0).strip()
            os.close(descriptor)
            raise StateLocked(path.parent, int(owner) if owner.isdigit() else None) from None
        # Some network file systems cannot lock, and a full disk cannot take a pid: go on.
        log.warning(Event.STATE_DEGRADED, path=str(path), error=error.strerror)
    return descriptor


def _take(descriptor: int) -> None:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _IN_USE:
                raise
        else:
            return
        time.sleep(_PAUSE_S)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
