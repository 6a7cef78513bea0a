"""The journal on a real disk: full, read-only, killed."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_swarm_worker import logs
from agent_swarm_worker.contract.listening import ByteRange
from agent_swarm_worker.journal import writer as journal
from agent_swarm_worker.journal.writer import Journal
from agent_swarm_worker.logs import Event


@pytest.fixture
def warnings() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure(human=False, stream=stream)
    yield stream
    logs.reset()


def failures(warnings: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in warnings.getvalue().splitlines()]
    assert all(line["event"] == Event.JOURNAL_FAILED.value for line in lines)
    return lines


class Told:
    """A sink that remembers what the journal has told it."""

    def __init__(self) -> None:
        self.ranges: list[ByteRange] = []
        self.lines: list[bytes] = []

    def wrote(self, written: ByteRange) -> None:
        self.ranges.append(written)

    def switched(self, path: Path, start: int) -> None:
        raise AssertionError("one file does not switch")

    def unwritten(self, lines: bytes) -> None:
        self.lines.append(lines)


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """A disk that is full as soon as a file has this size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lines_are_appended_and_the_metadata_is_first(tmp_path: Path, warnings: io.StringIO):
    path = tmp_path / "a" / "b" / "session.jsonl"
    length = Journal.begin(path, {"type": "metadata", "place": tmp_path})
    assert length == path.stat().st_size
    assert json.loads(path.read_bytes())["place"] == str(tmp_path)
    one = Journal(path)
    one.append([b"1", b"2"])
    assert path.read_bytes()[length:] == b"1\n2\n"  # on disk at once
    assert one.close()
    one.append([])
    one.append([b"3"])  # opens it again
    assert one.close()
    assert one.close()
    assert path.read_bytes()[length:] == b"1\n2\n3\n"
    assert not failures(warnings)


def test_it_is_the_owners_alone(tmp_path: Path):
    path = tmp_path / "logs" / "session.jsonl"
    before = os.umask(0)
    try:
        Journal.begin(path, {})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def open_files_of(process: str) -> str:
    """Ask a child process; ``self`` is the child itself."""
    words = ["ls", "-l", f"/proc/{process}/fd"]
    return subprocess.run(
        words, capture_output=True, text=True, close_fds=False, check=False
    ).stdout


def test_no_child_inherits_it(tmp_path: Path):
    one = Journal(tmp_path / "session.jsonl")
    one.append([b"1"])
    assert str(one.path) in open_files_of(str(os.getpid()))
    assert str(one.path) not in open_files_of("self")
    one.close()


def test_a_full_disk_delays_lines_and_never_leaves_half_of_one(
    tmp_path: Path, warnings: io.StringIO
):
    path = tmp_path / "session.jsonl"
    one = Journal(path)
    one.append([b"first"])
    with largest_file(20):
        one.append([b"the second does not fit"])
        assert path.read_bytes() == b"first\n"
        one.append([b"3"])
        # In order: what came later does not overtake what is held.
        assert path.read_bytes() == b"first\n"
    one.append([b"4"])
    assert path.read_bytes() == b"first\nthe second does not fit\n3\n4\n"
    assert one.close()
    # Said once, not for every line.
    assert len(failures(warnings)) == 1


def test_each_outage_is_told(tmp_path: Path, warnings: io.StringIO):
    one = Journal(tmp_path / "session.jsonl")
    for _ in range(2):
        with largest_file(1):
            one.append([b"too long"])
        one.append([b"fits"])
    assert one.close()
    assert len(failures(warnings)) == 2


def test_what_is_held_at_the_end_is_written_or_counted(tmp_path: Path, warnings: io.StringIO):
    path = tmp_path / "session.jsonl"
    one = Journal(path)
    with largest_file(3):
        one.append([b"too long"])
    assert one.close()
    assert path.read_bytes() == b"too long\n"
    with largest_file(3):
        one.append([b"lost for good"])
        assert not one.close()
    assert path.read_bytes() == b"too long\n"
    assert failures(warnings)[-1]["lost_bytes"] == len(b"lost for good\n")


