"""Give the in-process agent the tools of the session's MCP servers.

A server that fails, is slow or sends malformed data costs its own tools or one call, never the
session. The MCP library's contexts contain task groups, so they must be left by the task that
entered them, and an error in one of them cancels that task. So `Connection.run` owns a connection
in a task of its own; after a failure the next call opens a new one.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]
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

from agent_swarm_worker.logs import Event, silence_libraries
from agent_swarm_worker.providers.pi.mcp_transports import Transports
from agent_swarm_worker.providers.pi.tools.base import Tool, ToolOutcome, clipped, size_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, McpServer, Redactor
    from agent_swarm_worker.logs import Log

CONNECT_S = 10.0
CALL_S = 120.0
CLOSE_S = 3.0
"""Time for the library to leave a connection."""
CLOSE_ALL_S = 5.0
MAX_PAGES = 50
_MAX_REASON_CHARS = 300
_SESSION_GONE = "Session terminated"
"""The library's message if the server does not know the session any more: nothing was called."""
MAX_TOOLS = 250
"""Per server."""
MAX_DESCRIPTION_CHARS = 4000
MAX_SCHEMA_BYTES = 32 * 1024
MAX_NAME_CHARS = 64
_UNSUPPORTED = re.compile(r"[^A-Za-z0-9_-]")
_ARGUMENT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REFUSED = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "enum", "const", "$ref")
"""Keywords that Anthropic and OpenAI refuse at the top level; the server checks them anyway."""

silence_libraries("mcp", "client")


@asynccontextmanager
async def open_mcp_tools(
    servers: Sequence[McpServer],
    *,
    redactor: Redactor,
    log: Log,
    on_warning: Callable[[str], None],
    guest: Guest,
    cwd: PurePath,
    env: Mapping[str, str],
    connect_s: float = CONNECT_S,
    call_s: float = CALL_S,
) -> AsyncIterator[tuple[Tool, ...]]:
    """Connect to all servers at once and give the tools of those that answer in time.

    Servers and tools that cannot be used are logged and reported to `on_warning`. Stdio servers run
    in `guest`, and inherit a few variables of `env`.
    """

    def warn(server: str, reason: str) -> None:
        reason = redactor.text(reason)
        log.warning(Event.MCP_CONFIG, server=server, why=reason)
        on_warning(redactor.text(f"tool server {server}: {reason}"))

    transports = Transports(guest=guest, cwd=cwd, env=env, redactor=redactor)
    connections = [
        Connection(
            server=server,
            transports=transports,
            redactor=redactor,
            connect_s=connect_s,
            call_s=call_s,
            warn=warn,
        )
        for server in servers
    ]
    failure: Exception | None = None
    async with anyio.create_task_group() as owners:
        for link in connections:
            owners.start_soon(link.run)
        async with anyio.create_task_group() as first_attempts:
            for link in connections:
                first_attempts.start_soon(link.connect)
        try:
            yield _tools(connections)
        except Exception as error:  # the caller's own, to be raised without a group
            failure = error
        with anyio.move_on_after(CLOSE_ALL_S):
            async with anyio.create_task_group() as closing:
                for link in connections:
                    closing.start_soon(link.close)
        owners.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _tools(connections: Sequence[Connection]) -> tuple[Tool, ...]:
    found = [(link, tool) for link in connections for tool in link.tools]
    names = exposed_names([(link.server.name, tool.name) for link, tool in found])
    return tuple(replace(tool, name=name) for name, (_, tool) in zip(names, found, strict=True))


def exposed_names(tools: Sequence[tuple[str, str]]) -> list[str]:
    """Return a name for each pair of server and tool: ``mcp__<server>__<tool>``.

    A name that is too long, or that collides with another one after unsupported characters were
    replaced, ends in a hash of the original pair.
    """
    plain = [f"mcp__{_supported(server)}__{_supported(tool)}" for server, tool in tools]
    names: list[str] = []
    for pair, name in zip(tools, plain, strict=True):
        unique = name
        if len(name) > MAX_NAME_CHARS or plain.count(name) > 1 or name in names:
            digest = hashlib.sha256("\0".join(pair).encode("utf-8", "replace")).hexdigest()[:8]
            unique = f"{name[: MAX_NAME_CHARS - 9]}_{digest}"
        number = 1
        while unique in names:  # the server lists the same name twice
            number += 1
            unique = f"{unique[: MAX_NAME_CHARS - 4]}_{number}"
        names.append(unique)
    return names


