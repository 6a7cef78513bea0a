"""The modules of the package, each parsed and walked once a process for all that search them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import agent_swarm_worker

PACKAGE = Path(agent_swarm_worker.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Return the nodes of a module in the order of `ast.walk`, which takes longer than to parse."""
    return tuple(ast.walk(tree_of(path)))