def test_what_is_held_has_a_limit(
    tmp_path: Path, warnings: io.StringIO, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journal, "MAX_HELD_BYTES", 20)
    path = tmp_path / "session.jsonl"
    one = Journal(path)
    with largest_file(1):
        one.append([b"12345678"])
        one.append([b"12345678", b"this one and"])
        one.append([b"that one are lost"])
    one.append([b"after"])
    assert path.read_bytes() == b"12345678\n12345678\nafter\n"
    assert not one.close()
    assert failures(warnings)[-1]["lost_bytes"] == len(b"this one and\nthat one are lost\n")


def test_an_append_returns_where_its_lines_are(tmp_path: Path, warnings: io.StringIO):
    told = Told()
    path = tmp_path / "session.jsonl"
    start = Journal.begin(path, {"type": "worker_metadata"})
    one = Journal(path, sink=told)
    assert one.append([b"1", b"23"]) == (start, start + 5)
    assert one.append([]) == (0, 0)
    with largest_file(start + 6):
        assert one.append([b"held"]) == (0, 0)
        assert one.append([b"too"]) == (0, 0)
    assert one.append([b"4"]) == (start + 5, start + 16), "with what was held before it"
    assert told.ranges == [(start, start + 5), (start + 5, start + 16)]
    with largest_file(start):
        one.append([b"at the end"])
    assert one.close()
    assert told.ranges[-1] == (start + 16, path.stat().st_size)
    assert len(failures(warnings)) == 2


@pytest.mark.parametrize("what", ["file", "folder"])
def test_one_that_somebody_deletes_is_there_again(tmp_path: Path, warnings: io.StringIO, what: str):
    path = tmp_path / "logs" / "session.jsonl"
    told = Told()
    one = Journal(path, sink=told)
    one.append([b"first"])
    one.append([b"second"])
    path.unlink() if what == "file" else shutil.rmtree(path.parent)
    assert one.append([b"third"]) == (13, 19), "where it would be had nobody deleted it"
    path.unlink()
    with largest_file(3):
        one.append([b"fourth"])
        assert not path.exists(), "not a part of it"
    one.append([b"fifth"])
    path.unlink()
    assert one.close()
    assert path.read_bytes() == b"first\nsecond\nthird\nfourth\nfifth\n"
    assert told.ranges == [(0, 6), (6, 13), (13, 19), (19, 32)]
    whys = [failure["why"] for failure in failures(warnings)]
    assert whys.count("the file was deleted; it is restored") == 3


def test_all_that_is_held_is_written_or_nothing(tmp_path: Path, warnings: io.StringIO):
    path = tmp_path / "session.jsonl"
    one = Journal(path)
    with largest_file(20):
        one.append([b"12345678", b"12345678", b"12345678"])
        assert path.read_bytes() == b""
        assert Journal.held_by_all_bytes == 27
    one.append([b"after"])
    assert path.read_bytes() == b"12345678\n" * 3 + b"after\n"
    assert one.close()
    assert Journal.held_by_all_bytes == 0
    assert len(failures(warnings)) == 1


def test_it_tells_where_lines_will_be_before_it_writes_them(tmp_path: Path, warnings: io.StringIO):
    path, told = tmp_path / "session.jsonl", list[tuple[int, int]]()
    one = Journal(path)

    def checkpoint(begin: int, end: int) -> None:
        assert path.stat().st_size == begin
        told.append((begin, end))

    one.append([b"1"], checkpoint)
    one.append([], checkpoint)
    one.append([b"2", b"34"], checkpoint)
    with largest_file(8):
        one.append([b"56"], checkpoint)
        one.append([b"7"], checkpoint)
    one.append([b"8"], checkpoint)
    assert told == [(0, 2), (2, 2), (2, 7), (7, 10), (7, 12), (7, 14)]
    assert one.close()
    assert path.read_bytes() == b"1\n2\n34\n56\n7\n8\n"
    assert len(failures(warnings)) == 1


