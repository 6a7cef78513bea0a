"""Run sessions of the real codex CLI against a scripted model and a tool server."""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from real_codex import codex_env
from session_config import session_config

from agent_swarm_worker.contract import ProviderSessionConfig
from agent_swarm_worker.providers.codex.adapter import CodexAdapter

if TYPE_CHECKING:
    from scripted_model import ScriptedModel
    from swarm_tools import SwarmTools

    from agent_swarm_worker.contract import ProviderResult


def jwt(**claims: Any) -> str:
    """A token as the vendor's login gives out; nobody here checks its signature."""
    parts = [{"alg": "none"}, {"exp": 4_000_000_000, **claims}]
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*coded, b"c2ln"]).decode()


def processes() -> dict[int, str]:
    """The command line of every process there is."""
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
class CodexRig:
    """The CLI, a model and a swarm's tools, in a folder of their own."""

    folder: Path
    model: ScriptedModel
    tools: SwarmTools
    tools_url: str
    transport: str
    runs: int = field(default=0)

    async def run(self, prompt: str, **changed: Any) -> Ran:
        config = self.config(prompt, **changed)
        session = await CodexAdapter().create_session(config)
        events: list[Any] = []
        session.on_event(events.append)
        return Ran(await session.wait_for_completion(), events, config)

    def config(self, prompt: str, env: dict[str, str] | None = None, **changed: Any) -> Any:
        self.runs += 1
        more = {"CODEX_TRANSPORT": self.transport, **(env or {})}
        values: dict[str, Any] = {
            "prompt": prompt,
            "api_url": self.tools_url,
            "log_file": self.folder / f"session{self.runs}.jsonl",
            "private_dir": self.folder / f"private{self.runs}",
            "env": codex_env(self.folder / "home", self.model.url, **more),
        }
        return session_config(self.folder, **values | changed)

    @property
    def body(self) -> str:
        """What the model was last asked."""
        return json.dumps(self.model.requests[-1].body)
