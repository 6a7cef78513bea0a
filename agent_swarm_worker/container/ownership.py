"""Create the worker's directories and default files, change their owner, drop root privileges.

A file of root in the worker's home (from a set-up script, ``docker exec`` or an earlier image)
would end every session with ``EACCES``. The directories hold files made by agents, so symbolic
links are never followed: the walk holds descriptors, and no path is resolved twice. Existing files
keep their content.
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

from agent_swarm_worker.api.values import is_identifier
from agent_swarm_worker.errors import ContainerError
from agent_swarm_worker.files import write_atomically
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent_swarm_worker.contract import HarnessSpec

MAX_ENTRIES = 500_000
MAX_S = 60.0
ROOTS_HOME = "/root"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SHARED = ("thoughts", "memory", "downloads", "misc")
_BELOW = {"thoughts": ("plans", "research", "brainstorms"), "downloads": ("slack",)}
_TODO_FILE = "# To do\n"


@dataclass(slots=True)
class OwnershipChange:
    """Result of changing the owner of a directory tree."""

    changed: int = 0
    """Entries whose owner was changed from root to the worker."""
    refused: int = 0
    """Entries that root still owns: files with several links, and failures."""
    seen: int = 0
    why_incomplete: str = ""


def change_ownership(top: Path, owner: Account) -> OwnershipChange:
    """Make `owner` the owner of each entry of root in `top`, `top` included.

    A file with several hard links is skipped: one may be outside, where root owns it on purpose.
    """
    done = OwnershipChange()
    give_up_at_s = time.monotonic() + MAX_S
    try:
        for _, folders, files, fd in os.fwalk(top.resolve(), follow_symlinks=False):
            _chown(fd, ".", owner, done)
            for name in (*files, *folders):
                done.seen += 1
                _chown(fd, name, owner, done)
            if done.seen > MAX_ENTRIES or time.monotonic() > give_up_at_s:
                done.why_incomplete = f"stopped after {done.seen} entries"
                return done
    except (OSError, RecursionError) as error:
        done.why_incomplete = str(error) or type(error).__name__
    return done


def _chown(folder: int, name: str, owner: Account, done: OwnershipChange) -> None:
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
        return  # removed meanwhile
    except OSError:
        done.refused += 1


def make_directory(base: Path, *names: str, owner: Account | None) -> None:
    """Create ``base/name/name…``; directories of root on this path become the owner's. No links."""
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


def chown_directory(path: Path, owner: Account) -> None:
    """Change the owner of a directory of root to `owner`, without its content."""
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


# --- user
@dataclass(frozen=True, slots=True)
class Account:
    """A user of this system."""

    name: str
    uid: int
    gid: int
    home: Path

    @classmethod
    def named(cls, name: str) -> Account:
        """Look up a user by name."""
        try:
            entry = pwd.getpwnam(name)
        except (KeyError, ValueError):
            raise ContainerError(f"there is no user {name!r} to run as") from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return `env` for this user's processes; ``HOME`` is kept unless it is root's."""
        home = env.get("HOME", "")
        if not home or home == ROOTS_HOME:
            home = str(self.home)
        return {**env, "HOME": home, "USER": self.name, "LOGNAME": self.name}


def target_account(name: str) -> Account | None:
    """Return the user to run as; ``None`` if this process is not root, or `name` is root."""
    if os.geteuid() != 0:
        return None
    account = Account.named(name)
    return None if account.uid == 0 else account


def drop_privileges(account: Account) -> None:
    """Switch this process to the user, irreversibly."""
    os.initgroups(account.name, account.gid)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


# --- directories and default files
def chown_mounts(mounts: tuple[Path, ...], owner: Account, log: Log) -> None:
    """Change the owner of directories where volumes are mounted, without their content."""
    for mount in mounts:
        try:
            if mount.is_dir():
                chown_directory(mount, owner)
        except OSError as error:
            log.warning(Event.BOOT_STEP, step="ownership", path=str(mount), why=error.strerror)


def make_agent_directories(workspace: Path, agent_id: str, owner: Account | None, log: Log) -> None:
    """Create the agent's directories; a read-only volume is logged and does not end the start."""
    if not is_identifier(agent_id):
        log.warning(Event.BOOT_STEP, step="folders", why="AGENT_ID cannot be the name of a folder")
        return
    refused = None
    for base, names in _folders(workspace, agent_id):
        if not base.is_dir():
            continue
        try:
            make_directory(base, *names, owner=owner)
        except OSError as error:
            refused = refused or f"{base / '/'.join(names)}: {error.strerror}"
    if refused:
        log.warning(Event.BOOT_STEP, step="folders", why=refused)


def write_default_files(
    home: Path, workspace: Path, specs: Iterable[HarnessSpec], log: Log
) -> None:
    """Write missing default files of harnesses and agents; called as the worker's user."""
    files = {workspace / "personal" / "todos.md": _TODO_FILE.encode()}
    for spec in specs:
        files |= {home / name: text.encode() for name, text in spec.home_files.items()}
    for path, content in files.items():
        try:
            # A dangling link counts as present.
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
