"""The conversation with the model, in memory and on disk.

    {"type": "session", "id": …, "cwd": …, "model": …, "timestamp": …}
    {"type": "message", "message": {…}}
    {"type": "compaction", "tokensBefore": …, "messages": [{…}, …]}     replaces all before it

One file per session in the agent directory, mode 0600, only ever appended to and without secrets.
A file that a killed worker left has at worst half a line at its end, which is dropped, and calls
that never got an answer, which are answered as interrupted.
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
    """The messages so far; each is saved as soon as it is there."""

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
        """Open the file and, if it is to be continued, read it.

        Returns:
            False if it is to be continued and cannot be, or somebody else is doing so.

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

    async def say(self, text: str) -> None:
        """Append something a user says."""
        await self.add(ModelRequest(parts=[UserPromptPart(content=text)]))

    async def replace(self, messages: list[ModelMessage], *, tokens_before: int) -> None:
        """Go on with a shorter conversation."""
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
        # Shielded: a message of which half is on disk would be lost to who resumes the session.
        with anyio.CancelScope(shield=True):
            await self._file.append(torn + line + b"\n")


def load(content: bytes) -> list[ModelMessage]:
    """Read a saved conversation; lines that are torn or not ours are passed over."""
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
    """What the model said, its thoughts left out."""
    return (message.text or "").strip()


def _plain(messages: Sequence[ModelMessage]) -> list[Any]:
    dumped = ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")
    return list(dumped)


def _missing_answers(messages: Sequence[ModelMessage]) -> list[ToolReturnPart]:
    """Answers for the calls at the end that never got one; a model API insists on them."""
    if not messages or not isinstance(messages[-1], ModelResponse):
        return []
    return [
        ToolReturnPart(
            tool_name=part.tool_name, content=INTERRUPTED, tool_call_id=part.tool_call_id
        )
        for part in messages[-1].parts
        if isinstance(part, ToolCallPart)
    ]
