"""What was read from a pipe is there until it is recorded, whoever is killed in between."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from agent_swarm_worker.processes.capture_buffer import CaptureBuffer, WriteIntent

MIB = 1 << 20


@dataclass
class Stream:
    """A pipe that is read by way of an intake."""

    reading: int
    writing: int
    capture_buffer: CaptureBuffer = field(default_factory=lambda: CaptureBuffer.make("tested"))

    def say(self, data: bytes) -> bytes | None:
        os.write(self.writing, data)
        return self.hear()

    def hear(self) -> bytes | None:
        return self.capture_buffer.fill(self.reading, 1 << 16)

    def left_behind(self) -> CaptureBuffer:
        """The same file, as the next process finds it."""
        return CaptureBuffer(os.open(f"/proc/self/fd/{self.capture_buffer.handle}", os.O_RDWR))


@pytest.fixture
def stream() -> Iterator[Stream]:
    stream = Stream(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
    yield stream
    os.close(stream.reading)


@pytest.fixture
def small_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_this_system_can_do_it():
    assert CaptureBuffer.is_possible()


def test_it_reads_as_a_file_does(stream: Stream):
    assert stream.hear() is None
    assert stream.say(b"one") == b"one"
    assert stream.say(b"two") == b"two"
    assert stream.hear() is None
    os.close(stream.writing)
    assert stream.hear() == b""


def test_what_was_read_is_there_until_it_is_handed_over(stream: Stream):
    stream.say(b"one\ntwo\nthr")
    assert stream.left_behind().unjournaled(0) == b"one\ntwo\nthr"
    stream.capture_buffer.checkpoint(3, 100, 110)
    assert stream.left_behind().write_intent == WriteIntent(0, 8, 100, 110)


@pytest.mark.parametrize(
    ("journal_size", "rest"),
    [(100, b"two\nthree\n"), (109, b"two\nthree\n"), (110, b"three\n"), (500, b"three\n")],
)
def test_the_size_of_the_record_says_what_is_in_it(stream: Stream, journal_size: int, rest: bytes):
    stream.say(b"one\n")
    stream.capture_buffer.checkpoint(0, 90, 100)
    stream.say(b"two\nthree\n")
    stream.capture_buffer.checkpoint(6, 100, 110)
    assert stream.left_behind().unjournaled(journal_size) == rest


def test_what_a_full_disk_did_not_take_is_handed_over_again(stream: Stream):
    stream.say(b"one\n")
    stream.capture_buffer.checkpoint(0, 100, 110)
    stream.say(b"two\n")
    stream.capture_buffer.checkpoint(0, 100, 120)
    assert stream.left_behind().write_intent == WriteIntent(0, 8, 100, 120)
    assert stream.left_behind().unjournaled(100) == b"one\ntwo\n"
    stream.say(b"three\n")
    stream.capture_buffer.checkpoint(0, 120, 130)
    assert stream.left_behind().unjournaled(120) == b"three\n"


def test_what_was_found_out_once_stays_so(stream: Stream):
    """Whoever goes on makes the record longer, and may be killed in turn."""
    stream.say(b"one\n")
    stream.capture_buffer.checkpoint(0, 100, 110)
    assert stream.left_behind().unjournaled(100) == b"one\n"
    assert stream.left_behind().unjournaled(500) == b"one\n"


def test_the_next_process_hands_over_what_it_found(stream: Stream):
    stream.say(b"one\n")
    stream.capture_buffer.checkpoint(0, 0, 10)
    second = stream.left_behind()
    os.write(stream.writing, b"two\n")
    assert second.fill(stream.reading, 100) == b"two\n"
    assert second.unjournaled(10) == b"two\n"
    second.checkpoint(0, 10, 20)
    assert stream.left_behind().unjournaled(10) == b"two\n"


def test_a_line_that_is_given_up_is_left_out_to_its_end(stream: Stream):
    stream.say(b"endless endless ")
    stream.capture_buffer.checkpoint(0, 0, 10, ends_inside=True)
    stream.say(b"endless\nnext\n")
    assert stream.left_behind().unjournaled(10) == b"next\n"


def test_what_is_recorded_takes_no_memory(stream: Stream):
    sizes = []
    for _ in range(200):
        stream.say(b"x" * 60_001)
        stream.capture_buffer.checkpoint(0, 0, 0)
        sizes.append(os.fstat(stream.capture_buffer.handle).st_blocks * 512)
    assert max(sizes) < 260_000
    assert stream.left_behind().unjournaled(0) == b""


def test_a_limit_to_files_only_ends_the_keeping(stream: Stream, small_files: None):
    del small_files
    for size in range(59_961, 60_001):
        heard = stream.say(b"x" * size) or b""
        while more := stream.hear():
            heard += more
        assert len(heard) == size
    stream.capture_buffer.checkpoint(0, 0, 10)
    left = stream.left_behind()
    assert (left.write_intent, left.unjournaled(0)) == (None, b"")
    os.close(stream.writing)
    assert stream.hear() == b""
