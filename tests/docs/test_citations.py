"""Documents, sections and decisions that are cited exist in the repository."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted(
    path
    for room in ("agent_swarm_worker", "tests", "benchmarks", "chaos", "docs", "examples")
    for path in (ROOT / room).rglob("*.py")
    if path != Path(__file__).resolve()
)
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/**/*.md")})
OTHERS = sorted(
    path
    for pattern in ("*.toml", "*.yml", "*.sh", "Makefile", "Dockerfile*", "examples/**/*.toml")
    for path in ROOT.glob(pattern)
)
API = ROOT / "docs" / "api.md"

SECTIONS = re.compile(r"docs/api\.md((?:,? (?:and |to )?\d+(?:\.\d+)?\b(?!\.\w))+)")
PATH = re.compile(r"(?<![\w./-])docs/[\w-]+(?:/[\w-]+)*\.(?:md|py)\b")
DECISION = re.compile(r"\b[Dd]ecision (\d{4})\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(
    r"\b(?:API|harness|prompt|container|login) reference\b"
    r"|\breferences?,? (?:sections? |appendix )?(?:[A-EW]\.?)?\d"
    r"|\bE[1-9]\d?\b|\b[AD]\.\d\b|\bharness notes\b|§"
    r"|(?<!RFC \d{4}, )\bappendix [A-Z]\b"
    r"|\b[Gg]uide\b"
    r"|\bsections? \d"
)
"""How a document is cited that is not here: its sections, its tables, itself."""
BARE_SECTION = re.compile(r"\((?:see )?\d{1,2}\.\d{1,2}(?:\.\d+)?[,)]")


@cache
def prose(path: Path) -> str:
    """Return what a file says to people, on one line: of code the comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    said = (
        spoken(text) if path.suffix == ".py" else re.sub(r"^\s*#+ ", "", text, flags=re.MULTILINE)
    )
    return " ".join(said.split())


STRING_OR_COMMENT = re.compile(
    r"(?P<quotes>\"{3}|'{3}|\"|')(?:[^\\]|\\.)*?(?P=quotes)|#(?P<comment>[^\n]*)", re.DOTALL
)
"""The tokenizer takes ten times as long."""


def spoken(source: str) -> str:
    comments = (
        found["comment"].lstrip("#")
        for found in STRING_OR_COMMENT.finditer(source)
        if found["comment"]
    )
    texts = (
        node.value.value
        for node in statements(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
    return "\n".join((*comments, *texts))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is below a node and no expression, for most of the nodes are in those."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        for below in getattr(node, part, ()):
            yield below
            yield from statements(below)


@cache
def sections() -> frozenset[str]:
    found = re.findall(
        r"^#{2,3} (\d+(?:\.\d+)?)\.? ", API.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(found) == len(set(found)), "two sections of one number"
    return frozenset(found)


def anchors(page: Path) -> set[str]:
    """Return the places in a page that a link can name."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def cited_sections() -> Iterator[tuple[str, str]]:
    for path in (*CODE, *PAGES, *OTHERS):
        for found in SECTIONS.finditer(prose(path)):
            yield from ((relative(path), number) for number in re.findall(r"\d[\d.]*", found[1]))


def test_there_is_something_to_look_at():
    assert len(sections()) > 80
    assert len(set(cited_sections())) > 100


def test_every_cited_section_of_the_api_exists():
    missing = {
        (path, number)
        for path, number in cited_sections()
        if number not in sections() and path != relative(API)
    }
    assert missing == set()


def test_the_api_page_cites_its_own_sections_only():
    text = re.sub(r"`[^`]*`|^#.*$", "", API.read_text(encoding="utf-8"), flags=re.MULTILINE)
    cells = re.findall(r"^\| .* \| (\d+\.\d+) \|$", API.read_text(encoding="utf-8"), re.MULTILINE)
    named = {
        number
        for group in re.findall(r"\(([^()]*\d+\.\d+[^()]*)\)", text)
        for number in re.findall(r"(?<![\d.±^])\b\d{1,2}\.\d{1,2}\b(?![\d.])", group)
    }
    assert len(named) > 40
    assert (named | set(cells)) - sections() == set()


def test_no_document_is_cited_that_is_not_here():
    found = {
        (relative(path), match[0])
        for path in (*CODE, *OTHERS, *PAGES)
        for pattern in ((ELSEWHERE, BARE_SECTION) if path.suffix == ".py" else (ELSEWHERE,))
        for match in pattern.finditer(prose(path))
    }
    assert found == set()


def test_the_life_of_a_task_names_sections_of_the_api():
    page = (ROOT / "docs" / "state-machine.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\|(?: [^|]+ \|){4} ([^|]+) \|", page.partition("## What a run is")[0], re.MULTILINE
    )
    named = {number for number in rows if number != "section"}
    named |= set(re.findall(r"\d+\.\d+", page.partition("```\n\n")[0]))
    assert len(rows) > 30
    assert named - sections() == set()


def test_every_cited_page_exists():
    missing = {
        (relative(path), name)
        for path in (*CODE, *PAGES, *OTHERS)
        for name in PATH.findall(prose(path))
        if not (ROOT / name).is_file()
    }
    assert missing == set()


def test_every_cited_decision_exists():
    known = {path.name[:4] for path in (ROOT / "docs" / "decisions").glob("0*.md")}
    cited = {
        (relative(path), number)
        for path in (*CODE, *PAGES, *OTHERS)
        for number in DECISION.findall(prose(path))
    }
    assert {(path, number) for path, number in cited if number not in known} == set()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_leads_somewhere(page: Path):
    missing = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        name, _, place = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (place and place not in anchors(target)):
            missing.append(link)
    assert missing == []
