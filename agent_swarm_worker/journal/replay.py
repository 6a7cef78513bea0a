"""Replays a journal: its records become events once more, by a fresh translator of the harness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from agent_swarm_worker.journal.files import read_head
from agent_swarm_worker.journal.records import events_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent_swarm_worker.contract import EventListener, ProviderEvent
    from agent_swarm_worker.contract.translator import Translator

_LINES_AT_ONCE = 500


async def replay(
    path: Path, translator: Translator, listener: EventListener, *, told: int, news: EventListener
) -> None:
    """Read a journal from its beginning to its end.

    Args:
        path: of the journal.
        translator: a fresh one of the harness.
        listener: takes every event.
        told: offset in bytes up to which events were reported already.
        news: takes the events of the lines behind.

    Raises:
        OSError: it cannot be read.
    """
    position = read_head(path).size
    with path.open("rb") as journal:
        journal.seek(position)
        for number, line in enumerate(journal):
            position += len(line)
            for event in _understood(line, translator):
                listener(event)
                if position > told:
                    news(event)
            if number % _LINES_AT_ONCE == 0:
                await checkpoint()


def _understood(line: bytes, translator: Translator) -> Iterator[ProviderEvent]:
    try:
        yield from events_of(line, translator)
    except Exception:
        return  # as in a session: a line that is not understood is in the log, and that is all
