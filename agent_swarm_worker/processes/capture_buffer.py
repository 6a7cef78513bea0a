"""What was read from a pipe and is not in the session's record yet.

Between reading a pipe and writing down what came out of it lies an instant in which the bytes are
in this process alone, and lost if it is killed. So they never are: the kernel moves them from the
pipe to a file in memory which the keeper holds too, and we read them there. Before they go into the
record, a receipt in front of the file says how large the record was and how large it will be, so
that whoever comes after a crash can tell what has got there.

Of a line in the making the beginning stays there as well. Needs Linux; see
`CaptureBuffer.is_possible`.
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
"""Where the bytes begin; the receipt has the page before."""
_TRIM_BYTES = 1 << 16
"""How much that nobody needs any more is let lie."""
_PUNCH_HOLE_KEEP_SIZE = 3


class WriteIntent(NamedTuple):
    """Which bytes of a stream go into the record of the session, and where that takes it."""

    begin: int = 0
    end: int = 0
    record_begin: int = 0
    """The size of the record without them."""
    record_end: int = 0
    """Its size with them."""
    begins_inside: bool = False
    """Whether `begin` is in the middle of a line that is given up."""
    ends_inside: bool = False


class CaptureBuffer:
    """A file in memory through which a pipe is read. Not for concurrent use.

    Positions count the bytes of the stream from its beginning; the file never gets shorter, but
    what is no longer needed has no memory. Owns `handle`.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._received = os.fstat(handle).st_size - _DATA_AT
        self._is_given_up = self._received < 0
        self._trimmed = 0
        self._write_intent = WriteIntent()

    @classmethod
    def make(cls, name: str) -> Self:
        """Make an empty one; `name` is what ``/proc`` shows.

        Raises:
            OSError: there is no memory, or no file handle, for it.
        """
        handle = os.memfd_create(name)
        os.ftruncate(handle, _DATA_AT)
        return cls(handle)

    @staticmethod
    @functools.cache
    def is_possible() -> bool:
        """Say whether this system's kernel can do all that it takes."""
        if sys.platform != "linux":
            return False
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, AttributeError):
            ends = os.pipe()
            for end in ends:
                stack.callback(os.close, end)
            trial = CaptureBuffer.make("trial")
            stack.callback(trial.close)
            os.write(ends[1], b"!")
            return trial.fill(ends[0], 1) == b"!" and not trial._is_given_up and trial._trim(1)
        return False

    def fill(self, pipe: int, max_bytes: int) -> bytes | None:
        """Take in the next bytes of `pipe` and return them.

        Returns:
            ``b""`` at the end of the pipe, ``None`` if there is nothing yet, as `FileIO.read` does.
        """
        if not self._is_given_up:
            try:
                at = _DATA_AT + self._received
                count = os.splice(
                    pipe, self.handle, max_bytes, offset_dst=at, flags=os.SPLICE_F_NONBLOCK
                )
                chunk = os.pread(self.handle, count, at) if count else b""
            except BlockingIOError:
                return None
            except OSError:  # no memory left, or a limit to the size of files
                self._give_up()
            else:
                self._received += len(chunk)
                return chunk
        with contextlib.suppress(BlockingIOError):
            return os.read(pipe, max_bytes)
        return None

    def checkpoint(
        self, pending: int, record_begin: int, record_end: int, *, ends_inside: bool = False
    ) -> None:
        """Note what is about to be recorded: all that came in but the last `pending` bytes.

        What was handed over last, and is not in the record yet, is handed over again with it: the
        record's disk may be full.

        Args:
            pending: how many bytes belong to what is not complete yet.
            record_begin: size of the record before.
            record_end: its size when they are in it.
            ends_inside: whether they end in the middle of a line of which the rest is not wanted.
        """
        if self._is_given_up:
            return
        end, last = self._received - pending, self._write_intent
        if record_begin >= last.record_end:
            begin, begins_inside = last.end, last.ends_inside
        else:
            begin, record_begin, begins_inside = last.begin, last.record_begin, last.begins_inside
        self._write(WriteIntent(begin, end, record_begin, record_end, begins_inside, ends_inside))
        if begin - self._trimmed >= _TRIM_BYTES:
            self._trim(begin)

    def close(self) -> None:
        """Let go of the memory, if nobody else holds it."""
        os.close(self.handle)

    # --- after a crash
    @property
    def write_intent(self) -> WriteIntent | None:
        """The last that was noted; ``None`` if it is not known what was."""
        if self._is_given_up:
            return None
        return WriteIntent(*_WRITE_INTENT.unpack(os.pread(self.handle, _WRITE_INTENT.size, 0)))

    def rest(self, record_size: int) -> bytes:
        """Return what is not in the record, of which the size is given; go on from there.

        What is left of a line that is given up, or of which the beginning is not known, is left
        out: it might be half a secret.
        """
        write_intent = self.write_intent
        if write_intent is None:
            return b""
        is_in = record_size >= write_intent.record_end
        begin = write_intent.end if is_in else write_intent.begin
        is_inside = write_intent.ends_inside if is_in else write_intent.begins_inside
        self._write(WriteIntent(begin, begin, ends_inside=is_inside))
        data = os.pread(self.handle, self._received - begin, _DATA_AT + begin)
        return data.partition(b"\n")[2] if is_inside else data

    def _write(self, write_intent: WriteIntent) -> None:
        self._write_intent = write_intent
        os.pwrite(self.handle, _WRITE_INTENT.pack(*write_intent), 0)

    def _give_up(self) -> None:
        """Go on without; whoever comes after a crash sees from its size that nothing is known."""
        self._is_given_up = True
        with contextlib.suppress(OSError):
            os.ftruncate(self.handle, 0)

    def _trim(self, position: int) -> bool:
        """Give back the memory of the whole pages that lie before `position`."""
        begin = self._trimmed // _PAGE_BYTES * _PAGE_BYTES  # a page of which a part was given back
        self._trimmed = position
        start, size = ctypes.c_int64(_DATA_AT + begin), ctypes.c_int64(position - begin)
        return not _libc().fallocate(self.handle, _PUNCH_HOLE_KEEP_SIZE, start, size)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
