"""Many sessions at once: each is reported as if it were alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from crowd import a_crowd_at_once
from patience import until
from recording_proxy import endless_worker, proxy_rig
from rig import Rig, harness

from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.loops import cancellation

pytestmark = pytest.mark.anyio


@pytest.mark.long
async def test_twelve_sessions_are_kept_apart(tmp_path: Path):
    await a_crowd_at_once(tmp_path, 12)


async def test_of_many_each_is_asked_about_by_itself_now_and_then(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cancellation, "OWN_CHECK_S", 0.3)
    async with proxy_rig(tmp_path) as (rig, proxy):
        # The question for all is answered with the last five minutes; this was longer ago.
        proxy.say("GET /cancelled-tasks$", {"cancelled": []})
        async with endless_worker(rig, waiting(tmp_path)):
            ids = await five_running(rig)
            await rig.post(f"/api/tasks/{ids[3]}/cancel")
            await until(lambda: rig.logged(Event.TASK_CANCELLED))


@pytest.mark.long
async def test_a_question_for_all_that_hangs_is_asked_again(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cancellation, "SHARED_TIMEOUT_S", 0.3)
    async with proxy_rig(tmp_path) as (rig, proxy), endless_worker(rig, waiting(tmp_path)):
        ids = await five_running(rig)
        held = proxy.hold("GET /cancelled-tasks$")
        await held.reached.wait()
        await rig.post(f"/api/tasks/{ids[3]}/cancel")
        (told,) = await until(lambda: rig.logged(Event.TASK_CANCELLED))
        assert told["task"] == ids[3]
        assert not rig.logged(Event.SESSION_ENDED)[1:]
        held.open.set()


def waiting(place: Path) -> dict[str, str]:
    return {**harness("waits", place / "never"), "MAX_CONCURRENT_TASKS": "5"}


async def five_running(rig: Rig) -> list[str]:
    ids = [await rig.submit() for _ in range(5)]
    await until(lambda: len(rig.logged(Event.SESSION_STARTED)) == 5)
    return ids
