"""The tools `edit`, which replaces unique passages of a file, and `write`, which writes a file.

Edits work on bytes, so the rest of the file stays unchanged whatever its encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.pi.tools.base import (
    CodingTool,
    Param,
    ToolOutcome,
    ToolRefusal,
    lock_of,
    size_of,
    to_utf8,
)

if TYPE_CHECKING:
    from agent_swarm_worker.providers.pi.tools.path_resolution import ResolvedPath

MAX_EDIT_BYTES = 16 * 1024 * 1024
_OLD = Param("oldText", "string", "Passage to replace, exactly as in the file; must be unique")
_NEW = Param("newText", "string", "What is to stand there instead")


@dataclass(frozen=True, slots=True)
class _Change:
    name: str
    """Its name in error messages, such as ``edits[1].oldText``."""
    old: bytes
    new: bytes


@dataclass(frozen=True, slots=True)
class _Hit:
    start: int
    end: int
    new: bytes
    change: _Change


class EditTool(CodingTool):
    """Changes passages of a file."""

    name = "edit"
    description = (
        "Replace a passage of a file. oldText must occur exactly once, blanks and line breaks"
        " included. For several changes at once give edits; each is looked up in the file as it"
        " was, and either all are made or none."
    )
    params = (
        Param("path", "string", "File, relative to the working directory or absolute", True),
        _OLD,
        _NEW,
        Param(
            "edits",
            "array",
            "Several changes instead of oldText and newText",
            items=tuple(Param(p.name, p.kind, p.about, True) for p in (_OLD, _NEW)),
        ),
    )

    async def _call(self, args: dict[str, Any]) -> ToolOutcome:
        changes = _changes(args)
        target = await self.paths.resolve(args["path"], to_write=True)
        async with lock_of(target.path):
            lines = await _edit(target, changes)
        numbers = ", ".join(map(str, lines))
        passages = "1 passage" if len(lines) == 1 else f"{len(lines)} passages"
        return ToolOutcome(f"replaced {passages} in {self.paths.display(target)}, line {numbers}")


def _changes(args: dict[str, Any]) -> list[_Change]:
    pairs = [(f"edits[{n}]", edit) for n, edit in enumerate(args.get("edits", ()))]
    if not pairs or "oldText" in args or "newText" in args:
        for name in ("oldText", "newText"):
            if name not in args:
                raise ToolRefusal(
                    f"the argument {name} is missing; give oldText and newText, or edits"
                )
        pairs.insert(0, ("", args))
    changes = []
    for name, pair in pairs:
        label = f"{name}.oldText" if name else "oldText"
        change = _Change(label, to_utf8(pair["oldText"], label), to_utf8(pair["newText"], name))
        if not change.old:
            raise ToolRefusal(f"{label} is empty; use write to fill a file")
        if change.old == change.new:
            raise ToolRefusal(f"{label} and newText are the same")
        changes.append(change)
    return changes


async def _edit(target: ResolvedPath, changes: list[_Change]) -> list[int]:
    """Make the changes; return the numbers of their first lines."""
    content = await _content(target)
    hits = sorted((_find(content, change) for change in changes), key=lambda hit: hit.start)
    for one, other in pairwise(hits):
        if other.start < one.end:
            raise ToolRefusal(
                f"{one.change.name} and {other.change.name} overlap; make one change of them"
            )
    pieces, position = [], 0
    for hit in hits:
        pieces += [content[position : hit.start], hit.new]
        position = hit.end
    await target.replace(b"".join([*pieces, content[position:]]))
    return [content.count(b"\n", 0, hit.start) + 1 for hit in hits]


async def _content(target: ResolvedPath) -> bytes:
    async with target.open() as file:
        content = await file.read(MAX_EDIT_BYTES + 1, 0)
    if len(content) > MAX_EDIT_BYTES:
        raise ToolRefusal(f"the file is larger than {size_of(MAX_EDIT_BYTES)}; use bash")
    return content


def _find(content: bytes, change: _Change) -> _Hit:
    old, new = change.old, change.new
    crlf = content.count(b"\r\n")
    # Models write LF; in a file with CRLF both texts are meant with CRLF.
    if crlf and (crlf == content.count(b"\n") or (b"\n" in old and old not in content)):
        old, new = _with_crlf(old), _with_crlf(new)
    start = content.find(old)
    if start < 0:
        msg = f"{change.name} does not occur in the file; read it and copy the passage exactly"
        if b"[REDACTED:" in old:
            msg += ". A placeholder stands for a secret, which is what the file really has there"
        raise ToolRefusal(msg)
    if content.find(old, start + 1) >= 0:
        count = content.count(old)
        raise ToolRefusal(
            f"{change.name} occurs {max(2, count)} times; add lines around it to make it unique"
        )
    return _Hit(start, start + len(old), new, change)


def _with_crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class WriteTool(CodingTool):
    """Creates or replaces a file."""

    name = "write"
    description = (
        "Write a file: creates it, with its directories, or replaces all that is in it."
        " To change a part of a file use edit."
    )
    params = (
        Param("path", "string", "File, relative to the working directory or absolute", True),
        Param("content", "string", "All that the file is to contain", True),
    )

    async def _call(self, args: dict[str, Any]) -> ToolOutcome:
        content = to_utf8(args["content"], "content")
        target = await self.paths.resolve(args["path"], to_write=True)
        async with lock_of(target.path):
            existed = await target.replace(content)
        done = "replaced" if existed else "created"
        return ToolOutcome(f"{done} {self.paths.display(target)} ({size_of(len(content))})")
