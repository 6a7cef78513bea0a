"""Handle one request in the fault proxy, with its fault."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from chaos.faults import Fault, Kind
from chaos.http1 import Broken, Connection, Head, body, message, read_head

PAGE = b"<html><head><title>Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
INTERNAL_ERROR = message(500, "application/json", b'{"error": "Internal Server Error"}')
DRIPS = 20


@dataclass(slots=True)
class Seen:
    """A request that came by."""

    at: float
    """Seconds, by `time.monotonic`, when it was complete."""
    method: str
    path: str
    """With the query."""
    fault: Fault | None
    status: int | None = None
    """What the client was told; ``None`` when it was told nothing."""
    upstream: int | None = None
    """What the API had answered, if it was asked and did."""


class Middle(Protocol):
    """Whose request it is: what an exchange wants of the man in the middle."""

    seen: list[Seen]

    @property
    def host(self) -> str:
        """What the API takes for its own name."""
        ...

    def fault_for(self, method: str, path: str) -> Fault | None:
        """Decide what happens to a request."""
        ...

    async def reach(self, api: Connection | None) -> Connection:
        """Return a connection to the API, the one at hand if it still stands."""
        ...


class Exchange:
    """One request, and what becomes of it."""

    def __init__(
        self,
        proxy: Middle,
        client: Connection,
        head: Head,
        content: bytes,
        api: Connection | None,
    ) -> None:
        method, path, *_ = head.start.split()
        self._proxy, self._client, self.api = proxy, client, api
        self._request = head.encode(host=proxy.host) + content
        self._seen = Seen(time.monotonic(), method, path, proxy.fault_for(method, path))
        proxy.seen.append(self._seen)
        self.is_last = head.closes
        """True if the connection ends with it."""

    async def run(self) -> None:
        """Have it answered, or not."""
        try:
            await self._run()
        except Broken:
            self.is_last = True

    async def _run(self) -> None:
        fault = self._seen.fault
        match fault.kind if fault else None:
            case Kind.REFUSE:
                self._client.reset()
            case Kind.HANG:
                await asyncio.Event().wait()
            case Kind.ANSWER_500:
                await self._tell(500, INTERNAL_ERROR)
            case Kind.HTML:
                assert fault is not None
                await self._tell(fault.status, message(fault.status, "text/html", PAGE))
            case _:
                await self._forward(fault)

    async def _forward(self, fault: Fault | None) -> None:
        kind = fault.kind if fault else None
        if kind == Kind.DELAY and fault:
            await asyncio.sleep(fault.seconds)
        try:
            if kind == Kind.DUPLICATE:
                await self._whole_answer()
            if kind in {None, Kind.DELAY, Kind.DUPLICATE}:
                await self._pass_on()
                return
            head, parts = await self._whole_answer()
        except _Down:
            await self._tell(502, message(502, "text/html", PAGE))
            return
        match kind:
            case Kind.LOSE_ANSWER:
                self._client.reset()
            case Kind.LATE_500:
                await self._tell(500, INTERNAL_ERROR)
            case Kind.HALF_BODY:
                content = b"".join(parts)
                await self._tell(head.status, head.encode() + content[: len(content) // 2])
                self.is_last = True
            case Kind.DRIP:
                assert fault is not None
                await self._drip(head, b"".join(parts), fault.seconds)

    async def _ask(self) -> Head:
        """Send the request on and return the head of the answer.

        Raises:
            _Down: the API cannot be reached, or left without a word.
        """
        try:
            self.api = await self._proxy.reach(self.api)
            await self.api.send(self._request)
            while (head := await read_head(self.api)).status < 200:
                pass
        except (OSError, Broken) as error:
            self._drop_api()
            raise _Down(str(error)) from None
        self._seen.upstream = head.status
        return head

    async def _pass_on(self) -> None:
        head = await self._ask()
        assert self.api is not None
        self._seen.status = head.status
        await self._client.send(head.encode())
        try:
            async for part in body(self.api, head, of_request=False):
                await self._client.send(part)
        except Broken:
            self._drop_api()
            self._client.reset()  # It broke off there, so it breaks off here.
            raise
        self._after(head)

    async def _whole_answer(self) -> tuple[Head, list[bytes]]:
        """Return the answer; of one that does not end, the beginning.

        Raises:
            _Down: the API did not give one.
        """
        head, parts = await self._ask(), []
        assert self.api is not None
        try:
            async for part in body(self.api, head, of_request=False):
                parts.append(part)
                if head.is_event_stream:
                    self._drop_api()
                    break
        except Broken as error:
            self._drop_api()
            raise _Down(str(error)) from None
        self._after(head)
        return head, parts

    def _after(self, head: Head) -> None:
        has_end = head.is_chunked or head.get("content-length") or head.status in {204, 304}
        if head.closes or not has_end:
            self._drop_api()
        self.is_last = self.is_last or not has_end or head.closes

    def _drop_api(self) -> None:
        if self.api is not None:
            self.api.close()
            self.api = None

    async def _drip(self, head: Head, content: bytes, seconds: float) -> None:
        self._seen.status = head.status
        data = head.encode() + content
        starts = range(0, len(data), max(1, -(-len(data) // DRIPS)))
        for start in starts:
            await asyncio.sleep(seconds / len(starts))
            await self._client.send(data[start : start + starts.step])

    async def _tell(self, status: int, data: bytes) -> None:
        self._seen.status = status
        await self._client.send(data)


class _Down(Exception):
    """The API gave no answer."""
