"""Steering messages for a running session."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from fake_model import FakeModel, Raw, Silence, Turn
from pi_rig import SessionDirs, start

from agent_swarm_worker.contract import SteerDelivery, SteerMode

pytestmark = pytest.mark.anyio
SLEEP = ("bash", {"command": "sleep 0.5"})


@pytest.fixture
def dirs(tmp_path: Path) -> SessionDirs:
    return SessionDirs(tmp_path)


async def talk(
    dirs: SessionDirs, model: FakeModel, mode: SteerMode, *, at_request: int, api: str = "openai"
) -> tuple[SteerDelivery, int, str]:
    """Deliver a message after `at_request` requests; return how, at which request, the output."""
    session, _ = await start(dirs.config(model.env(api)))
    came: list[tuple[SteerDelivery, int]] = []

    async def deliver() -> None:
        while len(model.requests) < at_request:
            await anyio.sleep(0.01)
        delivery = await session.deliver_steering(mode, "Mind the gap.")
        came.append((delivery, len(model.requests)))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(deliver)
            result = await session.wait_for_completion()
    return *came[0], result.output or ""


@pytest.mark.long
@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_a_steering_message_comes_after_the_running_call(dirs: SessionDirs, api: str):
    turns = (Turn("Wait.", [SLEEP]), Turn("More.", [SLEEP]), Turn("End."))
    async with FakeModel(*turns) as model:
        delivery, asked_by_then, output = await talk(dirs, model, "steer", at_request=1, api=api)
    assert delivery == SteerDelivery(True, mode="steer")
    assert asked_by_then == 2
    assert output == "End."
    assert "Mind the gap." not in model.requests[0].messages
    assert model.requests[1].messages.index("Mind the gap.") > model.requests[1].messages.index(
        "sleep 0.5"
    )


async def test_a_queued_message_comes_when_the_agent_would_stop(dirs: SessionDirs):
    turns = (Turn("Wait.", [SLEEP]), Turn("Would stop."), Turn("Really stop."))
    async with FakeModel(*turns) as model:
        delivery, asked_by_then, output = await talk(dirs, model, "queue", at_request=1)
    assert delivery == SteerDelivery(True, mode="queue")
    assert (asked_by_then, output) == (3, "Really stop.")
    assert "Mind the gap." not in model.requests[1].messages
    assert "Mind the gap." in model.requests[2].messages


async def test_a_message_during_the_last_answer_is_not_lost(dirs: SessionDirs):
    async def slowly() -> None:
        await anyio.sleep(0.3)

    def pause(number: int) -> object:
        return slowly() if number == 1 else None

    async with FakeModel(Turn("First."), Turn("Second."), on_request=pause) as model:
        delivery, _, output = await talk(dirs, model, "steer", at_request=1)
    assert delivery.delivered
    assert output == "Second."


async def test_a_message_the_model_never_got_is_not_delivered(dirs: SessionDirs):
    gone = Raw(401, {"error": {"type": "authentication_error", "message": "key revoked"}})
    async with FakeModel(Turn("Wait.", [SLEEP]), gone) as model:
        delivery, _, _ = await talk(dirs, model, "steer", at_request=1)
    assert not delivery.delivered
    assert "key revoked" in (delivery.reason or "")


async def test_nobody_waits_for_a_session_that_was_aborted(dirs: SessionDirs):
    async with FakeModel(Silence()) as model:
        session, _ = await start(dirs.config(model.env("openai")))
        deliveries: list[SteerDelivery] = []

        async def deliver() -> None:
            deliveries.append(await session.deliver_steering("queue", "Too late."))

        async def abort() -> None:
            while not model.requests:
                await anyio.sleep(0.01)
            group.start_soon(deliver)
            await anyio.sleep(0.05)
            await session.abort("stop")

        async with anyio.create_task_group() as group:
            group.start_soon(abort)
            await session.wait_for_completion()
    assert [delivery.delivered for delivery in deliveries] == [False]
    late = await session.deliver_steering("steer", "Even later.")
    assert late == SteerDelivery(False, reason="the session is over")
