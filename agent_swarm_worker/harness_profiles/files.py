"""Read the files of harness profiles: TOML that includes other files, as one merged tree.

Every value keeps its source. Tables are merged; lists and scalars replace each other: an included
file counts less than the one that includes it, and the shipped file least of all.
"""

from __future__ import annotations

import stat
import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from agent_swarm_worker.errors import BadHarnessProfiles
from agent_swarm_worker.harness_profiles.names import folded
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_FILES: Final = 100
MAX_DEPTH: Final = 30
INCLUDE: Final = "include"
MCP: Final = "mcp"
SHIPPED: Final = "shipped"
Path_: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value is written."""

    file: str
    key: str
    included_by: str = ""
    extends: str = ""
    """The harness profile that it was taken over from."""

    def __str__(self) -> str:
        text = SHIPPED if self.file == SHIPPED else f"{self.file}: {self.key}"
        notes = [f"included by {self.included_by}"] if self.included_by else []
        notes += [f"extends {self.extends}"] if self.extends else []
        return f"{text} ({', '.join(notes)})" if notes else text


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the merged files; that of a table is a mapping of nodes."""

    value: Any
    source: Source

    @property
    def is_table(self) -> bool:
        """True for a table."""
        return isinstance(self.value, dict)

    def plain(self) -> Any:
        """Return the value without its sources."""
        if not self.is_table:
            return self.value
        return {name: node.plain() for name, node in self.value.items()}

    def at(self, path: Path_) -> Node:
        """Return the node at `path`, or the last one above it."""
        node = self
        for step in path:
            if not node.is_table or step not in node.value:
                break
            node = node.value[step]
        return node

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Node]]:
        """Yield the dotted name and the node of each value that is no table."""
        for name, node in self.value.items():
            if node.is_table:
                yield from node.leaves(f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", node


def problem(source: Source, path: Path_ | str, why: str) -> str:
    """Return one line that says where a file is wrong, and how."""
    where = path if isinstance(path, str) else ".".join(map(str, path))
    return one_line(f"{source.file}: {where}: {why}" if where else f"{source.file}: {why}")


def merged(under: Node, over: Node) -> Node:
    """Merge two nodes: tables by key, of other values the second."""
    if not (under.is_table and over.is_table):
        return over
    both = dict(under.value)
    for name, node in over.value.items():
        both[name] = merged(both[name], node) if name in both else node
    return Node(both, over.source)


def read_tree(path: Path | None) -> Node:
    """Return the shipped file merged with the operator's.

    Raises:
        BadHarnessProfiles: a file cannot be read; it has all problems of all files.
    """
    reader = _Reader()
    tree = reader.shipped()
    if path is not None:
        tree = merged(tree, reader.read(path, ()))
    if reader.problems:
        raise BadHarnessProfiles(reader.problems)
    return tree


class _Reader:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self._count = 0

    def shipped(self) -> Node:
        text = files("agent_swarm_worker.harness_profiles").joinpath("profiles.toml")
        document = tomllib.loads(text.read_text(encoding="utf-8"))
        return self._tree(document, Source(SHIPPED, ""))

    def read(self, path: Path, chain: Sequence[Path]) -> Node:
        """Read a file and those that it includes; `chain` are the files that lead to it."""
        source = Source(str(path), "", included_by=chain[-1].name if chain else "")
        empty = Node({}, source)
        if why := self._why_not(path, chain):
            self.problems.append(why)
            return empty
        self._count += 1
        try:
            document = tomllib.loads(_content(path))
            names = self._included(document.pop(INCLUDE, []), source)
            own = self._tree(document, source)
        except OSError as error:
            self.problems.append(problem(source, "", error.strerror or str(error)))
        except RecursionError:
            self.problems.append(problem(source, "", "nested too deeply"))
        except UnicodeDecodeError as error:
            self.problems.append(problem(source, "", f"no UTF-8 at byte {error.start}"))
        except ValueError as error:
            self.problems.append(problem(source, "", str(error)))
        else:
            tree = empty
            for name in names:
                tree = merged(tree, self.read(path.parent / name, (*chain, path)))
            return merged(tree, own)
        return empty

    def _why_not(self, path: Path, chain: Sequence[Path]) -> str:
        here = Source(str(chain[-1] if chain else path), "")
        try:
            same = [one for one in chain if one.samefile(path)]
        except OSError as error:
            why = error.strerror or str(error)
            return problem(here, INCLUDE if chain else "", f"{path.name}: {why}" if chain else why)
        except ValueError as error:  # a null byte
            return problem(here, INCLUDE if chain else "", str(error))
        if same:
            names = [one.name for one in chain[chain.index(same[0]) :]]
            return problem(here, INCLUDE, f"a cycle: {' → '.join([*names, path.name])}")
        if self._count >= MAX_FILES:
            return problem(here, INCLUDE, f"more than {MAX_FILES} files")
        return ""

    def _included(self, names: Any, source: Source) -> list[str]:
        if isinstance(names, list) and all(isinstance(name, str) and name for name in names):
            return names
        self.problems.append(problem(source, INCLUDE, "expected a list of names of files"))
        return []

    def _tree(self, document: dict[str, Any], source: Source) -> Node:
        """Return a document as a tree, the names of agents and variants in one spelling."""
        tables = self._folded(document, source, "")
        for agent, table in tables.items():
            if agent != MCP and isinstance(table, dict):
                tables[agent] = self._folded(table, source, f"{agent}.")
        return _node(tables, source, ())

    def _folded(self, table: dict[str, Any], source: Source, prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in table.items():
            # A reserved name keeps its spelling, to be refused by it.
            short = name if name.startswith("__") else folded(name)
            if short in found:
                why = f"another spelling of it is there, too: {short}"
                self.problems.append(problem(source, f"{prefix}{name}", why))
            found[short] = value
        return found


def _node(value: Any, source: Source, path: tuple[str, ...]) -> Node:
    here = Source(source.file, ".".join(path), source.included_by)
    if not isinstance(value, dict):
        return Node(value, here)
    if len(path) > MAX_DEPTH:
        raise RecursionError
    return Node({name: _node(one, source, (*path, name)) for name, one in value.items()}, here)


def _content(path: Path) -> str:
    """Return the text of a file; `ValueError` if it is none, or too large."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening another may take for ever
        msg = "expected a file"
        raise ValueError(msg)
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        msg = f"larger than {MAX_FILE_BYTES >> 20} MiB"
        raise ValueError(msg)
    return content.decode("utf-8-sig")


def kind_of(value: Any) -> str:
    """Return the name of a TOML value's type, with its article."""
    kinds: tuple[tuple[Any, str], ...] = (
        (bool, "true or false"),
        (str, "text"),
        (int, "a whole number"),
        (float, "a number"),
        (list, "a list"),
        (dict, "a table"),
        ((date, datetime, time), "a date"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)
