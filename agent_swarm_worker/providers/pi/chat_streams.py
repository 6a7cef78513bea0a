"""Read chat completions leniently, and pass them on in the form that the library expects.

The library joins, sums and validates what services send; `mended_chat` does that first, by what
services mean. An answer counts as complete if it has a finish reason of any name, or an end mark; a
body that is an error, a page or a whole answer in the place of a stream is read as that.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any

import anyio
import httpx2

from agent_swarm_worker.providers.kit.native import count, items, mapping, text
from agent_swarm_worker.providers.pi.chat_deltas import (
    SurrogatePairs,
    ThinkTags,
    ToolCalls,
    Usage,
    content_of,
    mended,
)
from agent_swarm_worker.providers.pi.server_events import (
    ReplacedBody,
    body_of,
    event_bytes,
    server_events,
)
from agent_swarm_worker.providers.pi.whole_answers import whole_answer_events

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_SAID_CHARS = 4000
REST_S = 10.0
"""Time for the usage and the end mark after the finish reason; some services never close."""
REST_AFTER_CONTENT_S = 60.0
"""The same after a finish reason with content: some services send one with every chunk."""
_FINISHES = {
    "length": "length max_tokens max_output_tokens max_length model_length token_limit",
    "content_filter": "content_filter safety recitation blocked prohibited_content refusal",
    "tool_calls": "tool_calls tool_call tool_use function_call function_calls",
    "error": "error network_error engine_error insufficient_system_resource abort aborted",
}
_MEANINGS = {word: finish for finish, words in _FINISHES.items() for word in words.split()}


class ServiceError(Exception):
    """An error that a service reports in the place of an answer, under HTTP 200."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        is_page: bool = False,
    ) -> None:
        super().__init__(message)
        self.code, self.status = code, status
        self.is_page = is_page
        """It has no form of an error."""


class BrokenAnswer(ServiceError):
    """An answer that cannot be read to its end."""


