"""The records of a journal, and how a session's output becomes records and events again.

A line of JSON is recorded as it is, once it was scrubbed. Everything else is wrapped, so that a
journal is JSON lines throughout: text on standard output, standard error, and the journal's own
notes on what its size limit left out.

Replays a journal: its records become events once more, by a fresh translator of the harness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from anyio.lowlevel import checkpoint

from agent_swarm_worker.contract.translator import TextTranslator
from agent_swarm_worker.journal.files import read_head
from agent_swarm_worker.processes.pipes import decode_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent_swarm_worker.contract import EventListener, ProviderEvent
    from agent_swarm_worker.contract.translator import Translator

LIMIT_RECORD = "journal_limit"
"""Type of the records by which a journal says what it left out."""


def text_record(line: bytes) -> bytes:
    """Wrap a line of standard output that is not JSON; a blank one has no record (``b""``)."""
    if not line.strip():
        return b""
    return orjson.dumps({"type": "stdout", "content": decode_line(line)})


def stderr_record(content: str, timestamp: str) -> bytes:
    """Wrap lines of standard error."""
    return orjson.dumps({"type": "stderr", "content": content, "timestamp": timestamp})


def limit_record(content: str, max_bytes: int, **more: Any) -> bytes:
    """Return the journal's own note on what it leaves out."""
    return orjson.dumps({"type": LIMIT_RECORD, "content": content, "max_bytes": max_bytes, **more})


def events_of(record: bytes, translator: Translator) -> Iterable[ProviderEvent]:
    """Translate one recorded line, its newline included or not, with the wrapping undone."""
    match native := orjson.loads(record):
        case {"type": "journal_limit", "max_bytes": _}:
            return
        case {"type": "stdout", "content": str(text)}:
            yield from translator.feed_text(text)
        case {"type": "stderr", "content": str(text), "timestamp": _}:
            for line in text.splitlines():
                yield from translator.feed_stderr(line)
        case _ if isinstance(translator, TextTranslator) and translator.is_text(native):
            yield from translator.feed_text(decode_line(record).rstrip("\n"))
        case _:
            yield from translator.feed(native)


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
