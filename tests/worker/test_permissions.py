"""The permission gate of real sessions: policies, questions, and what goes wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, running_worker, swarm_rig

pytestmark = pytest.mark.anyio

RULED = {"HARNESS_PROVIDER": "ruled"}
ASK = {**RULED, "SWARM_PERMISSIONS": "ask"}
READ = ["Bash", {"command": "git log"}]
REMOVE = ["Bash", {"command": "rm -rf build"}]


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the harness as another distribution."""
    place = tmp_path / "site"
    info = place / "ruled_provider-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ruled-provider\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[agent_swarm_worker.providers]\nruled = ruled_provider:RuledAdapter\n"
        "[agent_swarm_worker.specs]\nruled = ruled_provider:SPEC\n"
    )
    monkeypatch.syspath_prepend(str(place))
    return place


def calls(*made: list[Any], together: bool = False) -> str:
    return f"{'TOGETHER' if together else 'CALLS'} {json.dumps(made)}"


async def ended(rig: Rig, task_id: str) -> list[list[Any]]:
    row = await rig.until_ended(task_id)
    assert row["status"] == "completed", row
    return list(json.loads(row["output"]))


async def questions(rig: Rig, *, status: str = "pending", count: int = 1) -> list[dict[str, Any]]:
    async def look() -> Any:
        rows = (await rig.get("/api/approval-requests", status=status))["approvalRequests"]
        return rows if len(rows) == count else None

    return list(await rig.until(look))


async def answer(rig: Rig, question: dict[str, Any], *, yes: bool, **more: Any) -> None:
    (asked,) = question["questions"]
    body = {"responses": {asked["id"]: {"approved": yes, **more}}, "respondedBy": "Ada"}
    await rig.post(f"/api/approval-requests/{question['id']}/respond", body)


async def test_without_a_policy_nobody_asks(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, RULED):
        assert await ended(rig, await rig.submit(calls(REMOVE))) == [["no gate"]]


async def test_read_only_lets_the_agent_read(tmp_path: Path):
    env = {**RULED, "SWARM_PERMISSIONS": "read-only"}
    made = [READ, REMOVE, ["Read", {"file_path": "/etc/hosts"}], ["Write", {"file_path": "x"}]]
    made += [["mcp__agent-swarm__store-progress", {}], ["mcp__github__create_issue", {}]]
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        told = await ended(rig, await rig.submit(calls(*made)))
    assert [verdict for verdict, _ in told] == [True, False, True, False, True, False]
    assert "rm -rf build" in told[1][1]


async def test_a_person_allows_one_call_and_denies_another(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, ASK):
        task_id = await rig.submit(calls(READ, REMOVE, REMOVE))
        (first,) = await questions(rig)
        assert "rm -rf build" in first["title"]
        await answer(rig, first, yes=True, comment="only this once")
        (second,) = await questions(rig)
        await answer(rig, second, yes=False)
        told = await ended(rig, task_id)
        assert [verdict for verdict, _ in told] == [True, True, False]
        assert told[1][1] == "allowed by Ada: only this once"
        assert told[2][1] == "denied by Ada"
        await rig.settled(task_id)
        kinds = [line["type"] for line in await rig.lines(task_id)]
        assert kinds.count("worker_permission_asked") == 2
        assert kinds.count("worker_permission_answered") == 2
        # The agent runs on: no task is made of the answer.
        assert len((await rig.get("/api/tasks"))["tasks"]) == 1
