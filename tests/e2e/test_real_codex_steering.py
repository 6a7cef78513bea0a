"""Messages to the real codex CLI while it works."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from real_cli_rig import CliRig, Ran, cli_rig
from real_codex import PROGRAM, TRANSPORTS, codex_env

from agent_swarm_worker.contract import Custom, Error, SteerDelivery, ToolStart
from agent_swarm_worker.providers.codex.adapter import CodexAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture(params=TRANSPORTS)
async def rig(
    tmp_path: Path, anyio_backend: str, request: pytest.FixtureRequest
) -> AsyncIterator[CliRig]:
    env_of = partial(codex_env, CODEX_TRANSPORT=request.param)
    async with cli_rig(tmp_path, PROGRAM, CodexAdapter(), env_of, request.param) as ready:
        yield ready


async def steered(rig: CliRig, mode: Any, prompt: str, text: str) -> tuple[Ran, SteerDelivery]:
    """Run a session and send it a message when its first tool starts."""
    config = rig.config(prompt)
    session: Any = await CodexAdapter().create_session(config)
    events: list[Any] = []
    delivered: list[SteerDelivery] = []
    async with anyio.create_task_group() as tasks:

        async def deliver() -> None:
            delivered.append(await session.deliver_steering(mode, text))

        def on_event(event: Any) -> None:
            events.append(event)
            if isinstance(event, ToolStart) and len(rig.model.requests) == 1:
                tasks.start_soon(deliver)

        session.on_event(on_event)
        result = await session.wait_for_completion()
    return Ran(result, events, config), delivered[0]


async def test_a_message_for_the_running_turn(rig: CliRig) -> None:
    ran, delivery = await steered(
        rig, "steer", "[[bash:sleep 1]] [[say:Old.]]", "Turn! [[say:New.]]"
    )
    if rig.transport == "exec":
        assert (delivery.delivered, ran.result.output) == (False, "Old.")
        return
    assert delivery == SteerDelivery(True, mode="steer")
    assert ran.result.output == "New."
    assert len(rig.model.requests) == 2, "the same turn went on with it"


async def test_a_message_for_afterwards(rig: CliRig) -> None:
    ran, delivery = await steered(
        rig, "queue", "[[bash:sleep 1]] [[say:Old.]]", "And then? [[say:New.]]"
    )
    if rig.transport == "exec":
        assert not delivery.delivered
        return
    assert delivery == SteerDelivery(True, mode="queue")
    assert ran.result.output == "New."
    assert "Old." in rig.body
    assert ran.result.cost
    assert (ran.result.cost.num_turns, ran.result.cost.input_tokens) == (2, 12000)


async def test_the_app_server_tells_how_full_the_context_is(rig: CliRig) -> None:
    ran = await rig.run("[[say:Hello there]]")
    usage = [event for event in ran.events if event.type == "context_usage"]
    assert usage[-1].context_used_tokens == 4050
    deltas = [e.data["text"] for e in ran.of(Custom) if e.name == "codex.message_delta"]
    if rig.transport == "app-server":
        assert usage[-1].context_total_tokens == 258_400
        assert "".join(deltas) == "Hello there"
    assert not ran.of(Error)