def service_error_of(error: BaseException) -> ServiceError | None:
    """Return the error of a service that a library's error wraps."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ServiceError):
        found = found.__cause__ or found.__context__
    return found


async def mend_chat(response: httpx2.Response) -> None:
    """Replace the body of a chat response: a hook of an HTTP client."""
    _replace(response, _chat)


async def mend_stream(response: httpx2.Response) -> None:
    """Replace the body of a response of another API if it is no stream: a hook."""
    _replace(response, _stream)


def _replace(response: httpx2.Response, mended: Any) -> None:
    if response.status_code != 200 or response.request.method != "POST":
        return
    source = body_of(response)
    decoded = httpx2.Response(
        200, headers=response.headers, stream=source, request=response.request
    )
    response.headers.pop("content-encoding", None)
    response.stream = ReplacedBody(source, mended(decoded))


async def _sniffed(source: AsyncIterator[bytes]) -> bytes:
    """Return the body up to its first word."""
    head = b""
    async for chunk in source:
        head += chunk
        if len(head) >= len(BOM_UTF8) and head.removeprefix(BOM_UTF8).strip():
            break
    return head


async def _joined(head: bytes, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in source:
        yield chunk


async def _whole(head: bytes, source: AsyncIterator[bytes]) -> str:
    body = bytearray(head)
    async for chunk in source:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ServiceError(f"an answer of more than {MAX_BODY_BYTES} bytes")
    return body.removeprefix(BOM_UTF8).decode("utf-8", "replace")


def _is_stream(head: bytes) -> bool:
    return head.removeprefix(BOM_UTF8).lstrip()[:1] not in {b"{", b"[", b"<"}


async def _stream(response: httpx2.Response) -> AsyncGenerator[bytes]:
    source = response.aiter_bytes()
    head, is_answer = await _sniffed(source), False
    if not _is_stream(head):
        body = await _whole(head, source)
        for event in whole_answer_events(next(iter(_json_values(body)), {})):
            yield event_bytes(json.dumps(event), name=event["type"])
            is_answer = True
        if not is_answer:
            raise _error_in_body(body)
        return
    async for chunk in _joined(head, source):
        yield chunk


def _error_in_body(body: str) -> ServiceError:
    for value in _json_values(body):
        if error := _error_of(value, is_body=True):
            return error
    return ServiceError(body[:MAX_SAID_CHARS], is_page=True)


async def _chat(response: httpx2.Response) -> AsyncGenerator[bytes]:
    source = response.aiter_bytes()
    head = await _sniffed(source)
    answer = _Answer()
    if not _is_stream(head):
        body = await _whole(head, source)
        chunks = [value for value in _json_values(body) if "choices" in value]
        if not chunks:
            raise _error_in_body(body)
        for chunk in chunks:
            for line in answer.feed(chunk):
                yield line
        answer.has_end = True
    else:
        events = server_events(_joined(head, source), response.request, MAX_BODY_BYTES)
        try:
            async for event in _until_end(events, answer):
                for line in _fed(answer, event):
                    yield line
        except httpx2.TransportError:
            if not answer.finish:
                raise
        if not answer.has_begun and (said := answer.noise or _noise_in(head)):
            raise ServiceError(said, is_page=True)
    for line in answer.end():
        yield line


def _noise_in(head: bytes) -> str:
    """Return the text before the first event that belongs to no event."""
    fields = ("data", "event", "id", "retry", "")
    lines = head.removeprefix(BOM_UTF8).decode("utf-8", "replace").splitlines()
    return "\n".join(line for line in lines if line.partition(":")[0] not in fields)


async def _until_end(
    events: AsyncIterator[httpx2.ServerSentEvent], answer: _Answer
) -> AsyncIterator[httpx2.ServerSentEvent]:
    while True:
        event = None
        with anyio.move_on_after(answer.rest_s):
            event = await anext(events, None)
        if event is None:
            return
        if event.data.strip().strip("[]").upper() == "DONE":
            answer.has_begun = answer.has_end = True
            return
        yield event


def _fed(answer: _Answer, event: httpx2.ServerSentEvent) -> Iterator[bytes]:
    """Add one event to an answer; raise `ServiceError` for an error or a broken chunk."""
    data = event.data.strip()
    values = _json_values(data)
    if not values and data.startswith("{"):
        raise BrokenAnswer(f"a part of the answer is no JSON: {data[:200]}")
    if not values and event.event == "error":
        raise ServiceError(data[:MAX_SAID_CHARS], is_page=True)
    if not values:
        answer.noise = answer.noise or data[:MAX_SAID_CHARS]
    for value in values:
        answer.has_begun = True
        yield from answer.feed(value, event.event)


def _json_values(said: str) -> list[dict[str, Any]]:
    """Return the objects in a body: one, an array of them, or one a line."""
    try:
        values = [json.loads(said, strict=False)]
    except (ValueError, RecursionError):
        try:
            values = [json.loads(line, strict=False) for line in said.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            return []
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    return [value for value in values if isinstance(value, dict)]


def _error_of(
    value: dict[str, Any], event: str = "", *, is_body: bool = False
) -> ServiceError | None:
    """Return the error in a chunk or a body, if it is one."""
    choice = mapping(next(iter(items(value.get("choices"))), None))
    error = value.get("error") or choice.get("error")
    is_error = event == "error" or "error" in (value.get("type"), value.get("object"))
    if not error and "choices" not in value and (is_body or is_error):
        error = value
    if not error:
        return None
    entry = error if isinstance(error, dict) else {"message": error}
    words = [entry.get(name) for name in ("message", "detail", "msg", "error_msg", "reason")]
    message = next((word for word in words if isinstance(word, str) and word), json.dumps(error))
    raw = mapping(entry.get("metadata")).get("raw")
    if isinstance(raw, str) and raw not in message:
        message = f"{message}: {raw}"
    codes = [entry.get(name) for name in ("code", "status", "status_code", "type")]
    numbers = [int(code) for code in map(str, codes) if code.isdecimal() and len(code) == 3]
    names = [code for code in codes if isinstance(code, str) and not code.isdecimal()]
    status = next((code for code in numbers if code >= 400), None)
    code = next((name for name in reversed(names) if name != "error"), None)
    return ServiceError(message[:MAX_SAID_CHARS], code=code, status=status)


class _Answer:
    """The state of one answer."""

    def __init__(self) -> None:
        self.finish = ""
        self.noise = ""
        """Data that is no chunk."""
        self.has_begun = False
        self.has_end = False
        """The service said that nothing follows."""
        self._repeats_finish = self._has_totals = False
        self._has_content = self._is_finish_alone = False
        self._calls = ToolCalls()
        self._tags = ThinkTags()
        self._pairs = SurrogatePairs()
        self._usage = Usage()
        self._frame = {"id": "chat", "object": "chat.completion.chunk", "created": 0, "model": ""}

    @property
    def rest_s(self) -> float | None:
        """How long to wait for usage and the end mark; ``None`` if content may follow."""
        if not self.finish or self._repeats_finish:
            return None
        return REST_S if self._is_finish_alone else REST_AFTER_CONTENT_S

    def feed(self, chunk: dict[str, Any], event: str = "") -> Iterator[bytes]:
        """Yield what a chunk adds, as events; raise `ServiceError` if it is an error."""
        for name in ("id", "model", "provider"):
            if isinstance(chunk.get(name), str) and chunk[name]:
                self._frame[name] = chunk[name]
        self._frame["created"] = count(chunk.get("created")) or self._frame["created"]
        choices = [mapping(choice) for choice in items(chunk.get("choices"))]
        choice = next((each for each in choices if str(each.get("index") or 0) == "0"), {})
        groq = mapping(chunk.get("x_groq"))
        for source in (chunk, groq, choice):
            if new := self._usage.feed(mapping(source.get("usage"))):
                yield self._event(choices=[], usage=new)
        if error := _error_of(chunk, event):
            raise error
        is_last = self._has_content and not choices and bool(chunk.get("usage"))
        self.has_end = self.has_end or (is_last and not self._has_totals)
        delta = mapping(choice.get("delta"))
        if not delta and not self._has_content:  # later it is a repetition
            delta = mapping(choice.get("message"))
        self._is_finish_alone = True
        for part in self._parts(delta or {"content": choice.get("text")}):
            self._has_content = True
            self._has_totals = self._has_totals or self.has_end
            self._is_finish_alone = self.has_end = False
            self._repeats_finish = bool(self.finish)
            yield self._delta(part)
        finish = text(choice.get("finish_reason")).strip().lower().replace("-", "_")
        if finish not in {"", "null", "none"}:
            self.finish = _MEANINGS.get(finish, "stop")

    def _parts(self, delta: dict[str, Any]) -> Iterator[dict[str, Any]]:
        said, thought = content_of(delta.get("content"))
        kept: dict[str, Any] = {
            name: self._pairs.feed(name, delta[name])
            for name in ("reasoning", "reasoning_content", "refusal")
            if isinstance(delta.get(name), str) and delta[name]
        }
        if thought:
            kept["reasoning_content"] = kept.get("reasoning_content", "") + mended(thought)
        if details := items(delta.get("reasoning_details")):
            kept["reasoning_details"] = details
        if kept:
            yield kept
        for piece in self._tags.feed(self._pairs.feed("content", said)):
            yield {"content": piece}
        calls = items(delta.get("tool_calls"))
        if function := mapping(delta.get("function_call")):
            calls = [*calls, {"index": 0, "function": function}]
        for entry in calls:
            for call in self._calls.feed(mapping(entry)):
                yield {"tool_calls": [call]}

    def end(self) -> Iterator[bytes]:
        """Yield the rest, and a finish reason if the answer is complete."""
        for piece in [*self._tags.feed(self._pairs.rest()), *self._tags.rest()]:
            self._has_content = True
            yield self._delta({"content": piece})
        for call in self._calls.rest():
            yield self._delta({"tool_calls": [call]})
        is_whole = self._has_content and self._calls.are_complete
        finish = self.finish or ("stop" if self.has_end and is_whole else "")
        if finish == "stop" and self._calls.are_any:
            finish = "tool_calls"
        if finish:
            yield self._delta({}, finish)
        yield event_bytes("[DONE]")

    def _delta(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return self._event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])

    def _event(self, **more: Any) -> bytes:
        return event_bytes(json.dumps({**self._frame, **more}))
