"""The objects in a line that is not JSON."""

from __future__ import annotations

import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.providers.kit import lenient_json
from agent_swarm_worker.providers.kit.lenient_json import (
    MAX_TOKENS,
    TOKENS_PER_OBJECT,
    parts_of,
    starts_with_object,
    torn_event,
)
from agent_swarm_worker.text import plain_line

EVENT = b'{"type":"result","is_error":true}'


def objects(line: bytes) -> list[object]:
    return [orjson.loads(part.content) for part in parts_of(line) if part.is_json]


@pytest.mark.parametrize(
    "line",
    [
        b"\xef\xbb\xbf" + EVENT,
        b"\x1b]0;title\x07" + EVENT + b"\x1b[0m",
        b"\x1b[?25l\x1b[2K\r" + EVENT,
        b"\xc2\x9b31m" + EVENT,
        b"\x00\x1e" + EVENT + b"\x00",
        b"warning: careful " + EVENT,
        b"data: " + EVENT,
        b'[info] {not this} it\'s "this" ' + EVENT + b" and so on",
        EVENT + b",",
        b'{"type":"result","is_error":true,}',
        b'{"type":"result",,"is_error":true}',
        b'{\x1b[34m"type"\x1b[0m: "result", "is_error": True}',
        # A writer was replaced in the middle of a line.
        b'{"type":"assist' + EVENT,
        b'{"type":1' + EVENT,
        b'{"type":tr' + EVENT,
    ],
)
def test_one_object_is_read(line: bytes):
    assert objects(line) == [orjson.loads(EVENT)]


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (EVENT + b" " + EVENT, [orjson.loads(EVENT)] * 2),
        (EVENT + b'{"a":{"b":[{}]}}', [orjson.loads(EVENT), {"a": {"b": [{}]}}]),
        (b'{"a":NaN,"b":[-Infinity,Infinity,nan,undefined]}', [{"a": None, "b": [None] * 4}]),
        (
            b'{"a":"x\ty\x1b[0m","b":"\\x1b \\\'C:\\Users"}',
            [{"a": "x\ty\x1b[0m", "b": "\\x1b 'C:\\Users"}],
        ),
        (b'{"a":"\xff"} ', [{"a": "\ufffd"}]),
        (b'[{"a":1},]', [[{"a": 1}]]),
        (b'{"a":"say {\\"type\\":\\"result\\"}",}', [{"a": 'say {"type":"result"}'}]),
    ],
)
def test_what_is_read(line: bytes, read: list[object]):
    assert objects(line) == read


@pytest.mark.parametrize(
    "line",
    [
        b"plain text",
        b"a {b} c",
        b'{"type":"result","is_error":tr',
        # An object inside of a torn one is none of its own: an agent may have written it.
        b'{"type":"user","input":{"type":"result","is_error":false}',
        b'{"type":"user","input":{"type":"result"} oops}',
        b'{"a":1]',
    ],
)
def test_nothing_is_guessed(line: bytes):
    assert parts_of(line) == []


def test_text_around_an_object_is_kept():
    line = b'one {"a":1} two {"b":2}\x1b[0m'
    assert [part.content for part in parts_of(line)] == [b"one ", b'{"a":1}', b" two ", b'{"b":2}']


def test_what_is_in_front():
    assert starts_with_object(b"\x1b[0m\xef\xbb\xbf " + EVENT)
    assert not starts_with_object(b"a " + EVENT)
    assert not starts_with_object(b"{a} " + EVENT)


def test_what_a_torn_line_was():
    assert torn_event('{"type": "result", "subty') == "result"
    assert torn_event("oops {'type': 'result', 'subtype': 'x'}") == "result"
    assert torn_event('{"method":"turn/completed","params":{"type"') == "turn/completed"
    assert torn_event('{"text":"say \\"type\\":\\"result\\"') == ""
    assert torn_event("plain {text}") is None


@given(st.binary(max_size=80) | st.text(alphabet='{}[]",:\\ \x1baN1', max_size=60).map(str.encode))
def test_any_line_is_survived(line: bytes):
    parts_of(line)
    torn_event(line.decode("utf-8", "replace"))
    starts_with_object(line)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@pytest.mark.long
@given(st.lists(st.dictionaries(st.text(max_size=5), VALUES), min_size=1, max_size=4))
def test_whatever_is_valid_is_read_as_it_is(values: list[dict[str, object]]):
    assert objects(b"".join(map(orjson.dumps, values))) == values


def test_the_work_for_a_line_is_limited(monkeypatch: pytest.MonkeyPatch):
    assert lenient_json.MAX_TOKENS <= 200_000, "about half a second"
    monkeypatch.setattr(lenient_json, "MAX_TOKENS", 10_000)
    assert parts_of(b'{"a":[' + b"1," * 4_000 + b"]}") != []
    assert parts_of(b'{"a":[' + b"1," * 10_000 + b"]}") == []
    assert parts_of(b'{"a":' * 15_000) == []
    assert parts_of(b'{"a"' * 15_000) == []
    assert parts_of(b"{\x1b[" * 15_000) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "line",
    [
        b"[" + b"1," * 1_000_000 + b"NaN]",
        b'{"a":[' + b'"\\u00e9",' * 400_000 + b"NaN]}",
        b'{"a":[' + b'"\\n",' * 400_000,
        b"{" + b"\0" * 600_000,
        b'{"type":' * 80_000,
        b'{"type":"x"}' * 100_000,
    ],
)
def test_a_dense_line_costs_no_call_for_each_of_its_characters(line: bytes):
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    scrubber = Scrubber()
    scrubber.add("A_TOKEN", "Zk3v9QpLw7Xr2Tn8")
    sys.setprofile(count)
    try:
        scrubber.json_lines([line])
        assert len(parts_of(line)) <= MAX_TOKENS // TOKENS_PER_OBJECT + 2
        torn_event(plain_line(line.decode()))
    finally:
        sys.setprofile(None)
    assert calls < 10 * MAX_TOKENS
