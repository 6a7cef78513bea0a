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

from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.pi.costs import context_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent_swarm_worker.providers.pi.models import ModelChoice

Record: TypeAlias = dict[str, Any]
FORMULA = "input-cache-output"
"""The tokens that `context_usage` adds up."""


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
    return {"type": "user", "message": {"role": "user", "content": [_text_block(text)]}}


def assistant_message(
    text: str, calls: Iterable[tuple[str, str, Any]], *, model: str, stop: str, usage: Tokens
) -> Record:
    """A turn of the model; each call is an id, a tool's name and arguments."""
    content: list[Record] = [_text_block(text)] if text else []
    content += [
        {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
        for call_id, name, arguments in calls
    ]
    message = {"role": "assistant", "content": content, "model": model, "stop_reason": stop}
    return {"type": "assistant", "message": {**message, "usage": _usage(usage)}}


def tool_start(call_id: str) -> Record:
    """A tool call of the last turn begins."""
    return {"type": "tool_progress", "tool_use_id": call_id}


def tool_end(call_id: str, text: str, *, is_error: bool) -> Record:
    """A tool call ended."""
    block = {"type": "tool_result", "tool_use_id": call_id, "content": text, "is_error": is_error}
    return {"type": "user", "message": {"role": "user", "content": [block]}}


def context_usage(usage: Tokens, window: int) -> Record:
    """How much of the context window is used after a turn."""
    return {
        "type": "system",
        "subtype": "context_usage",
        "tokens": context_of(usage),
        "context_window": window,
        "output_tokens": usage.output,
    }


def retry(attempt: int, delay_s: float, why: str) -> Record:
    """A model request will be retried."""
    return {
        "type": "system",
        "subtype": "auto_retry_start",
        "attempt": attempt,
        "delay_ms": round(delay_s * 1000),
        "error": why,
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


def end(stop: str, duration_ms: int, failure: Mapping[str, str | None]) -> Record:
    """The session ended; `stop` is ``stop``, ``error`` or ``aborted``."""
    return {"type": "result", "subtype": stop, "duration_ms": duration_ms, **failure}


def usage_of(message: Record) -> Tokens:
    """Return the tokens of a recorded turn."""
    usage = message["usage"]
    return Tokens(
        input=usage["input_tokens"],
        output=usage["output_tokens"],
        cache_read=usage["cache_read_input_tokens"],
        cache_write=usage["cache_creation_input_tokens"],
    )


def _text_block(text: str) -> Record:
    return {"type": "text", "text": text}


def _usage(usage: Tokens) -> Record:
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
    }
