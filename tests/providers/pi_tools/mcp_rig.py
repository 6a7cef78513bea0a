"""Sessions with tool servers, for the tests."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.logs import Log
from agent_swarm_worker.providers.pi.mcp_tools import open_mcp_tools
from agent_swarm_worker.providers.pi.tools.base import Tool
from agent_swarm_worker.sandboxes.local import LocalGuest

STDIO_SERVERS = Path(__file__).parent / "stdio_servers.py"


@dataclass
class Session:
    """The tools of a session, and what was complained about."""

    redactor: Scrubber = field(default_factory=Scrubber)
    warnings: list[str] = field(default_factory=list)
    tools: dict[str, Tool] = field(default_factory=dict)

    async def use(self, name: str, /, **args: Any) -> str:
        outcome = await self.tools[name].run(args)
        assert not outcome.is_error, outcome.text
        return outcome.text

    async def fails(self, name: str, /, **args: Any) -> str:
        outcome = await self.tools[name].run(args)
        assert outcome.is_error, outcome.text
        return outcome.text


def stdio(manner: str, *args: str, name: str = "s", **env: str) -> McpServer:
    argv = ("-S", "-B", str(STDIO_SERVERS), manner, *args)
    return McpServer(name=name, transport="stdio", command=sys.executable, args=argv, env=env)


def http(url: str, name: str = "s", **headers: str) -> McpServer:
    return McpServer(name=name, transport="http", url=url, headers=headers)


@asynccontextmanager
async def session(*servers: McpServer, **options: Any) -> AsyncIterator[Session]:
    found = Session(options.pop("redactor", None) or Scrubber())
    opening = open_mcp_tools(
        servers,
        redactor=found.redactor,
        log=Log(),
        on_warning=found.warnings.append,
        guest=LocalGuest(options.pop("tag", None) or str(uuid.uuid4())),
        **{"connect_s": 20.0, "call_s": 20.0, "cwd": Path.cwd(), "env": os.environ, **options},
    )
    async with opening as tools:
        found.tools = {tool.name: tool for tool in tools}
        yield found
