"""The tool `ls`: what is in a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools.arguments import Param
from agent_swarm_worker.providers.pi.tools.base import CodingTool
from agent_swarm_worker.providers.pi.tools.limits import clipped

if TYPE_CHECKING:
    from agent_swarm_worker.contract.guest import FileKind

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

        spot = await self.place.spot(args.get("path", "."))
        listing = await spot.list(MAX_ENTRIES)
        names = sorted((_shown(*entry) for entry in listing.entries), key=str.casefold)
        is_complete = listing.is_complete
        if not names:
            return ToolOutcome("(the directory is empty)")
        text = "\n".join(names[:limit])
        if len(names) > limit or not is_complete:
            more = f"{len(names) - limit}" if is_complete else "very many"
            text += f"\n\n[{more} more entries; a larger limit or a narrower path shows them]"
        return ToolOutcome(clipped(text, max_lines=20_000))


def _shown(name: str, kind: FileKind) -> str:
    # A name may hold anything: it must not look like two, nor be more than text.
    name = name.encode("utf-8", "replace").decode()
    mark = {"link": "@", "directory": "/"}.get(kind, "")
    return (name if name.isprintable() else repr(name)) + mark
