"""The records of a journal, and how a session's output becomes records and events again.

A line of JSON is recorded as it is, once it was scrubbed. Everything else is wrapped, so that a
journal is JSON lines throughout: text on standard output, standard error, and the journal's own
notes on what its size limit left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract.translator import TextTranslator
from agent_swarm_worker.processes.framing import decode_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.contract import ProviderEvent
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
