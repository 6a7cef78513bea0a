"""Share what the coding tools have in common: arguments, paths, file locks, clipped output.

Paths from the model are resolved with all links and compared with the session's allowed roots.
Operations on a path are confined to the root that contains it (`GuestFiles`), so that a link that
appears after the check has no effect. Commands of `bash` have all rights of the session.
"""

from __future__ import annotations

import itertools
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias
from weakref import WeakValueDictionary

import anyio

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.pi.spec import PiOptions
from agent_swarm_worker.text import truncate_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import PurePath
    from typing import Self

    from agent_swarm_worker.contract import Guest, GuestFiles, Listing, OpenFile, Redactor

Kind: TypeAlias = Literal["string", "integer", "boolean", "array"]
_TYPES: dict[Kind, Any] = {"string": str, "integer": int, "boolean": bool, "array": list}
MAX_BYTES = 50 * 1024
MAX_LINES = 2000
_QUOTED_CHARS = 60
_LOCKS: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """The result of a tool call, for the model."""

    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call."""

    name: str
    """For the model, for example ``bash`` or ``mcp__github__search``."""
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of its arguments, an object."""
    run: Callable[[Mapping[str, Any]], Awaitable[ToolOutcome]]
    """Executes one call; the arguments come from the model and may be invalid.

    An error of the model or of a server is returned as an outcome with `is_error`, not raised.
    Cancelling ends all processes that the call started.
    """


class CodingTool(ABC):
    """A tool that works in the session's guest.

    Checks the arguments of a call, returns errors as text, and scrubs the result.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    params: ClassVar[tuple[Param, ...]]

    def __init__(self, paths: PathResolver, redactor: Redactor) -> None:
        self.paths = paths
        self.redactor = redactor

    def tool(self) -> Tool:
        """Return the tool as the agent calls it."""
        return Tool(self.name, self.description, _object_schema(self.params), self.run)

    async def run(self, args: Mapping[str, Any]) -> ToolOutcome:
        """Execute one call."""
        try:
            outcome = await self._call(_checked(self.params, args))
        except (ToolRefusal, ProviderError) as refusal:
            outcome = ToolOutcome(f"{self.name}: {refusal}", is_error=True)
        except OSError as error:
            label = f"{self.name} {args.get('path', '')}".rstrip()
            outcome = ToolOutcome(f"{label}: {error.strerror or error}", is_error=True)
        return ToolOutcome(self.redactor.text(outcome.text), outcome.is_error)

    @abstractmethod
    async def _call(self, args: dict[str, Any]) -> ToolOutcome:
        """Execute one call with valid arguments; may raise `ToolRefusal` and `OSError`."""


class ToolRefusal(Exception):
    """The call cannot be executed; the message is for the model."""


@dataclass(frozen=True, slots=True)
class Param:
    """One argument of a tool."""

    name: str
    kind: Kind
    about: str
    required: bool = False
    least: int | None = None
    most: int | None = None
    items: tuple[Param, ...] = ()
    """The members of each object in an array."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the argument."""
        found: dict[str, Any] = {"type": self.kind, "description": self.about}
        if self.least is not None:
            found["minimum"] = self.least
        if self.most is not None:
            found["maximum"] = self.most
        if self.kind == "array":
            found["items"] = _object_schema(self.items)
        return found


def _object_schema(params: Sequence[Param]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {param.name: param.schema() for param in params},
        "required": [param.name for param in params if param.required],
        "additionalProperties": False,
    }


