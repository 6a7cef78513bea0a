"""Sends log lines and events in parts.

The server or a gateway refuses a whole request for one bad element, or for its size. So the
acknowledged part is stored after each request, and a refused request is halved, by elements or by
bytes, until the bad element is alone. It is sent reduced (`reduction`), or left out if the server
itself refuses it, or fails over it in each form. The journal has each line as it was.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import orjson

from agent_swarm_worker.api.values import encode
from agent_swarm_worker.errors import ApiError, ApiRefused, ApiUnreachable
from agent_swarm_worker.journal.files import number
from agent_swarm_worker.journal.reading import LineReader
from agent_swarm_worker.outbox.read_back import count_events, count_lines, may_have_arrived
from agent_swarm_worker.outbox.reduction import (
    STEP,
    Reduction,
    is_failure,
    is_over_content,
    is_size,
    masked,
    send_reduced,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.outbox.queue import Delivery

CUT_BYTES = 128 * 1024
"""Most of a long line that is sent. As JSON within JSON, up to four times as many bytes."""
MAX_LINES = 900
"""Of one request: fewer than one request reads back."""
MAX_EVENTS_BYTES = 512 * 1024
MAX_EVENTS = 450
"""Of one request: fewer than one request reads back."""
MAX_REFUSED_IN_A_ROW = 8
"""After so many refused single elements, the cause is not in the elements."""

_INVALID = (400, 422)
"""The server's own statuses for an element that it does not take in any form."""


class Parts(Protocol):
    """A write whose elements can be sent in several requests."""

    max_elements: int

    async def take(self, start: int, limit: int) -> tuple[Sequence[Any], int]:
        """Return up to `limit` elements from position `start`, and the position behind them."""

    async def arrived(self, elements: Sequence[Any]) -> int:
        """Return how many of these elements, from the first, are stored on the server."""

    async def post(self, elements: Sequence[Any]) -> None:
        """Send these elements."""

    async def post_reduced(self, element: Any, reduction: Reduction) -> None:
        """Send what a reduction leaves of an element."""


async def send_in_parts(delivery: Delivery, parts: Parts) -> None:
    """Send the elements that are not acknowledged yet.

    After a request that failed for another reason than its content, the next call continues there.
    """
    item, limit, max_bytes = delivery.item, parts.max_elements, math.inf
    is_known = True
    refused_in_a_row = 0
    while True:
        elements, after = await parts.take(item.sent, limit)
        if after == item.sent:
            return
        fitting = _fitting(elements, max_bytes)
        arrived = await parts.arrived(elements) if elements and item.maybe_delivered else 0
        if 0 < (taken := arrived or fitting) < len(elements):
            elements, after = await parts.take(item.sent, taken)
        if elements and not arrived:
            try:
                await parts.post(elements)
            except ApiError as error:
                size = sum(map(_size, elements))
                if not is_over_content(error, delivery.persistence, size=size):
                    raise
                item.maybe_delivered = may_have_arrived(error)
                if item.maybe_delivered:
                    delivery.queue.mark_maybe_delivered(item)
                if len(elements) > 1:
                    # Without an answer it may be about the size or about one element.
                    is_known = not isinstance(error, ApiUnreachable)
                    if is_size(error) or not is_known:
                        max_bytes = size // 2
                    else:
                        limit = len(elements) // 2
                    continue
                refused_in_a_row += isinstance(error, ApiRefused) and not is_size(error)
                if refused_in_a_row == MAX_REFUSED_IN_A_ROW:
                    raise
                if await _was_replaced(delivery, parts, elements[0], error):
                    refused_in_a_row = 0
            else:
                refused_in_a_row = 0
                limit = min(limit * 2, parts.max_elements)
                max_bytes *= 1 if is_known else 2
        delivery.queue.advance(item, after)


def _fitting(elements: Sequence[Any], max_bytes: float) -> int:
    """Return how many elements fit into a request, one at least."""
    if max_bytes == math.inf:
        return len(elements)
    sizes = accumulate(map(_size, elements))
    return max(1, sum(size <= max_bytes for size in sizes))


def _size(element: Any) -> int:
    return len(encode(element))


async def _was_replaced(delivery: Delivery, parts: Parts, element: Any, error: ApiError) -> bool:
    """Send a refused element reduced; leave it out, and return false, if the server refuses it."""
    try:
        if isinstance(error, ApiRefused) and error.status in _INVALID:
            raise error
        used = await send_reduced(
            error,
            partial(parts.post_reduced, element),
            size=min(_size(element), CUT_BYTES * STEP),
            persistence=delivery.persistence,
        )
    except ApiRefused as refusal:
        if refusal is not error and not is_failure(refusal):
            raise
        delivery.dropped(str(error), count=1)
        return False
    why = f"one was refused as a whole, and was sent {used.how}"
    details = {"chars": len(element)} if isinstance(element, str) else {}
    status = getattr(error, "status", None)
    delivery.dropped(why, error=str(error), status=status, count=1, **details)
    return True


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
        except ApiError as error:
            size = len(item.data)
            if not is_over_content(error, delivery.persistence, size=size):
                raise
            item.maybe_delivered = may_have_arrived(error)
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

    async def post_reduced(self, element: Any, reduction: Reduction) -> None:
        """Send an event with reduced texts; without its data if nothing else passes."""
        event = reduction.value(element)
        if reduction.is_last:
            event.pop("data", None)
        await self.post([event])


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
        return await self._count(elements)

    async def _count(self, elements: Sequence[Any]) -> int:
        return await count_lines(
            self._delivery,
            elements,
            task_id=self._task_id or "",
            session_uuid=self._session_uuid,
            number=number(self._iteration, self._before),
        )

    async def post(self, elements: Sequence[Any]) -> None:
        """Send these lines."""
        await self._delivery.client.records.session_logs(
            elements,
            session_uuid=self._session_uuid,
            iteration=number(self._iteration, self._before),
            task_id=self._task_id,
            cli=self._cli,
        )

    async def post_reduced(self, element: Any, reduction: Reduction) -> None:
        """Send the ends of a line, or the masked line, in its place."""
        await self.post([replacement(element, reduction)])


def replacement(line: str, reduction: Reduction) -> str:
    """Return what is sent in place of a line, a line of JSON (docs/api.md 8.1)."""
    kind, row = "masked_line" if reduction.mask else "cut_line", {"chars": len(line)}
    begins, ends = reduction.ends(line)
    if len(begins) + len(ends) >= len(line):
        return orjson.dumps({"type": kind, **row, "content": masked(line, reduction.mask)}).decode()
    parts = {"begins": masked(begins, reduction.mask), "ends": masked(ends, reduction.mask)}
    return orjson.dumps({"type": kind, **row, **parts}).decode()
