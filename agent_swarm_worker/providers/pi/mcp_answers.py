"""Read the messages of MCP servers leniently, and fail a request whose answer cannot be read.

Servers print banners, logs and tracebacks where messages belong, glue text to them, write ``NaN``,
or leave members out. What can be understood is; an answer that cannot be read becomes an error
with what was said, since the caller would wait for it until its time limit.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mcp_types import (
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic_core import from_json

from agent_swarm_worker.providers.kit.native import text

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SAID_CHARS = 2000
_MAX_STARTS = 50
"""Braces at which a message is looked for."""
_DECODER = json.JSONDecoder(strict=False)
_MESSAGE = re.compile(r'\{\s*"(?:jsonrpc|id|result|error|method)"')
_ID = re.compile(r'"id"\s*:\s*"?(\d{1,15})')
_ANSWER = re.compile(r'"(?:result|error)"\s*:')
_METHOD = re.compile(r'"method"\s*:')


def messages_in(raw: bytes | str) -> list[JSONRPCMessage]:
    """Return the messages in a line, an event or a body; none if there is none to be read."""
    try:
        return [jsonrpc_message_adapter.validate_json(raw, by_name=False)]
    except (ValueError, RecursionError):
        said = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
        return list(_lenient(said))


def _lenient(said: str) -> Iterator[JSONRPCMessage]:
    position = 0
    for _ in range(_MAX_STARTS):
        position = said.find("{", position)
        if position < 0:
            return
        try:
            value, end = _DECODER.raw_decode(said, position)
            yield jsonrpc_message_adapter.validate_python(_mended(value), by_name=False)
        except (ValueError, RecursionError):
            if _MESSAGE.match(said, position):
                return  # a broken message; what looks like one inside of it is none
            position += 1
        else:
            position = end


def _mended(value: dict[str, Any]) -> dict[str, Any]:
    """Return a message with what JSON-RPC asks for."""
    message = {**value, "jsonrpc": "2.0"}
    number = message.get("id")
    if isinstance(number, float) and number.is_integer():
        message["id"] = int(number)
    if "method" in message:
        return message
    error = message.pop("error", None)
    if error:
        said = error if isinstance(error, dict) else {"message": error}
        code, why = said.get("code"), said.get("message")
        why = text(why) or json.dumps(error)
        message["error"] = {**said, "code": code if type(code) is int else PARSE_ERROR}
        message["error"]["message"] = why
        message.pop("result", None)
    elif "result" in message and not isinstance(message["result"], dict):
        result = message["result"]
        message["result"] = {} if result is None else {"content": result}
    return message


def _begins_message(raw: bytes) -> bool:
    """True if more text could make a message of this."""
    said = raw.decode("utf-8", "ignore").lstrip()
    begun = _MESSAGE.search(said)
    try:
        return isinstance(
            from_json(said[begun.start() if begun else 0 :], allow_partial=True), dict
        )
    except ValueError:
        return False


def unreadable(said: bytes | str, request_id: Any = None) -> JSONRPCError:
    """Return an error that takes the place of an answer."""
    plain = said if isinstance(said, str) else said.decode("utf-8", "replace")
    shown = " ".join(plain[:MAX_SAID_CHARS].split())
    reason = f"an unreadable answer: {shown}" if shown else "an empty answer"
    error = ErrorData(code=PARSE_ERROR, message=reason)
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=error)


def is_answer(said: str) -> bool:
    """Return whether an unreadable text stands where an answer belongs: it is no log line."""
    if _ANSWER.search(said):
        return True
    return '"jsonrpc"' in said and not _METHOD.search(said)


class AnswerReader:
    """Reads all messages of one connection, and knows the requests that wait for an answer."""

    def __init__(self) -> None:
        self._pending: dict[Any, str] = {}
        """Methods by id."""
        self._unclaimed: list[JSONRPCError] = []
        """Failed answers that do not name their request."""
        self._noise = ""
        """Text that was printed while a call was pending."""
        self._is_noisy = False
        """The server prints such text, and answers all the same."""
        self._given_up: set[Any] = set()
        """Ids of calls whose answer such a text was taken for."""

    def sent(self, message: JSONRPCMessage) -> None:
        """Note a message to the server."""
        if isinstance(message, JSONRPCRequest):
            self._pending[message.id] = message.method
        elif getattr(message, "method", "") == "notifications/cancelled":
            params = getattr(message, "params", None) or {}
            self._pending.pop(params.get("requestId"), None)

    def read(self, raw: bytes | str) -> list[JSONRPCMessage]:
        """Return the messages in a line or an event, and errors for answers that are lost."""
        found = messages_in(raw)
        if not found:
            said = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
            found = self._unread(said)
        messages = [message for message in found if self._is_addressed(message)]
        while self._unclaimed and len(self._pending) <= len(self._unclaimed):
            if not self._pending:
                self._unclaimed.clear()
                break
            error = self._unclaimed.pop()
            error.id, _ = self._pending.popitem()
            messages.append(error)
        return messages

    def _is_addressed(self, message: JSONRPCMessage) -> bool:
        if isinstance(message, JSONRPCError) and message.id is None:
            self._unclaimed.append(message)
            return False
        if isinstance(message, JSONRPCError | JSONRPCResponse):
            number = message.id
            if isinstance(number, str) and number.isdecimal():
                number = int(number)
            self._pending.pop(number, None)
            self._is_noisy = self._is_noisy or bool(self._noise) or number in self._given_up
            self._noise = ""
        return True

    def _unread(self, said: str) -> list[JSONRPCMessage]:
        if not is_answer(said):
            self._noise = self._noise or said.strip()
            self._is_noisy = self._is_noisy or not self.has_calls
            return []
        named = [int(number) for number in _ID.findall(said[:MAX_SAID_CHARS])]
        request_id = next((number for number in named if number in self._pending), None)
        return [unreadable(said, request_id)]

    @property
    def has_calls(self) -> bool:
        """Whether a call waits for its answer."""
        return "tools/call" in self._pending.values()

    @property
    def is_doubtful(self) -> bool:
        """Whether a text that is no message may be the answer to a call, if nothing follows."""
        return bool(self._noise) and self.has_calls and not self._is_noisy

    def give_up(self, rest: bytes) -> list[JSONRPCMessage]:
        """Return errors for the pending calls, whose answer such a text was.

        `rest` is the line without an end that was read last; the beginning of a message is waited
        for.
        """
        said = self._noise or rest.decode("utf-8", "replace")
        if self._is_noisy or not said or _begins_message(rest):
            return []
        calls = [number for number, method in self._pending.items() if method == "tools/call"]
        self._noise = ""
        self._given_up.update(calls)
        for number in calls:
            del self._pending[number]
        return [unreadable(said, number) for number in calls]
