"""One tool server: a task that owns the connection, and calls that go through it.

The MCP library's contexts have task groups inside, so they must be left by the task that entered
them, and what breaks in one of them cancels that task. Hence `live`: it owns the connection, nobody
else is touched when it breaks, and the next call makes it try again.

From what a server lists to tools that every vendor of models accepts.

A vendor refuses a whole request for one bad tool, and that would end the session. So what cannot
be mended is left out.

From a tool result to the text a model is shown.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    AudioContent,
    BlobResourceContents,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    Implementation,
    ListToolsRequest,
    ListToolsResult,
    PaginatedRequestParams,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic import ValidationError

from agent_swarm_worker.logs import silence_libraries
from agent_swarm_worker.providers.pi.tool import ToolOutcome
from agent_swarm_worker.providers.pi.tools.base import clipped, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_swarm_worker.contract import McpServer, Redactor
    from agent_swarm_worker.providers.pi.mcp_transports import Transports

MAX_PAGES = 50
GOODBYE_S = 3.0
"""How long the library may take to leave a connection."""
_MAX_WHY_CHARS = 300
_SESSION_GONE = "Session terminated"
"""What the library says when a server no longer knows our session: the call was not carried out."""

silence_libraries("mcp", "client")


@dataclass(slots=True, eq=False)
class _Attempt:
    """One connection, from the first try to its end."""

    settled: anyio.Event = field(default_factory=anyio.Event)
    """It is known whether it works."""
    session: ClientSession | None = None
    """While it works."""
    over: anyio.Event = field(default_factory=anyio.Event)
    """It does not work any more, or is no longer wanted."""
    ended: anyio.Event = field(default_factory=anyio.Event)
    """All of it is gone."""
    why: str = ""


class Connection:
    """A server, connected or not.

    Args:
        server: which.
        transports: how servers are reached.
        redactor: scrubs what it says.
        connect_s: how long connecting and listing may take.
        call_s: how long a call may take.
        warn: told the server's name and what is wrong.
    """

    def __init__(
        self,
        server: McpServer,
        transports: Transports,
        *,
        redactor: Redactor,
        connect_s: float,
        call_s: float,
        warn: Callable[[str, str], None],
    ) -> None:
        self.server = server
        self.offers: tuple[Offer, ...] = ()
        self._transports = transports
        self._redactor = redactor
        self._connect_s, self._call_s = connect_s, call_s
        self._warn = warn
        self._attempt: _Attempt | None = None
        self._wanted = anyio.Event()
        self._is_first = True

    async def live(self) -> None:
        """Own the connection, and each one after it, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            attempt = self._attempt
            assert attempt is not None
            try:
                await self._keep(attempt)
            except Exception as error:  # whatever a stranger brings about
                attempt.why = attempt.why or _why(error)
            finally:
                attempt.session = None
                for event in (attempt.over, attempt.settled, attempt.ended):
                    event.set()

    async def connect(self) -> None:
        """Connect for the first time; a server that does not answer is told of, not waited for."""
        attempt = await self._working()
        if attempt.session is None:
            self._warn(self.server.name, f"not available: {self._clean(attempt.why)}")

    async def close(self) -> None:
        """Leave the server."""
        if self._attempt is not None:
            self._attempt.over.set()
            await self._attempt.ended.wait()

    async def call(self, name: str, args: Mapping[str, Any]) -> ToolOutcome:
        """Call a tool; whatever goes wrong is an outcome."""
        for is_last in (False, True):
            attempt = await self._working()
            if attempt.session is None:
                return self._failure(f"not available: {attempt.why}")
            try:
                with anyio.fail_after(self._call_s):
                    result = await _request(attempt, name, dict(args))
            except TimeoutError:
                return self._failure(f"no answer to {name} within {self._call_s:g} s")
            except MCPError as error:
                if error.message == _SESSION_GONE and not is_last:
                    await self._drop(attempt)
                    continue
                if error.code != CONNECTION_CLOSED:
                    return self._failure(error.message)
                await self._drop(attempt)
                return self._failure(f"the connection broke: {attempt.why or error.message}")
            except (ValidationError, ValueError, RecursionError) as error:
                return self._failure(f"a result that is none: {_why(error)}")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, RuntimeError) as error:
                await self._drop(attempt)
                return self._failure(f"the connection broke: {attempt.why or _why(error)}")
            return outcome_of(result, self._redactor)
        raise AssertionError

    async def _working(self) -> _Attempt:
        """Return the attempt that works, or a new one once it is known what becomes of it."""
        attempt = self._attempt
        if attempt is None or attempt.over.is_set():
            if attempt is not None:
                await attempt.ended.wait()
            if self._attempt is attempt:  # nobody else was faster
                self._attempt = _Attempt()
                self._wanted.set()
            attempt = self._attempt
            assert attempt is not None
        await attempt.settled.wait()
        return attempt

    async def _drop(self, attempt: _Attempt) -> None:
        attempt.over.set()
        await attempt.ended.wait()

    async def _keep(self, attempt: _Attempt) -> None:
        # One scope for all of it: a scope for the start alone could not be left while the
        # connection, entered inside it, goes on.
        with anyio.CancelScope() as scope:
            scope.deadline = anyio.current_time() + self._connect_s
            async with AsyncExitStack() as stack:
                streams = await stack.enter_async_context(self._transports.open(self.server))
                stack.callback(attempt.over.set)
                info = Implementation(name="agent-swarm-worker", version="1")
                session = await stack.enter_async_context(
                    ClientSession(streams[0], streams[1], client_info=info)
                )
                await session.initialize()
                if self._is_first:
                    self.offers = await self._listed(session)
                    self._is_first = False
                scope.deadline = float("inf")
                attempt.session = session
                attempt.settled.set()
                await attempt.over.wait()
                attempt.session = None
                scope.deadline = anyio.current_time() + GOODBYE_S
        if scope.cancelled_caught and not attempt.settled.is_set():
            attempt.why = f"no answer within {self._connect_s:g} s"

    async def _listed(self, session: ClientSession) -> tuple[Offer, ...]:
        """Ask for all pages of the list; a server that never stops is stopped."""
        offers: dict[str, Offer] = {}
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            request = ListToolsRequest(params=PaginatedRequestParams(cursor=cursor))
            page = await session.send_request(request, ListToolsResult)
            for tool in page.tools:
                if len(offers) == MAX_TOOLS:
                    self._warn(self.server.name, f"only its first {MAX_TOOLS} tools are used")
                    return tuple(offers.values())
                try:
                    offer = mended(
                        tool.name, tool.description or "", tool.input_schema, self._redactor
                    )
                except BadTool as error:
                    self._warn(
                        self.server.name, f"its tool {tool.name[:64]!r} is left out: {error}"
                    )
                else:
                    offers.setdefault(tool.name, offer)
            cursor = page.next_cursor
            if not cursor or cursor in seen:
                break
            seen.add(cursor)
        return tuple(offers.values())

    def _failure(self, why: str) -> ToolOutcome:
        return ToolOutcome(self._clean(f"tool server {self.server.name}: {why}"), is_error=True)

    def _clean(self, why: str) -> str:
        return self._redactor.text(why)[:_MAX_WHY_CHARS]


