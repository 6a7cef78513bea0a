"""Writes that are sent in parts: log lines and events.

Both grow long, and one element the server refuses takes the whole request with it. So they are
sent in pieces, what was acknowledged is remembered, and a refused piece is halved until the element
at fault stands alone and is left out.

A log line that is longer than the server, or something before it, takes.

The public server sets no limit (docs/api.md 1.4), but proxies do, mostly at a megabyte. The
whole line stays in the journal; the log gets its two ends, and a word on what is between them.
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

    from agent_swarm_worker.outbox.delivery import Delivery

TOO_LARGE = 413
KEPT_AT_FRONT, KEPT_AT_END = 96 * 1024, 32 * 1024
"""Characters. Up to four times as many bytes, in JSON within JSON: well below a megabyte."""


def is_cuttable(line: str) -> bool:
    """True if the line is longer than what would be kept of it."""
    return len(line) > KEPT_AT_FRONT + KEPT_AT_END


def cut(line: str) -> str:
    """Return what is sent in the line's place, itself a line of JSON."""
    return orjson.dumps(
        {
            "type": "cut_line",
            "chars": len(line),
            "begins": line[:KEPT_AT_FRONT],
            "ends": line[-KEPT_AT_END:],
        }
    ).decode()


MAX_LINES = 900
"""Fewer than can be read back at once, and what is read back begins with the newest request."""
MAX_EVENTS_BYTES = 512 * 1024
MAX_EVENTS = 450
"""Fewer than can be read back at once, like `MAX_LINES`."""
CONTENT_REFUSED = (400, TOO_LARGE, 422)
"""Answers that speak of what was sent, rather than of where to."""
MAX_REFUSED_IN_A_ROW = 8
"""After so many single elements the fault is not in an element."""


class Parts(Protocol):
    """Something that can be sent piece by piece."""

    max_elements: int

    async def take(self, start: int, limit: int) -> tuple[Sequence[Any], int]:
        """Return up to `limit` elements from position `start`, and the position after them."""
        ...

    async def arrived(self, elements: Sequence[Any]) -> int:
        """Return how many of these elements, from the first, the server is seen to have."""
        ...

    async def post(self, elements: Sequence[Any]) -> None:
        """Send these elements."""
        ...


async def send_in_parts(delivery: Delivery, parts: Parts) -> None:
    """Send what is not acknowledged yet.

    Raises:
        ApiError: as soon as a piece fails for another reason than its content; the next call goes
            on with that piece.
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
        self._told_before = bool(delivery.item.args.get("told_before"))

    @staticmethod
    async def send_whole(delivery: Delivery) -> bool:
        """Send a batch as it lies in the outbox, without parsing it; False if it was not taken.

        Only where that is all there is to do: nothing of it was sent, or may have been.

        Raises:
            ApiError: it failed for another reason than its content.
        """
        item = delivery.item
        if item.sent or item.maybe_delivered or not _is_bare_batch(item.data):
            return False
        try:
            await delivery.client.telemetry.encoded_events(item.data)
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
        return await count_events(self._delivery, elements, at_any_time=self._told_before)

    async def post(self, elements: Sequence[Any]) -> None:
        """Send these events."""
        await self._delivery.client.telemetry.events(elements)


def _is_bare_batch(data: bytes) -> bool:
    """True for ``{"events":[...]}`` with nothing else, no longer than a proxy takes."""
    begins, ends = data.startswith(b'{"events":['), data.endswith(b"]}")
    return begins and ends and len(data) <= MAX_EVENTS_BYTES and b'"told_before":' not in data


class LogParts:
    """A byte range of a session's journal; positions are bytes from its start.

    After an ambiguous failure the task's stored log is read back, and only the lines that are not
    in it are sent again. What the server cannot show (without a task, or behind a thousand lines of
    a longer session of the same task) is sent again: twice is better than never.
    """

    max_elements = MAX_LINES

    def __init__(self, delivery: Delivery) -> None:
        args = delivery.item.args
        self._delivery = delivery
        if "text" in args:  # the disk did not take these lines
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
        """Bytes of the range that lie before the lines at hand; keeps its requests in order."""

    async def take(self, start: int, limit: int) -> tuple[Sequence[Any], int]:
        """Return up to `limit` lines, about `journal.reading.MAX_PART_BYTES` at most."""
        self._before = start
        begin = self._start + start
        try:
            if self._reader.is_at_hand(begin):
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
        if not arrived and len(elements) == 1 and is_cuttable(elements[0]):
            return await self._count([cut(elements[0])])
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
        """Send these lines; of one that is too long for the server, its two ends."""
        try:
            await self._post(elements)
        except ApiRefused as refusal:
            line = elements[0]
            if refusal.status != TOO_LARGE or len(elements) > 1 or not is_cuttable(line):
                raise
            await self._post([cut(line)])
            why = "a line is too long for the server; it has its beginning and its end"
            self._delivery.dropped(why, status=TOO_LARGE, chars=len(line))

    async def _post(self, elements: Sequence[Any]) -> None:
        await self._delivery.client.telemetry.session_logs(
            elements,
            session_uuid=self._session_uuid,
            iteration=number(self._iteration, self._before),
            task_id=self._task_id,
            cli=self._cli,
        )
