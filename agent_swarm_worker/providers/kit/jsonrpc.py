"""Speak JSON-RPC 2.0 with a peer, one message a line: requests and notifications both ways.

A mistake of the peer never raises: invalid messages and answers without a request are skipped;
batches are read one by one; an id is returned exactly as it was sent.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio
import orjson

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.kit.launch import JsonTranslator
from agent_swarm_worker.providers.kit.native import mapping, text
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderEvent

MAX_PENDING = 1000
"""Limit of our requests without an answer; one more fails at once."""
MAX_HANDLERS = 100
"""Limit of the peer's requests under way; one more is refused."""
MAX_UNREAD_BYTES = 16 * 1024 * 1024
"""Answers that the peer has not read; with more, its requests are refused until it has read."""
MAX_UNREAD_REFUSALS_BYTES = 2 * MAX_UNREAD_BYTES
"""With more than this not even a refusal is written: the peer reads nothing."""
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INTERNAL_ERROR = -32603
SERVER_BUSY = -32000
_MAX_SHOWN_CHARS = 300
_UNREAD = f"more than {MAX_UNREAD_BYTES} bytes of answers have not been read"
_TORN_ANSWER = re.compile(
    r'[^{]*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*"?(\d+)"?\s*,\s*"(?:res|err)'
)

