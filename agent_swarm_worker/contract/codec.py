"""Convert events, costs and results to plain dictionaries and back.

The keys are the names of the dataclass's fields, and ``type`` for an event; the values are JSON
values. A field with its default is left out. Reading ignores unknown keys, so that the output of a
newer version can be read, and refuses a value of the wrong type. Both directions are exact:
``event_from_dict(event_to_dict(event)) == event``, also by way of JSON text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from agent_swarm_worker.contract.events import CostData, ProviderEvent
from agent_swarm_worker.contract.session import ProviderResult

T = TypeVar("T")
_Convert: TypeAlias = Callable[[Any, str], Any]
"""Checks and converts one value; the second argument names the field for an error."""
_ABSENT: Any = object()


class InvalidEvent(ValueError):
    """A value cannot be converted: a field is missing, has the wrong type, or is not JSON."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One event of one session, with its number."""

    seq: int
    """Counts the events of a session from 0, without gaps."""
    at: str
    """When it was emitted: UTC in ISO 8601 with a final ``Z``."""
    session: str
    """The runner's id of the session (`ProviderSessionConfig.session_uuid`)."""
    event: ProviderEvent

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope as JSON values. Raises `InvalidEvent`."""
        head = {name: _HEAD[name](getattr(self, name), name) for name in _HEAD}
        return head | {"event": event_to_dict(self.event)}

    @classmethod
    def from_dict(cls, data: object) -> Envelope:
        """Return the envelope that `to_dict` wrote. Raises `InvalidEvent`."""
        native = _object(data, "envelope")
        head = {name: _HEAD[name](_field(native, name, "envelope"), name) for name in _HEAD}
        return cls(**head, event=event_from_dict(_field(native, "event", "envelope")))


def event_to_dict(event: ProviderEvent) -> dict[str, Any]:
    """Return an event as JSON values.

    Raises:
        InvalidEvent: a field has the wrong type, or holds something that JSON cannot.
    """
    if type(event) not in _EVENTS.values():
        msg = f"{type(event).__name__} is not an event"
        raise InvalidEvent(msg)
    return {"type": event.type, **_write(event)}


def event_from_dict(data: object) -> ProviderEvent:
    """Return the event of a dictionary.

    Raises:
        InvalidEvent: the dictionary is no event; the message names the field.
    """
    native = _object(data, "event")
    kind = native.get("type")
    cls = _EVENTS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        msg = f"unknown event type {kind!r}"
        raise InvalidEvent(msg)
    return cast("ProviderEvent", _read(cls, native, cast("str", kind)))


def cost_to_dict(cost: CostData) -> dict[str, Any]:
    """Return a cost as JSON values. Raises `InvalidEvent`."""
    return _write(cost)


def cost_from_dict(data: object) -> CostData:
    """Return the cost of a dictionary. Raises `InvalidEvent`."""
    return _read(CostData, _object(data, "cost"), "cost")


def result_to_dict(result: ProviderResult) -> dict[str, Any]:
    """Return a session's result as JSON values. Raises `InvalidEvent`."""
    return _write(result)


def result_from_dict(data: object) -> ProviderResult:
    """Return the session's result of a dictionary. Raises `InvalidEvent`."""
    return _read(ProviderResult, _object(data, "result"), "result")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    read: _Convert
    write: _Convert
    default: Any
    """The value without a key in the dictionary; `_ABSENT` if the key is required."""


def _fields_of(cls: type) -> tuple[_Field, ...]:
    known = _FIELDS.get(cls)
    if known is None:
        known = _FIELDS[cls] = _described(cls)
    return known


def _described(cls: type) -> tuple[_Field, ...]:
    hints = get_type_hints(cls, localns={"Mapping": Mapping, "CostData": CostData})
    return tuple(
        _Field(
            field.name,
            _converter(hints[field.name], writes=False),
            _converter(hints[field.name], writes=True),
            _ABSENT
            if field.default is MISSING and field.default_factory is MISSING
            else field.default
            if field.default_factory is MISSING
            else field.default_factory(),
        )
        for field in fields(cls)
    )


def _write(instance: Any) -> dict[str, Any]:
    cls = type(instance)
    written: dict[str, Any] = {}
    for field in _fields_of(cls):
        value = getattr(instance, field.name)
        if field.default is not _ABSENT and value is field.default:
            continue
        plain = field.write(value, f"{cls.__name__}.{field.name}")
        if field.default is _ABSENT or value != field.default:
            written[field.name] = plain
    return written


