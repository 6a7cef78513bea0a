"""Sessions that go round in circles, fall silent, or never come to an end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rig import Rig, harness, running_worker, swarm_rig

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio


async def ran(rig: Rig, env: dict[str, str]) -> dict[str, Any]:
    """Run one task and return its row."""
    async with running_worker(rig, env):
        task_id = await rig.submit()
        row = await rig.until_ended(task_id)
        await rig.settled(task_id)
        return row


def category(rig: Rig) -> Any:
    (ended,) = rig.logged(Event.SESSION_ENDED)
    return ended["category"]


async def test_an_agent_that_repeats_itself_is_ended(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("loops", 20, "stays"))
        assert row["status"] == "failed"
        assert "Bash was called 15 times with the same arguments" in row["failureReason"]
        assert category(rig) == "tool-loop"
        assert [line["verdict"] for line in rig.logged(Event.TOOL_LOOP)][-1] == "block"


async def test_an_agent_that_waits_for_news_is_left_alone(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("loops", 40, "news"))
        assert (row["status"], row["output"]) == ("completed", "went round")
        assert not rig.logged(Event.TOOL_LOOP)


async def test_a_silent_session_is_reported_and_then_ended(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = harness("waits", tmp_path / "never", SWARM_SESSION_SILENCE_S="0.5")
        row = await ran(rig, env)
        assert row["status"] == "failed"
        assert row["failureReason"].startswith("stalled: no output for 0.5 s")
        assert category(rig) == "stalled"
        assert len(rig.logged(Event.SESSION_STALLED)) == 1


async def test_a_session_that_takes_too_long_is_ended(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = harness("ticks", SWARM_SESSION_TIMEOUT_S="0.5", SWARM_SESSION_SILENCE_S="0.3")
        row = await ran(rig, env)
        assert row["status"] == "failed"
        assert row["failureReason"].startswith("timeout: still running after 0.5 s")
        assert category(rig) == "timeout"


@pytest.mark.parametrize("mode", ["stream-json", "jsonl", "text", "auto"])
async def test_each_way_of_talking_fails_for_what_ended_it(tmp_path: Path, mode: str):
    async with swarm_rig(tmp_path) as rig:
        limit = {"SWARM_SESSION_SILENCE_S": "0.3", "HARNESS_OUTPUT": mode}
        row = await ran(rig, harness("waits_in_words", tmp_path / "never", **limit))
        assert row["failureReason"].startswith("stalled: ")
        assert category(rig) == "stalled"
