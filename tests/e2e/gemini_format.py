"""Gemini's generateContent: read a request, write an answer as server-sent events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from model_script import Answer, Conversation, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE = {
    "promptTokenCount": 4000,
    "cachedContentTokenCount": 3000,
    "candidatesTokenCount": 50,
    "thoughtsTokenCount": 20,
    "totalTokenCount": 4070,
}
"""What every answer is said to have used."""

_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}
# The harness speaks in the user's place, too; that is not a new prompt.
_NOT_A_PROMPT = "<session_context>"


def read(body: dict[str, Any]) -> Conversation:
    """Reduce a request to what a script needs."""
    prompt, calls = "", []
    for content in body["contents"]:
        if content.get("role") == "model":
            called = [part.get("functionCall") for part in content["parts"]]
            calls += [call["name"] for call in called if call]
        elif said := [text for text in _texts(content) if not text.startswith(_NOT_A_PROMPT)]:
            prompt, calls = "\n".join(said), []
    tools = [tool.get("functionDeclarations", []) for tool in body.get("tools", [])]
    offered = frozenset(one["name"] for declared in tools for one in declared)
    return Conversation(prompt, tuple(calls), offered)


def heard(body: dict[str, Any]) -> list[str]:
    """The texts that are not the model's own."""
    others = (content for content in body["contents"] if content.get("role") != "model")
    return [text for content in others for text in _texts(content)]


def system_text(body: dict[str, Any]) -> str:
    """The system prompt as one string."""
    return "\n".join(_texts(body.get("systemInstruction", {})))


def failure(step: Failure) -> dict[str, Any]:
    """The body of an error answer."""
    status = _STATUS.get(step.status, "INTERNAL")
    return {"error": {"code": step.status, "message": step.message, "status": status}}


def events(step: Answer, model: str) -> Iterator[bytes]:
    """The answer as server-sent events; text comes in pieces, so that it can be slow or cut."""
    for start in range(0, len(step.text), 5):
        yield _event(model, {"text": step.text[start : start + 5]})
        if step.cut:
            return
    call = step.tool and {"functionCall": {"name": step.tool.name, "args": step.tool.arguments}}
    yield _event(model, call or {"text": ""}, finishReason="STOP")


def _texts(content: dict[str, Any]) -> list[str]:
    return [part["text"] for part in content.get("parts", []) if part.get("text")]


def _event(model: str, part: dict[str, Any], **more: str) -> bytes:
    candidate = {"index": 0, "content": {"role": "model", "parts": [part]}, **more}
    line = {"candidates": [candidate], "modelVersion": model}
    if more:
        line["usageMetadata"] = USAGE
    return f"data: {json.dumps(line)}\n\n".encode()
