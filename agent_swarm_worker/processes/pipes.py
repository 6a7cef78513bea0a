"""Read and write a child's pipes, read output to its end, and split it into lines.

asyncio's pipe transports are not used: they stay open while another process holds the other end,
they read ahead, and in older Pythons standard input is a socket, not to be opened by name.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from agent_swarm_worker.aio import wait_all, wait_any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.processes.capture_buffer import CaptureBuffer

READ_BYTES = 1 << 16
"""At most so much is read at once: a chunk of short lines is hundreds of events."""
LONG_READ_BYTES = 1 << 18
"""Of a stream of long lines; also the size of its pipe. A read costs as much as some lines."""
LONG_LINE_BYTES = 4096
DRAIN_S = 2.0
MAX_BAR_BYTES = 4096
"""The part of an incomplete line in which the state of a progress bar is looked for."""


class PipeReader(ByteReceiveStream):
    """Our end of a pipe the child writes to. Cancelling `receive` loses nothing."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.capture_buffer: CaptureBuffer | None = None
        """Set if output is to survive this process: the pipe is read through it."""
        self._file = FileIO(fd, "rb")
        self._pump_end: asyncio.Future[None] | None = None

    async def receive(self, max_bytes: int = READ_BYTES) -> bytes:
        """Return the next bytes; it ends when every process that held the other end closed it."""
        # Other tasks must run even if the child writes without pause.
        await checkpoint()
        while not self._file.closed:
            chunk = self._read(max_bytes)
            if chunk:
                return chunk
            if chunk is not None:
                raise anyio.EndOfStream
            await anyio.wait_readable(self._file)
        raise anyio.ClosedResourceError

    async def pump(self, on_chunk: Callable[[bytes], None]) -> None:
        """Pass every chunk to `on_chunk`, until the pipe ends or we close our end.

        The event loop calls it right after the read: no task is woken for a chunk.
        """
        if self._file.closed:
            return
        loop, max_bytes = asyncio.get_running_loop(), READ_BYTES
        self._pump_end = end = loop.create_future()

        def on_readable() -> None:
            nonlocal max_bytes
            if end.done():
                return
            try:
                chunk = self._read(max_bytes)
                if chunk:
                    on_chunk(chunk)
                    is_full = len(chunk) == max_bytes
                    is_long = is_full and chunk.count(b"\n") * LONG_LINE_BYTES < max_bytes
                    max_bytes = LONG_READ_BYTES if is_long else READ_BYTES
                elif chunk is not None:
                    end.set_result(None)
            except Exception as error:
                if end.done():  # `on_chunk` closed the pipe before
                    raise
                end.set_exception(error)

        loop.add_reader(self.fd, on_readable)
        try:
            await end
        finally:
            self._pump_end = None
            if not self._file.closed:
                loop.remove_reader(self.fd)

    def checkpoint(
        self, pending: int, journal_begin: int, journal_end: int, *, ends_inside: bool = False
    ) -> None:
        """Announce an append of received bytes to the journal; see `CaptureBuffer.checkpoint`."""
        if self.capture_buffer is not None and not self._file.closed:
            self.capture_buffer.checkpoint(
                pending, journal_begin, journal_end, ends_inside=ends_inside
            )

    def close(self) -> None:
        """Close our end; a process that still writes gets a broken pipe."""
        if self._file.closed:
            return
        if self._pump_end is not None and not self._pump_end.done():
            self._pump_end.get_loop().remove_reader(self.fd)
            self._pump_end.set_result(None)
        if self.capture_buffer is not None:
            self.capture_buffer.close()
        _close(self._file)

    async def aclose(self) -> None:
        """Close our end."""
        self.close()

    def _read(self, max_bytes: int) -> bytes | None:
        if self.capture_buffer is not None:
            return self.capture_buffer.fill(self.fd, max_bytes)
        return self._file.read(max_bytes)


