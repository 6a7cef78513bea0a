"""Our ends of a child's pipes.

asyncio's own pipe transports are not used, for three reasons. They stay open for as long as anybody
holds the other end, also after they were closed with unsent data; they read ahead of whoever reads
them; and they make standard input a socket in older Pythons, which a harness cannot open as
``/dev/stdin``. Here closing closes, at once and whatever the other side does.

Reading a child's output to its end, when the end may never come.

A pipe ends when its *last* holder closes it, and a background process that the harness left behind
holds it for ever. So the exit of the child counts, not the end of its pipes: from then on the
readers get a little time for what is still in the pipe.

Bytes to lines, for lines of any length.

A newline byte ends a line and nothing else does: JSON may carry U+2028 and its like unescaped, and
text splitters take those for line ends. Lines are decoded when they are complete, so that a
character cut in two by a read is whole again.
"""

from __future__ import annotations

import os
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from agent_swarm_worker.aio import wait_all, wait_any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.processes.capture_buffer import CaptureBuffer


class PipeReader(ByteReceiveStream):
    """What the child writes. Nothing is lost when `receive` is cancelled."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.capture_buffer: CaptureBuffer | None = None
        """By way of which it is read, if what it says is to outlive this process."""
        self._file = FileIO(fd, "rb")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes, at most `max_bytes`.

        Raises:
            anyio.EndOfStream: every process that held the other end closed it.
            anyio.ClosedResourceError: we closed our end.
        """
        # A child that floods us must not keep the other tasks from running.
        await checkpoint()
        while not self._file.closed:
            chunk = self._read(max_bytes)
            if chunk:
                return chunk
            if chunk is not None:
                raise anyio.EndOfStream
            await anyio.wait_readable(self._file)
        raise anyio.ClosedResourceError

    def checkpoint(
        self, pending: int, record_begin: int, record_end: int, *, ends_inside: bool = False
    ) -> None:
        """Say that what was received is about to be recorded; see `CaptureBuffer.checkpoint`."""
        if self.capture_buffer is not None and not self._file.closed:
            self.capture_buffer.checkpoint(
                pending, record_begin, record_end, ends_inside=ends_inside
            )

    def close(self) -> None:
        """Close our end; whoever still writes gets a broken pipe."""
        if self.capture_buffer is not None and not self._file.closed:
            self.capture_buffer.close()
        _close(self._file)

    async def aclose(self) -> None:
        """The same; what anyio calls it."""
        self.close()

    def _read(self, max_bytes: int) -> bytes | None:
        if self.capture_buffer is not None:
            return self.capture_buffer.fill(self.fd, max_bytes)
        return self._file.read(max_bytes)


class PipeWriter:
    """What the child reads."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._file = FileIO(fd, "wb")
        self._turn = anyio.Lock()

    async def send(self, data: bytes) -> bool:
        """Hand over `data`, for as long as that takes; the caller bounds it by cancelling.

        Returns:
            Whether the pipe took it all. It did not if the child closed its end or we closed ours.
        """
        async with self._turn:
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
        """Close our end: the child reads to the end of what was sent."""
        _close(self._file)


def _close(file: FileIO) -> None:
    if not file.closed:
        anyio.notify_closing(file)
        file.close()


DRAIN_S = 2.0
"""How long readers go on after the exit of the child."""


class Exits(Protocol):
    """Anything whose end can be waited for."""

    async def wait(self) -> int | None:
        """Return once it has ended, with its exit code if that is known."""
        ...


class Receives(Protocol):
    """Anything bytes can be read from, such as an anyio stream."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes; raises ``EndOfStream`` or ``ClosedResourceError``."""
        ...


async def pump(stream: Receives, on_chunk: Callable[[bytes], None]) -> None:
    """Hand everything `stream` has to `on_chunk`, until it ends or is closed.

    `on_chunk` is a plain function so that there is no place between reading and handing over
    where a cancellation could lose bytes.
    """
    while True:
        try:
            chunk = await stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            return
        on_chunk(chunk)


async def drain(
    child: Exits,
    *readers: Callable[[], Coroutine[Any, Any, object]],
    clock: Clock,
    drain_s: float = DRAIN_S,
) -> bool:
    """Run the readers side by side until each is done, or `drain_s` after the child's exit.

    Returns:
        Whether each came to its end. If not, some other process holds a pipe open.
    """

    async def exited_long_ago() -> None:
        await child.wait()
        await clock.sleep(drain_s)

    first = await wait_any(partial(wait_all, *readers), exited_long_ago)
    return first.index == 0


class LineFramer:
    """Cuts a byte stream into lines, in time linear to its length.

    Args:
        max_line_bytes: longest line delivered whole. Of a longer one the first `max_line_bytes`
            are delivered as a line, and the rest up to the newline is dropped.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_bytes = max_line_bytes
        self._kept = bytearray()
        self._size = 0
        self.oversize = 0
        """How many lines were cut."""
        self.last_oversize_bytes = 0
        """How long the last line that was cut really was."""

    @property
    def pending_bytes(self) -> int:
        """How many bytes belong to a line that is not complete yet."""
        return self._size

    @property
    def is_cutting(self) -> bool:
        """Whether that line is too long already."""
        return self._size > self._max_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the lines they complete, without their ends (LF, CRLF)."""
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            if self._size or len(end) > self._max_bytes:
                self._keep(end)
                lines.append(self._take(complete=True))
            else:  # nearly every line begins and ends within a chunk
                lines.append(end[:-1] if end.endswith(b"\r") else end)
        self._keep(rest)
        return lines

    def close(self) -> bytes | None:
        """Return what came after the last newline, if anything: a line that was cut off."""
        return self._take(complete=False) if self._size else None

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        # One byte more than a line may have: it may be the CR that does not count.
        room = self._max_bytes + 1 - len(self._kept)
        self._kept += piece if len(piece) <= room else piece[:room]

    def _take(self, *, complete: bool) -> bytes:
        size = self._size
        if complete and size == len(self._kept) and self._kept.endswith(b"\r"):
            size -= 1
        if size > self._max_bytes:
            self.oversize += 1
            self.last_oversize_bytes = size
        # Slicing a view copies once; slicing the bytearray would copy twice.
        with memoryview(self._kept) as view:
            line = bytes(view[: min(size, self._max_bytes)])
        self._kept.clear()
        self._size = 0
        return line


def decode_line(line: bytes) -> str:
    """Decode a complete line; bytes that are not UTF-8 become U+FFFD."""
    return line.decode("utf-8", "replace")
