from __future__ import annotations

from itertools import pairwise

import pytest

from agent_swarm_worker.journal.writer import Journal
from agent_swarm_worker.logs import Log
from agent_swarm_worker.reporting.log_tail import FLUSH_BYTES, MAX_RANGE_BYTES, LogTail


@pytest.fixture
def ranges():
    return []


@pytest.fixture
def tail(journal, ranges):
    return LogTail(
        path=journal.path, start=journal.start, send=lambda *args: ranges.append(args), log=Log()
    )


def text_of(ranges):
    return b"".join(path.read_bytes()[start:end] for path, start, end in ranges)


def test_the_metadata_line_is_not_shipped(tail, journal, ranges):
    tail.pump()
    assert ranges == []
    journal.append([b'{"a":1}'])
    tail.pump()
    assert text_of(ranges) == b'{"a":1}\n'


def test_only_complete_lines_are_shipped_while_the_session_runs(tail, journal, ranges):
    with journal.path.open("ab") as file:
        file.write(b"one\ntw")
        file.flush()
        tail.pump()
        assert text_of(ranges) == b"one\n"
        file.write(b"o\n")
    tail.pump()
    assert text_of(ranges) == b"one\ntwo\n"


def test_ranges_touch_and_never_overlap(tail, journal, ranges):
    for number in range(500):
        journal.append([b"x" * (number % 97)])
        if number % 7 == 0:
            tail.pump()
    tail.finish()
    assert ranges[0][1] == journal.start
    assert all(before[2] == after[1] for before, after in pairwise(ranges))
    assert ranges[-1][2] == journal.path.stat().st_size


def test_a_last_line_without_an_end_is_shipped_at_the_end(tail, journal, ranges):
    with journal.path.open("ab") as file:
        file.write(b"one\ncut o")
    tail.finish()
    assert text_of(ranges) == b"one\ncut o"


def test_much_text_is_shipped_without_waiting_for_the_timer(tail, journal, ranges):
    line = b"x" * 1023
    for _ in range(FLUSH_BYTES // 1024 - 1):
        journal.append([line])
        tail.noticed(1024)
    assert ranges == []
    journal.append([line])
    tail.noticed(1024)
    assert len(text_of(ranges)) == FLUSH_BYTES


def test_a_backlog_is_split_at_line_ends(tail, journal, ranges):
    line = b"y" * 999
    journal.append([line] * (3 * MAX_RANGE_BYTES // 1000))
    tail.pump()
    assert len(ranges) >= 3
    assert all(end - start <= MAX_RANGE_BYTES + FLUSH_BYTES for _, start, end in ranges)
    assert all((end - journal.start) % 1000 == 0 for _, _, end in ranges)


def test_one_line_longer_than_any_range_stays_whole(tail, journal, ranges):
    journal.append([b"z" * (2 * MAX_RANGE_BYTES)])
    tail.pump()
    assert len(ranges) == 1
    assert len(text_of(ranges)) == 2 * MAX_RANGE_BYTES + 1


def test_an_unfinished_long_line_is_not_read_over_and_over(tail, journal, ranges, monkeypatch):
    with journal.path.open("ab") as file:
        file.write(b"z" * (4 * FLUSH_BYTES))
    tail.pump()
    where = []
    opened = type(journal.path).open

    def spying_open(path, *args, **options):
        file = opened(path, *args, **options)
        seek = file.seek

        class Spy:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def seek(self, position):
                where.append(position)
                seek(position)

            def read(self, size):
                return file.read(size)

        return Spy()

    monkeypatch.setattr(type(journal.path), "open", spying_open)
    tail.pump()
    assert where == [journal.start + 4 * FLUSH_BYTES]


def test_a_second_journal_follows_the_first(tail, journal, ranges, tmp_path):
    journal.append([b"last of the first"])
    second = tmp_path / "second.jsonl"
    start = Journal.begin(second, {"type": "fresh_session"})
    tail.switch(second, start)
    follower = Journal(second)
    follower.append([b"first of the second"])
    follower.close()
    tail.finish()
    assert text_of(ranges) == b"last of the first\nfirst of the second\n"
    assert [path for path, _, _ in ranges] == [journal.path, second]


def test_what_the_queue_refuses_is_offered_again(journal):
    taken = []
    answers = [OSError("disk full"), None]

    def send(*args):
        if error := answers.pop(0):
            raise error
        taken.append(args)

    tail = LogTail(path=journal.path, start=journal.start, send=send, log=Log())
    journal.append([b"precious"])
    with pytest.raises(OSError, match="disk full"):
        tail.pump()
    tail.pump()
    assert text_of(taken) == b"precious\n"


def test_a_missing_journal_is_reported_once(tmp_path, ranges, capsys):
    tail = LogTail(
        path=tmp_path / "gone.jsonl", start=0, send=lambda *args: ranges.append(args), log=Log()
    )
    tail.pump()
    tail.pump()
    tail.finish()
    assert ranges == []
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("session.journal_failed") == 1
