"""Build the native records of a session: one JSON line for each event of the agent.

    system       init, context_usage, auto_retry_start, compaction_end (their ``subtype``)
    assistant    a turn of the model: text, tool calls, usage
    tool_progress  a tool call begins
    user         a tool's result, the prompt, or a steering message
    stderr       a warning
    result       the last record: how the session ended

Messages have the shape of Anthropic's for every model, since that is what the dashboard renders for
pi; it ignores the other records.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.guards.scrubbing.json_lines import map_strings
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.outcome import MAX_REASON_CHARS
from agent_swarm_worker.providers.pi.chat_deltas import mended
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.providers.pi.models import ModelChoice

Record: TypeAlias = dict[str, Any]
_USAGE = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write": "cache_creation_input_tokens",
}


class SessionFailed(ProviderError):
    """The session cannot continue; has an error category and one readable line."""

    def __init__(self, kind: str, reason: str, *, reset_at: str | None = None) -> None:
        self.kind, self.reset_at = kind, reset_at
        self.reason = one_line(reason, MAX_REASON_CHARS)
        super().__init__(self.reason)


def session(session_id: str, choice: ModelChoice, cwd: str, *, resumed: bool) -> Record:
    """The session began."""
    return {
        "type": "system",
        "subtype": "init",
        "session_id": session_id,
        "model": choice.name,
        "cwd": cwd,
        "context_window": choice.context_window,
        "resumed": resumed,
    }


def user_message(text: str) -> Record:
    """The task's prompt, or a steering message."""
    return _user({"type": "text", "text": text})


def assistant_message(
    text: str,
    calls: Iterable[tuple[str, str, Any]],
    *,
    thinking: str = "",
    model: str,
    stop: str,
    usage: Tokens,
) -> Record:
    """A turn of the model; each call is an id, a tool's name and arguments."""
    content: list[Record] = [{"type": "thinking", "thinking": thinking}] if thinking else []
    content += [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
        for call_id, name, arguments in calls
    ]
    message = {"role": "assistant", "content": content, "model": model, "stop_reason": stop}
    counts = {key: getattr(usage, name) for name, key in _USAGE.items()}
    return {"type": "assistant", "message": {**message, "usage": counts}}


def tool_start(call_id: str) -> Record:
    """A tool call of the last turn begins."""
    return {"type": "tool_progress", "tool_use_id": call_id}


def tool_end(call_id: str, text: str, *, is_error: bool) -> Record:
    """A tool call ended."""
    return _user(
        {"type": "tool_result", "tool_use_id": call_id, "content": text, "is_error": is_error}
    )


def context_usage(usage: Tokens, window: int) -> Record:
    """How much of the context window is used after a turn."""
    return {
        "type": "system",
        "subtype": "context_usage",
        "tokens": context_of(usage),
        "context_window": window,
        "output_tokens": usage.output,
    }


def retry(attempt: int, delay_s: float, reason: str) -> Record:
    """A model request will be retried."""
    return {
        "type": "system",
        "subtype": "auto_retry_start",
        "attempt": attempt,
        "delay_ms": round(delay_s * 1000),
        "error": reason,
    }


def compaction(tokens_before: int, window: int, *, reason: str, summary: str) -> Record:
    """The conversation was summarised."""
    return {
        "type": "system",
        "subtype": "compaction_end",
        "reason": reason,
        "tokens_before": tokens_before,
        "context_window": window,
        "summary": summary,
    }


def warning(message: str) -> Record:
    """Something was left out or replaced; the session goes on."""
    return {"type": "stderr", "content": message}


def end(stop: str, duration_ms: int, failure: SessionFailed | None) -> Record:
    """The session ended; `stop` is ``stop``, ``error`` or ``aborted``."""
    return {
        "type": "result",
        "subtype": stop,
        "duration_ms": duration_ms,
        "category": failure.kind if failure else None,
        "error": failure.reason if failure else None,
        "rate_limit_reset_at": failure.reset_at if failure else None,
    }


def context_of(usage: Tokens) -> int:
    """Return the tokens of the conversation after a request."""
    return usage.input + usage.cache_read + usage.cache_write + usage.output


def usage_of(message: Record) -> Tokens:
    """Return the tokens of a recorded turn."""
    return Tokens(**{name: message["usage"][key] for name, key in _USAGE.items()})


def _user(block: Record) -> Record:
    return {"type": "user", "message": {"role": "user", "content": [block]}}


def encoded(value: Any) -> bytes:
    """Encode what models and tools say as JSON: also half a character, and integers of any size."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(map_strings(value, mended), default=str).encode()