class PipeWriter:
    """Our end of a pipe the child reads from."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._file = FileIO(fd, "wb")
        self._lock = anyio.Lock()

    async def send(self, data: bytes) -> bool:
        """Write `data`; false if one of the ends was closed before all was written."""
        async with self._lock:
            rest = memoryview(data)
            while rest:
                await checkpoint()
                if self._file.closed:
                    return False
                try:
                    written = self._file.write(rest)
                    if written is None:
                        await anyio.wait_writable(self._file)
                except BrokenPipeError:
                    self.close()
                    return False
                except anyio.ClosedResourceError:
                    return False
                rest = rest[written or 0 :]
            return True

    def close(self) -> None:
        """Close our end: the child reads what was sent and then the end of file."""
        _close(self._file)


def _close(file: FileIO) -> None:
    if not file.closed:
        anyio.notify_closing(file)
        file.close()


class ByteSource(Protocol):
    """An output of a child, as `pump` needs it."""

    async def receive(self) -> bytes:
        """Return the next bytes; raises ``EndOfStream`` or ``ClosedResourceError``."""


async def pump(stream: ByteSource, on_chunk: Callable[[bytes], None]) -> None:
    """Pass every chunk of `stream` to `on_chunk`, until the stream ends or is closed.

    `on_chunk` is not awaited, so that no cancellation after a read loses bytes.
    """
    if isinstance(stream, PipeReader):
        await stream.pump(on_chunk)
        return
    while True:
        try:
            chunk = await stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            return
        on_chunk(chunk)


async def drain(
    wait: Callable[[], Awaitable[object]],
    *readers: Callable[[], Coroutine[Any, Any, object]],
    clock: Clock,
    drain_s: float = DRAIN_S,
) -> bool:
    """Run the readers side by side until each is done, or `drain_s` after the child's exit.

    A pipe ends when its *last* holder closes it, and a background process left by the harness may
    hold it for ever: then the result is false.
    """

    async def exited_long_ago() -> None:
        await wait()
        await clock.sleep(drain_s)

    first = await wait_any(partial(wait_all, *readers), exited_long_ago)
    return first.index == 0


class LineFramer:
    """Splits a byte stream into lines, in time linear to its length.

    Only a newline byte ends a line: JSON may carry U+2028 and its like unescaped, which text
    splitters take for line ends. Of a line of more than `max_line_bytes` the rest is dropped.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_bytes = max_line_bytes
        self._partial = bytearray()
        self._size = 0
        self.oversize = 0
        """Number of lines that were cut."""
        self.last_oversize_bytes = 0
        """Length of the last line that was cut, before the cut."""

    @property
    def pending_bytes(self) -> int:
        """Length of the incomplete line at the end."""
        return self._size

    @property
    def is_cutting(self) -> bool:
        """Whether that line is too long already."""
        return self._size > self._max_bytes

    def states(self) -> list[bytes]:
        """Return the last states of a progress bar: the incomplete line, split at returns."""
        first, *others = self._partial[-MAX_BAR_BYTES:].split(b"\r")
        is_whole = len(self._partial) <= MAX_BAR_BYTES
        return [bytes(state) for state in ((first, *others) if is_whole else others)]

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add the next bytes; return the lines they complete, without their ends (LF, CRLF)."""
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            if self._size or len(end) > self._max_bytes:
                self._append(end)
                lines.append(self._take(complete=True))
            else:  # nearly every line begins and ends within a chunk
                lines.append(end[:-1] if end.endswith(b"\r") else end)
        self._append(rest)
        return lines

    def close(self) -> bytes | None:
        """Return the incomplete line at the end, if there is one."""
        return self._take(complete=False) if self._size else None

    def _append(self, piece: bytes) -> None:
        self._size += len(piece)
        # One byte more than a line may have: it may be the CR, which does not count.
        room = self._max_bytes + 1 - len(self._partial)
        self._partial += piece if len(piece) <= room else piece[:room]

    def _take(self, *, complete: bool) -> bytes:
        size = self._size
        if complete and size == len(self._partial) and self._partial.endswith(b"\r"):
            size -= 1
        if size > self._max_bytes:
            self.oversize += 1
            self.last_oversize_bytes = size
        # Slicing a view copies once; slicing the bytearray would copy twice.
        with memoryview(self._partial) as view:
            line = bytes(view[: min(size, self._max_bytes)])
        self._partial.clear()
        self._size = 0
        return line


def decode_line(line: bytes) -> str:
    """Decode a complete line; bytes that are not UTF-8 become U+FFFD."""
    return line.decode("utf-8", "replace")