Answerer: TypeAlias = Callable[[Any], Any]
"""Takes the parameters of a request and returns its result at once, without I/O."""
Handler: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Takes the parameters of a request and returns its result; raises `RequestRefused`."""


class RequestRefused(ProviderError):
    """Raised by a handler to refuse a request; the fields become the JSON-RPC error."""

    def __init__(self, message: str, *, code: int = INTERNAL_ERROR, data: Any = None) -> None:
        self.code, self.message, self.data = code, message, data
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class RpcError:
    """The error of one of our requests."""

    method: str
    code: int | None
    message: str
    data: Any = None
    native: Any = None
    """The error object as the peer sent it; ``None`` if it sent none."""

    @property
    def is_unanswered(self) -> bool:
        """True if the peer ended before it answered, or the request was not sent."""
        return self.native is None


OnResult: TypeAlias = Callable[[Any], "Iterable[ProviderEvent]"]
OnError: TypeAlias = Callable[[RpcError], "Iterable[ProviderEvent]"]
OnNotification: TypeAlias = Callable[[str, Any], "Iterable[ProviderEvent]"]


def ignored(_: Any) -> tuple[()]:
    """The callback of a request whose answer is not needed."""
    return ()


@dataclass(frozen=True, slots=True)
class _Pending:
    method: str
    on_result: OnResult
    on_error: OnError


class HandlerCall:
    """One request of the peer with its handler. The first answer counts."""

    def __init__(
        self, peer: JsonRpcPeer, request_id: Any, method: str, params: Any, handler: Handler
    ) -> None:
        self.method = method
        self.params = params
        self._peer = peer
        self._id = request_id
        self._handler = handler
        self._scope: anyio.CancelScope | None = None
        self._is_answered = False

    async def run(self) -> None:
        """Run the handler; answer with its result or error."""
        if self._is_answered:
            return
        with anyio.CancelScope() as self._scope:
            try:
                result = await self._handler(self.params)
            except RequestRefused as refusal:
                self.refuse(refusal.message, code=refusal.code, data=refusal.data)
            except Exception as error:  # any error becomes the answer; the session goes on
                self.refuse(_described(error))
            else:
                self.answer(result)

    def answer(self, result: Any) -> None:
        """Answer with a result; a handler that still runs is cancelled."""
        self._settle({"result": result})

    def refuse(self, message: str, *, code: int = INTERNAL_ERROR, data: Any = None) -> None:
        """Answer with an error; a handler that still runs is cancelled."""
        self._settle({"error": _error(code, message, data)})

    def _settle(self, outcome: dict[str, Any]) -> None:
        if not self._is_answered:
            self._is_answered = True
            self._peer._answered(self, self._id, outcome)
            if self._scope is not None:
                self._scope.cancel()


class JsonRpcPeer:
    """Our end of the connection; does no I/O.

    Args:
        on_notification: called with the method and the parameters of a notification.
        answers: for requests of the peer that are answered at once, by method.
        handlers: for those answered later, by method; `handler_calls` returns the calls to be run.
        head: fields of every message of ours; codex leaves ``jsonrpc`` out.
    """

    def __init__(
        self,
        on_notification: OnNotification,
        *,
        answers: Mapping[str, Answerer] | None = None,
        handlers: Mapping[str, Handler] | None = None,
        head: Mapping[str, Any] | None = None,
    ) -> None:
        self._on_notification = on_notification
        self._answers = dict(answers or {})
        self._handlers = dict(handlers or {})
        self._head = {"jsonrpc": "2.0"} if head is None else dict(head)
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._new_calls: list[HandlerCall] = []
        self._open_calls: list[HandlerCall] = []
        self._out = bytearray()
        self.unsent_bytes = 0
        """Of what `outgoing` returned; kept by its caller."""
        self._events: list[ProviderEvent] = []
        """Of requests that failed before they were sent; the next `receive` yields them."""

    @property
    def oldest_request(self) -> str:
        """The method of our oldest request without an answer; empty if there is none."""
        return next((one.method for one in self._pending.values()), "")

    @property
    def has_open_calls(self) -> bool:
        """True while a request of the peer is worked on."""
        return bool(self._open_calls)

    def request(
        self,
        method: str,
        params: Any = None,
        on_result: OnResult = ignored,
        on_error: OnError = ignored,
    ) -> None:
        """Send a request; one of the two callbacks is called once, with its answer."""
        if len(self._pending) >= MAX_PENDING:
            why = f"{len(self._pending)} requests are unanswered: {method} was not sent"
            self._events += on_error(RpcError(method, None, why))
            return
        number = next(self._ids)
        self._pending[number] = _Pending(method, on_result, on_error)
        self._write({"id": number, "method": method}, params)

    def notify(self, method: str, params: Any = None) -> None:
        """Send a notification."""
        self._write({"method": method}, params)

    @property
    def _unread_bytes(self) -> int:
        return len(self._out) + self.unsent_bytes

    def outgoing(self) -> bytes:
        """Return and clear the bytes to be written."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, message: Any) -> Iterator[ProviderEvent]:
        """Take one parsed message or a batch; yield its events."""
        yield from self._events
        self._events.clear()
        for one in message if isinstance(message, list) else (message,):
            if isinstance(one, dict):
                yield from self._received(one)

    def receive_text(self, line: str) -> Iterable[ProviderEvent]:
        """Take a line that is no message; if it begins an answer, its request has failed."""
        torn = _TORN_ANSWER.match(line)
        pending = self._pending_of(torn[1]) if torn else None
        if pending is None:
            return ()
        why = f"the answer to {pending.method} cannot be read: {one_line(line, _MAX_SHOWN_CHARS)}"
        return pending.on_error(RpcError(pending.method, None, why, native={"message": why}))

    def _received(self, message: dict[str, Any]) -> Iterable[ProviderEvent]:
        method = message.get("method")
        if isinstance(method, str):
            if "id" not in message:
                return self._on_notification(method, message.get("params"))
            self._asked(message["id"], method, message.get("params"))
        elif "method" in message:
            if "id" in message:
                refusal = _error(INVALID_REQUEST, "the method is no string")
                self._answer(message["id"], {"error": refusal})
        elif pending := self._pending_of(message.get("id")):
            error = message.get("error")
            if error is None:
                return pending.on_result(message.get("result"))
            return pending.on_error(_read_error(pending.method, error))
        return ()

    def _pending_of(self, answer_id: Any) -> _Pending | None:
        """Return the request with this id; some peers return a number as a string."""
        if isinstance(answer_id, str) and answer_id.isdecimal() and len(answer_id) < 20:
            answer_id = int(answer_id)
        if isinstance(answer_id, bool) or not isinstance(answer_id, int | float):
            return None
        return self._pending.pop(cast("int", answer_id), None)

    def _asked(self, request_id: Any, method: str, params: Any) -> None:
        if method in self._answers:
            try:
                outcome = {"result": self._answers[method](params)}
            except Exception as error:  # as in a handler
                outcome = {"error": _error(INTERNAL_ERROR, _described(error))}
            self._answer(request_id, outcome)
        elif method not in self._handlers:
            refusal = _error(METHOD_NOT_FOUND, f"this client has no method {method[:100]}")
            self._answer(request_id, {"error": refusal})
        elif len(self._open_calls) >= MAX_HANDLERS:
            refusal = _error(SERVER_BUSY, f"{MAX_HANDLERS} requests are being worked on")
            self._answer(request_id, {"error": refusal})
        elif self._unread_bytes > MAX_UNREAD_BYTES:
            self._answer(request_id, {"error": _error(SERVER_BUSY, _UNREAD)})
        else:
            call = HandlerCall(self, request_id, method, params, self._handlers[method])
            self._open_calls.append(call)
            self._new_calls.append(call)

    def handler_calls(self) -> Sequence[HandlerCall]:
        """Return and clear the calls that do not run yet."""
        calls, self._new_calls = self._new_calls, []
        return calls

    def settle(self, method: str, result: Any) -> None:
        """Answer the open requests for a method at once."""
        for call in [one for one in self._open_calls if one.method == method]:
            call.answer(result)

    def _answered(self, call: HandlerCall, request_id: Any, outcome: dict[str, Any]) -> None:
        self._open_calls.remove(call)
        self._answer(request_id, outcome)

    def _answer(self, request_id: Any, outcome: dict[str, Any]) -> None:
        """Answer a request of the peer; with a refusal if it leaves too many answers unread."""
        if self._unread_bytes > MAX_UNREAD_REFUSALS_BYTES:
            return
        if self._unread_bytes > MAX_UNREAD_BYTES and "result" in outcome:
            outcome = {"error": _error(SERVER_BUSY, _UNREAD)}
        self._write({"id": request_id, **outcome})

    def end(self, how: str) -> list[ProviderEvent]:
        """Fail every request without an answer: the peer has ended, as `how` describes."""
        events, self._events = self._events, []
        pending, self._pending = self._pending, {}
        for one in pending.values():
            events += one.on_error(RpcError(one.method, None, f"no answer to {one.method}: {how}"))
        return events

    def _write(self, message: dict[str, Any], params: Any = None) -> None:
        if params is not None:
            message["params"] = params
        self._out += _line({**self._head, **message})


