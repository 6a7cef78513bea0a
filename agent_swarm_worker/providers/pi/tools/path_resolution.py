"""Resolve paths from the model, and confine the file tools to the session's directories.

A path is resolved with all its links and then compared with the allowed roots. Operations on it
are confined to the root that contains it (`GuestFiles`), so that a link that appears after the
check has no effect. Commands of `bash` are not confined: they have all rights of the session.
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
class ResolvedPath:
    """An allowed path: below `root`, with all links resolved."""

    files: GuestFiles
    root: str
    parts: tuple[str, ...]

    @property
    def path(self) -> str:
        """The whole path."""
        return str(PurePosixPath(self.root, *self.parts))

    def open(self) -> AbstractAsyncContextManager[OpenFile]:
        """Open the regular file for reading."""
        return self.files.open(self.path, within=self.root)

    async def list(self, limit: int) -> Listing:
        """Return the entries of the directory."""
        return await self.files.list(self.path, within=self.root, limit=limit)

    async def replace(self, content: bytes) -> bool:
        """Replace the file's content; return whether the file existed."""
        return await self.files.write(self.path, content, within=self.root)


class PathResolver:
    """The roots of one session; create it with `open`."""

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
        """Resolve the roots of a session.

        Args:
            guest: has the files.
            cwd: start of relative paths, and the first root.
            env: the session's; ``PI_ALLOW_OUTSIDE_CWD`` allows all paths, ``PI_EXTRA_ROOTS`` more
                directories.
            readable: directories that may only be read: skills, and outputs of commands.
        """
        files = guest.files
        root = await files.real_path(str(cwd))
        options = PiOptions.load(env)
        roots = [root, "/"]
        if not options.allow_outside_cwd:
            roots = [root, *[await files.real_path(str(path)) for path in options.extra_roots]]
        more = [await files.real_path(str(path)) for path in readable]
        return cls(files, options.home, tuple(roots), (*roots, *more))

    async def resolve(self, path: str, *, to_write: bool = False) -> ResolvedPath:
        """Resolve a path from the model.

        Raises:
            ToolRefusal: it is outside of the roots, or not a valid path.
        """
        try:
            real = await self._files.real_path(str(PurePosixPath(self.cwd, self._expanded(path))))
        except (ValueError, OSError) as error:  # a NUL, a lone surrogate
            raise ToolRefusal(f"{path!r} is no usable path: {error}") from None
        for root in self._roots if to_write else self._readable:
            if PurePosixPath(real).is_relative_to(root):
                return ResolvedPath(self._files, root, PurePosixPath(real).relative_to(root).parts)
        raise ToolRefusal(
            f"{path} is outside of the working directory {self.cwd}, where this tool may not go"
        )

    def display(self, target: ResolvedPath) -> str:
        """Return a path as it is shown to the model: relative if below the working directory."""
        real = PurePosixPath(target.path)
        return str(real.relative_to(self.cwd)) if real.is_relative_to(self.cwd) else str(real)

    def display_below(self, target: ResolvedPath, path: str) -> str:
        """Return a path found by a search below `target`, as it is shown to the model."""
        return os.path.normpath(f"{self.display(target)}/{path}") + "/" * path.endswith("/")

    def _expanded(self, path: str) -> str:
        if self._home and (path == "~" or path.startswith("~/")):
            return self._home + path[1:]
        return path
