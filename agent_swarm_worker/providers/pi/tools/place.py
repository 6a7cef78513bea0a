"""Where the file tools may go: the session's directory, and what the operator opened besides.

A path is resolved with all its links first and judged then. It is opened from the root that holds
it, directory by directory and without following a link, so that one which is put in the way after
the judgement leads nowhere.

This confines the file tools, not the agent: what `bash` runs has the rights of the worker.
"""

from __future__ import annotations

import contextlib
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.pi.options import PiOptions
from agent_swarm_worker.providers.pi.tools.arguments import ToolRefusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# O_PATH needs no right to read a directory, only to pass through it.
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Spot:
    """A path that may be used: below `root`, with every link resolved."""

    root: str
    parts: tuple[str, ...]

    @property
    def path(self) -> str:
        """The whole path."""
        return os.path.join(self.root, *self.parts)  # noqa: PTH118 - a bare string is wanted

    @contextmanager
    def directory(self, *, make: bool = False) -> Iterator[int]:
        """Open the directory that this is, as a descriptor for ``dir_fd``.

        Raises:
            OSError: it is missing, no directory, or a link has been put in the way.
        """
        fd = os.open(self.root, _PASS & ~os.O_NOFOLLOW)
        try:
            for part in self.parts:
                below = _step(fd, part, make=make)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def parent(self, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the directory that holds this, and give its name in there."""
        if not self.parts:
            msg = f"{self.root} is a directory"
            raise ToolRefusal(msg)
        with Spot(self.root, self.parts[:-1]).directory(make=make) as fd:
            yield fd, self.parts[-1]

    def open(self) -> int:
        """Open the regular file that this is, for reading; never waits for a writer.

        Raises:
            ToolRefusal: it is something else, such as a directory, a pipe or a device.
            OSError: it is missing or cannot be read.
        """
        with self.parent() as (fd, name):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            # Looked at before it is opened: to open a device can already do something.
            refuse_special(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
            handle = os.open(name, flags, dir_fd=fd)
        try:
            refuse_special(os.fstat(handle).st_mode)
        except ToolRefusal:
            os.close(handle)
            raise
        return handle


class Place:
    """The roots of one session.

    Args:
        cwd: what relative paths start from.
        env: the session's; ``PI_ALLOW_OUTSIDE_CWD`` opens everything, ``PI_EXTRA_ROOTS`` some more
            directories.
        readable: directories that may be read besides: skills, and what tools leave behind.
    """

    def __init__(self, cwd: Path, env: Mapping[str, str], *, readable: Iterable[Path] = ()) -> None:
        self.cwd = os.path.realpath(cwd)
        options = PiOptions.load(env)
        self._home = options.home
        roots = ["/"]
        if not options.allow_outside_cwd:
            roots = [self.cwd, *map(os.path.realpath, options.extra_roots)]
        self._roots = tuple(roots)
        self._readable = (*roots, *map(os.path.realpath, readable))

    def spot(self, path: str, *, to_write: bool = False) -> Spot:
        """Resolve a path from the model.

        Raises:
            ToolRefusal: it leads out of the roots, or is no path at all.
        """
        try:
            real = os.path.realpath(Path(self.cwd, self._expanded(path)))
        except (ValueError, OSError) as error:  # a NUL, a lone surrogate
            msg = f"{path!r} is no usable path: {error}"
            raise ToolRefusal(msg) from None
        for root in self._roots if to_write else self._readable:
            if Path(real).is_relative_to(root):
                return Spot(root, Path(real).relative_to(root).parts)
        msg = f"{path} is outside of the working directory {self.cwd}, where this tool may not go"
        raise ToolRefusal(msg)

    def shown(self, spot: Spot) -> str:
        """Return how a result names a path: relative where that is shorter."""
        real = Path(spot.path)
        return str(real.relative_to(self.cwd)) if real.is_relative_to(self.cwd) else str(real)

    def below(self, spot: Spot, path: str) -> str:
        """Return how a result names what a search below `spot` has found."""
        return os.path.normpath(f"{self.shown(spot)}/{path}") + "/" * path.endswith("/")

    def _expanded(self, path: str) -> str:
        if self._home and (path == "~" or path.startswith("~/")):
            return self._home + path[1:]
        return path


def refuse_special(mode: int) -> None:
    """Let regular files pass.

    Raises:
        ToolRefusal: it is something else.
    """
    if stat.S_ISREG(mode):
        return
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISLNK, "a symbolic link that leads nowhere"),
    )
    what = next((name for test, name in kinds if test(mode)), "a device")
    msg = f"it is {what}, not a file"
    raise ToolRefusal(msg)


def _step(fd: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _PASS, dir_fd=fd)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):  # somebody else was faster
        os.mkdir(name, dir_fd=fd)
    return os.open(name, _PASS, dir_fd=fd)
