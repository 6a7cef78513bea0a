"""One session of pi, without a worker: its config, its events, its files."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_model import FakeModel

from agent_swarm_worker.clock import Clock
from agent_swarm_worker.contract import ProviderEvent, ProviderResult, ProviderSessionConfig
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.providers.pi.adapter import PiAdapter
from agent_swarm_worker.providers.pi.session import PiSession
from agent_swarm_worker.sandboxes.local import LocalGuest

FAST = {"PI_RETRY_BASE_S": "0.01", "PATH": "/usr/local/bin:/usr/bin:/bin"}


@dataclass
class SessionDirs:
    """Where one test's sessions live."""

    root: Path
    scrubber: Scrubber = field(default_factory=Scrubber)
    tag: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Of its own: the end of a session ends all processes with its tag."""

    def config(
        self, env: dict[str, str], prompt: str = "Do it.", **more: Any
    ) -> ProviderSessionConfig:
        for name in ("work", "home", "private"):
            (self.root / name).mkdir(exist_ok=True)
        env = {**FAST, "HOME": str(self.root / "home"), **env}
        self.scrubber.add_env(env)
        return ProviderSessionConfig(
            **{
                "prompt": prompt,
                "system_prompt": "You are the tested one.",
                "model": env.get("MODEL_OVERRIDE", ""),
                "agent_id": "agent-1",
                "task_id": "task-1",
                "session_uuid": self.tag,
                "api_url": "http://127.0.0.1:9",
                "api_key": "none-at-all",
                "guest": LocalGuest(self.tag),
                "cwd": self.root / "work",
                "log_file": self.root / "journal.jsonl",
                "private_dir": self.root / "private",
                "env": env,
                "redactor": self.scrubber,
                **more,
            }
        )

    def journal(self) -> list[dict[str, Any]]:
        lines = (self.root / "journal.jsonl").read_bytes().splitlines()
        return [json.loads(line) for line in lines]

    def saved(self) -> list[Path]:
        return sorted((self.root / "home/.pi/agent/sessions/swarm-worker").glob("*.jsonl"))


@dataclass
class Ran:
    session: PiSession
    events: list[ProviderEvent]
    result: ProviderResult

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]


async def start(
    config: ProviderSessionConfig, clock: Clock | None = None
) -> tuple[PiSession, list[ProviderEvent]]:
    session = await PiAdapter().create_session(config)
    assert isinstance(session, PiSession)
    if clock is not None:
        session.clock = clock
    events: list[ProviderEvent] = []
    session.on_event(events.append)
    return session, events


async def run(
    dirs: SessionDirs,
    model: FakeModel,
    api: str = "openai",
    prompt: str = "Do it.",
    env: dict[str, str] | None = None,
    clock: Clock | None = None,
    **more: Any,
) -> Ran:
    config = dirs.config({**model.env(api), **(env or {})}, prompt, **more)
    session, events = await start(config, clock)
    return Ran(session, events, await session.wait_for_completion())
