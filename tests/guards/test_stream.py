"""Wherever a stream is cut, what comes out is what scrubbing it whole would give."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.guards.scrubbing.stream import MAX_HELD_BYTES

TAIL = "A1b2C3d4E5f6G7h8I9j0K1l2"
KEY_BODY = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"] * 3)
KEY = f"-----BEGIN PRIVATE KEY-----\n{KEY_BODY}\nab12==\n-----END PRIVATE KEY-----"
SECRETS = {
    "PERIODIC": "aabaab",
    "REPEATING": "xyxyz-secret",
    "ZEROS": "0010-token",
    "LEFT": "abcdefgh",
    "RIGHT": "defghijkl",
    "LINES": "first line of it\nsecond line of it\nx",
    "ITSELF": "REDACTED",
    "SPACED": "oh my oh my",
    "QUOTED": 'pä"ss\\wörd',
}


@pytest.fixture
def scrubber() -> Scrubber:
    scrubber = Scrubber()
    for name, value in SECRETS.items():
        scrubber.add(name, value)
    return scrubber


def through(scrubber: Scrubber, chunks: list[bytes]) -> bytes:
    stream = scrubber.stream()
    return b"".join([*map(stream.feed, chunks), stream.close()])


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


SAMPLES = [
    "x aabaab y",
    "aaabaabaaba",
    "aaaabaabaabaabaabaaabaab",
    "xyxyxyz-secret xyxyz-secre",
    "000010-token00010-token",
    "abcdefghijkl abcdefghi defghijk abcdefgh",
    "a first line of it\nsecond line of it\nx b",
    "a first line of it\r\nsecond line of it\r\nx b",
    "first line of it\nsecond line of",
    json.dumps({"a": SECRETS["QUOTED"], "b": json.dumps(SECRETS["QUOTED"])}),
    "REDACTED [REDACTED:ITSELF] [REDACTED",
    "x oh my oh my oh my oh my oh my y oh my oh",
    f"\x1b[0msk-{TAIL} x",
    f"ghp_{TAIL} xghp_{TAIL}_ sk-{TAIL} task-{TAIL}",
    f"a\\nsk-ant-api03-{TAIL}\\n\x1b[31msk-{TAIL}",
    f'{{"Authorization": "Bearer {TAIL}"}} Authorization: Bearer aabaab bearer  {TAIL}x',
    "postgres://app:p$ss!wd,@host:5432/db http://localhost:80/@x https:\\/\\/u:p$w@h",
    f"key:\n{KEY}\nend",
    "key: " + json.dumps(KEY) + " end",
    f"{KEY[:90]} cut off",
    "-----BEGIN PRIVATE KEY----- is how it begins (and so on)",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{TAIL} eyJhbGciOiJIUzI1NiJ9",
]


@pytest.mark.parametrize("text", SAMPLES)
def test_cut_once_anywhere(text: str, scrubber: Scrubber) -> None:
    data = text.encode()
    whole = scrubber.data(data)
    for cut in range(len(data) + 1):
        assert through(scrubber, [data[:cut], data[cut:]]) == whole


@pytest.mark.parametrize("text", SAMPLES)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_cut_into_many(text: str, size: int, scrubber: Scrubber) -> None:
    data = text.encode()
    assert through(scrubber, pieces(data, size)) == scrubber.data(data)


parts = st.sampled_from(
    [
        *SECRETS.values(),
        "my oh ",
        *(value[: len(value) // 2] for value in SECRETS.values()),
        *(value[len(value) // 2 :] for value in SECRETS.values()),
        f"ghp_{TAIL}",
        f"sk-{TAIL}",
        TAIL,
        "Authorization: Bearer ",
        "://user:",
        "@host",
        "-----BEGIN PRIVATE KEY-----",
        "\n" + "MIIEvQ" * 10,
        "\n-----END PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.",
        "[REDACTED:LEFT]",
        "[31m",
        "\\n",
        "\r\n",
        " ",
        '"',
        "é",
    ]
)


@pytest.mark.long
@settings(max_examples=150)
@given(st.lists(parts, max_size=10).map("".join), st.lists(st.integers(1, 40), min_size=1))
def test_any_text_cut_anyhow(text: str, sizes: list[int]) -> None:
    scrubber = Scrubber()
    for name, value in SECRETS.items():
        scrubber.add(name, value)
    data = text.encode()
    chunks, position = [], 0
    while position < len(data):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(data[position : position + size])
        position += size
    assert through(scrubber, chunks) == scrubber.data(data)


def test_output_comes_as_soon_as_it_can(scrubber: Scrubber) -> None:
    stream = scrubber.stream()
    assert stream.feed(b"a line\n") == b"a line\n"
    assert stream.feed(b"two words") == b"two "
    assert stream.feed(b" and 00") == b"words and "
    assert stream.feed(b"10-tok") == b""
    assert stream.feed(b"ens!") == b"[REDACTED:ZEROS]s!"
    assert stream.close() == b""
    assert stream.feed(b"again ") == b"again "


def test_a_secret_added_in_mid_stream_counts_from_then_on(scrubber: Scrubber) -> None:
    stream = scrubber.stream()
    assert stream.feed(b"late-secret\nlate-") == b"late-secret\n"
    scrubber.add("LATE", "late-secret")
    assert stream.feed(b"secret\n") == b"[REDACTED:LATE]\n"
    assert stream.feed(b"late-sec") == b""
    assert stream.feed(b"ret\n") == b"[REDACTED:LATE]\n"


@pytest.mark.parametrize(
    "unit",
    [b"a", b"aab", b"QUJD", b"xy", b"0", b"ghp_" + TAIL.encode(), b"-----BEGIN PRIVATE KEY-----\n"],
)
def test_memory_is_bounded(unit: bytes, scrubber: Scrubber) -> None:
    stream = scrubber.stream()
    chunk = unit * (4096 // len(unit))
    fed = given_back = 0
    for _ in range(40):
        given_back += len(stream.feed(chunk))
        fed += len(chunk)
        assert len(stream._buffer) <= MAX_HELD_BYTES + 2 * len(chunk)
    given_back += len(stream.close())
    if unit == b"QUJD":
        assert given_back == fed


def test_a_token_too_long_to_hold_is_swallowed_to_its_end(scrubber: Scrubber) -> None:
    token = b"ghp_" + b"a1B2" * 10_000
    data = b"x " + token + b" y aabaab z"
    assert through(scrubber, pieces(data, 1000)) == scrubber.data(data)
    assert through(scrubber, pieces(data, 30_000)) == scrubber.data(data)


def test_a_long_run_is_not_mistaken_for_a_token_where_it_was_cut(scrubber: Scrubber) -> None:
    size = 20_000
    for start in range(size - MAX_HELD_BYTES // 2 - 160, size - MAX_HELD_BYTES // 2 + 10):
        data = b"a" * start + b"sk-" + b"A1" * 10_000 + b" end"
        assert through(scrubber, [data[:size], data[size : size + 100], data[size + 100 :]]) == data


def test_a_secret_longer_than_the_hold() -> None:
    scrubber = Scrubber()
    value = "long " * 5000 + "end"
    scrubber.add("LONG", value)
    data = f"x {value} y {value[:-3]} z".encode()
    assert through(scrubber, pieces(data, 700)) == scrubber.data(data)
    assert scrubber.data(data).startswith(b"x [REDACTED:LONG] y long")