def _supported(name: str) -> str:
    return _UNSUPPORTED.sub("_", name) or "_"


@dataclass(slots=True, eq=False)
class _Attempt:
    """One connection, from the first attempt to its end."""

    session: ClientSession | None = None
    """Not ``None`` while the connection works."""
    settled: anyio.Event = field(default_factory=anyio.Event)
    """It is known whether the connection works."""
    closing: anyio.Event = field(default_factory=anyio.Event)
    """It broke or is to be closed."""
    closed: anyio.Event = field(default_factory=anyio.Event)
    reason: str = ""
    """Why it failed."""

    async def close(self) -> None:
        self.closing.set()
        await self.closed.wait()


@dataclass(slots=True, eq=False, kw_only=True)
class Connection:
    """One MCP server, connected or not."""

    server: McpServer
    transports: Transports
    redactor: Redactor
    connect_s: float
    call_s: float
    warn: Callable[[str, str], None]
    """Gets the server's name and a message."""
    tools: tuple[Tool, ...] = ()
    _attempt: _Attempt | None = None
    _requested: anyio.Event = field(default_factory=anyio.Event)
    _is_first: bool = True

    async def run(self) -> None:
        """Open a connection whenever one is requested, and own it; until cancelled."""
        while True:
            await self._requested.wait()
            self._requested = anyio.Event()
            attempt = self._attempt
            assert attempt is not None
            try:
                await self._hold(attempt)
            except Exception as error:  # servers and the library raise all kinds
                attempt.reason = attempt.reason or _reason(error)
            finally:
                attempt.session = None
                for event in (attempt.closing, attempt.settled, attempt.closed):
                    event.set()

    async def connect(self) -> None:
        """Connect for the first time; warn if that fails."""
        attempt = await self._current()
        if attempt.session is None:
            self.warn(self.server.name, f"not available: {self._clean(attempt.reason)}")

    async def close(self) -> None:
        """Close the connection, and wait for its end."""
        if self._attempt is not None:
            await self._attempt.close()

    async def call(self, name: str, args: Mapping[str, Any]) -> ToolOutcome:
        """Call a tool; every failure is returned as an outcome."""
        for is_last in (False, True):
            attempt = await self._current()
            if attempt.session is None:
                return self._failure(f"not available: {attempt.reason}")
            try:
                with anyio.fail_after(self.call_s):
                    result = await _request(attempt, name, dict(args))
            except TimeoutError:
                return self._failure(f"no answer to {name} within {self.call_s:g} s")
            except MCPError as error:
                if error.message == _SESSION_GONE and not is_last:
                    await attempt.close()
                    continue
                if error.code != CONNECTION_CLOSED:
                    return self._failure(error.message)
                await attempt.close()
                return self._failure(f"the connection broke: {attempt.reason or error.message}")
            except (ValidationError, ValueError, RecursionError) as error:
                return self._failure(f"a malformed result: {_reason(error)}")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, RuntimeError) as error:
                await attempt.close()
                return self._failure(f"the connection broke: {attempt.reason or _reason(error)}")
            return outcome_of(result, self.redactor)
        raise AssertionError

    async def _current(self) -> _Attempt:
        """Return the working connection, or a new one once it is known whether it works."""
        attempt = self._attempt
        if attempt is None or attempt.closing.is_set():
            if attempt is not None:
                await attempt.closed.wait()
            if self._attempt is attempt:  # no other call has replaced it meanwhile
                self._attempt = _Attempt()
                self._requested.set()
            attempt = self._attempt
            assert attempt is not None
        await attempt.settled.wait()
        return attempt

    async def _hold(self, attempt: _Attempt) -> None:
        # One scope for start and end: a scope for the start alone could not be left while the
        # connection, which is entered inside it, exists.
        with anyio.CancelScope() as scope:
            scope.deadline = anyio.current_time() + self.connect_s
            async with AsyncExitStack() as stack:
                streams = await stack.enter_async_context(self.transports.open(self.server))
                stack.callback(attempt.closing.set)
                info = Implementation(name="agent-swarm-worker", version="1")
                session = await stack.enter_async_context(
                    ClientSession(streams[0], streams[1], client_info=info)
                )
                await session.initialize()
                if self._is_first:
                    self.tools = await self._list_tools(session)
                    self._is_first = False
                scope.deadline = float("inf")
                attempt.session = session
                attempt.settled.set()
                await attempt.closing.wait()
                attempt.session = None
                scope.deadline = anyio.current_time() + CLOSE_S
        if scope.cancelled_caught and not attempt.settled.is_set():
            attempt.reason = f"no answer within {self.connect_s:g} s"

    async def _list_tools(self, session: ClientSession) -> tuple[Tool, ...]:
        """Request the pages of the list, at most `MAX_PAGES`."""
        found: dict[str, Tool] = {}
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            request = ListToolsRequest(params=PaginatedRequestParams(cursor=cursor))
            page = await session.send_request(request, ListToolsResult)
            for tool in page.tools:
                if len(found) == MAX_TOOLS:
                    self.warn(self.server.name, f"only its first {MAX_TOOLS} tools are used")
                    return tuple(found.values())
                try:
                    parameters = self.redactor.leaves(usable_schema(tool.input_schema))
                except UnusableTool as error:
                    reason = f"its tool {tool.name[:64]!r} is left out: {error}"
                    self.warn(self.server.name, reason)
                    continue
                text = self.redactor.text(tool.description or "")[:MAX_DESCRIPTION_CHARS]
                run = partial(self.call, tool.name)
                found.setdefault(tool.name, Tool(tool.name, text, parameters, run))
            cursor = page.next_cursor
            if not cursor or cursor in seen:
                break
            seen.add(cursor)
        return tuple(found.values())

    def _failure(self, reason: str) -> ToolOutcome:
        return ToolOutcome(self._clean(f"tool server {self.server.name}: {reason}"), is_error=True)

    def _clean(self, reason: str) -> str:
        return self.redactor.text(reason)[:_MAX_REASON_CHARS]


