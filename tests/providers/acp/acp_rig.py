"""Run sessions of a scripted ACP agent, each in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from session_config import session_config

from agent_swarm_worker.contract import ProviderEvent, ProviderResult
from agent_swarm_worker.providers.acp.adapter import AcpAdapter, GenericAdapter, RowAdapter
from agent_swarm_worker.providers.acp.target import Target

AGENT = Path(__file__).with_name("scripted_agent.py")
Kind = TypeVar("Kind")


@dataclass
class Ran:
    """What came of a session."""

    result: ProviderResult
    events: list[ProviderEvent]
    log: list[dict[str, Any]] = field(default_factory=list)
    """What the agent noted."""

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def sent(self, method: str) -> list[Any]:
        """The parameters of what the agent was sent."""
        return [entry["params"] for entry in self.log if entry.get("method") == method]

    def answers(self, method: str) -> list[Any]:
        """The answers to what the agent asked: results, or errors."""
        return [
            entry["error"] or entry["got"] for entry in self.log if entry.get("asked") == method
        ]

    @property
    def order(self) -> list[str]:
        return [entry["method"] for entry in self.log if "method" in entry]


def agent_env(folder: Path, script: dict[str, Any], **env: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ACP_TARGET_COMMAND": sys.executable,
        "ACP_TARGET_ARGS": json.dumps(
            ["-S", str(AGENT), json.dumps(script), str(folder / "agent.log")]
        ),
        **env,
    }


def noted(folder: Path) -> list[dict[str, Any]]:
    log = folder / "agent.log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


async def make_session(
    folder: Path,
    script: dict[str, Any],
    *,
    target: Target | None = None,
    env: dict[str, str] | None = None,
    **changed: Any,
) -> tuple[Any, list[ProviderEvent]]:
    """Return a session that has not begun, and the list its events come into."""
    variables = agent_env(folder, script, **(env or {}))
    config = session_config(folder, env=variables, **{"result_grace_s": 2.0, **changed})
    adapter: AcpAdapter = GenericAdapter()
    if target is not None:
        adapter = AsTarget(target)
    session = await adapter.create_session(config)
    events: list[ProviderEvent] = []
    session.on_event(events.append)
    return session, events


async def run(folder: Path, script: dict[str, Any] | None = None, **changed: Any) -> Ran:
    session, events = await make_session(folder, script or {}, **changed)
    result = await session.wait_for_completion()
    return Ran(result, events, noted(folder))


class AsTarget(GenericAdapter):
    """The generic adapter with the scripted agent as another target."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target = target

    def _agent(self, env: Any) -> AcpAdapter:
        return RowAdapter(self._target)
