"""What a tool takes: its JSON schema for the model, and the check of what the model sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
