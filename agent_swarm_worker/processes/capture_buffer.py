"""Keep bytes that were read from a pipe and are not journaled yet, so that SIGKILL loses none.

The kernel splices the bytes from the pipe into a memfd that the pipe holder has open too, and they
are read there. Before an append to the journal, a write intent in the first page of the memfd
records the size of the journal before and after it; after a crash the journal's real size tells
whether the append took place. An incomplete line stays in the buffer until it is complete.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Self

_PAGE_BYTES = 4096
_WRITE_INTENT = struct.Struct("=4Q2?")
_DATA_AT = _PAGE_BYTES
"""Offset of the first byte; the page before it holds the write intent."""
_TRIM_BYTES = 1 << 16
"""Journaled bytes that may accumulate before their memory is freed."""
_PUNCH_HOLE_KEEP_SIZE = 3


class WriteIntent(NamedTuple):
    """A range of a stream's bytes, and the size of the journal before and after it is appended."""

    begin: int = 0
    end: int = 0
    journal_begin: int = 0
    journal_end: int = 0
    begins_inside: bool = False
    """Whether `begin` is in the middle of a line whose rest is dropped (it is too long)."""
    ends_inside: bool = False


class CaptureBuffer:
    """A memfd through which a pipe is read. Not for concurrent use; owns `handle`.

    The file never gets shorter; the memory of journaled bytes is freed by punching holes.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._received = os.fstat(handle).st_size - _DATA_AT
        self._is_abandoned = self._received < 0
        self._trimmed = 0
        self._write_intent = WriteIntent()

    @classmethod
    def make(cls, name: str) -> Self:
        """Create an empty buffer; `name` is shown in ``/proc``."""
        handle = os.memfd_create(name)
        os.ftruncate(handle, _DATA_AT)
        return cls(handle)

    @staticmethod
    @functools.cache
    def is_possible() -> bool:
        """Return whether the kernel supports memfd, splice and hole punching."""
        if sys.platform != "linux":
            return False
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, AttributeError):
            ends = os.pipe()
            for end in ends:
                stack.callback(os.close, end)
            trial = CaptureBuffer.make("trial")
            stack.callback(trial.close)
            os.write(ends[1], b"!")
            return trial.fill(ends[0], 1) == b"!" and not trial._is_abandoned and trial._trim(1)
        return False

    def fill(self, pipe: int, max_bytes: int) -> bytes | None:
        """Move the next bytes of `pipe` into the buffer and return them, as `FileIO.read` does."""
        if not self._is_abandoned:
            try:
                at = _DATA_AT + self._received
                count = os.splice(
                    pipe, self.handle, max_bytes, offset_dst=at, flags=os.SPLICE_F_NONBLOCK
                )
                chunk = os.pread(self.handle, count, at) if count else b""
            except BlockingIOError:
                return None
            except OSError:  # out of memory, or a limit on file sizes
                self._abandon()
            else:
                self._received += len(chunk)
                return chunk
        with contextlib.suppress(BlockingIOError):
            return os.read(pipe, max_bytes)
        return None

    def checkpoint(
        self, pending: int, journal_begin: int, journal_end: int, *, ends_inside: bool = False
    ) -> None:
        """Write the intent to append all that was received but `pending` bytes of incomplete line.

        Bytes of the last intent that are not in the journal yet (its disk may be full) are part of
        the new one. With `ends_inside` the rest of the last line is dropped.
        """
        if self._is_abandoned:
            return
        end, last = self._received - pending, self._write_intent
        if journal_begin >= last.journal_end:
            begin, begins_inside = last.end, last.ends_inside
        else:
            begin, journal_begin, begins_inside = last.begin, last.journal_begin, last.begins_inside
        self._write(WriteIntent(begin, end, journal_begin, journal_end, begins_inside, ends_inside))
        if begin - self._trimmed >= _TRIM_BYTES:
            self._trim(begin)

    def close(self) -> None:
        """Close the memfd; its memory is freed unless a pipe holder has it open."""
        os.close(self.handle)

    # --- after a crash
    @property
    def write_intent(self) -> WriteIntent | None:
        """The last write intent; ``None`` if the buffer was abandoned."""
        if self._is_abandoned:
            return None
        return WriteIntent(*_WRITE_INTENT.unpack(os.pread(self.handle, _WRITE_INTENT.size, 0)))

    def unjournaled(self, journal_size: int) -> bytes:
        """Return the bytes that are not in a journal of this size, and start the next intent there.

        The rest of a line whose beginning was dropped is left out: it might be half a secret.
        """
        write_intent = self.write_intent
        if write_intent is None:
            return b""
        was_appended = journal_size >= write_intent.journal_end
        begin = write_intent.end if was_appended else write_intent.begin
        is_inside = write_intent.ends_inside if was_appended else write_intent.begins_inside
        self._write(WriteIntent(begin, begin, ends_inside=is_inside))
        data = os.pread(self.handle, self._received - begin, _DATA_AT + begin)
        return data.partition(b"\n")[2] if is_inside else data

    def _write(self, write_intent: WriteIntent) -> None:
        self._write_intent = write_intent
        os.pwrite(self.handle, _WRITE_INTENT.pack(*write_intent), 0)

    def _abandon(self) -> None:
        """Read without the buffer from now on; a size of 0 tells recovery that it is unusable."""
        self._is_abandoned = True
        with contextlib.suppress(OSError):
            os.ftruncate(self.handle, 0)

    def _trim(self, position: int) -> bool:
        """Free the whole pages before `position`; return whether the kernel did so."""
        begin = self._trimmed // _PAGE_BYTES * _PAGE_BYTES  # this page was freed in part only
        self._trimmed = position
        start, size = ctypes.c_int64(_DATA_AT + begin), ctypes.c_int64(position - begin)
        return not _libc().fallocate(self.handle, _PUNCH_HOLE_KEEP_SIZE, start, size)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