def _read(cls: type[T], native: Mapping[str, Any], where: str) -> T:
    values: dict[str, Any] = {}
    for field in _fields_of(cls):
        value = native.get(field.name, _ABSENT)
        if value is not _ABSENT:
            values[field.name] = field.read(value, f"{where}.{field.name}")
        elif field.default is _ABSENT:
            raise _missing(field.name, where)
    return cls(**values)


def _converter(hint: Any, *, writes: bool) -> _Convert:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return _json if writes else _unchanged
    if origin is Literal:
        return _one_of(arguments)
    if origin in (Union, UnionType):
        (inner,) = (option for option in arguments if option is not NoneType)
        return _optional(_converter(inner, writes=writes))
    if origin is tuple:
        return _sequence(_converter(arguments[0], writes=writes), writes=writes)
    if origin is Mapping:
        return _mapping(_converter(arguments[1], writes=writes))
    if is_dataclass(hint):
        return _nested(cast("type", hint), writes=writes)
    return _SCALARS[hint]


def _scalar(expected: str, *types: type) -> _Convert:
    def convert(value: Any, where: str) -> Any:
        if type(value) not in types or (type(value) is float and not math.isfinite(value)):
            raise _wrong(where, expected, value)
        return value

    return convert


def _one_of(options: tuple[Any, ...]) -> _Convert:
    def convert(value: Any, where: str) -> Any:
        if not isinstance(value, str) or value not in options:
            raise _wrong(where, f"one of {', '.join(options)}", value)
        return value

    return convert


def _optional(inner: _Convert) -> _Convert:
    return lambda value, where: None if value is None else inner(value, where)


def _sequence(inner: _Convert, *, writes: bool) -> _Convert:
    expected, make = (tuple, list) if writes else (list, tuple)

    def convert(value: Any, where: str) -> Any:
        if not isinstance(value, expected):
            raise _wrong(where, "an array", value)
        return make(inner(item, f"{where}[{index}]") for index, item in enumerate(value))

    return convert


def _mapping(inner: _Convert) -> _Convert:
    def convert(value: Any, where: str) -> dict[str, Any]:
        return {key: inner(item, f"{where}.{key}") for key, item in _object(value, where).items()}

    return convert


def _nested(cls: type, *, writes: bool) -> _Convert:
    def convert(value: Any, where: str) -> Any:
        if not writes:
            return _read(cls, _object(value, where), where)
        if type(value) is not cls:
            raise _wrong(where, f"a {cls.__name__}", value)
        return _write(value)

    return convert


def _unchanged(value: Any, where: str) -> Any:  # noqa: ARG001 - a converter
    return value


def _json(value: Any, where: str) -> Any:
    """Check that `value` consists of JSON values, at any depth."""
    pending = [value]
    while pending:
        item = pending.pop()
        if type(item) is dict:
            if not all(type(key) is str for key in item):
                raise _wrong(where, "an object with string keys", item)
            pending.extend(item.values())
        elif type(item) is list:
            pending.extend(item)
        elif not (item is None or type(item) in (str, bool, int)):
            _SCALARS[float](item, where)
    return value


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(type(key) is str for key in value):
        raise _wrong(where, "an object", value)
    return value


def _field(native: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in native:
        raise _missing(name, where)
    return native[name]


def _missing(name: str, where: str) -> InvalidEvent:
    return InvalidEvent(f"{where}.{name} is missing")


def _wrong(where: str, expected: str, value: object) -> InvalidEvent:
    shown = f"{type(value).__name__} {repr(value)[:80]}"
    return InvalidEvent(f"{where}: expected {expected}, got {shown}")


_SCALARS: dict[Any, _Convert] = {
    str: _scalar("a string", str),
    bool: _scalar("true or false", bool),
    int: _scalar("a whole number", int),
    float: _scalar("a finite number", float, int),
}
_FIELDS: dict[type, tuple[_Field, ...]] = {}
"""Filled on first use, since resolving the types of the fields takes a moment."""
_EVENTS: dict[str, type] = {cls.type: cls for cls in get_args(ProviderEvent)}
_HEAD: dict[str, _Convert] = {"seq": _SCALARS[int], "at": _SCALARS[str], "session": _SCALARS[str]}
