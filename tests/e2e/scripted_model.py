"""A model on loopback that does what tags in the prompt say, so that real CLIs run offline.

    async with ScriptedModel() as model:
        ...  # point a CLI at model.url with the prompt "[[bash:ls]] [[say:Listed.]]"
        assert model.requests[0].headers["x-api-key"] == "k"

`model_script` knows the tags; `anthropic_format`, `responses_format`, `chat_format` and
`gemini_format` the wires;
another vendor's format is another module like them and another route.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import anthropic_format
import anyio
import chat_format
import gemini_format
import responses_format
from loopback import serving
from model_script import SHELL, Answer, Failure, Hang, ToolCall, next_step
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import ModuleType

    from starlette.requests import Request


@dataclass(frozen=True)
class Recorded:
    """One request the model got."""

    path: str
    headers: dict[str, str]
    size: int
    """Bytes of the body."""
    system: str
    prompt: str
    heard: list[str]
    """What it was told, without what it said itself."""
    body: dict[str, Any]


class ScriptedModel:
    """The server; `url` is its base address once the context is entered.

    Args:
        shell: what the harness calls its shell tool.
        shell_arguments: further arguments that its shell tool needs, or all of them, with
            ``COMMAND`` in the place of the command.
    """

    def __init__(self, shell: str = SHELL, shell_arguments: dict[str, Any] | None = None) -> None:
        self._shell = shell
        self._shell_arguments = shell_arguments or {}
        self.requests: list[Recorded] = []
        self.others: list[str] = []
        """Method and path of everything that is not a model request."""
        self._failures: Counter[str] = Counter()
        self._stack = contextlib.AsyncExitStack()
        self.url = ""

    async def __aenter__(self) -> Self:
        self.url = await self._stack.enter_async_context(serving(self._app()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/messages", self._messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", self._count_tokens, methods=["POST"]),
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1beta/models/{call:path}", self._generate, methods=["POST"]),
                Route("/{path:path}", self._other, methods=["GET", "HEAD", "POST"]),
            ]
        )

    async def _messages(self, request: Request) -> Response:
        body, step = await self._step(request, anthropic_format)
        if isinstance(step, Response):
            return step
        if not body.get("stream"):
            return JSONResponse(anthropic_format.whole(step, body["model"]))
        events = anthropic_format.events(step, body["model"])
        return StreamingResponse(_paced(events, step), media_type="text/event-stream")

    async def _responses(self, request: Request) -> Response:
        body, step = await self._step(request, responses_format)
        if isinstance(step, Response):
            return step
        events = responses_format.events(step, body)
        return StreamingResponse(_paced(events, step), media_type="text/event-stream")

    async def _chat(self, request: Request) -> Response:
        body, step = await self._step(request, chat_format)
        if isinstance(step, Response):
            return step
        events = chat_format.events(step, body["model"])
        return StreamingResponse(_paced(events, step), media_type="text/event-stream")

    async def _generate(self, request: Request) -> Response:
        _, step = await self._step(request, gemini_format)
        if isinstance(step, Response):
            return step
        events = gemini_format.events(step, request.path_params["call"].partition(":")[0])
        return StreamingResponse(_paced(events, step), media_type="text/event-stream")

    async def _step(self, request: Request, wire: ModuleType) -> tuple[Any, Answer | Response]:
        """Note the request and say what comes of it: an answer, or an error as it is sent."""
        raw = await request.body()
        body = json.loads(raw)
        conversation = wire.read(body)
        self.requests.append(
            Recorded(
                path=request.url.path,
                headers=dict(request.headers),
                size=len(raw),
                system=wire.system_text(body),
                prompt=conversation.prompt,
                heard=wire.heard(body),
                body=body,
            )
        )
        step = next_step(conversation, self._failures[conversation.prompt])
        if isinstance(step, Hang):
            await anyio.sleep_forever()
        if isinstance(step, Failure):
            self._failures[conversation.prompt] += 1
            said = wire.failure(step)
            return body, JSONResponse(said, status_code=step.status, headers=step.headers)
        assert isinstance(step, Answer)
        return body, self._in_its_words(step)

    def _in_its_words(self, step: Answer) -> Answer:
        if step.tool is None or step.tool.name != SHELL or self._shell == SHELL:
            return step
        # Not every shell tool takes a description.
        template = json.dumps(self._shell_arguments)
        if "COMMAND" not in template:
            template = json.dumps({"command": "COMMAND", **self._shell_arguments})
        said = json.dumps(step.tool.arguments["command"])
        call = ToolCall(self._shell, json.loads(template.replace('"COMMAND"', said)))
        return replace(step, tool=call)

    async def _count_tokens(self, request: Request) -> Response:
        return JSONResponse({"input_tokens": len(await request.body()) // 4})

    async def _other(self, request: Request) -> Response:
        self.others.append(f"{request.method} {request.url.path}")
        return JSONResponse({"error": "the scripted model has no such route"}, status_code=404)


_TEXT_PIECES = (b"text_delta", b"output_text.delta", b'"parts": [{"text"')


async def _paced(events: Iterator[bytes], step: Answer) -> AsyncIterator[bytes]:
    pause_s = step.over_s / max(1, len(step.text) // 5)
    for event in events:
        yield event
        if pause_s and any(kind in event for kind in _TEXT_PIECES):
            await anyio.sleep(pause_s)
    if step.cut:
        raise ConnectionAbortedError
