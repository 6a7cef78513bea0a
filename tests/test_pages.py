"""Pages that name tests and modules: each of them exists, and the tables can be read."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
PAGES = ("failures.md", "reliability.md")
MODULE = re.compile(r"`([a-z_/]+(?:\.py|/))`")
NODE = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows_of(page: str) -> list[str]:
    return [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| ")]


NAMED = sorted(
    {match.groups() for page in PAGES for row in rows_of(page) for match in NODE.finditer(row)}
)


@cache
def functions_of(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^ *(?:async )?def (\w+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_there_is_something_to_hold(page: str):
    assert sum(bool(NODE.search(row)) for row in rows_of(page)) > 30


def test_each_test_it_names_exists():
    missing = [
        (file, name)
        for file, name in NAMED
        if not (name.startswith("test_") and name in functions_of(TESTS / file))
    ]
    assert missing == []


def test_each_path_of_the_architecture_exists():
    package = TESTS.parent / "agent_swarm_worker"
    roots = (
        package,
        TESTS.parent,
        package / "worker",
        package / "worker/run",
        package / "providers",
    )
    paths = set(MODULE.findall((DOCS / "architecture.md").read_text()))
    assert len(paths) > 50
    assert [path for path in paths if not any((root / path).exists() for root in roots)] == []


def test_each_row_has_two_cells_with_something_in_them():
    for row in rows_of("failures.md"):
        cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
        assert [bool(cell) for cell in cells] == [True, True], row


def test_each_row_of_a_failure_names_its_test():
    above, _, _ = (DOCS / "failures.md").read_text().partition("## Do not apply")
    rows = [
        line for line in above.splitlines() if line.startswith("| ") and "failure |" not in line
    ]
    assert rows
    assert [row for row in rows if not NODE.search(row)] == []


def test_each_row_of_a_promise_names_its_test():
    promises, _, _ = (DOCS / "reliability.md").read_text().partition("## What is traded")
    rows = re.findall(r"^\| \| test \|\n\|---\|---\|\n((?:\| .*\n)+)", promises, re.MULTILINE)
    assert len(rows) == 9
    assert [row for table in rows for row in table.splitlines() if not NODE.search(row)] == []
