"""Giving the worker what root left in its places.

A file of root's in the home directory (made by a set-up script, by somebody with ``docker exec``,
by an earlier image) ends every session with ``EACCES``. The places are full of what agents made,
so no link is ever followed: the walk holds descriptors, and a path is never resolved twice.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent_swarm_worker.container.account import Account

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
