from __future__ import annotations

from itertools import pairwise

import pytest

from agent_swarm_worker.journal.writer import MAX_RANGE_BYTES, Journal
from agent_swarm_worker.logs import Log
from agent_swarm_worker.reporting.log_tail import FLUSH_BYTES, LogTail


@pytest.fixture
def ranges():
    return []


@pytest.fixture
def make_tail(journal, ranges):
    def make(path=journal.path, start=journal.start, send=None):
        send = send or (lambda path, lines: ranges.append((path, *lines)))
        return LogTail(path=path, start=start, send=send, log=Log())

    return make


@pytest.fixture
def tail(make_tail):
    return make_tail()


@pytest.fixture
def followed(journal, tail):
    """A writer that tells the tail."""
    tail.unwritten = lambda lines: pytest.fail(f"unwritten: {lines!r}")
    one = Journal(journal.path, sink=tail)
    yield one
    one.close()


def text_of(ranges):
    return b"".join(path.read_bytes()[start:end] for path, start, end in ranges)


def test_the_first_record_is_not_shipped(tail, followed, ranges):
    tail.pump()
    assert ranges == []
    followed.append([b'{"a":1}'])
    tail.pump()
    assert text_of(ranges) == b'{"a":1}\n'


def test_the_file_is_not_read_to_find_the_lines(tail, followed, ranges, monkeypatch):
    def refuse(path, *_, **__):
        pytest.fail(f"{path} is opened")

    followed.append([b"one"])
    with monkeypatch.context() as patch:
        patch.setattr(type(followed.path), "open", refuse)
        patch.setattr(type(followed.path), "stat", refuse)
        tail.pump()
        followed.append([b"two"])
        tail.pump()
    assert text_of(ranges) == b"one\ntwo\n"


def test_ranges_touch_and_never_overlap(tail, journal, followed, ranges):
    for number in range(500):
        followed.append([b"x" * (number % 97)])
        if number % 7 == 0:
            tail.pump()
    tail.finish()
    assert ranges[0][1] == journal.start
    assert all(before[2] == after[1] for before, after in pairwise(ranges))
    assert ranges[-1][2] == journal.path.stat().st_size


def test_much_text_is_shipped_without_waiting_for_the_timer(followed, ranges):
    line = b"x" * 1023
    for _ in range(FLUSH_BYTES // 1024 - 1):
        followed.append([line])
    assert ranges == []
    followed.append([line])
    assert len(text_of(ranges)) == FLUSH_BYTES


def test_much_at_once_is_split_at_line_ends(tail, journal, followed, ranges):
    followed.append([b"first"])
    followed.append([b"y" * 999] * (3 * MAX_RANGE_BYTES // 1000))
    tail.pump()
    assert len(ranges) >= 3
    assert all(end - start <= MAX_RANGE_BYTES for _, start, end in ranges)
    assert all((end - journal.start - len(b"first\n")) % 1000 == 0 for _, _, end in ranges)
    assert len(text_of(ranges)) == len(b"first\n") + 3 * MAX_RANGE_BYTES // 1000 * 1000


def test_one_line_longer_than_any_range_stays_whole(tail, followed, ranges):
    followed.append([b"a", b"z" * (2 * MAX_RANGE_BYTES), b"b"])
    tail.pump()
    assert [end - start for _, start, end in ranges] == [2, 2 * MAX_RANGE_BYTES + 1, 2]


def test_a_second_journal_follows_the_first(tail, journal, followed, ranges, tmp_path):
    followed.append([b"last of the first"])
    second = tmp_path / "second.jsonl"
    tail.switched(second, Journal.begin(second, {"type": "fresh_session"}))
    other = Journal(second, sink=tail)
    other.append([b"first of the second"])
    other.close()
    tail.finish()
    assert text_of(ranges) == b"last of the first\nfirst of the second\n"
    assert [path for path, _, _ in ranges] == [journal.path, second]


def test_a_file_that_was_cut_short_is_shipped_from_there(tail, journal, followed, ranges):
    followed.append([b"one", b"two"])
    tail.pump()
    with journal.path.open("r+b") as file:
        file.truncate(journal.start)
    followed.append([b"3"])
    tail.finish()
    assert ranges[1:] == [(journal.path, journal.start, journal.start + 2)]


def test_what_the_queue_refuses_is_offered_again(journal, make_tail):
    taken = []
    answers = [OSError("disk full"), None]

    def send(path, lines):
        if error := answers.pop(0):
            raise error
        taken.append((path, *lines))

    tail = make_tail(send=send)
    tail.wrote(journal.append([b"precious"]))
    with pytest.raises(OSError, match="disk full"):
        tail.pump()
    tail.pump()
    assert text_of(taken) == b"precious\n"


# --- a session that writes its file itself


def test_only_complete_lines_are_shipped_while_it_runs(tail, journal, ranges):
    with journal.path.open("ab") as file:
        file.write(b"one\ntw")
        file.flush()
        tail.pump()
        assert text_of(ranges) == b"one\n"
        file.write(b"o\n")
    tail.pump()
    assert text_of(ranges) == b"one\ntwo\n"


def test_a_last_line_without_an_end_is_shipped_at_the_end(tail, journal, ranges):
    with journal.path.open("ab") as file:
        file.write(b"one\ncut o")
    tail.finish()
    assert text_of(ranges) == b"one\ncut o"


def test_lines_that_another_has_appended_are_shipped_too(tail, journal, followed, ranges):
    followed.append([b"told"])
    with journal.path.open("ab") as file:
        file.write(b"not told\n")
    followed.append([b"told"])
    tail.pump()
    assert text_of(ranges) == b"told\nnot told\ntold\n"
    with journal.path.open("ab") as file:
        file.write(b"the last\n")
    tail.finish()
    assert text_of(ranges) == b"told\nnot told\ntold\nthe last\n"


def test_a_missing_journal_is_reported_once(tmp_path, make_tail, ranges, capsys):
    tail = make_tail(path=tmp_path / "gone.jsonl", start=0)
    tail.pump()
    tail.pump()
    tail.finish()
    assert ranges == []
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("session.journal_failed") == 1
