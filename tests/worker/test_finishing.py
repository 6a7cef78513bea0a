"""How a task ends, as its row on the server shows it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from recording_proxy import proxy_rig
from rig import AGENT, Rig, harness, running_worker, swarm_rig

from agent_swarm_worker.logs import Event
from agent_swarm_worker.reporting import output_schema
from agent_swarm_worker.state.directory import StateDir
from agent_swarm_worker.worker.run import finishing

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def result(text: str | None = None, **more: Any) -> dict[str, Any]:
    said = {} if text is None else {"result": text}
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "num_turns": 1,
        **said,
    } | more


def words(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "model": "m", "content": [{"type": "text", "text": text}]}
    return {"type": "assistant", "parent_tool_use_id": None, "message": message}


async def finished(rig: Rig, env: dict[str, str], **task: Any) -> dict[str, Any]:
    """Run one task to its end and return its row."""
    async with running_worker(rig, env):
        task_id = await rig.submit("Do it", **task)
        row = await rig.until_ended(task_id)
        await rig.settled(task_id)
        return row


@pytest.mark.parametrize(
    ("said", "output"),
    [
        ([words("I am done"), result("the result")], "the result"),
        ([words("I am done"), result()], "I am done"),
        ([words("   "), result("  ")], "(The session ended without an error"),
    ],
    ids=["result", "last words", "nothing"],
)
async def test_output_is_the_result_else_the_last_words(
    tmp_path: Path, said: list[dict[str, Any]], output: str
):
    async with swarm_rig(tmp_path) as rig:
        row = await finished(rig, rig.prints(said))
    assert row["status"] == "completed"
    assert row["output"].startswith(output)


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "output"),
    [
        ('{"n": 1}', '{"n": 1}'),
        ('Here it is:\n```json\n{"n": 2}\n```\nBye', '{"n": 2}'),
        ('{"n": "three"}', None),
        ("no JSON at all", None),
    ],
)
async def test_a_schema_decides_whether_output_counts(
    tmp_path: Path, text: str, output: str | None
):
    async with swarm_rig(tmp_path) as rig:
        env = rig.prints([words("x"), result(text)])
        row = await finished(rig, env, outputSchema=SCHEMA)
    if output is None:
        assert row["status"] == "failed"
        assert "outputSchema" in row["failureReason"]
        assert text in row["failureReason"]
    else:
        assert (row["status"], row["output"]) == ("completed", output)


async def test_a_schema_that_is_none_throws_no_work_away(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = rig.prints([words("x"), result("the work")])
        row = await finished(rig, env, outputSchema={"type": "no such type"})
    assert (row["status"], row["output"]) == ("completed", "the work")


@pytest.mark.long
async def test_a_schema_that_breaks_its_checker_does_not_break_the_worker(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = rig.prints([words("x"), result("1" + "0" * 400)])
        async with running_worker(rig, env):
            schema = {"type": "number", "multipleOf": 0.5}
            row = await rig.until_ended(await rig.submit("hostile", outputSchema=schema))
            assert row["status"] in {"completed", "failed"}
            row = await rig.until_ended(await rig.submit("friendly"))
            assert row["status"] == "completed"


@pytest.mark.long
async def test_a_pattern_that_never_ends_stops_neither_the_worker_nor_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(output_schema, "CHECK_LIMIT_S", 2.0)
    async with swarm_rig(tmp_path) as rig:
        env = rig.prints([words("x"), result('"' + "a" * 64 + '!"')], SWARM_POLL_INTERVAL_S="0.1")
        async with running_worker(rig, env):
            schema = {"type": "string", "pattern": "(a+)+$"}
            task_id = await rig.submit("evil", outputSchema=schema)
            looks = await looks_until_ended(rig, task_id)
            row = await rig.until_ended(task_id)
    assert (row["status"], row["output"]) == ("completed", '"' + "a" * 64 + '!"')
    assert looks > 10  # judged in this process, the pattern would have let nothing else run


async def looks_until_ended(rig: Rig, task_id: str) -> int:
    """Count how often this process could look at the task until it ended."""
    looks = 0
    while (await rig.task(task_id))["status"] not in {"completed", "failed"}:
        await anyio.sleep(0.01)
        looks += 1
    return looks


async def test_what_the_agent_stored_itself_stands(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        row = await finished(rig, harness("finishes_itself"))
    assert (row["status"], row["output"]) == ("completed", "my own words")
    assert len(proxy.seen("POST .*/finish")) == 1


@pytest.mark.long
async def test_a_mistake_of_ours_costs_one_task_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real, mistakes = finishing.report_limits, [RuntimeError("a mistake")]

    def sometimes_wrong(*args: Any) -> None:
        if mistakes:
            raise mistakes.pop()
        real(*args)

    monkeypatch.setattr(finishing, "report_limits", sometimes_wrong)
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("says_hi")):
        row = await rig.until_ended(await rig.submit("wrong"))
        assert (row["status"], "RuntimeError" in row["failureReason"]) == ("failed", True)
        row = await rig.until_ended(await rig.submit("right"))
        assert row["status"] == "completed"


async def test_a_server_that_cannot_be_asked_is_told_all_the_same(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.lack(r"GET /api/tasks/[^/]+$")
        row = await finished(rig, harness("says_hi"))
    assert (row["status"], row["output"]) == ("completed", "hi there")


async def test_an_error_with_exit_code_0_is_a_failure(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        said = [words("half of it"), result("Credit balance is too low", is_error=True)]
        row = await finished(rig, rig.prints(said))
    assert row["status"] == "failed"
    assert "Credit balance is too low" in row["failureReason"]


@pytest.mark.parametrize("mode", ["auto", "stream-json", "jsonl", "text"])
async def test_an_exit_code_comes_with_the_end_of_standard_error(tmp_path: Path, mode: str):
    async with swarm_rig(tmp_path) as rig:
        env = rig.prints(b"working\n", code=3, stderr="the disk is on fire", HARNESS_OUTPUT=mode)
        row = await finished(rig, env)
    assert row["status"] == "failed"
    assert "code 3" in row["failureReason"]
    assert "the disk is on fire" in row["failureReason"]


@pytest.mark.long
async def test_a_finish_that_the_server_forgot_is_repaired(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        task = await rig.task(await put_back_while_running(rig, slots=1))
        # Progress, sent if three seconds have passed since the last, brings the task back as well.
        assert rig.logged(Event.RESULT_REPAIRED) or task["progress"] == "the result"
        assert task["output"] == "waiting\nthe result"


@pytest.mark.long
async def test_a_running_task_that_comes_again_is_not_started_again(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        task_id = await put_back_while_running(rig, slots=2)
        assert [line["why"] for line in rig.logged(Event.TRIGGER_IGNORED)] == ["it runs already"]
        assert len(rig.logged(Event.TASK_STARTED)) == 1
        assert (await rig.task(task_id))["output"] == "waiting\nthe result"


async def put_back_while_running(rig: Rig, *, slots: int) -> str:
    """Let the server take a running task for one that was never begun; then let it end."""
    go_on = rig.place / "go-on"
    slow = {"SWARM_HEARTBEAT_INTERVAL_S": "60", "MAX_CONCURRENT_TASKS": str(slots)}
    async with running_worker(rig, harness("waits_in_words", go_on, **slow)):
        task_id = await rig.submit()
        await rig.until(lambda: rig.logs(task_id))

        async def put_back() -> bool:
            await rig.api.delete(f"/api/active-sessions/by-task/{task_id}")
            body = {"agentId": AGENT, "minAgeSeconds": 1}
            answer = await rig.post(
                "/api/active-sessions/recover-orphaned-tasks", body, **{"X-Agent-ID": AGENT}
            )
            return bool(answer["recovered"])

        await rig.until(put_back)
        if slots > 1:

            async def ignored() -> bool:
                return bool(rig.logged(Event.TRIGGER_IGNORED))

            await rig.until(ignored)
        go_on.touch()
        await rig.until_ended(task_id)
        await rig.settled(task_id)
        return task_id


async def test_a_result_is_not_told_of_a_task_that_somebody_else_has_by_now(tmp_path: Path):
    go_on = tmp_path / "go-on"
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("waits", go_on)),
    ):
        task_id = await rig.submit("Do it")
        await rig.until(lambda: rig.lines(task_id))
        row = await rig.task(task_id)
        proxy.say(f"GET /api/tasks/{task_id}(\\?|$)", {**row, "agentId": "somebody-else"})
        go_on.touch()
        await rig.settled(task_id)
        assert not proxy.seen(f"{task_id}/finish")
        assert rig.logged(Event.TASK_LOST)
        # What was really said is kept all the same.
        assert [line["type"] for line in await rig.lines(task_id)][-2:] == ["result", "late_result"]


async def test_the_end_of_a_session_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a kill would leave just before it is noted that all was told: nothing of it."""
    left, mark_fully_reported = tmp_path / "left", StateDir.mark_fully_reported

    def snapshot(state: StateDir, task_id: str) -> None:
        left.mkdir()
        for file in state.path.glob("worker.sqlite*"):
            shutil.copy(file, left)
        mark_fully_reported(state, task_id)

    monkeypatch.setattr(StateDir, "mark_fully_reported", snapshot)
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("says_hi")):
        task_id = await rig.submit()
        await rig.until_ended(task_id)
        await rig.settled(task_id)
        assert len(await rig.costs(task_id)) == 1
    with closing(sqlite3.connect(left / "worker.sqlite")) as found:
        assert found.execute("SELECT 1 FROM claims").fetchall()
        assert not found.execute("SELECT 1 FROM outbox WHERE kind = 'cost'").fetchall()
