"""Opens and locks the state directory of one agent, and stores its claims and notes.

After a kill all writes of the process are in its ``worker.sqlite``. After a power cut only durable
ones are certain (`Database.run_durably`): acknowledged writes may be back in the outbox, and
cursors may be set back. The kernel's boot id tells whether the machine was rebooted since.
"""

from __future__ import annotations

import contextlib
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

from agent_swarm_worker.api.values import is_identifier
from agent_swarm_worker.errors import StateLocked, StateNewer, StateUnwritable
from agent_swarm_worker.files import make_private_dir, try_lock
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.state.database import Database

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.ids import IdSource

LOCK_FILE = "lock"
"""Locked by the process that owns the directory; contains its pid."""
FULLY_REPORTED = -1
"""The reported offset of a session whose end and cost are in the outbox."""
_AGENT_ID_FILE = "agent-id"
_TRIES = 50
_PAUSE_S = 0.01
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claimed task and its session."""

    task_id: str
    session_uuid: str
    harness: str
    log_file: Path
    started_at: str
    """In the wire's time format."""
    iteration: int = 1
    tag: str = ""
    """Mark in the environment of the session's processes; used if there is no handle."""
    phase: str = "running"
    """``running``; ``offer`` for a task that is only offered; ``no_task`` for a trigger without a
    task; ``handed_over`` when a shutdown has superseded the task; ``finishing`` when everything is
    in the outbox."""
    log_offset: int = 0
    """Upload cursor: bytes of the journal whose lines were put into the outbox."""
    reported_offset: int = 0
    """Bytes of the journal whose events were put into the outbox, or `FULLY_REPORTED`."""
    handle: str = ""
    """Identifies the session's guest in the sandbox; empty until that is opened."""


_CLAIM_FIELDS = tuple(field.name for field in fields(Claim))
_CLAIM_COLUMNS = ", ".join("told" if name == "reported_offset" else name for name in _CLAIM_FIELDS)


