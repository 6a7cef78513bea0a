"""Serve the scripted model of the demo, as an OpenAI-compatible service on loopback.

Its answers make the agent list its directory and write a file there, with its real tools. Texts and
prices are invented, and the demo says so.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

Serve: TypeAlias = Callable[[Any, socket.socket], AbstractAsyncContextManager[None]]

PROVIDER, MODEL = "scripted", "demo"
NOTE = "hello-from-the-swarm.md"
PAUSE_S = 0.15
"""Between two chunks of an answer, so that people can watch."""
_FRAME = {"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
_PRICE = {"input": 1.0, "output": 4.0, "cacheRead": 0.1, "cacheWrite": 1.25}
_USAGE = {
    "prompt_tokens": 2000,
    "completion_tokens": 40,
    "total_tokens": 2040,
    "prompt_tokens_details": {"cached_tokens": 800},
}


@asynccontextmanager
async def demo_model(agent_dir: Path, serve: Serve) -> AsyncIterator[dict[str, str]]:
    """Serve the model; give the settings that make it the worker's only one.

    `agent_dir` is created; its ``models.json`` has the model's address. `serve` serves an ASGI
    application on a listening socket.
    """
    from starlette.applications import Starlette  # noqa: PLC0415 - an extra
    from starlette.routing import Route  # noqa: PLC0415

    app = Starlette(routes=[Route("/v1/chat/completions", _answer, methods=["POST"])])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _write_models(agent_dir, listener.getsockname()[1])
        async with serve(app, listener):
            yield {"MODEL_OVERRIDE": f"{PROVIDER}/{MODEL}", "PI_CODING_AGENT_DIR": str(agent_dir)}


def _write_models(agent_dir: Path, port: int) -> None:
    model = {"id": MODEL, "contextWindow": 128_000, "maxTokens": 4096, "cost": _PRICE}
    provider = {
        "baseUrl": f"http://127.0.0.1:{port}/v1",
        "api": "openai-completions",
        "apiKey": "demo",
        "models": [model],
    }
    agent_dir.mkdir(parents=True)
    models = json.dumps({"providers": {PROVIDER: provider}})
    (agent_dir / "models.json").write_text(models, encoding="utf-8")


async def _answer(request: Request) -> Response:
    from starlette.responses import StreamingResponse  # noqa: PLC0415

    messages = (await request.json())["messages"]
    text, call = _turn([str(entry["content"]) for entry in messages if entry["role"] == "tool"])
    return StreamingResponse(_paced(text, call), media_type="text/event-stream")


def _turn(results: list[str]) -> tuple[str, tuple[str, dict[str, str]] | None]:
    """Return text and tool call of the next turn, by the number of tool results so far."""
    if not results:
        return "I will look around, then leave a note.", ("ls", {"path": "."})
    if len(results) == 1:
        note = f"# Hello\n\nI found this here:\n\n{results[0]}\n"
        return "", ("write", {"path": NOTE, "content": note})
    return f"Done: I looked around and wrote {NOTE}. The tool says: {results[1]}.", None


async def _paced(text: str, call: tuple[str, dict[str, str]] | None) -> AsyncIterator[bytes]:
    for chunk in _chunks(text, call):
        yield chunk
        await anyio.sleep(PAUSE_S)


def _chunks(text: str, call: tuple[str, dict[str, str]] | None) -> Iterator[bytes]:
    if text:
        half = len(text) // 2
        yield _chunk({"role": "assistant", "content": text[:half]})
        yield _chunk({"content": text[half:]})
    if call is not None:
        name, arguments = call
        function = {"name": name, "arguments": json.dumps(arguments)}
        entry = {"index": 0, "id": f"call_{name}", "type": "function", "function": function}
        yield _chunk({"tool_calls": [entry]})
    yield _chunk({}, finish="tool_calls" if call else "stop")
    yield _event({**_FRAME, "choices": [], "usage": _USAGE}) + b"data: [DONE]\n\n"


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event({**_FRAME, "choices": [choice]})


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()
