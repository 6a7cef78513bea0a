"""The tool `ls`: what is in a directory."""

from __future__ import annotations

import os
from typing import Any

from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools.arguments import Param
from agent_swarm_worker.providers.pi.tools.base import CodingTool, Stop, in_thread
from agent_swarm_worker.providers.pi.tools.limits import clipped

DEFAULT_LIMIT = 500
MAX_ENTRIES = 100_000
"""How many are looked at before they are sorted."""


class LsTool(CodingTool):
    """Lists a directory."""

    name = "ls"
    description = (
        "List a directory, in alphabetical order and with hidden files. Directories end in /,"
        f" links in @. Shows {DEFAULT_LIMIT} entries unless limit says otherwise."
    )
    params = (
        Param("path", "string", "Directory; the working directory by default"),
        Param("limit", "integer", "How many entries to show", least=1, most=10_000),
    )

    async def use(self, args: dict[str, Any]) -> ToolOutcome:
        """List."""
        limit = args.get("limit", DEFAULT_LIMIT)

        def work(stop: Stop) -> tuple[list[str], bool]:
            with self.place.spot(args.get("path", ".")).directory() as fd:
                # A descriptor that only passes through a directory cannot list it.
                handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            try:
                return _entries(handle, stop)
            finally:
                os.close(handle)

        names, is_complete = await in_thread(work)
        if not names:
            return ToolOutcome("(the directory is empty)")
        text = "\n".join(names[:limit])
        if len(names) > limit or not is_complete:
            more = f"{len(names) - limit}" if is_complete else "very many"
            text += f"\n\n[{more} more entries; a larger limit or a narrower path shows them]"
        return ToolOutcome(clipped(text, max_lines=20_000))


def _entries(fd: int, stop: Stop) -> tuple[list[str], bool]:
    names: list[str] = []
    with os.scandir(fd) as found:
        for entry in found:
            if len(names) == MAX_ENTRIES:
                return sorted(names, key=str.casefold), False
            if not len(names) % 1000:
                stop.check()
            mark = "@" if entry.is_symlink() else "/" if entry.is_dir() else ""
            # A name may hold anything: it must not look like two, nor be more than text.
            name = entry.name.encode("utf-8", "replace").decode()
            names.append((name if name.isprintable() else repr(name)) + mark)
    return sorted(names, key=str.casefold), True
