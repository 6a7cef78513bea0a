"""Giving the worker what root left in its places.

A file of root's in the home directory (made by a set-up script, by somebody with ``docker exec``,
by an earlier image) ends every session with ``EACCES``. The places are full of what agents made,
so no link is ever followed: the walk holds descriptors, and a path is never resolved twice.

The user that the worker runs as, and becoming that user for good.

Folders and files that agents expect to find; what is there already is never touched.
"""

from __future__ import annotations

import os
import pwd
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.api.wire import is_identifier
from agent_swarm_worker.errors import ContainerError
from agent_swarm_worker.files import write_atomically
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent_swarm_worker.contract import HarnessSpec

MAX_ENTRIES = 500_000
MAX_S = 60.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(slots=True)
class HandedOver:
    """What became of a directory and everything below it."""

    changed: int = 0
    """Entries that were root's and are the worker's now."""
    refused: int = 0
    """Entries of root's that stay so: files with several names, and what the system refuses."""
    seen: int = 0
    why_incomplete: str = ""


def hand_over(top: Path, owner: Account) -> HandedOver:
    """Make `owner` the owner of whatever root owns in `top`, `top` itself included.

    A file with more than one name is left alone: one of its names may lie outside, where the file
    is root's on purpose.
    """
    done = HandedOver()
    give_up_at_s = time.monotonic() + MAX_S
    try:
        for _, folders, files, fd in os.fwalk(top.resolve(), follow_symlinks=False):
            _give(fd, ".", owner, done)
            for name in (*files, *folders):
                done.seen += 1
                _give(fd, name, owner, done)
            if done.seen > MAX_ENTRIES or time.monotonic() > give_up_at_s:
                done.why_incomplete = f"stopped after {done.seen} entries"
                return done
    except (OSError, RecursionError) as error:
        done.why_incomplete = str(error) or type(error).__name__
    return done


def _give(folder: int, name: str, owner: Account, done: HandedOver) -> None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if found.st_uid != 0:
            return
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            done.refused += 1
            return
        os.chown(name, owner.uid, owner.gid, dir_fd=folder, follow_symlinks=False)
        done.changed += 1
    except FileNotFoundError:
        return  # gone meanwhile
    except OSError:
        done.refused += 1


def make_folder(base: Path, *names: str, owner: Account | None) -> None:
    """Make the folder ``base/name/name…``; each one on the way that is root's becomes the owner's.

    Raises:
        OSError: it cannot be made, or something on the way is a link or a file.
    """
    with _opened(os.open(base, _DIRECTORY)) as first:
        folder = first
        opened: list[int] = []
        try:
            for name in names:
                folder = _enter(folder, name, owner)
                opened.append(folder)
        finally:
            for descriptor in opened:
                os.close(descriptor)


def give_folder(path: Path, owner: Account) -> None:
    """Make the owner of a folder that is root's `owner`; what is in it stays as it is.

    Raises:
        OSError: there is none, or the system refuses.
    """
    with _opened(os.open(path, _DIRECTORY)) as folder:
        if os.fstat(folder).st_uid == 0:
            os.fchown(folder, owner.uid, owner.gid)


def _enter(parent: int, name: str, owner: Account | None) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
    folder = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        if owner is not None and os.fstat(folder).st_uid == 0:
            os.fchown(folder, owner.uid, owner.gid)
    except OSError:
        os.close(folder)
        raise
    return folder


@contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


ROOTS_HOME = "/root"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this system."""

    name: str
    uid: int
    gid: int
    home: Path

    @classmethod
    def named(cls, name: str) -> Account:
        """Look a user up.

        Raises:
            ContainerError: there is none of that name.
        """
        try:
            entry = pwd.getpwnam(name)
        except (KeyError, ValueError):
            raise ContainerError(f"there is no user {name!r} to run as") from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return `env` as this user's processes should see it.

        ``HOME`` stays what the operator made it, unless it is root's own.
        """
        home = env.get("HOME", "")
        kept = home if home and home != ROOTS_HOME else str(self.home)
        return {**env, "HOME": kept, "USER": self.name, "LOGNAME": self.name}


def account_to_become(name: str) -> Account | None:
    """Return the user whose rights this process has to take on; ``None`` if it keeps its own.

    Only root can become somebody else; `name` ``root`` stays root.

    Raises:
        ContainerError: we are root, and there is no such user.
    """
    if os.geteuid() != 0:
        return None
    account = Account.named(name)
    return None if account.uid == 0 else account


def become(account: Account) -> None:
    """Take on the user's rights and give up one's own; there is no way back.

    Raises:
        OSError: the kernel refuses, as without the capabilities SETUID and SETGID.
    """
    os.initgroups(account.name, account.gid)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


_SHARED = ("thoughts", "memory", "downloads", "misc")
_BELOW = {"thoughts": ("plans", "research", "brainstorms"), "downloads": ("slack",)}
_LISTS = "# To do\n"


def own_places(places: tuple[Path, ...], owner: Account, log: Log) -> None:
    """Give the worker the places where volumes are mounted; what is in them stays as it is."""
    for place in places:
        try:
            if place.is_dir():
                give_folder(place, owner)
        except OSError as error:
            log.warning(Event.BOOT_STEP, step="ownership", path=str(place), why=error.strerror)


def make_folders(workspace: Path, agent_id: str, owner: Account | None, log: Log) -> None:
    """Make the agent's folders; a volume that cannot be written costs them, not the start."""
    if not is_identifier(agent_id):
        log.warning(Event.BOOT_STEP, step="folders", why="AGENT_ID cannot be the name of a folder")
        return
    refused = None
    for base, names in _folders(workspace, agent_id):
        if not base.is_dir():
            continue
        try:
            make_folder(base, *names, owner=owner)
        except OSError as error:
            refused = refused or f"{base / '/'.join(names)}: {error.strerror}"
    if refused:
        log.warning(Event.BOOT_STEP, step="folders", why=refused)


def furnish(home: Path, workspace: Path, specs: Iterable[HarnessSpec], log: Log) -> None:
    """Write the files that a harness, or an agent, wants to find; run it as the worker's user."""
    files = {workspace / "personal" / "todos.md": _LISTS.encode()}
    for spec in specs:
        files |= {home / name: text.encode() for name, text in spec.home_files.items()}
    for path, content in files.items():
        try:
            # A link counts as there, even one that leads nowhere.
            if not path.is_symlink() and not path.exists() and path.parents[1].is_dir():
                write_atomically(path, content, mode=0o600)
        except OSError as error:
            log.warning(Event.BOOT_STEP, step="files", path=str(path), why=error.strerror)


def _folders(workspace: Path, agent_id: str) -> Iterator[tuple[Path, tuple[str, ...]]]:
    yield workspace / "personal", ("memory",)
    for kind in _SHARED:
        yield workspace / "shared", (kind, agent_id)
        for name in _BELOW.get(kind, ()):
            yield workspace / "shared", (kind, agent_id, name)
