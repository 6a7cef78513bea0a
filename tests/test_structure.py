"""The number of modules, package docstrings, and names that must not return."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sources import MODULES, PACKAGE, nodes_of

ROOT = PACKAGE.parent
PACKAGES = sorted(PACKAGE.rglob("__init__.py"))
OTHERS = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "chaos").glob("*.py")]
MAX_MODULES = 275
"""Besides those of single harnesses."""
MAX_HARNESS_MODULES = 30
SHARED_BY_HARNESSES = {"kit", "catalog"}
RETIRED = {
    "apart": "isolated call",
    "backstop": "exit timer",
    "bench": "session fixture",
    "door": "endpoint, proxy",
    "freeze": "stop tree",
    "furniture": "default files",
    "generations": "server capabilities",
    "intake": "capture buffer",
    "ladder": "escalation",
    "mailbox": "steering queue",
    "odds": "stub routes",
    "receipt": "write intent",
    "remains": "orphaned session",
    "reread": "replay",
    "siege": "fuzz",
    "sleeper": "pipe holder",
    "stage": "harness fixture",
    "surroundings": "resources",
    "talk": "stdin writer",
}
"""Words of earlier names, each with the term that replaced it (docs/glossary.md)."""


def words_of(name: str) -> set[str]:
    """Return the words of a snake_case or CamelCase name, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names_in(path: Path) -> Iterator[str]:
    """Yield the names of a module and its classes."""
    yield path.stem
    yield from (node.name for node in nodes_of(path) if isinstance(node, ast.ClassDef))


def has_code(path: Path) -> bool:
    """False for a package's file with nothing but its docstring."""
    return len(ast.parse(path.read_text(encoding="utf-8")).body) > 1


def test_the_package_has_fewer_modules_than_the_limit():
    shared, harnesses = 0, Counter[str]()
    for path in filter(has_code, MODULES):
        room, *below = path.relative_to(PACKAGE).parts
        if room == "providers" and len(below) > 1 and below[0] not in SHARED_BY_HARNESSES:
            harnesses[below[0]] += 1
        else:
            shared += 1
    assert 100 < shared < MAX_MODULES
    assert all(count <= MAX_HARNESS_MODULES for count in harnesses.values()), harnesses


def test_the_first_line_of_a_package_is_a_sentence():
    for path in PACKAGES:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert re.fullmatch(r"[\w`].{15,}\.", docstring.partition("\n")[0]), path


def test_each_suite_that_is_marked_long_exists():
    """`LONG` of tests/conftest.py holds prefixes of paths."""
    tree = ast.parse((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (long,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LONG"
    )
    assert [path for path in long if not (ROOT / "tests" / path).exists()] == []


def test_words_are_found_in_both_kinds_of_names():
    assert words_of("_run_apart") == {"run", "apart"}
    assert words_of("HTTPReceiptStage") == {"http", "receipt", "stage"}


def test_no_retired_name_is_used():
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (*MODULES, *OTHERS)
        for name in names_in(path)
        if words_of(name) & RETIRED.keys()
    }
    assert found == set()
