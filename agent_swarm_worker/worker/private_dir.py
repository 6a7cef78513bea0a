"""The private directory of a session: mode 0700, gone when the session is.

It lies in the state directory, or with the system's temporary files if that takes nothing now: a
full disk must not keep a session from its own few files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.atomic import make_private_dir
from agent_swarm_worker.errors import StateUnwritable
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM_BYTES = 256 * 1024
"""What there must be room for: configuration, prompts, tool servers."""


@contextmanager
def private_dir(folder: Path, name: str, *, log: Log) -> Iterator[Path]:
    """Make a directory that is gone afterwards.

    Args:
        folder: of such directories, this worker's alone.
        name: that nobody else uses or could guess.
        log: where it is told that another place had to do.

    Raises:
        StateUnwritable: it can be made nowhere.
    """
    path = folder / name
    try:
        try:
            _make(path)
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)
            path = _spare(folder, name)
            log.warning(Event.STATE_DEGRADED, error=error.strerror, instead=str(path))
            _make(path)
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise StateUnwritable(folder / name, error.strerror or str(error)) from None
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_spares(folder: Path) -> None:
    """Remove what a killed process left of the directories that could not be made in `folder`."""
    spare = _spare(folder, "*")
    with contextlib.suppress(OSError):
        for path in spare.parent.glob(spare.name):
            if path.lstat().st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)


def _make(path: Path) -> None:
    """Make the directory if there is room for files in it.

    Raises:
        OSError: it cannot be made, or nothing can be written in it.
    """
    make_private_dir(path.parent)
    path.mkdir(mode=0o700)  # one that is there is somebody else's
    with tempfile.TemporaryFile(dir=path) as probe:  # 0600 whatever the umask
        probe.write(bytes(ROOM_BYTES))
        probe.flush()


def _spare(folder: Path, name: str) -> Path:
    """Return the place instead; its name says which worker's it is, for `remove_spares`."""
    whose = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"swarm-worker-{whose}-{name}"