async def _request(attempt: _Attempt, name: str, args: dict[str, Any]) -> CallToolResult:
    """Call a tool; when the connection ends meanwhile, the library says so.

    Not through ``call_tool``: that refuses a result which the server's own schema for it does not
    fit, and to the model a sloppy answer is better than none.
    """
    assert attempt.session is not None
    request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=args))
    return await attempt.session.send_request(request, CallToolResult)


def _why(error: BaseException) -> str:
    """Return the innermost reason, as one short line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    first = (str(error) or type(error).__name__).strip().splitlines()[0]
    return first[:_MAX_WHY_CHARS]


MAX_NAME_CHARS = 64
MAX_TOOLS = 250
"""Of one server."""
MAX_DESCRIPTION_CHARS = 4000
MAX_SCHEMA_BYTES = 32 * 1024
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_MEMBER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOT_AT_THE_TOP = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "enum", "const", "$ref")
"""Anthropic and OpenAI refuse these beside the properties; the server checks them anyway."""


class BadTool(ValueError):
    """A tool that no model could be given."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as a server lists it, mended."""

    name: str
    description: str
    parameters: Mapping[str, Any]


def exposed_names(tools: Sequence[tuple[str, str]]) -> list[str]:
    """Return a name for each pair of server and tool: ``mcp__<server>__<tool>``.

    Of names that had to be changed so that they would collide, or that are too long, the end is a
    hash of what they were.
    """
    plain = [f"mcp__{_fit(server)}__{_fit(tool)}" for server, tool in tools]
    names: list[str] = []
    for pair, name in zip(tools, plain, strict=True):
        unique = name
        if len(name) > MAX_NAME_CHARS or plain.count(name) > 1 or name in names:
            digest = hashlib.sha256("\0".join(pair).encode("utf-8", "replace")).hexdigest()[:8]
            unique = f"{name[: MAX_NAME_CHARS - 9]}_{digest}"
        number = 1
        while unique in names:  # a server that lists the same name twice
            number += 1
            unique = f"{unique[: MAX_NAME_CHARS - 4]}_{number}"
        names.append(unique)
    return names


