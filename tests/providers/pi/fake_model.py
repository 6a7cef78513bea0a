"""A fake model on loopback: answers with a list of turns, in the wire format of the request.

    async with PlayedModel(Turn("Looking.", [("ls", {})]), Turn("Done.")) as model:
        ...  # point pi at model.url

Unlike `scripted_model` it can misbehave in any way, and call several tools at once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import anyio
from loopback import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_numbers = itertools.count(1)


@dataclass
class Turn:
    """What the model says."""

    text: str = "Done."
    calls: list[tuple[str, Any]] = field(default_factory=list)
    """Tool and arguments; a string is sent as it is, JSON or not."""
    input_tokens: int = 100
    cached: int = 0
    written: int = 0
    output_tokens: int = 10
    usd: float | None = None
    """Named as OpenRouter does."""
    stop: str | None = None
    cut: bool = False
    """Break off in the middle."""
    half: bool = False
    """End in the middle as if that were the end."""
    hang: bool = False
    """Say nothing more in the middle."""
    has_usage: bool = True


@dataclass
class Raw:
    """Any answer at all."""

    status: int
    body: bytes | dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Pieces:
    """A stream of these bytes."""

    pieces: list[bytes]
    content_type: str = "text/event-stream"
    then: str = "end"
    """``cut`` or ``hang`` instead."""
    pause_s: float = 0.0
    """Between two pieces."""


@dataclass
class Silence:
    """No answer."""


Step = Turn | Raw | Pieces | Silence


@dataclass
class ReceivedRequest:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def system(self) -> str:
        if "system" in self.body:
            system = self.body["system"]
            if isinstance(system, str):
                return system
            return "\n".join(block["text"] for block in system)
        (first, *_) = self.body["messages"]
        return str(first["content"]) if first["role"] in ("system", "developer") else ""

    @property
    def messages(self) -> str:
        """All of the conversation, as JSON."""
        return json.dumps(self.body["messages"], ensure_ascii=False)


class FakeModel:
    def __init__(self, *steps: Step, on_request: Callable[[int], Any] | None = None) -> None:
        self.steps = list(steps)
        self.requests: list[ReceivedRequest] = []
        self.on_request = on_request
        self.url = ""
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST", "GET"])])
        self.url = await self._stack.enter_async_context(serving(app))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def env(self, api: str) -> dict[str, str]:
        """Point a session at this model."""
        if api == "anthropic":
            return {
                "ANTHROPIC_API_KEY": "sk-ant-fake-0123456789abcdef",
                "ANTHROPIC_BASE_URL": self.url,
                "MODEL_OVERRIDE": "anthropic/claude-fake-1",
            }
        if api == "openrouter":
            return {
                "OPENROUTER_API_KEY": "sk-or-v1-fake0123456789abcdef",
                "OPENROUTER_BASE_URL": f"{self.url}/api/v1/",
                "MODEL_OVERRIDE": "openrouter/fake/model",
            }
        return {
            "OPENAI_API_KEY": "sk-fake-0123456789abcdef",
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "MODEL_OVERRIDE": "openai/fake-model",
        }

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(ReceivedRequest(request.url.path, dict(request.headers), body))
        if self.on_request:
            found = self.on_request(len(self.requests))
            if found is not None:
                await found
        number = len(self.requests) - 1
        step = self.steps[number] if number < len(self.steps) else Turn()
        if isinstance(step, Silence):
            await anyio.sleep_forever()
        if isinstance(step, Raw):
            if isinstance(step.body, bytes):
                return Response(step.body, step.status, step.headers)
            return JSONResponse(step.body, step.status, step.headers)
        if isinstance(step, Pieces):
            return StreamingResponse(_in_pieces(step), media_type=step.content_type)
        assert isinstance(step, Turn)
        events = anthropic if request.url.path.endswith("/messages") else chat
        chunks = list(events(step, body["model"]))
        return StreamingResponse(_paced(chunks, step), media_type="text/event-stream")


async def _in_pieces(step: Pieces) -> AsyncIterator[bytes]:
    for piece in step.pieces:
        yield piece
        await anyio.sleep(step.pause_s)
    if step.then == "hang":
        await anyio.sleep_forever()
    if step.then == "cut":
        raise ConnectionAbortedError


async def _paced(chunks: list[bytes], step: Turn) -> AsyncIterator[bytes]:
    middle = len(chunks) // 2
    for number, chunk in enumerate(chunks):
        if number == middle and step.hang:
            await anyio.sleep_forever()
        if number == middle and step.half:
            return
        if number == middle and step.cut:
            raise ConnectionAbortedError
        yield chunk


def _pieces(text: str) -> Iterator[str]:
    size = max(1, len(text) // 4)
    return (text[start : start + size] for start in range(0, len(text), size))


def _raw(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def chat(step: Turn, model: str) -> Iterator[bytes]:
    """OpenAI chat completions."""

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        value = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            **more,
        }
        return f"data: {json.dumps(value)}\n\n".encode()

    number = next(_numbers)
    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(step.text):
        yield chunk({"content": piece})
    for index, (name, arguments) in enumerate(step.calls):
        function = {"name": name, "arguments": _raw(arguments)}
        call = {"index": index, "id": f"call_{number}_{index}", "type": "function"}
        yield chunk({"tool_calls": [{**call, "function": function}]})
    yield chunk({}, step.stop or ("tool_calls" if step.calls else "stop"))
    if step.has_usage:
        prompt = step.input_tokens + step.cached
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": step.output_tokens,
            "total_tokens": prompt + step.output_tokens,
            "prompt_tokens_details": {"cached_tokens": step.cached},
        }
        if step.usd is not None:
            usage["cost"] = step.usd
        yield chunk({}, None, choices=[], usage=usage)
    yield b"data: [DONE]\n\n"


def anthropic(step: Turn, model: str) -> Iterator[bytes]:
    """Anthropic messages."""

    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    number = next(_numbers)
    usage = {
        "input_tokens": step.input_tokens,
        "cache_read_input_tokens": step.cached,
        "cache_creation_input_tokens": step.written,
        "output_tokens": step.output_tokens,
    }
    message = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for piece in _pieces(step.text):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield event("content_block_stop", index=0)
    for index, (name, arguments) in enumerate(step.calls, 1):
        block = {"type": "tool_use", "id": f"toolu_{number}_{index}", "name": name, "input": {}}
        yield event("content_block_start", index=index, content_block=block)
        delta = {"type": "input_json_delta", "partial_json": _raw(arguments)}
        yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    stop = step.stop or ("tool_use" if step.calls else "end_turn")
    yield event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage=usage)
    yield event("message_stop")
