"""Configuration rows take effect in a running worker, and are undone when deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from patience import until
from recording_proxy import RecordingProxy, Visit, proxy_rig
from rig import AGENT, Rig, harness, running_worker, swarm_rig

from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.daemon import Daemon

pytestmark = pytest.mark.anyio

SECRET = "a-secret-value-of-the-tests-0123456789"


async def until_slots(rig: Rig, wanted: int) -> None:
    async def look() -> bool:
        return (await rig.agent_row() or {}).get("maxTasks") == wanted

    await rig.until(look)


def row(key: str, value: str) -> dict[str, object]:
    return {"key": key, "value": value, "isSecret": False}


# --- how many at once
@pytest.mark.long
async def test_more_slots_let_waiting_work_in_and_fewer_end_nothing(tmp_path: Path):
    go_on = tmp_path / "go-on"
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("waits", go_on)):
        first, second = await rig.submit("one"), await rig.submit("two")
        await until(lambda: len(rig.logged(Event.SESSION_STARTED)) == 1)
        await rig.set_row("MAX_CONCURRENT_TASKS", "2")
        await until(lambda: len(rig.logged(Event.SESSION_STARTED)) == 2)
        await until_slots(rig, 2)
        await rig.set_row("MAX_CONCURRENT_TASKS", "1")
        await until_slots(rig, 1)
        third = await rig.submit("three")
        go_on.touch()
        for task_id in (first, second, third):
            assert (await rig.until_ended(task_id))["output"] == "done at last"


@pytest.mark.long
async def test_a_registration_that_fails_after_a_change_is_tried_again(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        proxy.refuse("POST /api/agents$", 503, times=2)
        await rig.set_row("MAX_CONCURRENT_TASKS", "3")
        await until_slots(rig, 3)


@pytest.mark.long
@pytest.mark.parametrize("value", ["many", "-1", "0", "1.5", "", "1001"])
async def test_a_value_that_cannot_be_used_is_passed_over(tmp_path: Path, value: str):
    env = {**harness("says_hi"), "MAX_CONCURRENT_TASKS": "2"}
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, env):
        rows = [row("MAX_CONCURRENT_TASKS", value), row("SWARM_POLL_INTERVAL_S", "0.06")]
        proxy.say("config/resolved", {"configs": rows})
        await until(lambda: rig.logged(Event.CONFIG_CHANGED))
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id))["status"] == "completed"
        ignored = [line["key"] for line in rig.logged(Event.CONFIG_IGNORED)]
        # A blank one applies: it is as good as none.
        assert ignored == (["MAX_CONCURRENT_TASKS"] if value else [])
        assert (await rig.agent_row() or {})["maxTasks"] == (2 if value else 1)


# --- which harness
def harness_changes(rig: Rig) -> int:
    """Count how often the worker has gone over to another harness."""
    changes = rig.logged(Event.CONFIG_CHANGED)
    return sum(line.get("key") == "HARNESS_PROVIDER" for line in changes)


@pytest.mark.long
async def test_a_new_harness_runs_the_next_session_and_not_the_current_one(tmp_path: Path):
    go_on = tmp_path / "go-on"
    env = {**harness("waits", go_on), "ANTHROPIC_API_KEY": SECRET, "CLAUDE_BINARY": "nonesuch"}
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        first = await rig.submit("one")
        await until(lambda: rig.logged(Event.SESSION_STARTED))
        changes = harness_changes(rig)
        await rig.set_row("HARNESS_PROVIDER", "claude")
        await until(lambda: harness_changes(rig) > changes)
        go_on.touch()
        assert (await rig.until_ended(first))["output"] == "done at last"
        second = await rig.until_ended(await rig.submit("two"))
        assert "nonesuch" in second["failureReason"]
        changes = harness_changes(rig)
        await rig.drop_row("HARNESS_PROVIDER")
        await until(lambda: harness_changes(rig) > changes)
        third = await rig.until_ended(await rig.submit("three"))
        assert third["output"] == "done at last"


@pytest.mark.long
async def test_an_unknown_harness_is_ignored_and_said_once(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        proxy.say("config/resolved", {"configs": [row("HARNESS_PROVIDER", "nonesuch")]})
        await until(lambda: rig.logged(Event.CONFIG_IGNORED))
        asked = len(proxy.seen("config/resolved"))
        await until(lambda: len(proxy.seen("config/resolved")) > asked + 2)
        (line,) = rig.logged(Event.CONFIG_IGNORED)
        assert "nonesuch" in line["why"]
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id))["status"] == "completed"


# --- values for the sessions
async def env_of_next(rig: Rig, seen: Path) -> dict[str, str]:
    """Run a task and return the environment its session had."""
    task_id = await rig.submit()
    await rig.until_ended(task_id)
    given = json.loads((seen / f"{task_id}.json").read_text())
    return dict(given["env"])


async def applied(daemon: Daemon, key: str, value: str | None) -> None:
    await until(lambda: daemon._environment.values().get(key) == value)


@pytest.mark.long
async def test_a_row_overlays_the_container_and_its_deletion_brings_it_back(tmp_path: Path):
    seen = tmp_path / "seen"
    seen.mkdir()
    env = {**harness("witness", seen), "MODEL_OVERRIDE": "own", "COLOUR": "red"}
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env) as daemon:
        await rig.set_row("MODEL_OVERRIDE", "theirs")
        await rig.set_row("COLOUR", "")
        await rig.set_row("TASTE", SECRET, is_secret=True)
        await applied(daemon, "TASTE", SECRET)
        given = await env_of_next(rig, seen)
        assert (given["SWARM_MODEL"], given["COLOUR"], given["TASTE"]) == ("theirs", "", SECRET)
        # A blank one must not wipe the container's model.
        await rig.set_row("MODEL_OVERRIDE", " ")
        await applied(daemon, "MODEL_OVERRIDE", "own")
        assert (await env_of_next(rig, seen))["SWARM_MODEL"] == "own"
        for key in ("MODEL_OVERRIDE", "COLOUR", "TASTE"):
            await rig.drop_row(key)
        await applied(daemon, "TASTE", None)
        given = await env_of_next(rig, seen)
        assert (given["SWARM_MODEL"], given["COLOUR"]) == ("own", "red")
        assert "TASTE" not in given
        assert SECRET not in rig.worker_log.getvalue()


async def test_a_row_cannot_change_who_and_where_the_worker_is(tmp_path: Path):
    seen = tmp_path / "seen"
    seen.mkdir()
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("witness", seen)) as daemon,
    ):
        stolen = [row(key, "stolen") for key in ("AGENT_ID", "MCP_BASE_URL", "API_KEY")]
        proxy.say("config/resolved", {"configs": [*stolen, row("COLOUR", "blue")]})
        await applied(daemon, "COLOUR", "blue")
        given = await env_of_next(rig, seen)
        assert (given["AGENT_ID"], given["MCP_BASE_URL"]) == (AGENT, rig.url)
        assert "stolen" not in given.values()


@pytest.mark.long
async def test_a_failing_configuration_changes_nothing(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, harness("says_hi")) as daemon,
    ):
        await rig.set_row("COLOUR", "blue")
        await applied(daemon, "COLOUR", "blue")
        proxy.refuse("config/resolved", 500, times=2)
        proxy.refuse("config/resolved", 200, "<html>", kind="text/html", times=2)
        asked = len(proxy.seen("config/resolved"))
        await until(lambda: len(proxy.seen("config/resolved")) > asked + 4)
        assert daemon._environment.values()["COLOUR"] == "blue"
        assert len(rig.logged(Event.CONFIG_CHANGED)) == 1


# --- what the server shows
@pytest.mark.long
async def test_a_swapped_harness_is_reported_without_calling_a_busy_agent_idle(tmp_path: Path):
    go_on = tmp_path / "go-on"
    env = {**harness("waits", go_on), "CLAUDE_BINARY": "true"}
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, env):
        await until(lambda: len(proxy.seen("config/resolved")) > 3)
        task_id = await rig.submit()
        await until(lambda: rig.logged(Event.SESSION_STARTED))
        reported = len(_readiness(proxy))
        await rig.set_row("HARNESS_PROVIDER", "claude")
        await until(lambda: len(rig.logged(Event.REGISTERED)) == 2)
        asked = len(proxy.seen("config/resolved"))
        await until(lambda: len(proxy.seen("config/resolved")) > asked + 2)
        assert len(_readiness(proxy)) == reported
        assert (await rig.agent_row() or {})["status"] == "busy"
        go_on.touch()
        await rig.until_ended(task_id)
        await until(lambda: len(_readiness(proxy)) > reported)
        agent = await rig.agent_row() or {}
        assert agent["credentialMissing"] == ["CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY"]


def _readiness(proxy: RecordingProxy) -> list[Visit]:
    return [v for v in proxy.seen("credential-status") if "ready" in v.json()]