def _checked(params: Sequence[Param], args: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return the valid arguments; one that is null counts as missing.

    Whole numbers are also accepted as ``10.0``, as some models write every number. `where` is the
    prefix of names in error messages, such as ``edits[2].``.
    """
    known = {param.name: param for param in params}
    found = {name: value for name, value in args.items() if value is not None}
    if unknown := [name for name in found if name not in known]:
        takes = ", ".join(known)
        raise ToolRefusal(
            f"unknown argument {where}{_quoted(unknown[0])}; this tool takes: {takes}"
        )
    for param in params:
        if param.name in found:
            found[param.name] = _value(param, found[param.name], where)
        elif param.required:
            raise ToolRefusal(f"the argument {where}{param.name} is missing")
    return found


def _value(param: Param, value: Any, where: str) -> Any:
    name = f"{where}{param.name}"
    if param.kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not _TYPES[param.kind]:
        raise ToolRefusal(f"the argument {name} must be of type {param.kind}, not {_quoted(value)}")
    if param.kind == "integer":
        if param.least is not None and value < param.least:
            raise ToolRefusal(f"the argument {name} must be at least {param.least}")
        if param.most is not None and value > param.most:
            raise ToolRefusal(f"the argument {name} must be at most {param.most}")
    if param.kind == "array":
        return [_member(param, item, f"{name}[{index}]") for index, item in enumerate(value)]
    return value


def _member(param: Param, item: Any, name: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise ToolRefusal(f"{name} must be an object, not {_quoted(item)}")
    return _checked(param.items, item, f"{name}.")


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return text if len(text) <= _QUOTED_CHARS else f"{text[:_QUOTED_CHARS]}…"


@dataclass(frozen=True, slots=True)
class ResolvedPath:
    """An allowed path: below `root`, with all links resolved."""

    files: GuestFiles
    root: str
    parts: tuple[str, ...]

    @property
    def path(self) -> str:
        """The whole path."""
        return str(PurePosixPath(self.root, *self.parts))

    def open(self) -> AbstractAsyncContextManager[OpenFile]:
        """Open the regular file for reading."""
        return self.files.open(self.path, within=self.root)

    async def list(self, limit: int) -> Listing:
        """Return the entries of the directory."""
        return await self.files.list(self.path, within=self.root, limit=limit)

    async def replace(self, content: bytes) -> bool:
        """Replace the file's content; return whether the file existed."""
        return await self.files.write(self.path, content, within=self.root)


@dataclass(frozen=True, slots=True)
class PathResolver:
    """The roots of one session; create it with `open`."""

    files: GuestFiles
    home: str
    cwd: str
    roots: tuple[str, ...]
    readable: tuple[str, ...]
    """The roots, and directories that may be read only: skills, and outputs of commands."""

    @classmethod
    async def open(
        cls, guest: Guest, cwd: PurePath, env: Mapping[str, str], readable: Iterable[PurePath] = ()
    ) -> Self:
        """Resolve the roots of a session: `cwd`, where relative paths start, and those of `env`."""
        files = guest.files
        root = await files.real_path(str(cwd))
        options = PiOptions.load(env)
        roots = [root, "/"]
        if not options.allow_outside_cwd:
            roots = [root, *[await files.real_path(str(path)) for path in options.extra_roots]]
        more = [await files.real_path(str(path)) for path in readable]
        return cls(files, options.home, root, tuple(roots), (*roots, *more))

    async def resolve(self, path: str, *, to_write: bool = False) -> ResolvedPath:
        """Resolve a path from the model; raises `ToolRefusal` if it is not valid or allowed."""
        full = path
        if self.home and (path == "~" or path.startswith("~/")):
            full = self.home + path[1:]
        try:
            real = await self.files.real_path(str(PurePosixPath(self.cwd, full)))
        except (ValueError, OSError) as error:  # a NUL, a lone surrogate
            raise ToolRefusal(f"{path!r} is no usable path: {error}") from None
        for root in self.roots if to_write else self.readable:
            if PurePosixPath(real).is_relative_to(root):
                return ResolvedPath(self.files, root, PurePosixPath(real).relative_to(root).parts)
        raise ToolRefusal(
            f"{path} is outside of the working directory {self.cwd}, where this tool may not go"
        )

    def display(self, target: ResolvedPath) -> str:
        """Return a path as it is shown to the model: relative if below the working directory."""
        real = PurePosixPath(target.path)
        return str(real.relative_to(self.cwd)) if real.is_relative_to(self.cwd) else str(real)

    def display_below(self, target: ResolvedPath, path: str) -> str:
        """Return a path found by a search below `target`, as it is shown to the model."""
        return os.path.normpath(f"{self.display(target)}/{path}") + "/" * path.endswith("/")


def lock_of(path: str) -> anyio.Lock:
    """Return the lock of one file, shared by all sessions of this worker."""
    return _LOCKS.setdefault(path, anyio.Lock())


def to_utf8(text: str, argument: str) -> bytes:
    """Encode text from the model; raises `ToolRefusal` if it has half a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ToolRefusal(f"the argument {argument} is not valid Unicode") from None


def size_of(count: int) -> str:
    """Format a number of bytes for people."""
    if count < 1024:
        return f"{count} bytes"
    size = count / 1024
    for unit in ("KB", "MB"):
        if size < 1024:
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"


def clipped(
    text: str, *, max_bytes: int = MAX_BYTES, max_lines: int = MAX_LINES, dropped: int = 0
) -> str:
    """Return `text`, or its beginning and end with a note on the size of the part left out.

    The end is the longer part, since it has errors and totals. `dropped` bytes were left out in the
    middle before.
    """
    lines = text.splitlines(keepends=True)
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= max_bytes and len(lines) <= max_lines and not dropped:
        return text
    head = truncate_bytes("".join(lines[: max_lines * 2 // 5]), max_bytes * 2 // 5)
    tail_lines = "".join(lines[-(max_lines * 3 // 5) :]).encode("utf-8", "surrogatepass")
    tail = tail_lines[-(max_bytes * 3 // 5) :].decode("utf-8", "ignore")
    missing = dropped + len(raw) - len(head.encode("utf-8", "surrogatepass"))
    missing -= len(tail.encode("utf-8", "surrogatepass"))
    return f"{head}\n\n[… {size_of(max(0, missing))} left out …]\n\n{tail}"


def scrubbed_part(redactor: Redactor, before: str, part: str, after: str) -> str:
    """Scrub a part of a longer text.

    A secret across an edge of the part is recognised only together with the text beyond the edge;
    the half of it in this part is left out.
    """
    clean = redactor.text(part)
    if after:
        whole = redactor.text(part + after)
        if whole != clean + redactor.text(after):
            clean = _common_prefix(clean, whole)
    if before:
        whole = redactor.text(before + part)
        if whole != redactor.text(before) + redactor.text(part):
            clean = _common_prefix(clean[::-1], whole[::-1])[::-1]
    return clean


def _common_prefix(one: str, other: str) -> str:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return one[: sum(1 for _ in same)]
