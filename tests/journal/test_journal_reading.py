"""Reading the lines of a journal: each once, however long they are, whatever is torn."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_swarm_worker.contract.listening import ByteRange
from agent_swarm_worker.journal import reading
from agent_swarm_worker.journal.reading import (
    BLOCK_BYTES,
    LineReader,
    end_of_last_line,
    read_lines,
    split_at_lines,
)


@settings(max_examples=60)
@given(
    texts=st.lists(st.text(alphabet="aü\r ", max_size=6), max_size=12),
    limit=st.integers(1, 5),
    ends=st.booleans(),
)
def test_reading_in_parts_reads_everything_once(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], limit: int, ends: bool
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    data = "\n".join(texts).encode() + (b"\n" if ends else b"")
    path.write_bytes(data)
    position, found = 0, []
    while True:
        lines, after = read_lines(path, position, len(data), limit)
        assert len(lines) <= limit
        if after == position:
            break
        found, position = found + lines, after
    assert position == len(data)
    assert found == [text.rstrip("\r") for text in texts if text.rstrip("\r")]


def test_lines_that_are_not_utf8_are_shown_as_well_as_possible(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"ok\n\xff\xfe\nok\n")
    lines, _ = read_lines(tmp_path / "j", 0, 9, 10)
    assert lines[0] == lines[2] == "ok"
    assert "\ufffd" in lines[1]
    assert orjson.dumps(lines)


def test_a_range_is_read_once_in_large_blocks(tmp_path: Path) -> None:
    path = tmp_path / "j"
    texts = [f"{number:0500}" for number in range(5 * BLOCK_BYTES // 1000)]
    path.write_text("".join(f"{text}\n" for text in texts))
    end = path.stat().st_size
    opened = 0

    class Counted(LineReader):
        def _open(self):  # type: ignore[no-untyped-def]
            nonlocal opened
            opened += 1
            return super()._open()

    reader, found, position = Counted(path, end), list[str](), 0
    while position < end:
        before = position
        again, _ = reader.read(position, 7)
        lines, position = reader.read(position, 900)
        assert again == lines[:7], "a smaller part of the same lines"
        assert position > before
        found += lines
    assert found == texts
    assert opened == 3


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), max_size=30),
    block=st.integers(1, 50),
    limit=st.integers(1, 5),
    ends=st.booleans(),
)
def test_blocks_make_no_difference(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    block: int,
    limit: int,
    ends: bool,
) -> None:
    texts = [chr(97 + n % 26) * length for n, length in enumerate(lengths)]
    data = "\n".join(texts).encode() + (b"\n" if ends else b"")
    path = tmp_path_factory.mktemp("journal") / "j"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", block)
        for source in (path, data):
            reader, found, position = LineReader(source, len(data)), list[str](), 0
            while position < len(data):
                lines, position = reader.read(position, limit)
                assert len(lines) <= limit
                found += lines
            assert found == [text for text in texts if text]


def test_a_torn_line_is_passed_over_and_a_shorter_file_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b"one\n\0\0\0\0two\nthree\nfour")
    lines, after = read_lines(path, 0, 1000, 10)
    assert (lines, after) == (["one", "three"], 18)
    assert read_lines(path, 18, 1000, 10) == (["four"], 22)
    assert read_lines(path, 22, 1000, 10) == ([], 22)


def test_the_end_of_the_last_line_is_found_from_the_end(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b"head\n" + b"x" * 200_000 + b"\nhalf" + b"y" * 200_000)
    assert end_of_last_line(path, 5) == 200_006
    assert end_of_last_line(path, 200_006) == 200_006


def test_a_long_range_is_divided_at_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b"head\n" + b"1234\n" * 3 + b"x" * 50 + b"\n" + b"5\n" * 4)
    whole = ByteRange(5, path.stat().st_size)
    parts = list(split_at_lines(path, whole, 12))
    assert parts == [(5, 15), (15, 20), (20, 71), (71, 79)]
    assert list(split_at_lines(path, ByteRange(79, 79), 12)) == []
