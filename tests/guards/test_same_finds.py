"""The matcher that looks only at anchors finds what one finds that looks everywhere."""

from __future__ import annotations

import plain_matcher as plain
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent_swarm_worker.guards.scrubbing import json_lines
from agent_swarm_worker.guards.scrubbing.matcher import SHAPES, Matcher

NAMES = {b"swordfish": "A", b"fishing-rod": "B", b"sk-own": "C", b"REDACTED": "D", b"://x": "E"}
MATCHER = Matcher(NAMES)
RUN = b"Abc0123456789Defghijklm7890OPQRSTUV"
PIECES = [
    *(anchor for shape in SHAPES for anchor in shape.anchors),
    *(RUN, RUN, RUN[:10], RUN[:16].upper(), RUN.lower(), b"a" * 70, b"eyJ" + RUN, b"." + RUN),
    *NAMES,
    *(b"[REDACTED:A]", b"[REDACTED:sk_key]", b"[REDACTED:", b"sword", b"eyJ", b"earer ", b"basic "),
    *(b": Bearer ", b"user:pa$$word@host", b"user:{pw}@", b"PRIVATE KEY-----", b" END", b"-----"),
    *(b"\\n", b"\\u003d", b"\\/", b"%20", b"\x1b[31m", b"\\\\\\\\", b"\\", b'\\"', b"\\u0041"),
    *(b" ", b"\n", b'"', b"'", b":", b".", b"-", b"_", b"/", b"=", b"@", b"a", b"Z", b"7", b"\xff"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)


@given(TEXTS, st.integers(0, 60))
@settings(max_examples=400)
@example(b"eyJ" + RUN + b".eyJ" + RUN + b"." + RUN + b".eyJ" + RUN + b"." + RUN, 0)
@example(b"eyJ" + RUN + b".eyJ" + RUN + b"." + RUN, 1)
@example(b"sk-" + RUN + b"-sk-" + RUN, 4)
@example(b"sk-sk-sk-" + RUN, 0)
def test_the_same_is_found(text: bytes, start: int) -> None:
    assert MATCHER.find(text, start) == plain.find(NAMES, text, start)


@pytest.mark.long
@given(TEXTS, st.integers(0, 60))
@settings(max_examples=1500)
def test_the_same_is_found_in_many_texts(text: bytes, start: int) -> None:
    assert MATCHER.find(text, start) == plain.find(NAMES, text, start)


@given(st.lists(st.sampled_from(PIECES), max_size=5), st.sampled_from(PIECES), st.integers(1, 40))
def test_the_same_is_found_where_anchors_are_many(
    start: list[bytes], often: bytes, count: int
) -> None:
    text = b"".join(start) + often * count + b"".join(start) + (often + b" ") * count
    assert MATCHER.find(text) == plain.find(NAMES, text)


@pytest.mark.long
@given(TEXTS, st.integers(0, 3))
@settings(max_examples=600)
def test_the_same_is_found_behind_escapes(text: bytes, level: int) -> None:
    for _ in range(level):
        text = b"".join(b"\\u%04x" % c if c % 5 == 0 and c < 128 else bytes([c]) for c in text)
        text = text.replace(b"/", b"\\/")
    expected = plain.find_behind_escapes(text, MATCHER)
    assert json_lines.find_behind_escapes(text, MATCHER) == expected


@pytest.mark.parametrize("all_bytes", [b"", bytes(range(256))], ids=["", "no byte free"])
@given(st.lists(st.sampled_from([b"\\", b'"', b"/", b"n", b"u", b"0041", b"d83d", b"x", b"\xff"])))
@example([b"\\", b"\\", b"\\", b"u", b"0041"])
def test_escapes_are_taken_out_alike(all_bytes: bytes, pieces: list[bytes]) -> None:
    text = all_bytes + b"".join(pieces)
    assert json_lines._plain_text(text) == json_lines._unescaped(text)[0]
