"""Steering messages: each is delivered once, and its result reported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any

import pytest
from patience import until
from recording_proxy import QuickClock, RecordingProxy, endless_worker, proxy_rig
from rig import Rig, harness
from steered_provider import SESSIONS, SteeredSession

from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers import registry

pytestmark = pytest.mark.anyio

ON = {"STEERING_ENABLED": "true"}
STEERED = {"HARNESS_PROVIDER": "steered", "MAX_CONCURRENT_TASKS": "2"}
PLAIN = harness("waits", "/nowhere")


@pytest.fixture(autouse=True)
def provider_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(group: str, _path: object) -> EntryPoints:
        ours = EntryPoint("steered", "steered_provider:SteeredAdapter", group)
        return EntryPoints([*entry_points(group=group), ours])

    monkeypatch.setattr(registry, "_installed", found)
    SESSIONS.clear()


@asynccontextmanager
async def steerable(
    tmp_path: Path, env: dict[str, str]
) -> AsyncIterator[tuple[Rig, RecordingProxy]]:
    """A worker that looks for messages every tenth of a second."""
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        endless_worker(rig, env, clock=QuickClock(20)),
    ):
        yield rig, proxy


async def running(rig: Rig, text: str = "task") -> str:
    count = len(rig.logged(Event.TASK_STARTED))
    task_id = await rig.submit(text)
    await until(lambda: len(rig.logged(Event.TASK_STARTED)) > count)
    return task_id


def session_of(task_id: str) -> SteeredSession:
    return SESSIONS[task_id]


async def steer(rig: Rig, task_id: str, message: str, mode: str = "queue") -> None:
    await rig.post(f"/api/tasks/{task_id}/steer", {"message": message, "mode": mode})


async def messages(rig: Rig, task_id: str) -> list[dict[str, Any]]:
    return list((await rig.get(f"/api/tasks/{task_id}/steering-messages"))["messages"])


async def until_it_is(rig: Rig, task_id: str, status: str) -> dict[str, Any]:
    async def look() -> Any:
        (message,) = await messages(rig, task_id)
        return message if message["status"] == status else None

    return dict(await rig.until(look))


@pytest.mark.long
async def test_a_message_reaches_its_session_once(tmp_path: Path):
    async with steerable(tmp_path, {**STEERED, **ON}) as (rig, _):
        first, second = await running(rig), await running(rig)
        await steer(rig, second, "look to the left", "steer")
        message = await until_it_is(rig, second, "delivered")
        assert message["deliveredMode"] == "queue"  # as it was done, not as it was asked for
        ((mode, text),) = session_of(second).heard
        assert mode == "steer"
        assert "look to the left" in text
        assert message["id"] in text
        assert session_of(first).heard == []
        for task_id in (first, second):
            session_of(task_id).end()
        assert (await rig.until_ended(second))["output"] == "heard 1"


async def test_a_report_that_fails_is_repeated_and_the_message_is_not(tmp_path: Path):
    async with steerable(tmp_path, {**STEERED, **ON}) as (rig, proxy):
        task_id = await running(rig)
        proxy.refuse("/delivered", 500, times=3)
        await steer(rig, task_id, "only once")
        await until_it_is(rig, task_id, "delivered")
        assert len(session_of(task_id).heard) == 1
        assert len(proxy.seen("/delivered")) == 4


@pytest.mark.long
async def test_a_report_that_fails_until_after_the_end_is_there_before_it(tmp_path: Path):
    async with steerable(tmp_path, {**STEERED, **ON}) as (rig, proxy):
        task_id = await running(rig)
        proxy.refuse("/delivered", 503, times=4)
        await steer(rig, task_id, "only once")
        await until(lambda: session_of(task_id).heard)
        session_of(task_id).end()
        await rig.until_ended(task_id)
        (message,) = await messages(rig, task_id)
        assert message["status"] == "delivered"  # and no follow-up task was made of it
        assert len(session_of(task_id).heard) == 1


@pytest.mark.long
async def test_a_report_survives_the_worker(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        async with endless_worker(rig, {**STEERED, **ON}, clock=QuickClock(20)):
            proxy.refuse("/delivered", 503, times=10_000)
            task_id = await running(rig)
            await steer(rig, task_id, "only once")
            await until(lambda: proxy.seen("/delivered"))
        assert (await messages(rig, task_id))[0]["status"] != "delivered"
        proxy.be_open()
        async with endless_worker(rig, {**STEERED, **ON}, clock=QuickClock(20)):
            await until(lambda: any(v.status == 200 for v in proxy.seen("/delivered")))
        assert len(session_of(task_id).heard) == 1


async def test_a_delivery_that_is_open_at_the_end_is_given_back(tmp_path: Path):
    async with steerable(tmp_path, {**STEERED, **ON}) as (rig, proxy):
        task_id = await running(rig)
        await steer(rig, task_id, "hang at this")
        await until(lambda: session_of(task_id).heard)
        held = proxy.hold("/finish")
        session_of(task_id).end()
        await held.reached.wait()
        held.open.set()
        await until_it_is(rig, task_id, "promoted")
        await until(lambda: proxy.seen("/undeliverable"))
        (report,) = proxy.seen("/undeliverable")
        assert "ended before" in report.json()["reason"]


async def test_a_message_that_is_not_taken_yet_keeps_none_back(tmp_path: Path):
    async with steerable(tmp_path, {**STEERED, **ON}) as (rig, _):
        task_id = await running(rig)
        await steer(rig, task_id, "hang at this")
        await steer(rig, task_id, "go on")

        async def statuses() -> bool:
            return [m["status"] for m in await messages(rig, task_id)] == ["pending", "delivered"]

        await rig.until(statuses)
        assert len(session_of(task_id).heard) == 2


async def test_messages_keep_their_order(tmp_path: Path):
    async with steerable(tmp_path, {**STEERED, **ON}) as (rig, _):
        task_id = await running(rig)
        for word in ("one", "two", "three"):
            await steer(rig, task_id, word)
        await until(lambda: len(session_of(task_id).heard) == 3)
        told = [text for _, text in session_of(task_id).heard]
        assert [w for t in told for w in ("one", "two", "three") if w in t] == [
            "one",
            "two",
            "three",
        ]


@pytest.mark.long
@pytest.mark.parametrize("env", [{}, ON], ids=["off", "on"])
async def test_a_task_is_cancelled_whether_steering_is_on_or_not(
    tmp_path: Path, env: dict[str, str]
):
    async with steerable(tmp_path, {**STEERED, **env}) as (rig, _):
        task_id = await running(rig)
        await steer(rig, task_id, "hang at this")
        if env:
            await until(lambda: session_of(task_id).heard)
        await rig.post(f"/api/tasks/{task_id}/cancel")
        await rig.until_status(task_id, "cancelled")
        await rig.settled(task_id)


@pytest.mark.long
async def test_it_can_be_switched_on_and_off_while_a_task_runs(tmp_path: Path):
    async with steerable(tmp_path, STEERED) as (rig, proxy):
        task_id = await running(rig)
        await steer(rig, task_id, "one")
        asked = len(proxy.seen("config/resolved"))
        await until(lambda: len(proxy.seen("config/resolved")) > asked + 20)
        assert not proxy.seen("GET /api/steering-messages")
        await rig.set_row("STEERING_ENABLED", "true")
        await until_it_is(rig, task_id, "delivered")
        await rig.set_row("STEERING_ENABLED", "false")
        await until(lambda: len(rig.logged(Event.CONFIG_CHANGED)) == 2)
        # A look that was under way then takes what it finds.
        asked = len(proxy.seen("config/resolved"))
        await until(lambda: len(proxy.seen("config/resolved")) > asked + 5)
        await steer(rig, task_id, "two")
        looked = len(proxy.seen("GET /api/steering-messages"))
        asked = len(proxy.seen("config/resolved"))
        await until(lambda: len(proxy.seen("config/resolved")) > asked + 20)
        assert len(proxy.seen("GET /api/steering-messages")) <= looked + 1
        assert len(session_of(task_id).heard) == 1


async def test_a_harness_that_takes_no_messages_says_so(tmp_path: Path):
    async with steerable(tmp_path, {**PLAIN, **ON}) as (rig, proxy):
        task_id = await running(rig)
        await steer(rig, task_id, "are you there?")
        message = await until_it_is(rig, task_id, "promoted")
        assert (await rig.task(message["promotedTaskId"]))["task"] == "are you there?"
        (report,) = proxy.seen("/undeliverable")
        assert "takes no messages" in report.json()["reason"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "reason"), [("refuse this", "it is asleep"), ("break at this", "RuntimeError")]
)
async def test_a_message_that_is_not_taken_is_reported_with_the_reason(
    tmp_path: Path, words: str, reason: str
):
    async with steerable(tmp_path, {**STEERED, **ON}) as (rig, proxy):
        task_id = await running(rig)
        await steer(rig, task_id, words)
        await until_it_is(rig, task_id, "promoted")
        (report,) = proxy.seen("/undeliverable")
        assert reason in report.json()["reason"]
        session_of(task_id).end()
        assert (await rig.until_ended(task_id))["output"] == "heard 1"


@pytest.mark.long
async def test_a_session_that_hangs_keeps_no_other_from_its_messages(tmp_path: Path):
    async with steerable(tmp_path, {**STEERED, **ON}) as (rig, _):
        first, second = await running(rig), await running(rig)
        await steer(rig, first, "hang at this")
        await until(lambda: session_of(first).heard)
        await steer(rig, second, "go on")
        await until_it_is(rig, second, "delivered")


@pytest.mark.long
async def test_a_message_for_a_session_that_has_ended_is_left_to_the_server(tmp_path: Path):
    async with steerable(tmp_path, {**STEERED, **ON}) as (rig, proxy):
        task_id = await running(rig)
        held = proxy.hold("/finish")
        session_of(task_id).end()
        await held.reached.wait()
        await steer(rig, task_id, "too late")
        pinged = len(proxy.seen("POST /ping"))
        await until(lambda: len(proxy.seen("POST /ping")) > pinged + 1)
        held.open.set()
        await until_it_is(rig, task_id, "promoted")
        assert session_of(task_id).heard == []
        assert not proxy.seen("able|delivered$")


@pytest.mark.long
async def test_an_api_that_fails_is_asked_again(tmp_path: Path):
    async with steerable(tmp_path, {**STEERED, **ON}) as (rig, proxy):
        task_id = await running(rig)
        proxy.refuse("GET /api/steering-messages", 500, times=1)
        proxy.refuse("GET /api/steering-messages", 200, "<html>", kind="text/html", times=1)
        proxy.say("GET /api/steering-messages", {"messages": [{"id": 1}, None]}, times=1)
        await steer(rig, task_id, "in the end")
        await until_it_is(rig, task_id, "delivered")


async def test_a_session_that_cannot_even_be_aborted_is_given_up(tmp_path: Path):
    async with steerable(tmp_path, STEERED) as (rig, _):
        task_id = await running(rig)
        session_of(task_id).is_broken = True
        await rig.post(f"/api/tasks/{task_id}/cancel")
        await until(lambda: rig.logged(Event.TASK_CANCELLED))
        other = await running(rig)
        session_of(other).end()
        assert (await rig.until_ended(other))["status"] == "completed"


@pytest.mark.long
async def test_a_harness_that_cannot_even_be_checked_does_not_end_the_worker(tmp_path: Path):
    async with steerable(tmp_path, STEERED) as (rig, proxy):
        await until(lambda: proxy.seen("/api/poll"))
        await rig.set_row("STEERED_IS_BROKEN", "yes")
        await until(lambda: rig.logged(Event.CONFIG_IGNORED))
        task_id = await running(rig)
        session_of(task_id).end()
        assert (await rig.until_ended(task_id))["status"] == "completed"
