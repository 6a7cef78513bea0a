"""Only settings models read environment variables: a search of the code for other ways."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from sources import MODULES, PACKAGE, nodes_of, tree_of

ALLOWED = {
    ("*", "PATH"): "the operating system's own: where programs are looked up",
    ("conformance/of_session.py", "environ"): "plants a secret in its own process, as a test does",
    ("container/ownership.py", "HOME"): "builds the environment of the user that it becomes",
    ("container/prepare.py", "HOME"): "reads the environment that it has just built",
    ("providers/acp/mcp_files.py", "PI_CODING_AGENT_DIR"): "of an agent behind the protocol",
    ("providers/claude/launch.py", "ANTHROPIC_API_KEY"): "takes it out of a child's environment",
    ("providers/codex/credentials.py", "OPENAI_API_KEY"): "a key of the CLI's auth.json",
    ("providers/pi/adapter.py", "?"): "a key in an operator's file may be the name of a variable",
}
"""By module and name: why this is no reading of a setting."""
NAME = re.compile(r"[A-Z][A-Z0-9_]{2,}")
ENVIRONMENTS = frozenset({"env", "_env", "environ", "process_env"})
LOOKS_UP = frozenset({"get", "pop", "setdefault"})


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the modules without settings models: the place in the package, and the path."""
    for path in MODULES:
        place = path.relative_to(PACKAGE).as_posix()
        if not (place.startswith("settings/") or path.name in {"settings.py", "options.py"}):
            yield place, path


def constants(tree: ast.Module) -> dict[str, str]:
    """Constants of a module that hold the name of a variable, by their own name."""
    found = {}
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text)))
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text)))
            ) if NAME.fullmatch(text):
                found[name] = text
    return found


def all_reads() -> Iterator[tuple[str, str, int]]:
    """Give module, name and line of each read outside the settings."""
    by_module = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): constants(tree_of(path))
        for path in MODULES
    }
    every = {name: text for found in by_module.values() for name, text in found.items()}
    for place, path in modules():
        imported = {
            alias.asname or alias.name: by_module.get(node.module or "", {})[alias.name]
            for node in nodes_of(path)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.name in by_module.get(node.module or "", {})
        }
        for line, name in reads(nodes_of(path), {**every, **imported, **constants(tree_of(path))}):
            yield place, name, line


def reads(nodes: Iterable[ast.AST], known: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Give the line and the name of each read of a variable; `?` for one that is computed."""

    def of(node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str(text)) if NAME.fullmatch(text):
                return text
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return known.get(name, "")
        return ""

    def is_environment(node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return name in ENVIRONMENTS
            case ast.Call(func=function):
                return is_environment(function)
        return False

    for node in nodes:
        match node:
            case ast.Attribute(attr="environ" | "environb" | "getenv" | "getenvb" as name):
                yield node.lineno, name
            case ast.ImportFrom(module="os", names=names):
                for alias in names:
                    if alias.name in {"environ", "environb", "getenv", "getenvb"}:
                        yield node.lineno, alias.name
            case ast.Call(func=ast.Attribute(attr=verb, value=place), args=[key, *_]) if (
                verb in LOOKS_UP and (of(key) or is_environment(place))
            ):
                yield node.lineno, of(key) or "?"
            case ast.Call(func=ast.Name(id="named"), args=[_, key, *_]) if of(key):
                yield node.lineno, of(key)
            case ast.Subscript(value=place, slice=key, ctx=ast.Load()) if of(key) or is_environment(
                place
            ):
                yield node.lineno, of(key) or "?"
            case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[place]) if (
                is_environment(place)
            ):
                yield node.lineno, of(key) or "?"


def test_no_variable_is_read_outside_the_settings():
    found = {
        (place, name, line)
        for place, name, line in all_reads()
        if ("*", name) not in ALLOWED and (place, name) not in ALLOWED
    }
    assert not found, "declare them in the owner's settings model"


def test_what_is_allowed_is_still_there():
    found = {(place, name) for place, name, _ in all_reads()}
    assert {entry for entry in ALLOWED if entry[0] != "*"} <= found


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("os.environ", "environ"),
        ("from os import environ", "environ"),
        ("os.getenv('COLOUR')", "getenv"),
        ("env.get('COLOUR')", "COLOUR"),
        ("config.env.get('COLOUR', '')", "COLOUR"),
        ("values.get('COLOUR')", "COLOUR"),
        ("values['COLOUR']", "COLOUR"),
        ("values.get(KEY)", "COLOUR"),
        ("module.KEY in env", "COLOUR"),
        ("env[KEY]", "COLOUR"),
        ("env[f'{prefix}_COLOUR']", "?"),
        ("process_env().get(name)", "?"),
        ("'COLOUR' not in self._env", "COLOUR"),
        ("named(env, 'COLOUR')", "COLOUR"),
        ("named(env, KEY)", "COLOUR"),
    ],
)
def test_each_way_to_read_one_is_found(code: str, name: str):
    assert [found for _, found in reads(ast.walk(ast.parse(code)), {"KEY": "COLOUR"})] == [name]


@pytest.mark.parametrize("code", ["env['COLOUR'] = 'x'", "named(env, key)", "row.get('colour')"])
def test_other_uses_of_a_mapping_are_not(code: str):
    assert not list(reads(ast.walk(ast.parse(code)), {}))
