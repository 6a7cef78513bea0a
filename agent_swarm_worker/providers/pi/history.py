"""Keep the conversation with the model, in memory and in a file.

    {"type": "session", "id": …, "cwd": …, "model": …, "timestamp": …}
    {"type": "message", "message": {…}}
    {"type": "compaction", "tokensBefore": …, "messages": [{…}, …]}     replaces all before it

One file per session in the agent directory, mode 0600, append-only and scrubbed. After a kill of
the worker it may end in half a line, which is dropped, and in calls without a result, which get
the result `INTERRUPTED` when the session is resumed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.providers.pi.files import session_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import AppendFile, ProviderSessionConfig

INTERRUPTED = "Interrupted: the session ended before this call was done. It may have taken effect."
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

        Returns:
            False if the session cannot be resumed, or another process is doing so.

        Raises:
            OSError: the file cannot be written.
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

    async def add_user_message(self, text: str) -> None:
        """Append a message of the user."""
        await self.add(ModelRequest(parts=[UserPromptPart(content=text)]))

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
        line, _ = self._scrub(orjson.dumps(record, default=str))
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


def text_of(message: ModelResponse) -> str:
    """Return the text of an answer, without the model's thinking."""
    return (message.text or "").strip()


def _plain(messages: Sequence[ModelMessage]) -> list[Any]:
    dumped = ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")
    return list(dumped)


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
