"""Promises about the end of a session that is asked to stop."""

from __future__ import annotations

from functools import partial

from agent_swarm_worker.conformance.bench import ABORT_S, SOON_S, Bench, described, within
from agent_swarm_worker.conformance.checks import on_stage
from agent_swarm_worker.conformance.promises import broken


@on_stage
async def an_abort_ends_it_and_all_it_started(bench: Bench) -> None:
    """After `abort` a session ends as ``aborted`` within 20 s, and no process of it is left."""
    async with bench.at_work() as watched:
        await watched.has_processes()
        await watched.abort()
        await watched.ended(ABORT_S, "did not end after an abort")
    result = watched.result
    if not result.is_error or result.error_category != "aborted":
        broken(f"it ended otherwise than as aborted: {described(result)}")
    if left := watched.processes():
        broken(f"{len(left)} of its processes are left")


@on_stage
async def an_abort_can_be_repeated(bench: Bench) -> None:
    """`abort` may be called again and again, the first reason counts."""
    async with bench.at_work() as watched:
        await watched.abort("the first reason")
        for _ in range(2):
            again = partial(watched.session.abort, "another one")
            await within(SOON_S, "a second abort did not return", again)
        await watched.ended(ABORT_S, "did not end after an abort")
    if "the first reason" not in (watched.result.failure_reason or "the first reason"):
        broken(f"it {described(watched.result)}")


@on_stage
async def an_abort_after_the_end_changes_nothing(bench: Bench) -> None:
    """`abort` of a session that has ended returns, and its result stays."""
    watched = await bench.answered()
    await within(SOON_S, "abort did not return", watched.session.abort)
    again = await within(SOON_S, "it did not return", watched.session.wait_for_completion)
    if again != watched.result:
        broken(f"first it {described(watched.result)}, then it {described(again)}")
