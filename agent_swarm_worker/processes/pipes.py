"""Our ends of a child's pipes.

asyncio's own pipe transports are not used, for three reasons. They stay open for as long as anybody
holds the other end, also after they were closed with unsent data; they read ahead of whoever reads
them; and they make standard input a socket in older Pythons, which a harness cannot open as
``/dev/stdin``. Here closing closes, at once and whatever the other side does.
"""

from __future__ import annotations

import os
from io import FileIO
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from agent_swarm_worker.processes.intake import Intake


class PipeReader(ByteReceiveStream):
    """What the child writes. Nothing is lost when `receive` is cancelled."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.intake: Intake | None = None
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
        """Say that what was received is about to be recorded; see `Intake.hand_over`."""
        if self.intake is not None and not self._file.closed:
            self.intake.hand_over(pending, record_begin, record_end, ends_inside=ends_inside)

    def close(self) -> None:
        """Close our end; whoever still writes gets a broken pipe."""
        if self.intake is not None and not self._file.closed:
            self.intake.close()
        _close(self._file)

    async def aclose(self) -> None:
        """The same; what anyio calls it."""
        self.close()

    def _read(self, max_bytes: int) -> bytes | None:
        if self.intake is not None:
            return self.intake.fill(self.fd, max_bytes)
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
