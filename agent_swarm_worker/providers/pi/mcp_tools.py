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
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED

from agent_swarm_worker.aio import first_error
from agent_swarm_worker.logs import Event, silence_libraries
from agent_swarm_worker.providers.kit.native import mapping, text
from agent_swarm_worker.providers.pi.mcp_content import (
    UnusableTool,
    listed_tools,
    outcome_of,
    tool_name,
    usable_schema,
)
from agent_swarm_worker.providers.pi.mcp_transports import McpPeer, Transports
from agent_swarm_worker.providers.pi.spec import PiOptions
from agent_swarm_worker.providers.pi.tools.base import Tool, ToolOutcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import PurePath

    from agent_swarm_worker.contract import Guest, McpServer, Redactor
    from agent_swarm_worker.logs import Log

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
MAX_NAME_CHARS = 64
_UNSUPPORTED = re.compile(r"[^A-Za-z0-9_-]")

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
    connect_s: float | None = None,
    call_s: float = CALL_S,
) -> AsyncIterator[tuple[Tool, ...]]:
    """Connect to all servers at once and give the tools of those that answer in time.

    Servers and tools that cannot be used are logged and reported to `on_warning`. Stdio servers run
    in `guest`, and inherit a few variables of `env`. `connect_s` is ``PI_MCP_START_S`` by default.
    """
    start_s = PiOptions.load(env).mcp_start_s if connect_s is None else connect_s

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
            connect_s=start_s,
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

    session: McpPeer | None = None
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
                    params = {"name": name, "arguments": dict(args)}
                    result = await attempt.session.request("tools/call", params)
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
                session = await stack.enter_async_context(McpPeer.open(*streams))
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
            attempt.reason = f"no answer within {self.connect_s:g} s (PI_MCP_START_S)"

    async def _list_tools(self, session: McpPeer) -> tuple[Tool, ...]:
        """Request the pages of the list, at most `MAX_PAGES`; a page that fails ends it."""
        found: dict[str, Tool] = {}
        cursor = ""
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            try:
                page = await session.request("tools/list", {"cursor": cursor} if cursor else {})
                entries = listed_tools(page)
            except (MCPError, ValueError) as error:
                if not found:
                    raise
                self.warn(self.server.name, self._clean(f"the rest of its tools: {error}"))
                break
            for number, entry in enumerate(entries, 1):
                if len(found) == MAX_TOOLS:
                    self.warn(self.server.name, f"only its first {MAX_TOOLS} tools are used")
                    return tuple(found.values())
                try:
                    tool = self._tool(entry)
                except UnusableTool as error:
                    name = text(mapping(entry).get("name"))[:64]
                    reason = f"its tool {name!r}" if name else f"its tool number {number}"
                    self.warn(self.server.name, f"{reason} is left out: {error}")
                else:
                    found.setdefault(tool.name, tool)
            cursor = text(page.get("nextCursor"))
            if not cursor or cursor in seen:
                break
            seen.add(cursor)
        return tuple(found.values())

    def _tool(self, entry: Any) -> Tool:
        name = tool_name(entry)
        parameters = self.redactor.leaves(usable_schema(entry.get("inputSchema")))
        about = self.redactor.text(text(entry.get("description")))[:MAX_DESCRIPTION_CHARS]
        return Tool(name, about, parameters, partial(self.call, name))

    def _failure(self, reason: str) -> ToolOutcome:
        return ToolOutcome(self._clean(f"tool server {self.server.name}: {reason}"), is_error=True)

    def _clean(self, reason: str) -> str:
        return self.redactor.text(reason)[:_MAX_REASON_CHARS]


def _reason(error: BaseException) -> str:
    """Return the innermost error's message as one short line."""
    error = first_error(error)
    first = (str(error) or type(error).__name__).strip().splitlines()[0]
    return first[:_MAX_REASON_CHARS]
