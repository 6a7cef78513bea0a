"""Cleaning and joining."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.prompts.render import clean, join, squeeze


@pytest.mark.parametrize(
    ("dirty", "cleaned"),
    [
        ("a\x00b", "ab"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("tab\tand\nnewline", "tab\tand\nnewline"),
        ("windows\r\nand\rold mac", "windows\nand\nold mac"),
        ("\x7f\x0b\x0c\x08", ""),
        ("half \ud800 a pair", "half \ufffd a pair"),
        ("naïve 🐝", "naïve 🐝"),
    ],
)
def test_clean(dirty, cleaned):
    assert clean(dirty) == cleaned


@given(st.text(alphabet=st.characters(), max_size=200))
def test_cleaned_text_can_always_be_an_argument(text):
    cleaned = clean(text)
    assert "\0" not in cleaned
    cleaned.encode()
    assert clean(cleaned) == cleaned


def test_join_leaves_out_what_is_blank_and_keeps_inner_newlines():
    assert join("\na\n", "", "  \n", "b\n\n\n\nc") == "a\n\nb\n\n\n\nc"
    assert squeeze("b\n\n\n\nc") == "b\n\nc"
