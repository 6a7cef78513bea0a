"""Run sessions of a real CLI against a scripted model and a tool server."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loopback import serving
from model_script import SHELL
from scripted_model import ScriptedModel
from session_config import session_config
from swarm_tools import SwarmTools

from agent_swarm_worker.contract import ProviderAdapter, ProviderResult, ProviderSessionConfig


def jwt(**claims: Any) -> str:
    """Return a token as the vendor's login issues it; its signature is not checked here."""
    parts = [{"alg": "none"}, {"exp": 4_000_000_000, **claims}]
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*coded, b"c2ln"]).decode()


def processes() -> dict[int, str]:
    """Return the command line of every process, by pid."""
    commands = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            commands[int(path.parent.name)] = path.read_text(errors="replace")
    return commands


@dataclass
class Ran:
    """A session that has ended."""

    result: ProviderResult
    events: list[Any]
    config: ProviderSessionConfig

    def of(self, *types: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, types)]


@dataclass
class CliRig:
    """The CLI, a model and a tool server, in a folder of their own."""

    folder: Path
    model: ScriptedModel
    tools: SwarmTools
    tools_url: str
    adapter: ProviderAdapter
    env_of: Callable[..., dict[str, str]]
    """From a home directory, the model's address and further variables to the environment."""
    transport: str = ""
    runs: int = field(default=0)

    async def run(self, prompt: str, **changed: Any) -> Ran:
        config = self.config(prompt, **changed)
        session = await self.adapter.create_session(config)
        events: list[Any] = []
        session.on_event(events.append)
        return Ran(await session.wait_for_completion(), events, config)

    def config(self, prompt: str, env: dict[str, str] | None = None, **changed: Any) -> Any:
        self.runs += 1
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        values: dict[str, Any] = {
            "prompt": prompt,
            "api_url": self.tools_url,
            "log_file": self.folder / f"session{self.runs}.jsonl",
            "private_dir": self.folder / f"private{self.runs}",
            "env": self.env_of(home, self.model.url, **(env or {})),
        }
        return session_config(self.folder, **values | changed)

    @property
    def body(self) -> str:
        """The body of the last request to the model."""
        return json.dumps(self.model.requests[-1].body)


@contextlib.asynccontextmanager
async def cli_rig(
    folder: Path,
    program: Path,
    adapter: ProviderAdapter,
    env_of: Callable[..., dict[str, str]],
    transport: str = "",
    shell: str = SHELL,
) -> AsyncIterator[CliRig]:
    assert program.exists(), "run tests/e2e/install-clis.sh first"
    tools = SwarmTools()
    async with ScriptedModel(shell) as model, serving(tools) as url:
        yield CliRig(folder, model, tools, url, adapter, env_of, transport)
