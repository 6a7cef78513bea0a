"""No code outside a harness's package names the harness."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sources import MODULES as FILES
from sources import PACKAGE, nodes_of

from agent_swarm_worker.providers.registry import DEFAULT_HARNESS, supported_providers

NAMES = {*supported_providers(), "codex", "claude", "opencode", "devin", "gemini"}
NAMED = re.compile(rf"(?<![a-z0-9])(?:{'|'.join(sorted(NAMES))})(?![a-z0-9])", re.IGNORECASE)

ELSEWHERE = ("local_swarm", "credentials")
"""The stand-in for the server; the logins of `swarm-worker login`, reached through a hook."""
COMMAND = ("cli/login.py",)
"""The command `swarm-worker login`, which is about one vendor's logins."""
ALLOWED = {
    "api/wire/harness_names.py": "the one table of the names that servers accept",
    "providers/registry.py": "the default harness, in one place",
    "settings/schema.py": "an acronym, which is a protocol's before a harness's",
    "settings/core.py": "a variable of the public surface, kept under its name",
}
FAMILIES = re.compile(r"\b(?:claude-(?:opus|sonnet|haiku|fable|mythos)|gemini-\d+)\b")
"""Names of model families."""
FILE_OF_NOTES = "CLAUDE.md"
"""A convention that many agents share, and one of the agent's profile files."""
OLD_VARIABLE = "SWARM_ENABLE_CLAUDE_CODE_OTEL"
"""The deprecated name of a switch for every harness."""
VOCABULARY = {"claude-session", "pi-delegated", "repo_claude_md"}
"""Of the server's API and its prompt templates: a path, a formula, a variable."""
MODULES = {"cli/app.py": "what the commands are for, in their help"}


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the string literals of a module, without its docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = set()
    for node in nodes_of(path):
        if isinstance(node, documented):
            # A string that stands alone documents what is above it.
            docs |= {id(it.value) for it in node.body if isinstance(it, ast.Expr)}
    for node in nodes_of(path):
        if isinstance(node, ast.Constant) and id(node) not in docs:
            value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            if isinstance(value, str):
                yield node.lineno, value


def names_a_harness(text: str) -> bool:
    for known in (FILE_OF_NOTES, OLD_VARIABLE, *VOCABULARY):
        text = text.replace(known, "")
    return NAMED.search(FAMILIES.sub("", text)) is not None


def looked_at() -> Iterator[Path]:
    for path in FILES:
        name, parts = str(path.relative_to(PACKAGE)), path.relative_to(PACKAGE).parts
        is_own = parts[0] == "providers" and parts[1].replace("_", "-") in supported_providers()
        if not is_own and parts[0] not in ELSEWHERE and name not in {*ALLOWED, *COMMAND, *MODULES}:
            yield path


def test_nothing_names_a_harness():
    found = [
        (str(path.relative_to(PACKAGE)), line, text)
        for path in looked_at()
        for line, text in literals(path)
        if names_a_harness(text)
    ]
    assert found == []


def test_no_module_outside_imports_a_harness_package():
    packages = tuple(
        f"agent_swarm_worker.providers.{name.replace('-', '_')}" for name in supported_providers()
    )
    found = [
        (str(path.relative_to(PACKAGE)), node.module)
        for path in looked_at()
        for node in nodes_of(path)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(packages)
    ]
    # What any program may print, read by the viewer of logs.
    assert found == [("cli/follow.py", "agent_swarm_worker.providers.subprocess.translate")]


def test_there_is_something_to_look_at():
    assert len(list(looked_at())) > 150
    assert DEFAULT_HARNESS in NAMES


@pytest.mark.parametrize(
    "text", ["claude", "a codex login", "CODEX_OAUTH", ".claude/skills", "/pi/", "OpenCode", "x-pi"]
)
def test_a_name_is_seen(text: str):
    assert names_a_harness(text)


@pytest.mark.parametrize("text", ["claude-opus-4-8", "see CLAUDE.md", "pipes", "api", "claudeMd"])
def test_what_is_no_name_is_not(text: str):
    assert not names_a_harness(text)


def test_each_exception_is_still_needed():
    for name in (*ALLOWED, *MODULES):
        path = PACKAGE / name
        assert any(names_a_harness(text) for _, text in literals(path)), name
