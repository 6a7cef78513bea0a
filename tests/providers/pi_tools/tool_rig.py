"""Create the coding tools of a session in one folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract import ProviderSessionConfig
from agent_swarm_worker.contract.listening import SessionSink
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.providers.pi.tools import coding_tools
from agent_swarm_worker.providers.pi.tools.base import Tool
from agent_swarm_worker.sandboxes.local import LocalGuest


@dataclass
class Workshop:
    """Some tools, and the folder they work in."""

    cwd: Path
    config: ProviderSessionConfig
    tools: Mapping[str, Tool]
    progress: list[str]

    async def use(self, name: str, /, **args: Any) -> str:
        """Use a tool; what it says if it worked."""
        outcome = await self.tools[name].run(args)
        assert not outcome.is_error, outcome.text
        return outcome.text

    async def fails(self, name: str, /, **args: Any) -> str:
        """Use a tool; what it complains about."""
        outcome = await self.tools[name].run(args)
        assert outcome.is_error, outcome.text
        return outcome.text


async def workshop(
    folder: Path,
    tag: str = "no-processes",
    *,
    clock: Clock | None = None,
    sink: SessionSink | None = None,
    **env: str,
) -> Workshop:
    private, cwd = folder / "private", folder / "work"
    private.mkdir(mode=0o700, exist_ok=True)
    cwd.mkdir(exist_ok=True)
    config = ProviderSessionConfig(
        prompt="do it",
        agent_id="agent-1",
        task_id="task-1",
        session_uuid=tag,
        api_url="http://swarm.test",
        api_key="swarm-api-key-0001",
        guest=LocalGuest(tag, clock=clock),
        cwd=cwd,
        log_file=folder / "session.jsonl",
        private_dir=private,
        env={"PATH": os.environ["PATH"], "HOME": str(folder / "home"), **env},
        redactor=Scrubber(),
        sink=sink,
    )
    told: list[str] = []
    tools = await coding_tools(config, clock=clock or SystemClock(), report=told.append)
    return Workshop(cwd, config, {tool.name: tool for tool in tools}, told)


@pytest.fixture
async def shop(tmp_path: Path, tag: str) -> Workshop:
    return await workshop(tmp_path, tag)
