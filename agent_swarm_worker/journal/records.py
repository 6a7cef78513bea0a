"""Wraps output lines as records of a journal, and replays a journal into events.

A line of JSON is recorded as it is. Plain text on standard output, standard error, and the notes of
`limit` are wrapped, so that a journal consists of JSON lines.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
from anyio.lowlevel import checkpoint

from agent_swarm_worker.contract import TextTranslator
from agent_swarm_worker.journal.files import read_head
from agent_swarm_worker.processes.pipes import decode_line
from agent_swarm_worker.text import plain, plain_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent_swarm_worker.contract import EventListener, ProviderEvent, Redactor, Translator

LIMIT_RECORD = "journal_limit"
MASK = b"[REDACTED:"
"""How a placeholder of the scrubber begins."""


def text_record(line: bytes) -> bytes:
    """Wrap a line of standard output that is not JSON; a blank one has no record (``b""``)."""
    if not line.strip():
        return b""
    return orjson.dumps({"type": "stdout", "content": decode_line(line)})


def stderr_record(content: str, timestamp: str) -> bytes:
    """Wrap lines of standard error."""
    return orjson.dumps({"type": "stderr", "content": content, "timestamp": timestamp})


def limit_record(content: str, max_bytes: int, **more: Any) -> bytes:
    """Return a note on lines that the size limit leaves out."""
    return orjson.dumps({"type": LIMIT_RECORD, "content": content, "max_bytes": max_bytes, **more})


def events_of(record: bytes, translator: Translator, redactor: Redactor) -> Iterable[ProviderEvent]:
    """Unwrap and translate one record, with or without its newline.

    `redactor` knows which words of the protocol were scrubbed, as they equal a weak secret.
    """
    native = _loaded(record)
    if MASK in record:
        native = redactor.with_words(native)
    match native:
        case {"type": "journal_limit", "max_bytes": _}:
            return
        case {"type": "stdout", "content": str(text)}:
            yield from translator.feed_text(plain_line(text))
        case {"type": "stderr", "content": str(text), "timestamp": _}:
            for line in plain(text).splitlines():
                yield from translator.feed_stderr(line)
        case _ if isinstance(translator, TextTranslator) and translator.is_text(native):
            yield from translator.feed_text(decode_line(record).rstrip("\n"))
        case _:
            yield from translator.feed(native)


def _loaded(record: bytes) -> Any:
    try:
        return orjson.loads(record)
    except orjson.JSONDecodeError:
        return json.loads(record)  # takes deeper ones


_CHECKPOINT_LINES = 500
"""Between two cancellation points of `replay`."""


async def replay(
    path: Path,
    translator: Translator,
    listener: EventListener,
    *,
    redactor: Redactor,
    reported_offset: int,
    unreported: EventListener,
) -> None:
    """Translate all records of a journal into events, with a new `translator` of the harness.

    `unreported` gets the events of the lines behind the byte `reported_offset` only.

    Raises:
        OSError: the file cannot be read.
    """
    position = read_head(path).size
    with path.open("rb") as journal:
        journal.seek(position)
        for number, line in enumerate(journal):
            position += len(line)
            for event in _tolerant_events(line, translator, redactor):
                listener(event)
                if position > reported_offset:
                    unreported(event)
            if number % _CHECKPOINT_LINES == 0:
                await checkpoint()


def _tolerant_events(
    line: bytes, translator: Translator, redactor: Redactor
) -> Iterator[ProviderEvent]:
    try:
        yield from events_of(line, translator, redactor)
    except Exception:
        return  # as in a live session, a line that cannot be translated has no events
