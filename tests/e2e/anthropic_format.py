"""Anthropic Messages: read a request, write an answer as one body or as server-sent events."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from model_script import Answer, Conversation, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE = {
    "input_tokens": 1000,
    "cache_creation_input_tokens": 200,
    "cache_read_input_tokens": 3000,
    "output_tokens": 50,
}
"""What every answer is said to have used."""

_numbers = itertools.count(1)
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
# The harness speaks in the user's place, too; that is not a new prompt.
_NOT_A_PROMPT = ("<system-reminder>", "Tool loaded.", "[Request interrupted")


def read(body: dict[str, Any]) -> Conversation:
    """Reduce a request to what a script needs."""
    prompt, calls = "", []
    for message in body.get("messages", []):
        blocks = _blocks(message.get("content"))
        if message.get("role") == "assistant":
            calls += [block["name"] for block in blocks if block.get("type") == "tool_use"]
        elif message.get("role") == "user":
            said = [block["text"] for block in blocks if block.get("type") == "text"]
            said = [text for text in said if not text.startswith(_NOT_A_PROMPT)]
            if said:
                prompt, calls = said[-1], []
    tools = frozenset(tool.get("name", "") for tool in body.get("tools", []))
    return Conversation(prompt, tuple(calls), tools)


def heard(body: dict[str, Any]) -> list[str]:
    """The texts that are not the model's own."""
    said = [
        _blocks(message["content"])
        for message in body["messages"]
        if message["role"] != "assistant"
    ]
    blocks = [block for blocks in said for block in blocks]
    results = [block for block in blocks if block.get("type") == "tool_result"]
    blocks += [inner for block in results for inner in _blocks(block.get("content"))]
    return [block["text"] for block in blocks if block.get("type") == "text"]


def system_text(body: dict[str, Any]) -> str:
    """The system prompt as one string."""
    return "\n".join(block.get("text", "") for block in _blocks(body.get("system")))


def failure(step: Failure) -> dict[str, Any]:
    """The body of an error answer."""
    kind = _ERROR_TYPES.get(step.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": step.message}}


def whole(step: Answer, model: str) -> dict[str, Any]:
    """The answer as one body."""
    return {
        **_message(model),
        "content": _content(step),
        "stop_reason": "tool_use" if step.tool else "end_turn",
        "usage": USAGE,
    }


def events(step: Answer, model: str) -> Iterator[bytes]:
    """The answer as server-sent events; text comes in pieces, so that it can be slow or cut."""
    yield _event("message_start", message=_message(model))
    for index, block in enumerate(_content(step)):
        if block["type"] == "text":
            empty, deltas = {"type": "text", "text": ""}, _text_deltas(block["text"])
        else:
            empty = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        yield _event("content_block_start", index=index, content_block=empty)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
            if step.cut:
                return
        yield _event("content_block_stop", index=index)
    stop = {"stop_reason": "tool_use" if step.tool else "end_turn", "stop_sequence": None}
    yield _event("message_delta", delta=stop, usage=USAGE)
    yield _event("message_stop")


def _blocks(content: object) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if isinstance(content, list) else []


def _message(model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{next(_numbers):06}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**USAGE, "output_tokens": 1},
    }


def _content(step: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": step.text}]
    if step.tool:
        call_id = f"toolu_{next(_numbers):06}"
        call = {"type": "tool_use", "id": call_id, "name": step.tool.name}
        blocks.append({**call, "input": step.tool.arguments})
    return blocks


def _text_deltas(text: str) -> list[dict[str, str]]:
    return [
        {"type": "text_delta", "text": text[start : start + 5]} for start in range(0, len(text), 5)
    ]


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