async def _request(attempt: _Attempt, name: str, args: dict[str, Any]) -> CallToolResult:
    """Call a tool; the library raises if the connection ends meanwhile.

    Not with ``call_tool``, which refuses a result that violates the server's own schema for it: for
    the model such a result is better than none.
    """
    assert attempt.session is not None
    request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=args))
    return await attempt.session.send_request(request, CallToolResult)


def _reason(error: BaseException) -> str:
    """Return the innermost error's message as one short line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    first = (str(error) or type(error).__name__).strip().splitlines()[0]
    return first[:_MAX_REASON_CHARS]


class UnusableTool(ValueError):
    """A listed tool that cannot be passed to a model."""


def usable_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a tool's arguments in a form that every vendor accepts.

    A vendor refuses a whole request for one bad tool.

    Raises:
        UnusableTool: there is no such form.
    """
    found = {key: value for key, value in schema.items() if key not in _REFUSED}
    found["type"] = "object"
    properties = found.setdefault("properties", {})
    if not isinstance(properties, dict):
        raise UnusableTool("the properties of its schema are no object")
    if invalid := [member for member in properties if not _ARGUMENT_NAME.fullmatch(member)]:
        raise UnusableTool(f"no vendor takes an argument called {invalid[0]!r}")
    try:
        if len(orjson.dumps(found)) > MAX_SCHEMA_BYTES:
            raise UnusableTool(f"its schema is larger than {MAX_SCHEMA_BYTES} bytes")
    except orjson.JSONEncodeError as error:
        raise UnusableTool(f"its schema cannot be written as JSON: {error}") from None
    try:
        Draft202012Validator.check_schema(found)
    except (SchemaError, RecursionError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise UnusableTool(f"its schema is invalid: {reason}") from None
    return found


def outcome_of(result: CallToolResult, redactor: Redactor) -> ToolOutcome:
    """Return the text of a result, scrubbed and then cut; other content is named."""
    text = "\n\n".join(filter(None, map(_block_text, result.content)))
    if not text and result.structured_content is not None:
        text = orjson.dumps(result.structured_content, default=str).decode()
    return ToolOutcome(clipped(redactor.text(text)) or "(no output)", bool(result.is_error))


def _block_text(block: Any) -> str:
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
