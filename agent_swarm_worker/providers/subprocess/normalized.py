"""Read normalized events as a program of the user's own may print them.

A program may simply print ``{"type": "tool_start", "toolName": "build", …}``. Names are accepted
in camelCase and in snake_case, some under a second name. An optional field of the wrong type
counts as missing; an event without what it needs is none, and left to the log.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.contract import InvalidEvent, event_from_dict
from agent_swarm_worker.providers.kit.native import number

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderEvent

_Field: TypeAlias = Callable[[dict[str, Any]], Any]
"""Reads one field out of an object whose keys are in snake_case."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def read_normalized(native: object) -> ProviderEvent | None:
    """Return the event a JSON value stands for, or ``None`` if it stands for none."""
    if not isinstance(native, dict):
        return None
    kind = native.get("type")
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        return None
    try:
        return event_from_dict({"type": kind} | _filled(fields, native))
    except InvalidEvent:
        return None


def _filled(fields: dict[str, _Field], native: dict[Any, Any]) -> dict[str, Any]:
    snake = {_HUMP.sub("_", str(key)).lower(): value for key, value in native.items()}
    return {name: read(snake) for name, read in fields.items()}


def _text(*names: str) -> _Field:
    """The first of these that is a string, else an empty one."""

    def read(native: dict[str, Any]) -> str:
        return next((v for name in names if isinstance(v := native.get(name), str)), "")

    return read


def _words(*names: str) -> _Field:
    """A string that says something, else ``None``."""
    read = _text(*names)
    return lambda native: read(native) or None


def _amount(name: str) -> _Field:
    """A finite number that is not negative, else ``None``."""
    return lambda native: number(native.get(name))


def _count(name: str, missing: int | None = None) -> _Field:
    """A number of things, rounded."""
    read = _amount(name)
    return lambda native: missing if (value := read(native)) is None else round(value)


def _flag(name: str) -> _Field:
    return lambda native: native.get(name) is True


def _value(name: str) -> _Field:
    return lambda native: native.get(name)


def _either(name: str, special: str, usual: str) -> _Field:
    return lambda native: special if native.get(name) == special else usual


def _cost(native: dict[str, Any]) -> dict[str, Any] | None:
    cost = native.get("cost")
    return _filled(_COST_FIELDS, cost) if isinstance(cost, dict) else None


def _custom_name(native: dict[str, Any]) -> str:
    return _text("name")(native) or "custom"


_COST_FIELDS: dict[str, _Field] = {
    "input_tokens": _count("input_tokens"),
    "output_tokens": _count("output_tokens"),
    "cache_read_tokens": _count("cache_read_tokens"),
    "cache_write_tokens": _count("cache_write_tokens"),
    "reasoning_output_tokens": _count("reasoning_output_tokens"),
    "thinking_tokens": _count("thinking_tokens"),
    "duration_ms": _count("duration_ms"),
    "num_turns": _count("num_turns"),
    "total_cost_usd": _amount("total_cost_usd"),
    "model": _text("model"),
    "is_error": _flag("is_error"),
}
_CALL_ID = _text("tool_call_id", "id")
_FIELDS: dict[str, dict[str, _Field]] = {
    "session_init": {"session_id": _words("session_id", "id"), "model": _words("model")},
    "message": {
        "role": _either("role", "user", "assistant"),
        "content": _text("content", "text", "message"),
    },
    "tool_start": {
        "tool_call_id": _CALL_ID,
        "tool_name": _words("tool_name", "name"),
        "args": _value("args"),
    },
    "tool_end": {
        "tool_call_id": _CALL_ID,
        "tool_name": _text("tool_name", "name"),
        "result": _value("result"),
        "is_error": _flag("is_error"),
    },
    "result": {
        "cost": _cost,
        "output": _words("output", "result"),
        "is_error": _flag("is_error"),
        "error_category": _words("error_category"),
    },
    "context_usage": {
        "context_used_tokens": _count("context_used_tokens"),
        "context_total_tokens": _count("context_total_tokens"),
        "context_percent": _amount("context_percent"),
        "output_tokens": _count("output_tokens"),
        "context_formula": lambda _: "harness-reported",
    },
    "compaction": {
        "pre_compact_tokens": _count("pre_compact_tokens", 0),
        "compact_trigger": _either("compact_trigger", "manual", "auto"),
        "context_total_tokens": _count("context_total_tokens"),
    },
    "error": {"message": _text("message", "error"), "category": _words("category")},
    "progress": {"message": _words("message", "content")},
    "custom": {"name": _custom_name, "data": _value("data")},
}
"""Per type of event: how each of its fields is read."""

NORMALIZED_TYPES = frozenset(_FIELDS)
