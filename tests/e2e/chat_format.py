"""OpenAI chat completions: read a request; `fake_model` writes the answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import fake_model
from model_script import Answer, Conversation, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYSTEM = ("system", "developer")
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
"""What a harness adds beside the prompt."""


def read(body: dict[str, Any]) -> Conversation:
    """Reduce a request to what a script needs."""
    prompt, calls = "", []
    for message in body["messages"]:
        if message["role"] == "user" and (said := _REMINDER.sub("", _text(message)).strip()):
            prompt, calls = said, []
        elif message["role"] == "assistant":
            calls += [call["function"]["name"] for call in message.get("tool_calls") or []]
    offered = frozenset(tool["function"]["name"] for tool in body.get("tools", []))
    return Conversation(prompt, tuple(calls), offered)


def heard(body: dict[str, Any]) -> list[str]:
    """The texts that are not the model's own."""
    said = (_text(message) for message in body["messages"] if message["role"] != "assistant")
    return [text for text in (_REMINDER.sub("", one).strip() for one in said) if text]


def system_text(body: dict[str, Any]) -> str:
    """The system prompt as one string."""
    return "\n".join(_text(said) for said in body["messages"] if said["role"] in _SYSTEM)


def failure(step: Failure) -> dict[str, Any]:
    """The body of an error answer."""
    return {"error": {"message": step.message, "type": "scripted", "code": None}}


def events(step: Answer, model: str) -> Iterator[bytes]:
    """The answer as server-sent events."""
    calls = [(step.tool.name, step.tool.arguments)] if step.tool else []
    return fake_model.chat(fake_model.Turn(step.text, calls, cut=step.cut), model)


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or [] if part["type"] == "text")
