"""docs/failures.md names tests; each of them exists, and the table can be read."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "failures.md"
NODE = re.compile(r"`([\w/]+\.py)::(\w+)`")
ROWS = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
NAMED = sorted({match.groups() for row in ROWS for match in NODE.finditer(row)})


@cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_there_is_something_to_hold():
    assert len(NAMED) > 30


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_it_names_exists(file: str, name: str):
    assert name.startswith("test_")
    assert (TESTS / file).is_file()
    assert name in functions_of(TESTS / file)


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_two_cells_with_something_in_them(row: str):
    cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
    assert len(cells) == 2
    assert all(cells)


def test_each_row_of_a_failure_names_its_test():
    above, _, _ = DOCUMENT.read_text().partition("## Do not apply")
    rows = [
        line for line in above.splitlines() if line.startswith("| ") and "failure |" not in line
    ]
    assert rows
    assert [row for row in rows if not NODE.search(row)] == []
