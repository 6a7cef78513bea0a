"""pi's own words: one JSON record for each thing that happens in a session.

session                    id, model, cwd, context window
message_end                a complete message, with usage and cost if the model said it
tool_execution_start/_end  one tool call
context_usage              how full the window is
auto_retry_start           a model request failed and is repeated after a pause
compaction_end             the conversation was summarised
warning                    something was left out or replaced
agent_end                  the last word: how it ended
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent_swarm_worker.providers.pi.costs import Usage
    from agent_swarm_worker.providers.pi.models import ModelChoice

Record: TypeAlias = dict[str, Any]
FORMULA = "input-cache-output"
"""What `context_usage` adds up."""


def session(session_id: str, choice: ModelChoice, cwd: str, *, resumed: bool) -> Record:
    """The session has begun."""
    return {
        "type": "session",
        "id": session_id,
        "model": choice.name,
        "cwd": cwd,
        "contextWindow": choice.context_window,
        "resumed": resumed,
    }


def user_message(text: str) -> Record:
    """The task's prompt, or a message that came while it ran."""
    return {
        "type": "message_end",
        "message": {"role": "user", "content": [{"type": "text", "text": text}]},
    }


def assistant_message(
    text: str, calls: Iterable[tuple[str, str, Any]], *, model: str, stop: str, usage: Usage
) -> Record:
    """A turn of the model; each call is its id, the tool's name and the arguments."""
    content: list[Record] = [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "toolCall", "id": call_id, "name": name, "arguments": arguments}
        for call_id, name, arguments in calls
    ]
    message = {"role": "assistant", "content": content, "model": model, "stopReason": stop}
    return {"type": "message_end", "message": {**message, "usage": usage_fields(usage)}}


def usage_fields(usage: Usage) -> Record:
    """Token counts as pi writes them; `input` is what no cache had."""
    return {
        "input": usage.input,
        "output": usage.output,
        "cacheRead": usage.cache_read,
        "cacheWrite": usage.cache_write,
    }


def tool_start(call_id: str, name: str, args: Any) -> Record:
    """A tool call begins."""
    return {"type": "tool_execution_start", "toolCallId": call_id, "toolName": name, "args": args}


def tool_end(call_id: str, name: str, text: str, *, is_error: bool) -> Record:
    """A tool call is over."""
    return {
        "type": "tool_execution_end",
        "toolCallId": call_id,
        "toolName": name,
        "result": {"content": [{"type": "text", "text": text}]},
        "isError": is_error,
    }


def context_usage(usage: Usage, window: int) -> Record:
    """How full the window is after a turn."""
    return {
        "type": "context_usage",
        "tokens": usage.context,
        "contextWindow": window,
        "output": usage.output,
    }


def retry(attempt: int, delay_s: float, why: str) -> Record:
    """A model request is repeated."""
    return {
        "type": "auto_retry_start",
        "attempt": attempt,
        "delayMs": round(delay_s * 1000),
        "errorMessage": why,
    }


def compaction(tokens_before: int, window: int, *, reason: str, summary: str) -> Record:
    """The conversation was summarised."""
    return {
        "type": "compaction_end",
        "reason": reason,
        "tokensBefore": tokens_before,
        "contextWindow": window,
        "summary": summary,
    }


def warning(message: str) -> Record:
    """Something was left out or replaced; the session goes on."""
    return {"type": "warning", "message": message}


def agent_end(stop: str, duration_ms: int, failure: Mapping[str, str | None]) -> Record:
    """The last word: ``stop``, ``error`` or ``aborted``."""
    return {"type": "agent_end", "stopReason": stop, "durationMs": duration_ms, **failure}