def test_all_journals_share_the_memory_and_hand_over_what_it_does_not_hold(
    tmp_path: Path, warnings: io.StringIO, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journal, "MAX_HELD_BYTES", 50)
    sink = Told()
    told = sink.lines
    some = [Journal(tmp_path / f"{n}.jsonl", sink=sink) for n in range(6)]
    with largest_file(1):
        for one in some[:5]:
            one.append([b"12345678"])
        assert (told, Journal.held_by_all_bytes) == ([], 45)
        some[5].append([b"a", b"bcd"])
        assert told == [b"a\nbcd\n"]
        some[0].append([b"e"])
        assert Journal.held_by_all_bytes == 47
        # What is still held at the end is told then, in order.
        assert some[1].close()
        assert told[1:] == [b"12345678\n"]
    for one in some:
        one.append([b"after"])
        assert one.close()
    assert (tmp_path / "0.jsonl").read_bytes() == b"12345678\ne\nafter\n"
    assert (tmp_path / "5.jsonl").read_bytes() == b"after\n"
    assert len(told) == 2
    ranges = [(0, 6)] * 2 + [(0, 15)] * 3 + [(0, 17)]
    assert sorted(sink.ranges) == ranges, "no range of what was handed over"
    assert Journal.held_by_all_bytes == 0
    assert len(failures(warnings)) == 6, "each file is told once"


@pytest.mark.parametrize("obstacle", ["file", "directory"])
def test_a_place_that_cannot_be_written_ends_nothing(
    tmp_path: Path, warnings: io.StringIO, obstacle: str
):
    path = tmp_path / "logs" / "session.jsonl"
    if obstacle == "file":
        path.parent.write_text("in the way")
    else:
        path.mkdir(parents=True)
    assert Journal.begin(path, {"type": "metadata"}) == 0
    one = Journal(path)
    one.append([b"1"])
    # Somebody clears the way.
    path.parent.unlink() if obstacle == "file" else path.rmdir()
    one.append([b"2"])
    assert one.close()
    assert path.read_bytes() == b"1\n2\n"
    assert {failure["path"] for failure in failures(warnings)} == {str(path)}


def test_a_disk_that_fails_at_the_close(
    tmp_path: Path, warnings: io.StringIO, monkeypatch: pytest.MonkeyPatch
):
    # As network file systems do, which take writes and find out later.
    one = Journal(tmp_path / "session.jsonl")
    one.append([b"1"])

    def fail(_: int) -> None:
        raise OSError(122, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", fail)
        assert not one.close()
    assert failures(warnings)[-1]["why"] == "Disk quota exceeded"
    assert one.close()


def test_two_writers_never_overlay_each_other(tmp_path: Path):
    one, other = Journal(tmp_path / "session.jsonl"), Journal(tmp_path / "session.jsonl")
    for number in range(50):
        one.append([b"one %d" % number])
        other.append([b"other %d" % number])
    one.close()
    other.close()
    lines = one.path.read_bytes().splitlines()
    assert len(lines) == 100
    assert [line for line in lines if line.startswith(b"one")] == [b"one %d" % n for n in range(50)]


def test_a_kill_loses_nothing_that_was_taken_in(tmp_path: Path):
    path = tmp_path / "session.jsonl"
    code = (
        "import sys; from pathlib import Path\n"
        "from agent_swarm_worker.journal.writer import Journal\n"
        "journal = Journal(Path(sys.argv[1])); number = 0\n"
        "while True:\n"
        "    journal.append([b'%d' % number]); number += 1\n"
        "    print(number, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert process.stdout
    taken = 0
    while taken < 200:
        taken = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    taken = int(rest[-1]) if rest else taken
    written = path.read_bytes()
    assert written.endswith(b"\n")
    lines = [int(line) for line in written.splitlines()]
    assert lines == list(range(len(lines)))
    assert len(lines) >= taken
