"""Keep the conversation with the model, in memory and in a file, and compact it.

    {"type": "session", "id": …, "cwd": …, "model": …, "timestamp": …}
    {"type": "message", "message": {…}}
    {"type": "compaction", "tokensBefore": …, "messages": [{…}, …]}     replaces all before it

One file per session, mode 0600, append-only and scrubbed. After a kill of the worker it may end in
half a line, which is dropped, and in calls without a result, which get the result `INTERRUPTED`
when the session is resumed.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.guards.tokens import count_tokens
from agent_swarm_worker.providers.pi.files import session_path
from agent_swarm_worker.providers.pi.native import encoded
from agent_swarm_worker.text import shorten_middle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import AppendFile, ProviderSessionConfig

INTERRUPTED = "Interrupted: the session ended before this call was done. It may have taken effect."
CHARS_PER_TOKEN = 4
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
_LINE_BREAK = re.compile(rb"\r?\n")


class History:
    """The messages so far; each is saved when it is added."""

    def __init__(self, config: ProviderSessionConfig, session_id: str, *, clock: Clock) -> None:
        self.session_id = session_id
        self.messages: list[ModelMessage] = []
        self._scrub = config.redactor.json_line
        self._path = session_path(config.env, session_id)
        self._guest = config.guest
        self._file: AppendFile | None = None
        self._needs_break = False
        self._header = {
            "type": "session",
            "id": session_id,
            "cwd": str(config.cwd),
            "model": config.model,
            "timestamp": wire_time(clock.now()),
        }

    async def open(self, *, resumed: bool) -> bool:
        """Create the file, or open and read that of a resumed session.

        Returns whether the session can be resumed, and no other process is doing so. Raises
        `OSError` if the file cannot be written.
        """
        files = self._guest.files
        if not resumed:
            self._file = await files.append_to(str(self._path), create=True)
            await self._write(self._header)
            return True
        try:
            self._file = await files.append_to(str(self._path), create=False)
        except OSError:
            return False
        content = await self._file.read()
        self.messages = load(content)
        self._needs_break = not content.endswith(b"\n") and bool(content)
        answers = _missing_answers(self.messages)
        if answers:
            await self.add(ModelRequest(parts=answers))
        return bool(self.messages)

    async def add(self, message: ModelMessage) -> None:
        """Append one message."""
        self.messages.append(message)
        await self._write({"type": "message", "message": _plain([message])[0]})

    async def replace(self, messages: list[ModelMessage], *, tokens_before: int) -> None:
        """Replace all messages by a shorter conversation."""
        self.messages = messages
        record = {"type": "compaction", "tokensBefore": tokens_before}
        await self._write({**record, "messages": _plain(messages)})

    async def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            await self._file.aclose()
            self._file = None

    async def _write(self, record: dict[str, Any]) -> None:
        assert self._file is not None
        line, _ = self._scrub(encoded(record))
        torn = b"\n" if self._needs_break else b""
        self._needs_break = False
        # Shielded: half a message would be lost when the session is resumed.
        with anyio.CancelScope(shield=True):
            await self._file.append(torn + line + b"\n")


def load(content: bytes) -> list[ModelMessage]:
    """Parse a saved conversation; incomplete and unknown lines are skipped."""
    messages: list[ModelMessage] = []
    for line in _LINE_BREAK.split(content):
        try:
            record = orjson.loads(line)
            if record["type"] == "message":
                messages += ModelMessagesTypeAdapter.validate_python([record["message"]])
            elif record["type"] == "compaction":
                messages = ModelMessagesTypeAdapter.validate_python(record["messages"])
        except (ValueError, KeyError, TypeError):
            continue
    return messages


def user_message(text: str) -> ModelRequest:
    """Return a message of the user."""
    return ModelRequest(parts=[UserPromptPart(content=text)])


def text_of(message: ModelResponse) -> str:
    """Return the text of an answer, without the model's thinking."""
    return (message.text or "").strip()


def thinking_of(message: ModelResponse) -> str:
    """Return the model's thinking, as far as it is readable."""
    return (message.thinking or "").strip()


def _plain(messages: Sequence[ModelMessage]) -> list[Any]:
    return list(ModelMessagesTypeAdapter.dump_python(list(messages), mode="json"))


def _missing_answers(messages: Sequence[ModelMessage]) -> list[ToolReturnPart]:
    """Return results for the calls at the end that have none; model APIs require them."""
    if not messages or not isinstance(messages[-1], ModelResponse):
        return []
    return [
        ToolReturnPart(
            tool_name=part.tool_name, content=INTERRUPTED, tool_call_id=part.tool_call_id
        )
        for part in messages[-1].parts
        if isinstance(part, ToolCallPart)
    ]


# --- compaction


def estimate_tokens(messages: Sequence[ModelMessage]) -> int:
    """Estimate the tokens of messages that no model has counted yet."""
    return sum(count_tokens(line) for line in _lines(messages))


def request_for_summary(messages: Sequence[ModelMessage], window: int) -> list[ModelMessage]:
    """Return the request for a summary; it fits into the context window."""
    text = "\n\n".join(_lines(messages, max_chars=MAX_RESULT_CHARS))
    most = int(window * TRANSCRIPT_SHARE) * CHARS_PER_TOKEN
    if len(text) > most:
        text = f"{text[: most // 3]}\n\n[…]\n\n{text[-2 * most // 3 :]}"
    return [user_message(_ASK.format(conversation=text))]


def compacted(messages: Sequence[ModelMessage], summary: str, window: int) -> list[ModelMessage]:
    """Return the shorter conversation: task, summary, and the last turns that fit."""
    head = user_message(_GO_ON.format(task=_asked_for(messages), summary=summary))
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
                args = encoded(part.args).decode()
                yield f"Agent calls {part.tool_name}: {shorten_middle(args, max_chars)}"
            elif isinstance(part, ToolReturnPart):
                text = str(part.content)
                yield f"{part.tool_name} answers: {shorten_middle(text, max_chars)}"
