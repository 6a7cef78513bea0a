"""Reads JSON lines that are already normalized events, as the guide writes them.

A program of the user's own may simply print ``{"type": "tool_start", "toolName": "build", …}``.
Names are accepted in camelCase (the guide's) and in snake_case. What is not an event of the guide
is left to the log.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, TypeGuard

from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    CostData,
    Custom,
    Error,
    Message,
    Progress,
    ProviderEvent,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _text(native: dict[str, Any], *names: str) -> str:
    for name in names:
        value = native.get(name)
        if isinstance(value, str):
            return value
    return ""


def _count(native: dict[str, Any], name: str) -> int | None:
    value = native.get(name)
    return round(value) if _is_amount(value) else None


def _is_amount(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and value >= 0


def _session_init(native: dict[str, Any]) -> ProviderEvent | None:
    session_id = _text(native, "session_id", "id")
    return SessionInit(session_id, model=_text(native, "model") or None) if session_id else None


def _message(native: dict[str, Any]) -> ProviderEvent | None:
    is_user = native.get("role") == "user"
    return Message("user" if is_user else "assistant", _text(native, "content", "text", "message"))


def _tool_start(native: dict[str, Any]) -> ProviderEvent | None:
    name = _text(native, "tool_name", "name")
    return (
        ToolStart(_text(native, "tool_call_id", "id"), name, native.get("args")) if name else None
    )


def _tool_end(native: dict[str, Any]) -> ProviderEvent | None:
    return ToolEnd(
        _text(native, "tool_call_id", "id"),
        _text(native, "tool_name", "name"),
        native.get("result"),
        is_error=native.get("is_error") is True,
    )


def _result(native: dict[str, Any]) -> ProviderEvent | None:
    return Result(
        cost=_cost(native.get("cost")),
        output=_text(native, "output", "result") or None,
        is_error=native.get("is_error") is True,
        error_category=_text(native, "error_category") or None,
    )


def _context(native: dict[str, Any]) -> ProviderEvent | None:
    used = _count(native, "context_used_tokens")
    if used is None:
        return None
    percent = native.get("context_percent")
    return ContextUsage(
        used,
        _count(native, "context_total_tokens"),
        float(percent) if _is_amount(percent) else None,
        _count(native, "output_tokens"),
        "harness-reported",
    )


def _compaction(native: dict[str, Any]) -> ProviderEvent | None:
    return Compaction(
        _count(native, "pre_compact_tokens") or 0,
        "manual" if native.get("compact_trigger") == "manual" else "auto",
        _count(native, "context_total_tokens"),
    )


def _error(native: dict[str, Any]) -> ProviderEvent | None:
    return Error(_text(native, "message", "error"), _text(native, "category") or None)


def _progress(native: dict[str, Any]) -> ProviderEvent | None:
    message = _text(native, "message", "content")
    return Progress(message) if message else None


def _custom(native: dict[str, Any]) -> ProviderEvent | None:
    name = _text(native, "name")
    # Names of that kind are the session's own; what is said by them is acted upon.
    return None if name.startswith("session.") else Custom(name or "custom", native.get("data"))


_READERS: dict[str, Callable[[dict[str, Any]], ProviderEvent | None]] = {
    "session_init": _session_init,
    "message": _message,
    "tool_start": _tool_start,
    "tool_end": _tool_end,
    "result": _result,
    "context_usage": _context,
    "compaction": _compaction,
    "error": _error,
    "progress": _progress,
    "custom": _custom,
}

NORMALIZED_TYPES = frozenset(_READERS)


def read_normalized(native: object) -> ProviderEvent | None:
    """Return the event a JSON value stands for, or ``None`` if it stands for none."""
    if not isinstance(native, dict):
        return None
    reader = _READERS.get(str(native.get("type")))
    return reader(_snake_keys(native)) if reader else None


def _snake_keys(native: dict[str, Any]) -> dict[str, Any]:
    return {_HUMP.sub("_", str(key)).lower(): value for key, value in native.items()}


def _cost(value: object) -> CostData | None:
    if not isinstance(value, dict):
        return None
    native = _snake_keys(value)
    usd = native.get("total_cost_usd")
    return CostData(
        total_cost_usd=float(usd) if _is_amount(usd) else None,
        input_tokens=_count(native, "input_tokens"),
        output_tokens=_count(native, "output_tokens"),
        cache_read_tokens=_count(native, "cache_read_tokens"),
        cache_write_tokens=_count(native, "cache_write_tokens"),
        reasoning_output_tokens=_count(native, "reasoning_output_tokens"),
        thinking_tokens=_count(native, "thinking_tokens"),
        duration_ms=_count(native, "duration_ms"),
        num_turns=_count(native, "num_turns"),
        model=_text(native, "model"),
        is_error=native.get("is_error") is True,
    )