class StateDir:
    """The opened and locked directory. Use as a context manager."""

    def __init__(self, path: Path, lock: int, database: Database) -> None:
        self.path = path
        self.database = database
        self._lock = lock
        rows = database.run("SELECT value FROM notes WHERE name = ?", _BOOT_NOTE)
        self.was_rebooted = bool(rows) and rows != [(_boot_id(),)]
        """True after a reboot of the machine until `mark_reboot_handled`: rows may be outdated."""
        if not rows:
            self.note(_BOOT_NOTE, _boot_id())
        if self.was_rebooted:
            database.run("UPDATE outbox SET uncertain = 1")  # read back before it is sent
        self._catch_up()

    @classmethod
    def open(cls, root: Path, agent_id: str, *, clock: Clock, log: Log | None = None) -> StateDir:
        """Open and lock the directory of one agent below `root`; create it if it is missing.

        Raises:
            StateLocked: another process owns it.
            StateNewer: a later version of the worker wrote it.
            StateUnwritable: it cannot be created or written.
        """
        path = agent_dir(root, agent_id)
        _make_private(path)
        lock = _take_lock(path / LOCK_FILE, log or Log())
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
        """Close the database and release the lock."""
        self.database.close()
        os.close(self._lock)

    def mark_reboot_handled(self) -> None:
        """Note that recovery from the reboot is complete."""
        self.was_rebooted = False
        self.note(_BOOT_NOTE, _boot_id())

    # --- claimed tasks

    def claim(self, claim: Claim) -> None:
        """Store a claim, durably."""
        values = [getattr(claim, name) for name in _CLAIM_FIELDS]
        self.database.run_durably(
            f"INSERT OR REPLACE INTO claims ({_CLAIM_COLUMNS})"  # noqa: S608 - constants
            f" VALUES ({', '.join('?' * len(values))})",
            *(str(value) if isinstance(value, Path) else value for value in values),
        )

    def set_phase(self, task_id: str, phase: str) -> None:
        """Store the phase of a task's run."""
        self.database.run("UPDATE claims SET phase = ? WHERE task_id = ?", phase, task_id)

    def set_log_offset(self, task_id: str, offset: int, log_file: str) -> None:
        """Move the upload cursor of a task. In another file the reported offset becomes 0."""
        self.database.run(
            "UPDATE claims SET log_offset = ?, told = CASE log_file WHEN ? THEN told ELSE 0 END,"
            " log_file = ? WHERE task_id = ?",
            offset,
            log_file,
            log_file,
            task_id,
        )

    def mark_reported(self, task_id: str) -> None:
        """Move the reported offset to the upload cursor: the events of those lines are queued."""
        self.database.run("UPDATE claims SET told = log_offset WHERE task_id = ?", task_id)

    def mark_fully_reported(self, task_id: str) -> None:
        """Note that the session's end and cost are queued."""
        self.database.run("UPDATE claims SET told = ? WHERE task_id = ?", FULLY_REPORTED, task_id)

    def forget(self, task_id: str) -> None:
        """Delete a claim: the task is finished, or another agent's."""
        self.database.run("DELETE FROM claims WHERE task_id = ?", task_id)

    def running(self) -> tuple[Claim, ...]:
        """Return the claimed tasks, those of an earlier process included, oldest first."""
        rows = self.database.run(
            f"SELECT {_CLAIM_COLUMNS} FROM claims"  # noqa: S608 - constants
            " ORDER BY started_at, rowid"
        )
        found = (dict(zip(_CLAIM_FIELDS, row, strict=True)) for row in rows)
        return tuple(Claim(**{**row, "log_file": Path(row["log_file"])}) for row in found)

    def _catch_up(self) -> None:
        """Move each upload cursor behind the queued ranges: a kill may separate the two writes."""
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
        """Store a value under a name."""
        self.database.run("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, value)

    def remove_note(self, name: str) -> None:
        """Delete the value of a name."""
        self.database.run("DELETE FROM notes WHERE name = ?", name)

    def notes(self, prefix: str) -> dict[str, str]:
        """Return all values by their names that begin so, oldest first."""
        rows = self.database.run(
            "SELECT name, value FROM notes WHERE substr(name, 1, ?) = ? ORDER BY rowid",
            len(prefix),
            prefix,
        )
        return {str(name): str(value) for name, value in rows}

    def noted(self, name: str) -> str | None:
        """Return the value of a name, ``None`` without one."""
        rows = self.database.run("SELECT value FROM notes WHERE name = ?", name)
        return str(rows[0][0]) if rows else None


def generated_agent_id(root: Path, ids: IdSource) -> str:
    """Return the id of a worker without ``AGENT_ID``; it is generated once per root.

    Raises:
        StateUnwritable: the id cannot be stored, so that the next start would be another agent.
    """
    path = root / _AGENT_ID_FILE
    try:
        make_private_dir(root)
        with path.open("a+", encoding="utf-8", errors="replace") as file:
            # Of two concurrent first starts, the second reads the id of the first.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            stored = file.read(1000).strip()
            if is_identifier(stored):
                return stored
            generated = ids()
            file.truncate(0)
            file.write(f"{generated}\n")
    except OSError as error:
        raise StateUnwritable(root, error.strerror or str(error)) from None
    return generated


def stored_agent_id(root: Path) -> str | None:
    """Return the stored id of a worker without ``AGENT_ID``, ``None`` without one."""
    try:
        stored = (root / _AGENT_ID_FILE).read_text("utf-8", "replace")[:1000].strip()
    except OSError:
        return None
    return stored if is_identifier(stored) else None


def agent_dir(root: Path, agent_id: str) -> Path:
    """Return the directory of one agent below `root`; it differs for different ids."""
    if _PLAIN_NAME.fullmatch(agent_id):
        return root / agent_id
    digest = hashlib.sha256(agent_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return root / f"{re.sub(r'[^A-Za-z0-9_-]', '_', agent_id)[:60]}-{digest}"


def _make_private(path: Path) -> None:
    try:
        make_private_dir(path)
        for directory in (path.parent, path):
            if _is_planted(directory):
                raise StateUnwritable(directory, "another user created it in a public directory")
    except OSError as error:
        raise StateUnwritable(path, error.strerror or str(error)) from None
    # An existing one may be readable by others; some mounted volumes refuse chmod.
    with contextlib.suppress(OSError):
        path.chmod(0o700)


def _is_planted(directory: Path) -> bool:
    """True if another user may have made the directory, or a link, to read the worker's files."""
    # A foreign owner alone is harmless: some mounted volumes show one owner for all files.
    return (
        directory.lstat().st_uid not in {0, os.geteuid()}
        and directory.parent.stat().st_mode & stat.S_IWOTH != 0
    )


BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Changes with each boot of the kernel; the same in all containers on it."""
_BOOT_NOTE = "boot_id"


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _take_lock(path: Path, log: Log) -> int:
    """Return the descriptor that holds the lock.

    A child that a killed process had just forked holds a copy of the descriptor until its exec. So
    a lock that is held is tried for half a second.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateUnwritable(path.parent, error.strerror or str(error)) from None
    try:
        tries_left = _TRIES
        while not try_lock(descriptor):
            if not tries_left:
                owner = os.pread(descriptor, 32, 0).strip()
                os.close(descriptor)
                raise StateLocked(path.parent, int(owner) if owner.isdigit() else None)
            tries_left -= 1
            time.sleep(_PAUSE_S)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError as error:
        # Some network file systems cannot lock, and a full disk cannot store the pid: continue.
        log.warning(Event.STATE_DEGRADED, path=str(path), error=error.strerror)
    return descriptor
