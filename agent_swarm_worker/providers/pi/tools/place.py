"""Where the file tools may go: the session's directory, and what the operator opened besides.

A path is resolved with all its links first and judged then. Operations on it are confined to the
root that holds it (`GuestFiles`), so that a link which is put in the way after the judgement leads
nowhere.

This confines the file tools, not the agent: what `bash` runs has all rights of the session.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.pi.spec import PiOptions
from agent_swarm_worker.providers.pi.tools.base import ToolRefusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import PurePath
    from typing import Self

    from agent_swarm_worker.contract import Guest, GuestFiles, Listing, OpenFile


@dataclass(frozen=True, slots=True)
class Spot:
    """A path that may be used: below `root`, with every link resolved."""

    files: GuestFiles
    root: str
    parts: tuple[str, ...]

    @property
    def path(self) -> str:
        """The whole path."""
        return str(PurePosixPath(self.root, *self.parts))

    def open(self) -> AbstractAsyncContextManager[OpenFile]:
        """Open the regular file that this is, for reading."""
        return self.files.open(self.path, within=self.root)

    async def list(self, limit: int) -> Listing:
        """Return what is in the directory that this is."""
        return await self.files.list(self.path, within=self.root, limit=limit)

    async def replace(self, content: bytes) -> bool:
        """Put `content` in the place of the file; true if there was one before."""
        return await self.files.write(self.path, content, within=self.root)


class Place:
    """The roots of one session; made by `open`."""

    def __init__(
        self, files: GuestFiles, home: str, roots: tuple[str, ...], readable: tuple[str, ...]
    ) -> None:
        self._files = files
        self._home = home
        self.cwd = roots[0]
        self._roots, self._readable = roots, readable

    @classmethod
    async def open(
        cls,
        guest: Guest,
        cwd: PurePath,
        env: Mapping[str, str],
        *,
        readable: Iterable[PurePath] = (),
    ) -> Self:
        """Find the roots.

        Args:
            guest: where the files are.
            cwd: what relative paths start from.
            env: the session's; ``PI_ALLOW_OUTSIDE_CWD`` opens everything, ``PI_EXTRA_ROOTS`` some
                more directories.
            readable: directories that may be read besides: skills, and what tools leave behind.
        """
        files = guest.files
        here = await files.real_path(str(cwd))
        options = PiOptions.load(env)
        roots = [here, "/"]
        if not options.allow_outside_cwd:
            roots = [here, *[await files.real_path(str(root)) for root in options.extra_roots]]
        more = [await files.real_path(str(path)) for path in readable]
        return cls(files, options.home, tuple(roots), (*roots, *more))

    async def spot(self, path: str, *, to_write: bool = False) -> Spot:
        """Resolve a path from the model.

        Raises:
            ToolRefusal: it leads out of the roots, or is no path at all.
        """
        try:
            real = await self._files.real_path(str(PurePosixPath(self.cwd, self._expanded(path))))
        except (ValueError, OSError) as error:  # a NUL, a lone surrogate
            msg = f"{path!r} is no usable path: {error}"
            raise ToolRefusal(msg) from None
        for root in self._roots if to_write else self._readable:
            if PurePosixPath(real).is_relative_to(root):
                return Spot(self._files, root, PurePosixPath(real).relative_to(root).parts)
        msg = f"{path} is outside of the working directory {self.cwd}, where this tool may not go"
        raise ToolRefusal(msg)

    def shown(self, spot: Spot) -> str:
        """Return how a result names a path: relative where that is shorter."""
        real = PurePosixPath(spot.path)
        return str(real.relative_to(self.cwd)) if real.is_relative_to(self.cwd) else str(real)

    def below(self, spot: Spot, path: str) -> str:
        """Return how a result names what a search below `spot` has found."""
        return os.path.normpath(f"{self.shown(spot)}/{path}") + "/" * path.endswith("/")

    def _expanded(self, path: str) -> str:
        if self._home and (path == "~" or path.startswith("~/")):
            return self._home + path[1:]
        return path
