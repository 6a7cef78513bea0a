"""Shortening: by characters, bytes and columns, and on one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.text import (
    clip,
    clip_bytes,
    one_line,
    plain,
    plain_line,
    shorten,
    shorten_middle,
    shorten_start,
    truncate_bytes,
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" a\n\n b\tc ", "a b c"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07\x9b1mbold", "red bold"),
        ("\u200fright\u061c", "right"),
        ("no\xa0break\u3000wide", "no break wide"),
        ("left\u202eright", "left right"),
        ("half \ud800 a pair", "half a pair"),
        ("", ""),
    ],
)
def test_one_line_replaces_what_fits_on_no_line(text: str, line: str):
    assert one_line(text) == line
    assert one_line(text, 100) == line


@given(st.text(alphabet=st.characters(), max_size=300), st.integers(2, 50))
def test_one_line_is_printable_and_bounded(text: str, limit: int):
    line = one_line(text, limit)
    assert len(line) <= limit
    assert "\n" not in line
    assert not any("\ud800" <= character <= "\udfff" for character in line)
    assert one_line(line, limit) == line


@given(st.text(max_size=300), st.integers(0, 200))
def test_clip_bytes_counts_bytes_and_never_splits_a_character(text, limit):
    result = clip_bytes(text, limit, "[cut]")
    assert len(result.encode(errors="replace")) <= limit
    assert result in {text, ""} or result.endswith("[cut]")


def test_shorten():
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abcd", 4) == "abcd"
    assert shorten("abcd", 0) == ""
    assert shorten("abc def", 5) == "abc…"


def test_shorten_start_and_middle():
    assert shorten_start("abcdef", 4) == "…def"
    assert shorten_start("abcd", 4) == "abcd"
    assert shorten_middle("abcdefgh", 4) == "ab […] gh"
    assert shorten_middle("abcd", 4) == "abcd"


def test_clip_keeps_lines_and_says_that_it_cut():
    assert clip("a\nb", 3) == "a\nb"
    assert clip("a\nbcd", 3) == "a\nb\n[… cut here]"
    assert clip("half \ud800", 20) == "half \ufffd"


def test_truncate_bytes_halves_no_character():
    assert truncate_bytes("aé", 2) == "a"
    assert truncate_bytes("aé", 3) == "aé"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[31mAPI Error: \x1b[1m429\x1b[0m", "API Error: 429"),
        ("\x1b]0;title\x07a\x1b]8;;https://x.test\x1b\\link\x1b]8;;\x1b\\", "alink"),
        ("\x1bPq#0\x1b\\a\x1b(B\x1b7b\x9b2Kc\x9d0;t\x9cd", "abcd"),
        ("cut off: \x1b[3", "cut off: "),
        ("a\x00b\x7fc\x85d\u202ee\u2066f\u200fg\ufeff", "a b c\ndefg"),
        ("|\x08/\x08-\x08done, b\x08bold", "done, bold"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
    ],
)
def test_plain_text_has_no_codes(text: str, shown: str):
    assert plain(text) == shown


@given(
    st.text(
        alphabet=st.sampled_from("\x1b\x9b\x9d\x07\x9c\\[]m;0 a\r\n\x08\x00\u202e"), max_size=60
    )
)
def test_plain_text_stays_as_it_is(text: str):
    shown = plain(text)
    assert not set(shown) & set("\x1b\x9b\x9d\x07\x9c\r\x08\x00\u202e")
    assert plain(shown) == shown


def test_a_line_shows_the_last_state_of_a_bar():
    assert plain_line("10%\r\x1b[K 55%\r100%\r") == "100%"
    assert plain_line("as it is") == "as it is"
    assert plain_line("\r\r") == ""
