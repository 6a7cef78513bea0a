"""Rules of the code base that no tool of `make check` verifies."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sources import MODULES as FILES
from sources import PACKAGE, nodes_of, text_of, tree_of

from agent_swarm_worker.prompts.render import shipped_texts

ROOT = PACKAGE.parent
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
# Spelt in two halves, so that this file does not contain them.
REGISTRIES = [
    a + b for a, b in (("pypi", ".org"), ("npm", "js."), ("docker", ".io"), ("ghcr", ".io"))
]
TEXTS = [
    *FILES,
    *(path for room in ("docs", "prompts", "skills") for path in (ROOT / room).rglob("*.*")),
    *ROOT.glob("*.md"),
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function; what is said about it does not make it long."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def test_there_is_something_to_look_at():
    assert len(FILES) > 100


def test_files_are_short():
    lengths = {relative(p): len(text_of(p).splitlines()) for p in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_functions_are_short():
    lengths = {
        (path.name, function.name): length_of(function)
        for path in FILES
        for function in functions(path)
    }
    long = {name for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}
    assert long == set()


def test_every_file_says_what_it_is_for():
    silent = [p for p in FILES if not ast.get_docstring(tree_of(p))]
    assert silent == []


def test_nothing_is_left_for_later():
    marks = re.compile(
        r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b"
    )
    found = [relative(path) for path in FILES if marks.search(text_of(path))]
    assert found == []


def test_only_the_command_line_prints():
    found = []
    for path in FILES:
        if path.is_relative_to(PACKAGE / "cli"):
            continue
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found += [relative(path)] if node.func.id == "print" else []
    assert found == []


@pytest.mark.parametrize("word", REGISTRIES)
def test_no_registry_is_named(word: str):
    found = [relative(p) for p in TEXTS if word in text_of(p)]
    assert found == []


def test_no_task_is_started_and_forgotten():
    found = [
        relative(path)
        for path in FILES
        for word in ("create_task(", "ensure_future(", "run_coroutine_threadsafe(")
        if re.search(rf"\b{re.escape(word)}", text_of(path))
    ]
    assert found == []


# --- the texts of the prompts
TEMPLATE_ID = re.compile(r"(?:system|task)(?:\.[a-z_]+)+")
REFERENCE = re.compile(r"\{\{@template\[([^\]]+)\]\}\}")
PROMPT_TEXTS = {path.stem: path for path in shipped_texts("prompts").glob("*.md")}


def named_templates() -> tuple[set[str], set[str]]:
    """Return the ids that the code and the texts name, and patterns of those it puts together."""
    ids, patterns = set(), set()
    for path in (PACKAGE / "prompts").glob("*.py"):
        # The server's events have names of the same shape.
        events = {
            id(node.args[0])
            for node in nodes_of(path)
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".events")
        }
        for node in nodes_of(path):
            match node:
                case ast.Constant(str(text)) if id(node) not in events:
                    ids |= {text} if TEMPLATE_ID.fullmatch(text) else set()
                case ast.JoinedStr([ast.Constant(str(start)), *rest]):
                    if re.match(r"(system|task)\.[a-z]+\.$", start):
                        patterns.add(re.escape(start) + r"[a-z_.]+" * bool(rest))
    for text in PROMPT_TEXTS.values():
        ids |= set(REFERENCE.findall(text_of(text)))
    return ids, patterns


def test_every_template_that_is_named_has_a_text():
    ids, patterns = named_templates()
    assert len(ids) > 15
    assert ids - set(PROMPT_TEXTS) == set()
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in PROMPT_TEXTS), pattern
    for path in PROMPT_TEXTS.values():
        assert text_of(path).strip()


def test_every_text_is_used():
    ids, patterns = named_templates()
    unused = {
        name
        for name in set(PROMPT_TEXTS) - ids
        if not any(re.fullmatch(pattern, name) for pattern in patterns)
    }
    assert unused == set()


# --- no loop gets the whole worker
COMPOSITION = {"worker/boot/parts.py", "worker/daemon.py", "worker/boot/wiring.py"}
"""Where a `Worker` is put together and its parts are handed out."""


def test_only_the_composition_takes_the_whole_worker():
    """Every other module takes one of the base classes in `worker.boot.parts`."""
    found = []
    for path in (PACKAGE / "worker").rglob("*.py"):
        if str(path.relative_to(PACKAGE)) in COMPOSITION:
            continue
        names = {node.id for node in nodes_of(path) if isinstance(node, ast.Name)}
        imported = {
            alias.name
            for node in nodes_of(path)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        found += [relative(path)] if "Worker" in names | imported else []
    assert found == []
