"""The permission gate of real sessions: policies, questions, and what goes wrong with them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from patience import until
from recording_proxy import QuickClock, proxy_rig
from rig import Rig, harness, running_worker, swarm_rig
from worker_process import worker_process

from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.run import permissions
from agent_swarm_worker.worker.run.questions import CREATE_ATTEMPTS

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
        return (rows,) if len(rows) == count else None

    return list((await rig.until(look))[0])


async def answer(rig: Rig, question: dict[str, Any], *, yes: Any, **more: Any) -> None:
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
        told_people = [line["message"] for line in await rig.lines(task_id)]
        waits = [text for text in told_people if "Waits for a person" in text]
        assert [first["id"] in waits[0], second["id"] in waits[1], len(waits)] == [True, True, 2]
        assert "✓ Allowed: Bash (allowed by Ada: only this once)" in told_people
        assert "✗ Denied: Bash (denied by Ada)" in told_people
        # The agent runs on: no task is made of the answer.
        assert len((await rig.get("/api/tasks"))["tasks"]) == 1


async def test_questions_that_wait_together_get_their_own_answers(tmp_path: Path):
    made = [["Bash", {"command": f"make {name}"}] for name in ("one", "two", "three")]
    async with swarm_rig(tmp_path) as rig, running_worker(rig, ASK):
        task_id = await rig.submit(calls(*made, together=True))
        for question in await questions(rig, count=3):
            await answer(rig, question, yes="two" in question["title"])
        told = await ended(rig, task_id)
        assert [verdict for verdict, _ in told] == [False, True, False]


async def test_a_question_that_nobody_answers_is_a_no(tmp_path: Path):
    env = {**ASK, "SWARM_APPROVAL_TIMEOUT_S": "0.5"}
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        told = await ended(rig, await rig.submit(calls(REMOVE)))
        assert told == [[False, "nobody answered within 0.5 s"]]
        await questions(rig, count=0)  # nobody can answer it any more


async def test_only_the_first_answer_counts(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, ASK):
        held = proxy.hold("GET /api/approval-requests/", times=100)
        task_id = await rig.submit(calls(REMOVE))
        (question,) = await questions(rig)
        await answer(rig, question, yes=False, comment="never")
        again = {"responses": {question["questions"][0]["id"]: {"approved": True}}}
        path = f"/api/approval-requests/{question['id']}/respond"
        assert (await rig.api.post(path, json=again)).status_code == 409
        proxy.be_open()
        held.open.set()
        assert await ended(rig, task_id) == [[False, "denied by Ada: never"]]


@pytest.mark.parametrize(
    ("asked", "responses"),
    [
        ([], {"": True}),
        ([{}], {"": {"approved": True}}),
        ([{"id": ""}], {"": True}),
        ([{"id": "another"}], {"another": {"approved": True}}),
    ],
)
async def test_an_answer_to_another_question_is_a_no(tmp_path: Path, asked: Any, responses: Any):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, ASK):
        approved = {"id": "x", "status": "approved", "questions": asked, "responses": responses}
        proxy.say("GET /api/approval-requests/", {"approvalRequest": approved})
        told = await ended(rig, await rig.submit(calls(REMOVE)))
    assert told == [[False, "the answer cannot be read (it is not about this question)"]]


@pytest.mark.parametrize("approved", ["yes", 1, None, {"approved": True}])
async def test_an_answer_that_is_no_clear_yes_is_a_no(tmp_path: Path, approved: Any):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, ASK):
        task_id = await rig.submit(calls(REMOVE))
        (question,) = await questions(rig)
        await answer(rig, question, yes=approved)
        ((verdict, why),) = await ended(rig, task_id)
        assert not verdict
        assert "cannot be read" in why or "denied" in why


async def test_a_question_has_no_secrets_and_is_of_bounded_size(tmp_path: Path):
    key = "sk-hidden-from-everyone-0123456789"
    made = ["Bash", {"command": f"make TOKEN={key}", "note": "x" * 200_000}]
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, {**ASK, "SOME_API_KEY": key, "SWARM_APPROVAL_TIMEOUT_S": "0.3"}),
    ):
        told = await ended(rig, await rig.submit(calls(made)))
        assert not told[0][0]
        (asked,) = proxy.seen("POST /api/approval-requests$")
        assert key.encode() not in asked.body
        assert b"make TOKEN=" in asked.body
        assert len(asked.body) < 20_000


@pytest.mark.long
async def test_a_session_that_waits_for_a_person_is_not_silent(tmp_path: Path):
    env = {**ASK, "SWARM_SESSION_SILENCE_S": "0.3"}
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        task_id = await rig.submit(calls(REMOVE))
        (question,) = await questions(rig)
        await anyio.sleep(1.5)
        await answer(rig, question, yes=True)
        assert await ended(rig, task_id) == [[True, "allowed by Ada"]]


@pytest.mark.long
async def test_the_end_of_a_session_withdraws_its_question(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        async with running_worker(rig, {**ASK, "SWARM_SESSION_TIMEOUT_S": "1"}):
            row = await rig.until_ended(await rig.submit(calls(REMOVE)))
            assert "timeout" in row["failureReason"]
        async with running_worker(rig, ASK):
            task_id = await rig.submit(calls(REMOVE))
            await questions(rig)
            await rig.post(f"/api/tasks/{task_id}/cancel")
            await rig.settled(task_id)
        for question in await questions(rig, status="rejected", count=2):
            assert question["resolvedBy"] == "the worker"
        await questions(rig, count=0)


async def test_a_server_without_approval_requests_is_a_no(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, ASK):
        proxy.lack("/api/approval-requests")
        ((verdict, why),) = await ended(rig, await rig.submit(calls(REMOVE)))
        assert not verdict
        assert "the swarm has no approval requests" in why


@pytest.mark.parametrize("status", [500, 0, 403])
async def test_a_server_that_takes_no_question_is_a_no(tmp_path: Path, status: int):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, ASK, clock=QuickClock(20)),
    ):
        proxy.refuse("/api/approval-requests", status)
        ((verdict, why),) = await ended(rig, await rig.submit(calls(REMOVE)))
        assert not verdict
        assert "nobody can be asked" in why
        assert len(proxy.seen("/api/approval-requests")) <= 2 * CREATE_ATTEMPTS


async def test_a_question_whose_answer_was_lost_is_asked_once(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, ASK):
        proxy.lose_answer("POST /api/approval-requests$")
        task_id = await rig.submit(calls(REMOVE))
        (question,) = await questions(rig)
        await answer(rig, question, yes=True)
        assert await ended(rig, task_id) == [[True, "allowed by Ada"]]
        assert len(proxy.seen("POST /api/approval-requests$")) == 1


async def test_an_outage_while_a_question_is_open_is_waited_for(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, ASK):
        task_id = await rig.submit(calls(REMOVE))
        (question,) = await questions(rig)
        proxy.refuse("GET /api/approval-requests/", 503, times=3)
        proxy.refuse("GET /api/approval-requests/", 0, times=3)
        seen = len(proxy.seen("GET /api/approval-requests/"))
        await answer(rig, question, yes=True)
        assert await ended(rig, task_id) == [[True, "allowed by Ada"]]
        assert len(proxy.seen("GET /api/approval-requests/")) > seen + 3


async def test_a_question_that_was_deleted_is_a_no(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, ASK):
        task_id = await rig.submit(calls(REMOVE))
        await questions(rig)
        proxy.refuse("GET /api/approval-requests/", 404, '{"error": "Approval request not found"}')
        assert await ended(rig, task_id) == [[False, "the question was deleted"]]


@pytest.mark.long
async def test_a_killed_worker_asks_again_and_withdraws_the_old_question(
    tmp_path: Path, site: Path
):
    paths = [str(site), str(Path(__file__).parent)]
    async with swarm_rig(tmp_path) as rig:
        env = {**rig.env, **ASK, "PYTHONPATH": os.pathsep.join(paths)}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit(calls(REMOVE))
            (old,) = await questions(rig)
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        async with worker_process(tmp_path, env):
            (withdrawn,) = await questions(rig, status="rejected")
            assert withdrawn["id"] == old["id"]
            assert "has been restarted" in json.dumps(withdrawn["responses"])
            (new,) = await questions(rig)
            await answer(rig, new, yes=True)
            row = await rig.until_status(task_id, "superseded", "completed")
            assert row["status"] == "superseded"  # and resumed by a child

            async def look() -> Any:
                rows = (await rig.get("/api/tasks", fields="full"))["tasks"]
                return next((one for one in rows if one["status"] == "completed"), None)

            child = await rig.until(look)
            assert json.loads((await rig.task(child["id"]))["output"])[0][0]


async def test_decisions_are_events(tmp_path: Path):
    env = {**RULED, "SWARM_PERMISSIONS": "read-only"}
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        task_id = await rig.submit(calls(READ, REMOVE))
        await ended(rig, task_id)
        await rig.settled(task_id)
        ends = [row for row in await rig.events(task_id) if row["event"] == "tool.end"]
        told = {(row["status"], row["data"]["permission"]) for row in ends}
        assert told == {("ok", "allowed"), ("skipped", "denied")}
        assert any("rm -rf build" in row["data"]["permissionReason"] for row in ends)


# --- the operator's policy
@pytest.mark.long
async def test_a_harness_that_never_asks_starts_under_no_policy(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = {**rig.env, **harness("says_hi"), "SWARM_PERMISSIONS": "read-only"}
        async with worker_process(tmp_path, env) as worker:
            assert await worker.exit_code() == 78
            (line,) = [one for one in worker.lines() if one.startswith("swarm-worker:")]
            assert "'subprocess' never asks for permission" in line


async def test_a_switch_to_a_harness_that_never_asks_fails_its_tasks(tmp_path: Path):
    env = {**harness("says_hi"), **RULED, "SWARM_PERMISSIONS": "read-only"}
    row = {"id": "r", "key": "HARNESS_PROVIDER", "value": "subprocess", "isSecret": False}
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, env):
        assert (await ended(rig, await rig.submit(calls(REMOVE))))[0][0] is False
        proxy.say("GET /api/config/resolved", {"configs": [row]})
        await until(lambda: rig.logged(Event.CONFIG_CHANGED))
        task = await rig.until_ended(await rig.submit())
        assert task["status"] == "failed"
        assert "never asks for permission" in task["failureReason"]


async def test_no_row_changes_the_policy(tmp_path: Path):
    env = {**RULED, "SWARM_PERMISSIONS": "read-only"}
    async with swarm_rig(tmp_path) as rig:
        await rig.set_row("SWARM_PERMISSIONS", "bypass")
        await rig.set_row("SWARM_PERMISSION_RULES", "/nowhere")
        async with running_worker(rig, env):
            told = await ended(rig, await rig.submit(calls(REMOVE), tags=["permissions:bypass"]))
            assert told[0][0] is False


async def test_a_policy_that_cannot_be_judged_by_is_a_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(permissions, "decide", broken)
    env = {**RULED, "SWARM_PERMISSIONS": "read-only"}
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        told = await ended(rig, await rig.submit(calls(READ)))
        assert told == [[False, "the worker could not judge the call (RecursionError)"]]


async def test_a_file_of_rules_that_cannot_be_read_ends_the_start(tmp_path: Path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nefect = "allow"\n')
    async with swarm_rig(tmp_path) as rig:
        env = {**rig.env, **RULED, "SWARM_PERMISSION_RULES": str(rules)}
        async with worker_process(tmp_path, env) as worker:
            assert await worker.exit_code() == 78
            (line,) = [one for one in worker.lines() if one.startswith("swarm-worker:")]
            assert "rules[0].efect: unknown key; did you mean effect?" in line


async def test_the_agent_changes_nothing_by_changing_the_rules(tmp_path: Path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\neffect = "allow"\ncommands = ["git log"]\n')
    async with (
        swarm_rig(tmp_path) as rig,
        running_worker(rig, {**RULED, "SWARM_PERMISSION_RULES": str(rules)}),
    ):
        rules.write_text('[[rules]]\neffect = "allow"\n')
        told = await ended(rig, await rig.submit(calls(READ, REMOVE)))
        assert [verdict for verdict, _ in told] == [True, False]


async def test_links_lead_out_of_no_directory(tmp_path: Path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\neffect = "allow"\nactions = ["write"]\npaths = ["out/"]\n')
    work = tmp_path / "work"
    (work / "out").mkdir(parents=True)
    (work / "out" / "link").symlink_to("/tmp")
    made = [
        ["Write", {"file_path": "out/x"}],
        ["Write", {"file_path": str(work / "out" / "y")}],
        ["Write", {"file_path": "out/link/x"}],
        ["Write", {"file_path": "out/../x"}],
        ["Write", {"file_path": "out/x", "path": "/etc/x"}],
        ["Write", {}],
        ["Bash", {"command": "> out/x"}],
        ["Bash", {"command": "> out/link/x"}],
    ]
    async with (
        swarm_rig(tmp_path) as rig,
        running_worker(rig, {**RULED, "SWARM_PERMISSION_RULES": str(rules)}),
    ):
        told = await ended(rig, await rig.submit(calls(*made), dir=str(work)))
    verdicts = [verdict for verdict, _ in told]
    assert verdicts == [True, True, False, False, False, False, True, False]
