"""``swarm-worker tools check FILE``: call the operator's tools as a harness would."""

from __future__ import annotations

import os
import time
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from agent_swarm_worker import logs
from agent_swarm_worker.cli.output import print_json, print_line
from agent_swarm_worker.errors import UsageError
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.logs import Log
from agent_swarm_worker.sandboxes.local import LocalSandbox
from agent_swarm_worker.sandboxes.port import GuestSpec
from agent_swarm_worker.settings import process_env
from agent_swarm_worker.text import one_line
from agent_swarm_worker.tool_bridge.calls import ToolContext
from agent_swarm_worker.tool_bridge.definitions import load_tools, require_extra
from agent_swarm_worker.tool_bridge.serving import served_tools

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from agent_swarm_worker.contract import McpServer
    from agent_swarm_worker.tool_bridge.definitions import ToolDefinition

MAX_SHOWN_CHARS = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = commands.add_parser(
        "check",
        help="read a file of tools, and call each one with its `example`",
        description="Read a file of tools, serve it over MCP, and call each tool with its `example`"
        " in the current directory. Exits with 78 if the file cannot be used, and with 1 if a call"
        " fails.",
    )
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument("--tool", metavar="NAME", help="call only this one")
    check.add_argument("--arguments", metavar="JSON", help="for --tool, instead of its example")
    check.add_argument("--no-calls", action="store_true", help="only read the file")
    check.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Check a file of tools; return 1 if a call failed."""
    logs.configure(level="error")
    tools = load_tools(args.file)
    if args.tool:
        tools = tuple(tool for tool in tools if tool.name == args.tool)
        if not tools:
            raise UsageError(f"{args.file} has no tool {args.tool!r}")
    elif args.arguments:
        raise UsageError("--arguments needs --tool")
    require_extra()
    given = _parsed(args.arguments) if args.arguments else None
    rows = (
        [_row(tool, "not called", "") for tool in tools]
        if args.no_calls
        else anyio.run(_check, tools, given)
    )
    if args.json:
        print_json(rows)
    else:
        for row in rows:
            took = f" ({row['seconds']:.1f} s)" if "seconds" in row else ""
            print_line(f"{row['tool']}: {row['outcome']}{took}")
            if row["text"]:
                print_line(f"  {one_line(row['text'], MAX_SHOWN_CHARS)}")
    return int(any(row["outcome"] == "failed" for row in rows))


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"--arguments is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError("--arguments is no JSON object")
    return value


async def _check(
    tools: Sequence[ToolDefinition], given: dict[str, Any] | None
) -> list[dict[str, Any]]:
    env, redactor = process_env(), Scrubber()
    redactor.add_env(env)
    sandbox = LocalSandbox()
    async with sandbox.open(GuestSpec(name=random_ids(), mounts={})) as guest:
        context = ToolContext(
            guest=guest,
            cwd=PurePath(os.getcwd()),  # noqa: PTH109 - as the shell's
            env=env,
            variables=env,
            redactor=redactor,
            log=Log(),
        )
        usable = [tool for tool in tools if not tool.unset(env)]
        async with served_tools(usable, context) as server:
            called = await _call_all(server, usable, given)
    return [
        called.get(tool.name) or _row(tool, "failed", f"{tool.unset(env)} is not set")
        for tool in tools
    ]


async def _call_all(
    server: McpServer, tools: Sequence[ToolDefinition], given: dict[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """Call the tools over MCP."""
    import httpx2  # noqa: PLC0415 - with the next ones it is slow to import
    from mcp import ClientSession  # noqa: PLC0415
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

    rows: dict[str, dict[str, Any]] = {}
    async with (
        httpx2.AsyncClient(headers=dict(server.headers), timeout=None, trust_env=False) as http,
        streamable_http_client(server.url, http_client=http) as (reader, writer, *_),
        ClientSession(reader, writer) as session,
    ):
        await session.initialize()
        listed = {tool.name for tool in (await session.list_tools()).tools}
        for tool in tools:
            arguments = tool.example if given is None else given
            if tool.name not in listed:
                rows[tool.name] = _row(tool, "failed", "the server does not list it")
            elif arguments is None:
                rows[tool.name] = _row(tool, "not called", "it has no `example`")
            else:
                began_s = time.monotonic()
                result = await session.call_tool(tool.name, arguments)
                text = "".join(getattr(part, "text", "") for part in result.content)
                outcome = "failed" if result.is_error else "ok"
                seconds = {"seconds": round(time.monotonic() - began_s, 3)}
                rows[tool.name] = _row(tool, outcome, text) | seconds
    return rows


def _row(tool: ToolDefinition, outcome: str, text: str) -> dict[str, Any]:
    return {"tool": tool.name, "outcome": outcome, "text": text}
