"""Splitting a byte stream into lines."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from hostile import python, spec
from hypothesis import given
from hypothesis import strategies as st
from patience import HANG_S

from agent_swarm_worker.processes.pipes import LineFramer, decode_line
from agent_swarm_worker.processes.spawn import spawn


def frame(data: bytes, *cuts: int, max_bytes: int = 1000) -> tuple[list[bytes], bytes | None]:
    framer = LineFramer(max_bytes)
    edges = [0, *sorted(cuts), len(data)]
    lines = [
        line for start, end in itertools.pairwise(edges) for line in framer.feed(data[start:end])
    ]
    return lines, framer.close()


@pytest.mark.parametrize(
    ("data", "lines", "rest"),
    [
        (b"", [], None),
        (b"a\nb\n", [b"a", b"b"], None),
        (b"a\r\nb\r\r\n", [b"a", b"b\r"], None),
        (b"\n\r\n", [b"", b""], None),
        (b"a\nb", [b"a"], b"b"),
        (b"a\nb\r", [b"a"], b"b\r"),
        (b"a\rb\n", [b"a\rb"], None),
        ("a\u2028b\u2029c\x85d\x0be\n".encode(), ["a\u2028b\u2029c\x85d\x0be".encode()], None),
    ],
)
def test_only_a_newline_ends_a_line(data, lines, rest):
    for cut in range(len(data) + 1):
        assert frame(data, cut) == (lines, rest)


LINES = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=8)


@given(lines=LINES, cuts=st.lists(st.integers(0, 300), max_size=10))
def test_where_reads_cut_does_not_matter(lines, cuts):
    data = b"".join(line + b"\r\n" for line in lines)
    assert frame(data, *(min(cut, len(data)) for cut in cuts)) == (lines, None)


@given(st.text("a\u00e9\u20ac\U0001f600\u2028\r", max_size=30), st.integers(0, 130))
def test_a_character_cut_in_two_is_whole_again(text, cut):
    data = text.encode() + b"\n"
    (line,), _ = frame(data, min(cut, len(data)))
    assert decode_line(line) == text.removesuffix("\r")


def test_bytes_that_are_not_utf8_do_not_raise():
    assert decode_line(b"caf\xe9 \xff ok") == "caf\ufffd \ufffd ok"


@pytest.mark.parametrize("cut", [1, 5, 9, 10, 11, 12, 24, 25])
def test_a_line_over_the_maximum_is_cut_and_counted(cut):
    framer = LineFramer(10)
    data = b"0123456789ABCDEFGHIJKLMN\nnext\n"
    assert framer.feed(data[:cut]) + framer.feed(data[cut:]) == [b"0123456789", b"next"]
    assert (framer.oversize, framer.last_oversize_bytes) == (1, 24)


@pytest.mark.parametrize(
    ("end", "oversize"), [(b"\n", 0), (b"\r\n", 0), (b"X\n", 1), (b"\r\r\n", 1)]
)
def test_the_maximum_itself_is_not_over_it(end, oversize):
    framer = LineFramer(10)
    assert framer.feed(b"0123456789" + end) == [b"0123456789"]
    assert framer.oversize == oversize


def test_the_rest_is_cut_too_and_the_framer_starts_anew():
    framer = LineFramer(10)
    assert framer.feed(b"x" * 25) == []
    assert framer.close() == b"x" * 10
    assert (framer.oversize, framer.last_oversize_bytes) == (1, 25)
    assert framer.close() is None
    assert framer.feed(b"y\n") == [b"y"]


def test_single_bytes_cost_linear_time():
    framer = LineFramer(1_000_000)
    for _ in range(500_000):
        framer.feed(b"x")
    assert framer.feed(b"\n") == [b"x" * 500_000]


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def memory_kb(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0])


@pytest.mark.anyio
async def test_a_line_of_50_mb_passes_quickly_and_in_little_memory(tag, tmp_path):
    source = "sys.stdout.write('x' * 50_000_000 + '\\n' + 'short\\n')"
    framer, lines = LineFramer(64 * 1024 * 1024), []
    forget_peak()
    before_kb, began_cpu_s = memory_kb("VmRSS"), time.process_time()
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        async for chunk in child.stdout:
            lines += framer.feed(chunk)
        assert await child.wait() == 0
    cpu_s, grown_kb = time.process_time() - began_cpu_s, memory_kb("VmHWM") - before_kb
    assert [len(line) for line in lines] == [50_000_000, 5]
    assert cpu_s < HANG_S
    assert grown_kb < 200_000


@pytest.mark.anyio
async def test_a_child_that_dies_in_mid_line_leaves_its_half_line(tag, tmp_path):
    source = 'os.write(1, b\'whole\\n{"half": "caf\\xc3\'); os.kill(os.getpid(), signal.SIGKILL)'
    framer, lines = LineFramer(1000), []
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        async for chunk in child.stdout:
            lines += framer.feed(chunk)
        assert await child.wait() == 137
    assert lines == [b"whole"]
    rest = framer.close()
    assert rest is not None
    assert decode_line(rest) == '{"half": "caf\ufffd'


def test_memory_is_not_held_for_what_is_dropped():
    framer = LineFramer(1000)
    forget_peak()
    before_kb, chunk = memory_kb("VmRSS"), b"x" * 65536
    for _ in range(2000):
        framer.feed(chunk)
    assert memory_kb("VmHWM") - before_kb < 20_000
    assert framer.feed(b"\n") == [b"x" * 1000]
    assert framer.last_oversize_bytes == 2000 * 65536
