"""What the scripted model does, whatever the wire format: tags in the prompt become steps.

    [[say:TEXT]]           answer TEXT at the end (without it the answer is "Done.")
    [[bash:COMMAND]]       let the harness run COMMAND in its shell tool
    [[tool:NAME JSON]]     let the harness call the tool NAME with these arguments
    [[fail:STATUS]]        answer with this HTTP status, every time
    [[fail:STATUS xN]]     the same, but only the first N times
    [[fail:STATUS TEXT]]   the same, with this error message
    [[limit:EPOCH_S]]      429 as a subscription's limit reports it, ending at that time
    [[hang]]               take the request and never answer
    [[cut]]                break off in the middle of the answer
    [[slow:SECONDS]]       spread the answer over this time

Tool tags are worked through in order, one per request, before the answer.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_TAG = re.compile(r"\[\[(\w+)(?::(.*?))?\]\]", re.DOTALL)
_FAIL = re.compile(r"(\d{3})(?: x(\d+))?(?: (.*))?$", re.DOTALL)

TOOL_SEARCH = "ToolSearch"
SHELL = "Bash"
"""What scripts call the shell tool."""


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A turn of the model: text, and possibly a tool call that ends it."""

    text: str
    tool: ToolCall | None = None
    over_s: float = 0.0
    cut: bool = False


@dataclass(frozen=True)
class Failure:
    status: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    pass


Step = Answer | Failure | Hang


@dataclass(frozen=True)
class Conversation:
    """What a request says, reduced to what a script needs."""

    prompt: str
    """The last text that the user (or the harness in the user's place) wrote."""
    calls: tuple[str, ...]
    """Names of the tools called since, oldest first."""
    offered: frozenset[str]
    """Names of the tools the model may call now."""


def next_step(conversation: Conversation, failed_before: int) -> Step:
    """Say what the model does now; `failed_before` counts failures for this prompt so far."""
    tags = _TAG.findall(conversation.prompt)
    for name, argument in tags:
        step = _interruption(name, argument, failed_before)
        if step:
            return step
    tools = [call for call in (_tool_call(*tag) for tag in tags) if call]
    done = sum(name != TOOL_SEARCH for name in conversation.calls)
    if done < len(tools):
        return Answer("Working.", _offered_or_searched(tools[done], conversation))
    given = dict(tags)
    return Answer(
        text=given.get("say") or "Done.",
        over_s=float(given.get("slow") or 0),
        cut="cut" in given,
    )


def _interruption(name: str, argument: str, failed_before: int) -> Step | None:
    if name == "hang":
        return Hang()
    if name == "limit":
        return _subscription_limit(argument)
    match = _FAIL.match(argument) if name == "fail" else None
    if match is None or failed_before >= int(match[2] or 1_000_000):
        return None
    return Failure(int(match[1]), match[3] or "scripted failure")


def _subscription_limit(epoch_s: str) -> Failure:
    return Failure(
        429,
        "This request would exceed your account's rate limit. Please try again later.",
        {
            "anthropic-ratelimit-unified-status": "rejected",
            "anthropic-ratelimit-unified-reset": epoch_s,
            "anthropic-ratelimit-unified-representative-claim": "five_hour",
            "anthropic-ratelimit-unified-5h-status": "rejected",
            "anthropic-ratelimit-unified-5h-reset": epoch_s,
            "anthropic-ratelimit-unified-5h-utilization": "1.0",
        },
    )


def _tool_call(name: str, argument: str) -> ToolCall | None:
    if name == "bash":
        return ToolCall(SHELL, {"command": argument, "description": "scripted"})
    if name == "tool":
        tool, _, arguments = argument.partition(" ")
        return ToolCall(tool, json.loads(arguments or "{}"))
    return None


def _offered_or_searched(call: ToolCall, conversation: Conversation) -> ToolCall:
    """A harness may hide tools until the model asks for them; ask once, then call anyway."""
    searched = call.name == SHELL or conversation.calls[-1:] == (TOOL_SEARCH,)
    if call.name in conversation.offered or searched or TOOL_SEARCH not in conversation.offered:
        return call
    return ToolCall(TOOL_SEARCH, {"query": f"select:{call.name}", "max_results": 1})