def mended(name: str, description: str, schema: Mapping[str, Any], redactor: Redactor) -> Offer:
    """Return a tool as a model may be given it.

    Raises:
        BadTool: its schema cannot be used.
    """
    found = {key: value for key, value in schema.items() if key not in _NOT_AT_THE_TOP}
    found["type"] = "object"
    properties = found.setdefault("properties", {})
    if not isinstance(properties, dict):
        msg = "the properties of its schema are no object"
        raise BadTool(msg)
    if odd := [member for member in properties if not _MEMBER.fullmatch(member)]:
        msg = f"no vendor takes an argument called {odd[0]!r}"
        raise BadTool(msg)
    try:
        if len(orjson.dumps(found)) > MAX_SCHEMA_BYTES:
            msg = f"its schema is larger than {MAX_SCHEMA_BYTES} bytes"
            raise BadTool(msg)
    except orjson.JSONEncodeError as error:
        msg = f"its schema cannot be written as JSON: {error}"
        raise BadTool(msg) from None
    _check(found)
    text = redactor.text(description)
    return Offer(name, text[:MAX_DESCRIPTION_CHARS], redactor.leaves(found))


def _check(schema: dict[str, Any]) -> None:
    from jsonschema import (  # type: ignore[import-untyped]  # noqa: PLC0415 - takes long to load
        Draft202012Validator,
        SchemaError,
    )

    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError, TypeError, ValueError) as error:
        why = str(error).partition("\n")[0][:200]
        msg = f"its schema is none: {why}"
        raise BadTool(msg) from None


def _fit(name: str) -> str:
    return _UNFIT.sub("_", name) or "_"


def outcome_of(result: CallToolResult, redactor: Redactor) -> ToolOutcome:
    """Return the texts of a result, scrubbed and then cut; what is no text is named."""
    text = "\n\n".join(filter(None, map(_text_of, result.content)))
    if not text and result.structured_content is not None:
        text = orjson.dumps(result.structured_content, default=str).decode()
    return ToolOutcome(clipped(redactor.text(text)) or "(no output)", bool(result.is_error))


def _text_of(block: Any) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return f"[image, {block.mime_type}, {_size(block.data)}]"
        case AudioContent():
            return f"[audio, {block.mime_type}, {_size(block.data)}]"
        case ResourceLink():
            return f"[resource {block.name}: {block.uri}]"
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return f"[resource {resource.uri}]\n{resource.text}"
        case EmbeddedResource(resource=BlobResourceContents() as resource):
            return f"[resource {resource.uri}, {_size(resource.blob)}]"
    return "[something that is no text]"


def _size(base64: str) -> str:
    return size_of(len(base64) * 3 // 4)
