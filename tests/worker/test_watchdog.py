"""Sessions that loop, fall silent, or never end."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any

import anyio
import pytest
from patience import until
from recording_proxy import SkippingClock, proxy_rig
from rig import Rig, harness, running_worker, swarm_rig
from steered_provider import SESSIONS, SteeredAdapter, SteeredSession

from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers import registry
from agent_swarm_worker.worker.run import watchdog

pytestmark = pytest.mark.anyio


async def ran(rig: Rig, env: dict[str, str]) -> dict[str, Any]:
    """Run one task and return its row."""
    async with running_worker(rig, env):
        task_id = await rig.submit()
        row = await rig.until_ended(task_id)
        await rig.settled(task_id)
        return row


def category(rig: Rig) -> Any:
    (ended,) = rig.logged(Event.SESSION_ENDED)
    return ended["category"]


async def test_an_agent_that_repeats_itself_is_ended(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("loops", 20, "stays"))
        assert row["status"] == "failed"
        assert "Bash was called 15 times with the same arguments" in row["failureReason"]
        assert category(rig) == "tool-loop"
        assert [line["verdict"] for line in rig.logged(Event.TOOL_LOOP)][-1] == "block"


async def test_an_agent_that_waits_for_news_is_left_alone(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("loops", 40, "news"))
        assert (row["status"], row["output"]) == ("completed", "went round")
        assert not rig.logged(Event.TOOL_LOOP)


async def test_helpers_that_do_the_same_once_each_are_left_alone(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("helpers", 16))
        assert (row["status"], row["output"]) == ("completed", "reviewed")
        assert not rig.logged(Event.TOOL_LOOP)
        starts = [e["data"] for e in await rig.events(row["id"]) if e["event"] == "tool.start"]
        reads = [data for data in starts if data["toolName"] == "Read"]
        assert {data["helperName"] for data in reads} == {f"review {n}" for n in range(16)}
        assert {data["helperId"] for data in reads} == {f"task{n}" for n in range(16)}
        assert not any("helperId" in data for data in starts if data["toolName"] == "Task")


@pytest.mark.parametrize(("kind", "speaker"), [("stuck", ""), ("lost", "review 1: ")])
async def test_a_busy_helper_hides_no_loop(tmp_path: Path, kind: str, speaker: str):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("helpers", 3, kind, "stays"))
        assert row["status"] == "failed"
        assert row["failureReason"].startswith(f"tool-loop: {speaker}Bash was called 15 times")


@pytest.mark.long
async def test_a_silent_session_is_reported_and_then_ended(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = harness("waits", tmp_path / "never", SWARM_SESSION_SILENCE_S="0.5")
        row = await ran(rig, env)
        assert row["status"] == "failed"
        assert row["failureReason"].startswith("stalled: no output for 0.5 s")
        assert category(rig) == "stalled"
        assert rig.logged(Event.SESSION_STALLED)
        assert "\nRetry: worth one; " in row["failureReason"]
        told = [words for words in await progress(rig, row["id"]) if "No output" in words]
        assert told
        assert all(re.fullmatch(r"No output for 0\.\d s; .* ended after 0\.5 s", w) for w in told)


@pytest.mark.long
async def test_a_session_that_takes_too_long_is_ended(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = harness("ticks", SWARM_SESSION_TIMEOUT_S="0.5", SWARM_SESSION_SILENCE_S="600")
        row = await ran(rig, env)
        assert row["status"] == "failed"
        assert row["failureReason"].startswith("timeout: still running after 0.5 s")
        assert category(rig) == "timeout"


@pytest.mark.parametrize("mode", ["stream-json", "jsonl", "text", "auto"])
async def test_each_way_of_talking_fails_for_what_ended_it(tmp_path: Path, mode: str):
    async with swarm_rig(tmp_path) as rig:
        limit = {"SWARM_SESSION_SILENCE_S": "0.3", "HARNESS_OUTPUT": mode}
        row = await ran(rig, harness("waits_in_words", tmp_path / "never", **limit))
        assert row["failureReason"].startswith("stalled: ")
        assert category(rig) == "stalled"


# --- shown before it fires
async def progress(rig: Rig, task_id: str) -> list[str]:
    """What the task was said to do, oldest first."""
    rows = (await rig.task(task_id))["logs"]
    return [row["newValue"] for row in reversed(rows) if row["eventType"] == "task_progress"]


@pytest.mark.long
async def test_a_stall_is_shown_once_and_its_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watchdog, "MAX_TICK_S", 0.05)
    async with swarm_rig(tmp_path) as rig:
        env = harness("waits", tmp_path / "go-on", SWARM_SESSION_SILENCE_S="600")
        clock = SkippingClock()
        async with running_worker(rig, env, clock=clock):
            task_id = await rig.submit()
            await rig.until(lambda: rig.logs(task_id))
            clock.skip(310)
            await until(lambda: rig.logged(Event.SESSION_STALLED))
            await anyio.sleep(0.4)  # some looks of the watchdog more
            (tmp_path / "go-on").touch()
            assert (await rig.until_ended(task_id))["status"] == "completed"
        begun, over = rig.logged(Event.SESSION_STALLED)
        assert (begun["quiet_s"] < 400, over["over"]) == (True, True)
        stalled, goes_on = await progress(rig, task_id)
        assert re.fullmatch(r"No output for [5-9] min; it is ended after 10 min", stalled)
        assert re.fullmatch(r"It goes on, after [5-9] min without output", goes_on)


@pytest.mark.long
async def test_a_stall_is_not_told_of_a_task_that_is_being_ended(tmp_path: Path):
    """Progress would set a task going again that was paused or handed over."""
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = harness("deaf", SWARM_SESSION_SILENCE_S="0.8")
        async with running_worker(rig, env, drain_ms=4000) as daemon:
            await rig.submit()
            await until(lambda: len(rig.logged(Event.SESSION_OUTPUT)) == 2)
            told = len(rig.logged(Event.SESSION_STALLED))  # of a slow start of the program
            daemon.shutdown.request("test")
            daemon.shutdown.request("test")
        assert proxy.seen("supersede")
        assert len(proxy.seen("/progress")) <= told
        assert len(rig.logged(Event.SESSION_STALLED)) == told


@pytest.mark.long
async def test_what_one_says_of_its_end_is_not_called_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watchdog, "MAX_TICK_S", 0.05)
    async with swarm_rig(tmp_path) as rig:
        env = harness("waits", tmp_path / "never", SWARM_SESSION_SILENCE_S="600")
        clock = SkippingClock()
        async with running_worker(rig, env, clock=clock):
            task_id = await rig.submit()
            await rig.until(lambda: rig.logs(task_id))
            clock.skip(310)
            await until(lambda: rig.logged(Event.SESSION_STALLED))
            await anyio.sleep(0.2)  # so that the next line of progress has not to wait
            await rig.post(f"/api/tasks/{task_id}/cancel", {"reason": "enough"})
            await rig.settled(task_id)
        assert rig.logged(Event.SESSION_STDERR)
        (told,) = await progress(rig, task_id)
        assert told.startswith("No output for ")


# --- what it waits for
@pytest.mark.parametrize("stream", ["out", "err"])
async def test_one_that_asks_and_waits_fails_for_that(tmp_path: Path, stream: str):
    async with swarm_rig(tmp_path) as rig:
        env = harness("asks", "Continue? [y/N] ", stream, SWARM_SESSION_SILENCE_S="0.3")
        row = await ran(rig, env)
        reason, hint = row["failureReason"].split("\n")
        # What it said when it was ended for it stands behind the question, on the same line.
        asked = "awaiting_input: no output for 0.3 s; it said last: Continue? [y/N]"
        assert reason == asked if stream == "out" else reason.startswith(asked)
        assert hint.startswith("Retry: it would ask again")
        assert category(rig) == "awaiting_input"


async def test_a_command_finds_no_input_to_wait_for(tmp_path: Path):
    """Its standard input ends behind the prompt, so that what reads on comes to an end."""
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, {"HARNESS_PROVIDER": "subprocess", "HARNESS_COMMAND": "cat - -"})
        assert row["status"] == "completed"


async def test_one_that_waits_for_the_network_fails_for_that(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        words = "Reconnecting... waiting for network (Connection failed)\n"
        row = await ran(rig, harness("asks", words, SWARM_SESSION_SILENCE_S="0.3"))
        assert row["failureReason"].startswith("network: no output for 0.3 s; it said last: Reconn")
        assert "\nRetry: worth one once the network" in row["failureReason"]
        assert category(rig) == "network"


@pytest.mark.long
async def test_one_that_stays_after_its_result_has_succeeded(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("result_then_stays", SWARM_RESULT_GRACE_S="0.2"))
        assert (row["status"], row["output"]) == ("completed", "all done")
        assert len(rig.logged(Event.SESSION_HUNG)) == 1
        (note,) = await progress(rig, row["id"])
        assert note == "The harness stayed after its result and was ended"


# --- limits of a harness and of a task
@pytest.mark.long
async def test_limits_of_harness_and_task_hold(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = harness("ticks", SWARM_SESSION_TIMEOUT_BY_HARNESS="subprocess=0.4,claude=1h")
        async with running_worker(rig, env):
            row = await rig.until_ended(await rig.submit())
            assert row["failureReason"].startswith("timeout: still running after 0.4 s")
            row = await rig.until_ended(await rig.submit(tags=["timeout:0.2s", "timeout:x"]))
            assert row["failureReason"].startswith("timeout: still running after 0.2 s")
            assert "\nRetry: it would begin anew" in row["failureReason"]
            # A row of the swarm's configuration takes effect for the next session.
            await rig.set_row("SWARM_SESSION_TIMEOUT_BY_HARNESS", "subprocess=0.3")
            await until(lambda: rig.logged(Event.CONFIG_CHANGED))
            row = await rig.until_ended(await rig.submit())
            assert row["failureReason"].startswith("timeout: still running after 0.3 s")
        assert [line["tag"] for line in rig.logged(Event.LIMIT_IGNORED)] == ["timeout:x"]


# --- a provider that does not end its session
class _DeafSession(SteeredSession):
    async def abort(self, reason: str = "cancelled") -> None:
        """Take no notice."""


class _DeafAdapter(SteeredAdapter):
    name = "deaf-provider"

    async def create_session(self, config: Any) -> SteeredSession:
        session = SESSIONS[config.task_id] = _DeafSession(config)
        return session


async def test_a_session_whose_provider_never_ends_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watchdog, "ABORT_TIMEOUT_S", 0.2)
    ours = EntryPoint("deaf-provider", f"{__name__}:_DeafAdapter", registry.GROUP)
    found = EntryPoints([*entry_points(group=registry.GROUP), ours])
    monkeypatch.setattr(registry, "_installed", lambda group, path: found)
    async with swarm_rig(tmp_path) as rig:
        env = {"HARNESS_PROVIDER": "deaf-provider", "SWARM_SESSION_SILENCE_S": "0.3"}
        row = await ran(rig, env)
        assert row["failureReason"].startswith("stalled: no output for 0.3 s")
        assert len(rig.logged(Event.SESSION_HUNG)) == 1
