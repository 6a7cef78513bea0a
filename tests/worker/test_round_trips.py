"""Independent requests are sent at once; dependent ones wait."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest
from patience import until
from recording_proxy import RecordingProxy, proxy_rig
from rig import AGENT, harness, running_worker

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.logs import Event
from agent_swarm_worker.state.directory import Claim, StateDir

pytestmark = pytest.mark.anyio
REGISTRATION = "POST /api/agents$"
CLEANUP, ORPHANS = "active-sessions/cleanup", "recover-orphaned-tasks"
AT_BOOT = ("GET /me", CLEANUP, "credential-status", "paused-tasks")
PROFILE = f"PUT /api/agents/{AGENT}/profile"
LEFT = "7a5c0000-0000-4000-8000-000000000001"
ROW = "POST /api/active-sessions$"
AT_CLAIM = (ROW, "mcp-servers")
AT_END = (
    "POST /api/session-logs$",
    "POST /api/events/batch",
    "POST /api/session-costs",
    "POST /api/tasks/.*/context",
)
FINISH = "POST /api/tasks/.*/finish"


def left_behind(place: Path) -> Claim:
    """Return a task that a killed worker had claimed, and whose session had not begun."""
    return Claim(
        task_id=LEFT,
        session_uuid="5e551011-0000-4000-8000-000000000009",
        harness="subprocess",
        log_file=place / "none.jsonl",
        started_at="2026-01-01T00:00:00Z",
        tag="none",
    )


async def all_seen(proxy: RecordingProxy, *patterns: str) -> None:
    for pattern in patterns:
        await until(partial(proxy.seen, pattern))


async def some_time(proxy: RecordingProxy) -> None:
    """Let a second of the worker's pass: it asks once in each whether a task was cancelled."""
    so_far = len(proxy.seen("cancelled-tasks"))
    await until(lambda: len(proxy.seen("cancelled-tasks")) >= so_far + 2)


@pytest.mark.parametrize("held", [it for it in AT_BOOT if it != CLEANUP])
async def test_boot_asks_at_once_and_polls_when_all_is_answered(tmp_path: Path, held: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        kept = proxy.hold(held)
        others = [pattern for pattern in AT_BOOT if pattern != held]

        async def look() -> None:
            await kept.reached.wait()
            await all_seen(proxy, *others)
            assert not proxy.seen("GET /api/poll")
            kept.open.set()

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            async with running_worker(rig, harness("says_hi")):
                await all_seen(proxy, "GET /api/poll")


async def test_boot_keeps_the_order_that_matters(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        row, rows = proxy.hold(REGISTRATION), proxy.hold(CLEANUP)
        after_the_row = [pattern for pattern in AT_BOOT if pattern != CLEANUP]

        async def look() -> None:
            await row.reached.wait()
            await rows.reached.wait()
            assert not any(proxy.seen(pattern) for pattern in (*after_the_row, ORPHANS))
            rows.open.set()
            row.open.set()
            await all_seen(proxy, ORPHANS, *after_the_row)

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            async with running_worker(rig, harness("says_hi")):
                await all_seen(proxy, "GET /api/poll")
        names = proxy.names()
        assert names.index(f"PUT /api/agents/{AGENT}/credential-status") > names.index(
            "POST /api/agents"
        )


async def test_the_first_poll_does_not_wait_for_a_profile_to_be_stored(tmp_path: Path):
    patient = {**harness("says_hi"), "SWARM_API_TIMEOUT_S": "600"}
    async with proxy_rig(tmp_path) as (rig, proxy):
        me = proxy.hold("GET /me")

        async def look() -> None:
            await me.reached.wait()
            await all_seen(proxy, PROFILE)  # the role
            texts = proxy.hold(PROFILE)
            me.open.set()
            await texts.reached.wait()
            await all_seen(proxy, "GET /api/poll")
            assert b"soulMd" in proxy.seen(PROFILE)[-1].body
            texts.open.set()

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            async with running_worker(rig, patient):
                await all_seen(proxy, "GET /api/poll")


async def test_the_rows_of_a_task_left_behind_stay_until_it_is_seen_to(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        with StateDir.open(tmp_path / "state", AGENT, clock=SystemClock()) as state:
            state.claim(left_behind(tmp_path))
        async with running_worker(rig, harness("says_hi")):
            await all_seen(proxy, "GET /api/poll")
        names = proxy.names()
        seen_to = next(name for name in names if LEFT in name)
        cleanup = "POST /api/active-sessions/cleanup"
        assert names.index("POST /api/agents") < names.index(seen_to) < names.index(cleanup)


@pytest.mark.parametrize("held", AT_CLAIM)
async def test_a_claim_asks_at_once_what_its_session_needs(tmp_path: Path, held: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        kept = proxy.hold(held)
        async with running_worker(rig, harness("says_hi")):
            task_id = await rig.submit()
            await kept.reached.wait()
            await all_seen(proxy, *AT_CLAIM)
            kept.open.set()
            assert (await rig.until_ended(task_id))["status"] == "completed"
        assert len(proxy.seen("mcp-servers")) == 1


async def test_no_session_begins_before_the_look_that_follows_its_announcement(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        row = proxy.hold(ROW)
        async with running_worker(rig, harness("says_hi")):
            task_id = await rig.submit()
            await row.reached.wait()
            await all_seen(proxy, "mcp-servers")
            await some_time(proxy)
            assert not rig.logged(Event.TASK_STARTED)
            row.open.set()
            assert (await rig.until_ended(task_id))["status"] == "completed"


@pytest.mark.parametrize("held", AT_END)
async def test_the_end_sends_its_records_at_once_and_the_finish_after_all(
    tmp_path: Path, held: str
):
    async with proxy_rig(tmp_path) as (rig, proxy):
        kept = proxy.hold(held)
        async with running_worker(rig, harness("says_hi")):
            task_id = await rig.submit()
            await kept.reached.wait()
            await all_seen(proxy, *AT_END)
            await some_time(proxy)
            assert not proxy.seen(FINISH)
            kept.open.set()
            assert (await rig.until_ended(task_id))["status"] == "completed"
        (finish,) = proxy.seen(FINISH)
        for pattern in AT_END:
            assert all(visit.at_s <= finish.at_s for visit in proxy.seen(pattern))
