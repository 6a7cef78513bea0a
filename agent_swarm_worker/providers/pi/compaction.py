"""Compact a conversation: replace all but its last turns by the model's summary."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import orjson
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from agent_swarm_worker.guards.tokens import count_tokens
from agent_swarm_worker.text import shorten_middle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHARS_PER_TOKEN = 4
"""A rough estimate, used to shorten text."""
KEPT_SHARE = 0.2
"""Share of the context window for the last turns, which are kept."""
TRANSCRIPT_SHARE = 0.5
"""Share of the context window for the conversation to summarise; its middle is cut out."""
MAX_RESULT_CHARS = 2000
MAX_TASK_CHARS = 20_000

_ASK = """\
Below is the conversation of a coding agent that has become too long to go on. Write what the agent
must know to continue without it: the task in its own words, decisions and why they were taken, what
was done (files with their paths, commands with what came of them), what failed, what is left to do,
and anything it must not do. Be exact and brief. Answer with that summary alone.

<conversation>
{conversation}
</conversation>"""
_GO_ON = """\
The conversation so far was summarised because it had become too long.

<task>
{task}
</task>

<summary>
{summary}
</summary>

Go on from there."""


def estimate_tokens(messages: Sequence[ModelMessage]) -> int:
    """Estimate the tokens of messages that no model has counted yet."""
    return sum(count_tokens(line) for line in _lines(messages))


def request_for_summary(messages: Sequence[ModelMessage], window: int) -> list[ModelMessage]:
    """Return the request for a summary; it fits into the context window."""
    text = "\n\n".join(_lines(messages, max_chars=MAX_RESULT_CHARS))
    most = int(window * TRANSCRIPT_SHARE) * CHARS_PER_TOKEN
    if len(text) > most:
        text = f"{text[: most // 3]}\n\n[…]\n\n{text[-2 * most // 3 :]}"
    return [ModelRequest(parts=[UserPromptPart(content=_ASK.format(conversation=text))])]


def compacted(messages: Sequence[ModelMessage], summary: str, window: int) -> list[ModelMessage]:
    """Return the shorter conversation: task, summary, and the last turns that fit."""
    text = _GO_ON.format(task=_asked_for(messages), summary=summary)
    head = ModelRequest(parts=[UserPromptPart(content=text)])
    return [head, *messages[_first_kept(messages, window) :]]


def _first_kept(messages: Sequence[ModelMessage], window: int) -> int:
    """Return where the kept turns begin: at an answer, so that no call loses its result."""
    room = int(window * KEPT_SHARE)
    first = len(messages)
    for index in range(len(messages) - 1, 0, -1):
        room -= estimate_tokens(messages[index : index + 1])
        if room < 0:
            break
        if isinstance(messages[index], ModelResponse):
            first = index
    return first


def _asked_for(messages: Sequence[ModelMessage]) -> str:
    """Return the texts of all user messages; if they are too long, their end."""
    texts = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, UserPromptPart) and isinstance(part.content, str):
                text = part.content
                if "<task>\n" in text and "\n</task>" in text:  # summarised before
                    text = text.partition("<task>\n")[2].partition("\n</task>")[0]
                texts.append(text)
    return "\n\n".join(texts)[-MAX_TASK_CHARS:]


def _lines(messages: Sequence[ModelMessage], *, max_chars: int = sys.maxsize) -> Iterator[str]:
    for message in messages:
        for part in message.parts:
            if isinstance(part, UserPromptPart):
                yield f"User: {part.content}"
            elif isinstance(part, TextPart):
                yield f"Agent: {part.content}"
            elif isinstance(part, ToolCallPart):
                args = orjson.dumps(part.args, default=str).decode()
                yield f"Agent calls {part.tool_name}: {shorten_middle(args, max_chars)}"
            elif isinstance(part, ToolReturnPart):
                text = str(part.content)
                yield f"{part.tool_name} answers: {shorten_middle(text, max_chars)}"
