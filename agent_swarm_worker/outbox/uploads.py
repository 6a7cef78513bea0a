"""Sends log lines and events in parts.

The server refuses a whole request for one bad element. So the acknowledged part is stored after
each request, and a refused request is halved until the bad element is alone and can be left out.

A log line that is too long for the server, or for a proxy before it (mostly at a megabyte), is
replaced by a record with its beginning and end; the journal has the whole line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import orjson

from agent_swarm_worker.errors import ApiRefused
from agent_swarm_worker.journal.files import number
from agent_swarm_worker.journal.reading import LineReader
from agent_swarm_worker.outbox.read_back import count_events, count_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.outbox.queue import Delivery

TOO_LARGE = 413
HEAD_CHARS, TAIL_CHARS = 96 * 1024, 32 * 1024
"""Parts of a long line that are sent. As JSON within JSON, up to four times as many bytes."""
MAX_LINES = 900
"""Of one request: fewer than one request reads back."""
MAX_EVENTS_BYTES = 512 * 1024
MAX_EVENTS = 450
"""Of one request: fewer than one request reads back."""
CONTENT_REFUSED = (400, TOO_LARGE, 422)
"""Statuses that refuse the content of a request."""
MAX_REFUSED_IN_A_ROW = 8
"""After so many refused single elements, the cause is not in the elements."""


class Parts(Protocol):
    """A write whose elements can be sent in several requests."""

    max_elements: int

    async def take(self, start: int, limit: int) -> tuple[Sequence[Any], int]:
        """Return up to `limit` elements from position `start`, and the position behind them."""

    async def arrived(self, elements: Sequence[Any]) -> int:
        """Return how many of these elements, from the first, are stored on the server."""

    async def post(self, elements: Sequence[Any]) -> None:
        """Send these elements."""


async def send_in_parts(delivery: Delivery, parts: Parts) -> None:
    """Send the elements that are not acknowledged yet.

    After a request that failed for another reason than its content, the next call continues there.
    """
    item, limit, refused_in_a_row = delivery.item, parts.max_elements, 0
    while True:
        elements, after = await parts.take(item.sent, limit)
        if after == item.sent:
            return
        arrived = await parts.arrived(elements) if elements and item.maybe_delivered else 0
        if 0 < arrived < len(elements):
            _, after = await parts.take(item.sent, arrived)
        if elements and not arrived:
            try:
                await parts.post(elements)
            except ApiRefused as refusal:
                if refusal.status not in CONTENT_REFUSED:
                    raise
                if len(elements) > 1:
                    limit = len(elements) // 2
                    continue
                refused_in_a_row += 1
                if refused_in_a_row == MAX_REFUSED_IN_A_ROW:
                    raise
                delivery.dropped(refusal.message, status=refusal.status, count=1)
            else:
                refused_in_a_row = 0
                limit = min(limit * 2, parts.max_elements)
        delivery.queue.advance(item, after)


class EventParts:
    """A batch of events; positions are indices."""

    max_elements = MAX_EVENTS

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._events: list[Any] = delivery.item.args["events"]
        self._is_replayed = bool(delivery.item.args.get("told_before"))

    @staticmethod
    async def send_whole(delivery: Delivery) -> bool:
        """Send a batch as it is stored, without parsing it; False if it must be sent in parts.

        That is so if a part was or may have been delivered, or the server refuses the content.
        """
        item = delivery.item
        if item.sent or item.maybe_delivered or not _is_bare_batch(item.data):
            return False
        try:
            await delivery.client.records.encoded_events(item.data)
        except ApiRefused as refusal:
            if refusal.status not in CONTENT_REFUSED:
                raise
            return False
        return True

    async def take(self, start: int, limit: int) -> tuple[Sequence[Any], int]:
        """Return up to `limit` events."""
        taken = self._events[start : start + limit]
        return taken, start + len(taken)

    async def arrived(self, elements: Sequence[Any]) -> int:
        """Return how many of these events are stored."""
        return await count_events(self._delivery, elements, ignores_time=self._is_replayed)

    async def post(self, elements: Sequence[Any]) -> None:
        """Send these events."""
        await self._delivery.client.records.events(elements)


def _is_bare_batch(data: bytes) -> bool:
    """True for ``{"events":[...]}`` with nothing else, no longer than a proxy takes."""
    begins, ends = data.startswith(b'{"events":['), data.endswith(b"]}")
    return begins and ends and len(data) <= MAX_EVENTS_BYTES and b'"told_before":' not in data


class LogParts:
    """A byte range of a session's journal; positions are bytes from its start.

    After an attempt without an answer the task's stored log is read back, and only the missing
    lines are sent. Lines that cannot be read back (without a task, or behind a thousand newer ones)
    are sent again.
    """

    max_elements = MAX_LINES

    def __init__(self, delivery: Delivery) -> None:
        args = delivery.item.args
        self._delivery = delivery
        if "text" in args:  # lines that could not be written to disk
            text = str(args["text"]).encode()
            self._start, self._end = 0, len(text)
            self._reader = LineReader(text, self._end)
        else:
            self._start, self._end = int(args["start"]), int(args["end"])
            self._reader = LineReader(Path(args["path"]), self._end)
        self._task_id: str | None = args.get("task_id")
        self._session_uuid, self._iteration = args["session_uuid"], int(args["iteration"])
        self._cli: str | None = args.get("cli")
        self._before = 0
        """Bytes of the range before the taken lines, for the number of the request."""

    async def take(self, start: int, limit: int) -> tuple[Sequence[Any], int]:
        """Return up to `limit` lines, about `journal.reading.MAX_PART_BYTES` at most."""
        self._before = start
        begin = self._start + start
        try:
            if self._reader.is_loaded(begin):
                lines, after = self._reader.read(begin, limit)
            else:
                lines, after = await anyio.to_thread.run_sync(self._reader.read, begin, limit)
        except OSError as error:
            self._delivery.dropped(f"the journal cannot be read: {error}")
            return [], start
        if after == begin and begin < self._end:
            self._delivery.dropped("the journal is shorter than it was")
        return lines, after - self._start

    async def arrived(self, elements: Sequence[Any]) -> int:
        """Return how many of these lines are in the stored log of the task."""
        if self._task_id is None:
            return 0
        arrived = await self._count(elements)
        if not arrived and len(elements) == 1 and is_too_long(elements[0]):
            return await self._count([shortened(elements[0])])
        return arrived

    async def _count(self, elements: Sequence[Any]) -> int:
        return await count_lines(
            self._delivery,
            elements,
            task_id=self._task_id or "",
            session_uuid=self._session_uuid,
            number=number(self._iteration, self._before),
        )

    async def post(self, elements: Sequence[Any]) -> None:
        """Send these lines; a single one that is too long is replaced by its ends."""
        try:
            await self._post(elements)
        except ApiRefused as refusal:
            line = elements[0]
            if refusal.status != TOO_LARGE or len(elements) > 1 or not is_too_long(line):
                raise
            await self._post([shortened(line)])
            why = "a line is too long for the server; its beginning and end were sent"
            self._delivery.dropped(why, status=TOO_LARGE, chars=len(line))

    async def _post(self, elements: Sequence[Any]) -> None:
        await self._delivery.client.records.session_logs(
            elements,
            session_uuid=self._session_uuid,
            iteration=number(self._iteration, self._before),
            task_id=self._task_id,
            cli=self._cli,
        )


def is_too_long(line: str) -> bool:
    """True if the line is longer than its replacement."""
    return len(line) > HEAD_CHARS + TAIL_CHARS


def shortened(line: str) -> str:
    """Return the replacement of a long line, a line of JSON."""
    return orjson.dumps(
        {
            "type": "cut_line",
            "chars": len(line),
            "begins": line[:HEAD_CHARS],
            "ends": line[-TAIL_CHARS:],
        }
    ).decode()
