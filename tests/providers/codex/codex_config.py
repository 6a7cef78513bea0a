"""Configuration, plan and state of a codex session."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from session_config import session_config

from agent_swarm_worker.contract import ProviderSessionConfig
from agent_swarm_worker.providers.codex.app_server import AppServer
from agent_swarm_worker.providers.codex.credentials import Credential
from agent_swarm_worker.providers.codex.exec_stream import ExecTranslator
from agent_swarm_worker.providers.codex.outcome import CodexState, Plan

STREAMS = Path(__file__).parent / "streams"
TRANSPORTS = ("app-server", "exec")
THREAD = "01a00000-0000-7000-8000-000000000001"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class SetClock:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here may wait")


def make_config(folder: Path, **changed: Any) -> ProviderSessionConfig:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "OPENAI_API_KEY": "sk-0001"}
    return session_config(folder, **{"env": env, **changed})


def make_plan(folder: Path, **changed: Any) -> Plan:
    values: dict[str, Any] = {
        "transport": "exec",
        "model": "gpt-5.6-terra",
        "effort": None,
        "home": folder / "private",
        "credential": Credential(is_oauth=False),
    }
    return Plan(**{**values, **changed})


def make_state(
    folder: Path, *, plan: Plan | None = None, clock: SetClock | None = None, **changed: Any
) -> CodexState:
    return CodexState(
        config=make_config(folder, **changed),
        plan=plan or make_plan(folder),
        clock=clock or SetClock(),
        model="gpt-5.6-terra",
    )


def translator(transport: str, state: CodexState) -> AppServer | ExecTranslator:
    return AppServer(state) if transport == "app-server" else ExecTranslator(state)


def recorded(transport: str, name: str) -> list[Any]:
    """The lines of a recording."""
    lines = (STREAMS / f"{transport}_{name}.jsonl").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]
