"""Mount a small file system for the worker's state, which can be filled."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_BYTES = 96 * 1024 * 1024
BLOCK = bytes(64 * 1024)


class Disk:
    """A file system that can be filled, or a plain directory if it cannot be mounted."""

    def __init__(self, path: Path, *, is_mounted: bool) -> None:
        self.path, self.is_mounted = path, is_mounted
        self._filler = path / "filler"

    def fill(self) -> None:
        """Use all free space."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (len(BLOCK), 4096, 1):
                try:
                    while file.write(BLOCK[:size]) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Release the space."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, *, wanted: bool = True) -> Iterator[Disk]:
    """Mount a file system at `path`; use a plain directory if that is impossible.

    Its content is copied into the directory below when it is unmounted, for later inspection.
    """
    path.mkdir(parents=True)
    options = f"size={DISK_BYTES},mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "swarm-worker-chaos", str(path)]
    is_mounted = wanted and _succeeds(command)
    disk = Disk(path, is_mounted=is_mounted)
    try:
        yield disk
    finally:
        if is_mounted:
            disk.free()
            aside = path.with_name(f"{path.name}.copy")
            shutil.copytree(path, aside, symlinks=True)
            _succeeds(["umount", "--lazy", str(path)])
            path.rmdir()
            aside.rename(path)


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False
