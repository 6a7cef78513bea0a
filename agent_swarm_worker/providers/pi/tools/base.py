"""What the coding tools have in common: checked arguments, errors as words, a scrubbed answer.

What a tool takes: its JSON schema for the model, and the check of what the model sent.

Writing for the tools: one at a time for each file.

How much of a text a model is shown, and what it is told about the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias
from weakref import WeakValueDictionary

import anyio

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.text import shorten, truncate_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.providers.pi.tools.place import Place


class CodingTool(ABC):
    """One tool on the session's files; what it answers is scrubbed here, once for all of them."""

    name: ClassVar[str]
    description: ClassVar[str]
    params: ClassVar[tuple[Param, ...]]

    def __init__(self, place: Place, redactor: Redactor) -> None:
        self.place = place
        self.redactor = redactor

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of its arguments."""
        return object_schema(self.params)

    async def run(self, args: Mapping[str, Any]) -> ToolOutcome:
        """Carry out one call; what is wrong with it comes back as words."""
        try:
            outcome = await self.use(checked(self.params, args))
        except (ToolRefusal, ProviderError) as refusal:
            outcome = ToolOutcome(f"{self.name}: {refusal}", is_error=True)
        except OSError as error:
            what = f"{self.name} {args.get('path', '')}".rstrip()
            outcome = ToolOutcome(f"{what}: {error.strerror or error}", is_error=True)
        return ToolOutcome(self.redactor.text(outcome.text), outcome.is_error)

    @abstractmethod
    async def use(self, args: dict[str, Any]) -> ToolOutcome:
        """Carry out one call with good arguments; may raise `ToolRefusal` and `OSError`."""


Kind: TypeAlias = Literal["string", "integer", "boolean", "array"]
_SHOWN_CHARS = 60


class ToolRefusal(Exception):
    """The call cannot be carried out; the text is for the model."""


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
        """Return the JSON schema of this argument."""
        found: dict[str, Any] = {"type": self.kind, "description": self.about}
        if self.least is not None:
            found["minimum"] = self.least
        if self.most is not None:
            found["maximum"] = self.most
        if self.kind == "array":
            found["items"] = object_schema(self.items)
        return found


def object_schema(params: Sequence[Param]) -> dict[str, Any]:
    """Return the JSON schema of an object with these members and no others."""
    return {
        "type": "object",
        "properties": {param.name: param.schema() for param in params},
        "required": [param.name for param in params if param.required],
        "additionalProperties": False,
    }


def checked(params: Sequence[Param], args: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return the arguments that were given; one that is null was not.

    A whole number may come as ``10.0``: some models write every number so.

    Args:
        params: what is expected.
        args: what came.
        where: what stands before a name in a complaint, such as ``edits[2].``.

    Raises:
        ToolRefusal: something is missing, unknown or of the wrong kind.
    """
    known = {param.name: param for param in params}
    found = {name: value for name, value in args.items() if value is not None}
    if unknown := [name for name in found if name not in known]:
        takes = ", ".join(known)
        msg = f"unknown argument {where}{_shown(unknown[0])}; this tool takes: {takes}"
        raise ToolRefusal(msg)
    for param in params:
        if param.name in found:
            found[param.name] = _value(param, found[param.name], where)
        elif param.required:
            msg = f"the argument {where}{param.name} is missing"
            raise ToolRefusal(msg)
    return found


def _value(param: Param, value: Any, where: str) -> Any:
    name = f"{where}{param.name}"
    if param.kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not _is(param.kind, value):
        msg = f"the argument {name} must be of type {param.kind}, not {_shown(value)}"
        raise ToolRefusal(msg)
    if param.kind == "integer":
        if param.least is not None and value < param.least:
            msg = f"the argument {name} must be at least {param.least}"
            raise ToolRefusal(msg)
        if param.most is not None and value > param.most:
            msg = f"the argument {name} must be at most {param.most}"
            raise ToolRefusal(msg)
    if param.kind == "array":
        return [_member(param, item, f"{name}[{index}]") for index, item in enumerate(value)]
    return value


def _member(param: Param, item: Any, name: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        msg = f"{name} must be an object, not {_shown(item)}"
        raise ToolRefusal(msg)
    return checked(param.items, item, f"{name}.")


def _is(kind: Kind, value: Any) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list | tuple)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return shorten(text, _SHOWN_CHARS)


_LOCKS: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()


def lock_of(path: str) -> anyio.Lock:
    """Return the lock of one file, the same for all sessions of this worker."""
    return _LOCKS.setdefault(path, anyio.Lock())


def to_utf8(text: str, argument: str) -> bytes:
    """Encode what the model wants written.

    Raises:
        ToolRefusal: it has half a surrogate pair in it.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        msg = f"the argument {argument} is not valid Unicode"
        raise ToolRefusal(msg) from None


MAX_BYTES = 50 * 1024
MAX_LINES = 2000


def size_of(count: int) -> str:
    """Return a number of bytes for people."""
    if count < 1024:
        return f"{count} bytes"
    for unit in ("KB", "MB", "GB"):
        count_in_unit = count / 1024
        if count_in_unit < 1024 or unit == "GB":
            return f"{count_in_unit:.1f} {unit}"
        count //= 1024
    raise AssertionError


def clipped(
    text: str, *, max_bytes: int = MAX_BYTES, max_lines: int = MAX_LINES, dropped: int = 0
) -> str:
    """Return `text`, or its beginning and its end with a note in between on what is missing.

    The end is the longer part: that is where errors and sums stand.

    Args:
        text: of which nothing is missing yet, but for `dropped` bytes somewhere in the middle.
        max_bytes: how much of it is shown.
        max_lines: how many lines are shown.
        dropped: what has been left out before.
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

    A secret that lies across an edge of the part is known only together with what is beyond. It is
    left out of the part altogether.
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
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return one[:index]
    return one[: len(other)]
