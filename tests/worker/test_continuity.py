"""When a task resumes its parent's native session, and when it gets a preamble."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rig import AGENT, AGENTS, Rig, running_worker, swarm_rig

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.wire.tasks import Task
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    ProviderAdapter,
    ProviderSession,
    ProviderSessionConfig,
    ProviderTraits,
)
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, Launch
from agent_swarm_worker.providers.subprocess.translate import SubprocessTranslator
from agent_swarm_worker.sandboxes.local import LocalGuest
from agent_swarm_worker.settings import Settings
from agent_swarm_worker.worker.boot import harness as worker_harness
from agent_swarm_worker.worker.boot.parts import Worker
from agent_swarm_worker.worker.run.continuity import with_native_resume

pytestmark = pytest.mark.anyio


class Adapter:
    """A harness that remembers every session it is asked for, or none."""

    def __init__(self, name: str = "claude", *, remembers: bool = True, place: Path = Path()):
        self.name, self.remembers, self.place = name, remembers, place
        self.traits = ProviderTraits(has_mcp=False)

    async def check(self, env: object, guest: object) -> None:
        pass

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return self.remembers

    def format_command(self, command_name: str) -> str:
        return f"/{command_name}"

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        def make_harness(config: ProviderSessionConfig) -> CliHarness:
            program = str(AGENTS / "resumes.py")
            session = config.resume_session_id or ""
            return CliHarness(
                launch=Launch(
                    argv=(sys.executable, "-S", "-B", program, str(self.place), session),
                    env=config.env,
                    cwd=config.cwd,
                    stdin=config.prompt.encode(),
                ),
                translator=SubprocessTranslator("jsonl", ClaudeTranslator(config)),
                stale_resume=("stale_session",),
            )

        return CliSession(config, make_harness)


PARENT = {"agent_id": AGENT, "claude_session_id": "s-1", "provider": "claude"}


@pytest.mark.parametrize(
    ("parent", "mode", "adapter", "resumes"),
    [
        (PARENT, "auto", Adapter(), True),
        (PARENT, "native", Adapter(), True),
        (PARENT, "fork", Adapter(), True),
        (PARENT, "preamble", Adapter(), False),
        (None, "auto", Adapter(), False),
        (PARENT | {"claude_session_id": None}, "auto", Adapter(), False),
        (PARENT | {"agent_id": "somebody else"}, "auto", Adapter(), False),
        (PARENT | {"agent_id": None}, "auto", Adapter(), False),
        (PARENT | {"provider": "codex"}, "auto", Adapter(), False),
        (PARENT | {"provider": None}, "auto", Adapter(), True),
        (PARENT | {"harness_variant_meta": {"harness": "claude"}}, "auto", Adapter(), True),
        (PARENT | {"harness_variant_meta": {"harness": "other"}}, "auto", Adapter(), False),
        (PARENT | {"harness_variant_meta": {"harness": "mine"}}, "auto", Adapter("mine"), True),
        (PARENT, "auto", Adapter("mine"), False),
        (PARENT, "auto", Adapter(remembers=False), False),
        (PARENT, "native", Adapter(remembers=False), False),
    ],
)
async def test_the_decision(
    tmp_path: Path, parent: dict[str, Any] | None, mode: str, adapter: Adapter, resumes: bool
):
    worker = SimpleNamespace(
        settings=Settings.load({"RESUME_MODE": mode}),
        agent_id=AGENT,
        log=Log(),
        client=SimpleNamespace(capabilities=ServerCapabilities(SystemClock())),
    )
    config = ProviderSessionConfig(
        prompt="",
        agent_id=AGENT,
        task_id="t",
        session_uuid="u",
        api_url="",
        api_key="",
        guest=LocalGuest("session"),
        cwd=tmp_path,
        log_file=tmp_path / "log",
        private_dir=tmp_path,
        env={},
        redactor=Scrubber(),
    )
    before = Task(id="p", **parent) if parent else None
    decided = await with_native_resume(
        cast("Worker", worker),
        cast("ProviderAdapter", adapter),
        config,
        Task(id="t", parent_task_id="p"),
        before,
    )
    assert decided.resume_session_id == ("s-1" if resumes else None)


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Adapter:
    """The harness of every worker in the test."""
    made = Adapter("remembering", place=tmp_path)
    monkeypatch.setattr(worker_harness, "create_provider", lambda name: made)
    return made


async def follow_up(rig: Rig) -> dict[str, Any]:
    """Run a task and then one that follows it; return the second one's row."""
    async with running_worker(rig, {"HARNESS_PROVIDER": "remembering"}):
        first = await rig.submit("Build the bridge")
        await rig.until_ended(first)
        await rig.settled(first)
        second = await rig.submit("Paint it", parentTaskId=first, taskType="follow-up")
        row = await rig.until_ended(second)
        await rig.settled(second)
        return row


async def test_a_resumed_session_is_not_told_what_it_knows(tmp_path: Path, adapter: Adapter):
    async with swarm_rig(tmp_path) as rig:
        row = await follow_up(rig)
    assert row["output"] == "session-0 went well"
    session, _, asked = (tmp_path / "asked-1").read_text().partition("\n")
    assert session == "session-0"
    assert "Paint it" in asked
    assert "Build the bridge" not in asked


async def test_a_session_that_is_lost_is_begun_afresh_and_told_the_story(
    tmp_path: Path, adapter: Adapter
):
    (tmp_path / "lost").touch()
    async with swarm_rig(tmp_path) as rig:
        row = await follow_up(rig)
        assert (row["status"], row["output"]) == ("completed", "fresh went well")
        assert row["claudeSessionId"] == "session-2"
        said = [line.get("content") or line.get("output") for line in await rig.lines(row["id"])]
        assert said == ["looking for it", "who?", None, "fresh went well"]
        assert [line["state"] for line in rig.logged(Event.SESSION_RESUMED)] == [
            "resuming",
            "not found",
        ]
    session, _, asked = (tmp_path / "asked-2").read_text().partition("\n")
    assert session == "fresh"
    assert "Paint it" in asked
    assert "Build the bridge" in asked
    journals = sorted((tmp_path / "state").rglob("*-fresh.jsonl"))
    first = json.loads(journals[0].read_text().splitlines()[0])
    assert (first["type"], first["staleSessionId"]) == ("fresh_session", "session-0")
