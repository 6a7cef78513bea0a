"""The glossary: each term once, in at most three sentences, with a package that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "glossary.md"
ROWS = re.findall(
    r"^\| ([^|]+) \| ([^|]+) \| `([^|]+)/` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
)


def test_every_row_of_the_tables_can_be_read():
    lines = [
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| term |")
    ]
    assert len(ROWS) == len(lines) > 40


def test_each_term_is_explained_once_and_shortly():
    terms = [term for term, _, _ in ROWS]
    assert sorted(set(terms)) == sorted(terms)
    for term, text, _ in ROWS:
        assert text.endswith("."), term
        assert len(re.findall(r"[.?!](?: |$)", text)) <= 3, term


def test_each_room_exists():
    rooms = {room for _, _, room in ROWS}
    assert len(rooms) > 7
    assert {room for room in rooms if not (ROOT / "agent_swarm_worker" / room).is_dir()} == set()
