"""Messages to the real claude CLI while it works: delivered and reported once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_worker_with_claude import MANY_SECONDS, HarnessFixture, harness

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

ON = {"STEERING_ENABLED": "true"}
WAIT = "i=0; while [ ! -e go-on ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done"


async def begin(
    on: HarnessFixture, text: str = f"Wait. [[bash:touch there; {WAIT}]][[say:Waited]]"
) -> str:
    """Submit a task whose agent sits in a tool until `go_on`."""
    task_id = await on.rig.submit(text, dir=str(on.work))

    async def is_there() -> bool:
        return (on.work / "there").exists()

    await on.rig.until(is_there, within_s=MANY_SECONDS)
    return task_id


def go_on(on: HarnessFixture) -> None:
    (on.work / "go-on").touch()


async def steer(on: HarnessFixture, task_id: str, message: str, mode: str = "queue") -> None:
    await on.rig.post(f"/api/tasks/{task_id}/steer", {"message": message, "mode": mode})


async def messages(on: HarnessFixture, task_id: str) -> list[dict[str, Any]]:
    return list((await on.rig.get(f"/api/tasks/{task_id}/steering-messages"))["messages"])


async def until_all_are(on: HarnessFixture, task_id: str, status: str) -> list[dict[str, Any]]:
    async def look() -> Any:
        found = await messages(on, task_id)
        return found if all(message["status"] == status for message in found) else None

    return list(await on.rig.until(look, within_s=MANY_SECONDS))


async def until_queued(on: HarnessFixture, task_id: str, count: int) -> None:
    """Wait until the CLI has said, in the task's log, that it has read so many messages."""

    async def look() -> bool:
        lines = await on.rig.lines(task_id)
        return sum(line.get("state") == "queued" for line in lines) >= count

    await on.rig.until(look, within_s=MANY_SECONDS)


def asked(on: HarnessFixture, words: str) -> int:
    """How many requests to the model have these words in them."""
    return sum(words in json.dumps(request.body["messages"]) for request in on.model.requests)


async def test_a_message_in_the_middle_of_a_tool_reaches_the_model(tmp_path: Path):
    async with harness(tmp_path, **ON) as on:
        task_id = await begin(on)
        await steer(on, task_id, "look to the left", "steer")
        await until_queued(on, task_id, 1)
        assert (await messages(on, task_id))[0]["status"] == "pending"
        assert asked(on, "look to the left") == 0
        go_on(on)
        (message,) = await until_all_are(on, task_id, "delivered")
        assert message["deliveredMode"] == "queue"
        task = await on.rig.until_ended(task_id, within_s=MANY_SECONDS)
        await on.rig.settled(task_id)
        assert (task["status"], task["output"]) == ("completed", "Waited")
        assert asked(on, "look to the left") == 1
        assert len(await on.rig.costs(task_id)) == 1


async def test_a_message_during_an_answer_is_a_turn_of_its_own(tmp_path: Path):
    async with harness(tmp_path, **ON) as on:
        words = "a few words that come slowly " * 3
        task_id = await on.rig.submit(f"Talk. [[say:{words}]][[slow:8]]", dir=str(on.work))
        await on.rig.until_status(task_id, "in_progress")
        for text in ("first", "then"):
            await steer(on, task_id, f"{text} do this [[say:The last word]]")
        await until_all_are(on, task_id, "delivered")
        task = await on.rig.until_ended(task_id, within_s=MANY_SECONDS)
        await on.rig.settled(task_id)
        # The result of the first turn was not the end of the session, and the cost is of both.
        assert (task["status"], task["output"]) == ("completed", "The last word")
        assert asked(on, "first do this") == asked(on, "then do this") == 1
        (cost,) = await on.rig.costs(task_id)
        assert cost["inputTokens"] == 1000 * len(on.model.requests)
        assert len(on.model.requests) == 2


async def test_two_messages_are_both_delivered(tmp_path: Path):
    async with harness(tmp_path, **ON) as on:
        task_id = await begin(on)
        await steer(on, task_id, "message one")
        await steer(on, task_id, "message two")
        await until_queued(on, task_id, 1)
        go_on(on)
        await until_all_are(on, task_id, "delivered")
        task = await on.rig.until_ended(task_id, within_s=MANY_SECONDS)
        assert task["status"] == "completed"
        assert asked(on, "message one")
        assert asked(on, "message two")


async def test_steering_can_be_switched_on_while_the_session_runs(tmp_path: Path):
    async with harness(tmp_path) as on:
        task_id = await begin(on)
        await steer(on, task_id, "look to the left")
        await on.rig.set_row("STEERING_ENABLED", "true")
        await until_queued(on, task_id, 1)
        go_on(on)
        await until_all_are(on, task_id, "delivered")
        assert (await on.rig.until_ended(task_id, within_s=MANY_SECONDS))["status"] == "completed"


async def test_without_streaming_input_a_message_becomes_a_task(tmp_path: Path):
    async with harness(tmp_path, **ON, CLAUDE_QUEUE_STEERING="off") as on:
        task_id = await begin(on)
        await steer(on, task_id, "look to the left")
        (message,) = await until_all_are(on, task_id, "promoted")
        assert (await on.rig.task(message["promotedTaskId"]))["task"] == "look to the left"
        go_on(on)
        assert (await on.rig.until_ended(task_id, within_s=MANY_SECONDS))["output"] == "Waited"


async def test_a_message_that_was_queued_at_a_cancel_is_not_delivered(tmp_path: Path):
    async with harness(tmp_path, **ON) as on:
        task_id = await begin(on)
        await steer(on, task_id, "look to the left")
        await until_queued(on, task_id, 1)
        await on.rig.post(f"/api/tasks/{task_id}/cancel")
        await on.rig.settled(task_id)
        assert [m["status"] for m in await messages(on, task_id)] != ["delivered"]
        assert asked(on, "look to the left") == 0
        (cost,) = await on.rig.costs(task_id)
        assert cost["inputTokens"] == 1000


async def test_a_follow_up_after_steering_goes_on_with_all_of_it(tmp_path: Path):
    async with harness(tmp_path, **ON) as on:
        task_id = await begin(on)
        await steer(on, task_id, "the word is heron")
        await until_queued(on, task_id, 1)
        go_on(on)
        first = await on.rig.until_ended(task_id, within_s=MANY_SECONDS)
        await on.rig.settled(task_id)
        second = await on.run("Which word? [[say:heron]]", parentTaskId=task_id)
        assert second["claudeSessionId"] == first["claudeSessionId"]
        assert "the word is heron" in json.dumps(on.model.requests[-1].body["messages"])