class JsonRpcConversation(JsonTranslator):
    """Base of a conversation over JSON-RPC."""

    rpc: JsonRpcPeer
    """Set by the subclass."""

    def feed(self, native: Any) -> list[ProviderEvent]:
        """Take one line: an answer, a request, a notification, or a batch."""
        return list(self.rpc.receive(native))

    def feed_text(self, line: str) -> list[ProviderEvent]:
        """Take a line that is no message."""
        return list(self.rpc.receive_text(line))

    def outgoing(self) -> bytes:
        """Return and clear the bytes to be written."""
        return self.rpc.outgoing()

    def note_unsent(self, size: int) -> None:
        """Take how many bytes of `outgoing` are not written yet."""
        self.rpc.unsent_bytes = size

    def handler_calls(self) -> Sequence[HandlerCall]:
        """Return and clear the calls to be run."""
        return self.rpc.handler_calls()


def _read_error(method: str, error: Any) -> RpcError:
    native = mapping(error)
    code = native.get("code")
    message = text(native.get("message")) or (error if isinstance(error, str) else "")
    is_code = isinstance(code, int) and not isinstance(code, bool)
    shown = message or f"refused: {str(error)[:_MAX_SHOWN_CHARS]}"
    return RpcError(method, code if is_code else None, shown, native.get("data"), error)


def _error(code: int, message: str, data: Any = None) -> dict[str, Any]:
    return {"code": code, "message": message} | ({} if data is None else {"data": data})


def _described(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:_MAX_SHOWN_CHARS]
    except Exception:  # its __str__ raises
        return type(error).__name__


def _line(message: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(message) + b"\n"
    except TypeError:
        pass  # half a surrogate pair, which JSON allows and UTF-8 does not; or not JSON
    try:
        return json.dumps(message).encode() + b"\n"
    except (TypeError, ValueError) as error:
        if "result" not in message and "error" not in message:
            raise  # a mistake in our own request
        refusal = _error(INTERNAL_ERROR, f"the answer is no JSON: {_described(error)}")
        head = {key: value for key, value in message.items() if key not in ("result", "error")}
        return json.dumps({**head, "error": refusal}).encode() + b"\n"
