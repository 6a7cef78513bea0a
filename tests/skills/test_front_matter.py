"""The front matter of a skill is YAML as a library reads it, and lenient where it is none."""

from __future__ import annotations

import pytest

from agent_swarm_worker.front_matter import MAX_CHARS, front_matter

ABOUT = "description: about\n"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (">-\n  Use this for reports.\n  It writes PDF.", "Use this for reports. It writes PDF."),
        (">\n  folded\n\n  text\n", "folded text"),
        ("|\n  line 1\n  line 2", "line 1 line 2"),
        ("'It''s for the user''s files'", "It's for the user's files"),
        ('"tab\\tand \\"quotes\\" and \\u00e9"', 'tab and "quotes" and é'),
        ("plain # with a comment", "plain"),
        ("'a # b'", "a # b"),
        ("plain\n  over two lines", "plain over two lines"),
        ("\n  below", "below"),
        ("&anchor text", "text"),
        ("!!str 12", "12"),
        ("1.10", "1.10"),
        ("yes", "yes"),
        ("2024-01-01", "2024-01-01"),
        ("[a, 'b c', d]", "a, b c, d"),
        ("\n  - Read\n  - Bash(git:*)", "Read, Bash(git:*)"),
        ("\n- Read\n- Write", "Read, Write"),
        ("null", None),
        ("~", None),
        ("", None),
        ("{a: b}", None),
        # no YAML, but found in many skills
        ("Use when: the user asks", "Use when: the user asks"),
        ("Use when: the user\n  asks: something", "Use when: the user asks: something"),
        ("[WIP] does things", "[WIP] does things"),
        ("`quoted` @all *bold*", "`quoted` @all *bold*"),
        ('"cut off', '"cut off'),
        ("\ttabbed", "tabbed"),
        ("*undefined", "*undefined"),
        ('"\\UFFFFFFFF"', '"\\UFFFFFFFF"'),
    ],
)
def test_values(written, value):
    for text in (
        f"---\nname: x\nabout: {written}\nlicense: MIT\n---\nbody: no\n",
        f"\ufeff---\r\nname: x\r\nabout: {written}\r\nlicense: MIT\r\n---\r\nbody".replace(
            "\r\n", "\n"
        ).replace("\n", "\r\n"),
    ):
        found = front_matter(text)
        assert found.pop("about", None) == value
        assert found == {"name": "x", "license": "MIT"}


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ("\"name\": x\n'description': y", {"name": "x", "description": "y"}),
        ("? name\n: x", {"name": "x"}),
        ("# comment\n\nname: x # y", {"name": "x"}),
        ("{name: x, description: y}", {"name": "x", "description": "y"}),
        ("name: x\nmetadata:\n  name: inner", {"name": "x"}),
        ("name: a: b\nmetadata:\n  name: inner", {"name": "a: b"}),
        ("- a\n- b", {}),
        ("just a text", {}),
        ("name: &x [*x]", {}),
    ],
)
def test_blocks(block, found):
    assert front_matter(f"---\n{block}\n---\n") == found


@pytest.mark.parametrize(
    "block",
    [
        "[" * 9000,
        "a: {" * 4000,
        "- " * 9000,
        "a: &a [*a, *a]\n" * 1000,
        "a:\n" * 6000,
        "a: b: c\n" * 2000,
        "? " * 9000,
        '"' + "\\" * 9000,
        "x: y\n" * MAX_CHARS,
    ],
)
def test_a_hostile_block_is_no_error(block):
    assert isinstance(front_matter(f"---\n{block}\n---\n"), dict)
