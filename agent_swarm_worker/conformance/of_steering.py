"""Promises about messages for a session that runs."""

from __future__ import annotations

from functools import partial

import anyio

from agent_swarm_worker.conformance.bench import ABORT_S, SESSION_S, SOON_S, Bench, within
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
    async with bench.at_work(BUSY_S) as watched:
        if modes and not isinstance(watched.session, SteerableSession):
            broken(f"its spec names {modes}, its sessions cannot be sent any message")
        deliver = partial(watched.steerable.deliver_steering, "queue", MESSAGE)
        outcome = await watched.answer_to(SESSION_S, "a message", deliver)
    heard = [text for text in bench.stage.heard() if MESSAGE in text]
    if not modes:
        if outcome.delivered or not outcome.reason:
            broken(f"its spec names no steer mode, and yet: {outcome}")
    elif not outcome.delivered or outcome.mode not in modes:
        broken(f"its spec names {modes}, what became of a message is {outcome}; {watched.seen()}")
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
        session, is_open = watched.steerable, anyio.Event()

        async def deliver() -> SteerDelivery:
            is_open.set()
            return await session.deliver_steering("queue", MESSAGE)

        async def wait_for_it() -> None:
            what = "a message that was open at the abort"
            outcome.append(await watched.answer_to(SESSION_S, what, deliver))

        async with anyio.create_task_group() as group:
            group.start_soon(wait_for_it)
            await is_open.wait()
            await watched.abort()
            await watched.ended(ABORT_S, "did not end after an abort")
    if not isinstance(outcome[0], SteerDelivery):
        broken(f"the answer is {outcome[0]!r}")
