"""Repairs the end of a journal whose worker was killed, and finds what is not in it yet."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent_swarm_worker.contract.guest import Unread, UnreadOutput

Unrecorded: TypeAlias = "tuple[UnreadOutput, bytes]"
"""A stream of a killed worker's session, and what was read from it and is not in the journal."""
_BLOCK_BYTES = 64 * 1024


def cut_torn_end(journal: Path) -> None:
    """Cut off half a line at the end, and blocks that a disk had promised and not been given.

    Raises:
        OSError: the journal cannot be changed.
    """
    with journal.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - _BLOCK_BYTES)
            file.seek(begin)
            block = file.read(end - begin).rstrip(b"\0")
            if newline := block.rfind(b"\n") + 1:
                end = begin + newline
                break
            end = begin
        if end < size:
            file.truncate(end)


def repair(journal: Path, left: Unread) -> tuple[list[Unrecorded], list[Unrecorded]]:
    """Undo an append that was cut short, and find what is not in the journal.

    Returns:
        What is left of standard output and of standard error, of each keeper, where there is any.
    """
    with suppress(OSError):
        cut_torn_end(journal)
        size = journal.stat().st_size
        for stream in (*left.stdout, *left.stderr):
            receipt = stream.last_checkpoint
            if receipt is not None and receipt.record_begin < size < receipt.record_end:
                os.truncate(journal, receipt.record_begin)
                size = receipt.record_begin
    size = journal.stat().st_size if journal.is_file() else 0
    return _unrecorded(left.stdout, size), _unrecorded(left.stderr, size)


def _unrecorded(streams: Sequence[UnreadOutput], size: int) -> list[Unrecorded]:
    rests = [(stream, stream.rest(size)) for stream in streams]
    return [(stream, rest) for stream, rest in rests if rest]
