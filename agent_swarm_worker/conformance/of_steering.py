"""Promises about messages for a session that runs."""

from __future__ import annotations

import anyio

from agent_swarm_worker.conformance.bench import SESSION_S, SOON_S, Bench, within
from agent_swarm_worker.conformance.checks import on_stage
from agent_swarm_worker.conformance.promises import broken
from agent_swarm_worker.contract import SteerableSession, SteerDelivery
from agent_swarm_worker.providers.registry import adapter_spec

BUSY_S = 4.0
MESSAGE = "By the way: the heron has flown."


@on_stage
async def a_session_takes_what_the_spec_says(bench: Bench) -> None:
    """With `steer_modes` a message is delivered in one of them, and reaches the agent once."""
    modes = adapter_spec(bench.adapter).capabilities.steer_modes
    outcome: list[SteerDelivery] = []
    async with bench.at_work(BUSY_S) as watched:
        if modes and not isinstance(watched.session, SteerableSession):
            broken(f"its spec names {modes}, its sessions cannot be sent any message")
        session = watched.steerable

        async def deliver() -> None:
            outcome.append(await session.deliver_steering("queue", MESSAGE))

        await within(SESSION_S, "it was not said what became of a message", deliver)
    heard = [text for text in bench.stage.heard() if MESSAGE in text]
    if not modes:
        if outcome[0].delivered or not outcome[0].reason:
            broken(f"its spec names no steer mode, and yet: {outcome[0]}")
    elif not outcome[0].delivered or outcome[0].mode not in modes:
        broken(f"its spec names {modes}, what became of a message is {outcome[0]}")
    elif len(heard) != 1:
        broken(f"it was delivered, and reached the agent {len(heard)} times")


@on_stage
async def a_session_that_has_ended_takes_none(bench: Bench) -> None:
    """A message for a session that has ended is refused at once, with a reason."""
    watched = await bench.answered()
    session = watched.steerable
    outcome = await within(
        SOON_S, "there was no answer", lambda: session.deliver_steering("queue", MESSAGE)
    )
    if outcome.delivered or not (outcome.reason or "").strip():
        broken(f"what became of it is {outcome}")


@on_stage
async def an_abort_answers_who_waits(bench: Bench) -> None:
    """When a session is aborted, every delivery that is still open is answered."""
    outcome: list[SteerDelivery] = []
    async with bench.at_work() as watched:
        session = watched.steerable
        async with anyio.create_task_group() as group:

            async def deliver() -> None:
                outcome.append(
                    await within(
                        SESSION_S,
                        "it never was",
                        lambda: session.deliver_steering("queue", MESSAGE),
                    )
                )

            group.start_soon(deliver)
            await anyio.wait_all_tasks_blocked()
            await watched.session.abort()
    if not isinstance(outcome[0], SteerDelivery):
        broken(f"the answer is {outcome[0]!r}")
