"""A worker without a credential waits, and reports that, until one arrives."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from patience import HANG_S, until
from recording_proxy import QuickClock, proxy_rig
from rig import AGENTS, Rig, running_worker, swarm_rig
from worker_process import worker_process

from agent_swarm_worker.errors import ApiRefused, CredentialWaitExceeded
from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

TOKEN = "sk-ant-oat01-of-the-tests-0123456789"


def claude(**env: str) -> dict[str, str]:
    """The harness that needs a credential, with a program of ours in its place."""
    program = [sys.executable, "-S", "-B", str(AGENTS / "says_hi.py")]
    return {
        "HARNESS_PROVIDER": "claude",
        "CLAUDE_BINARY": shlex.join(program),
        "BOOT_INITIAL_BACKOFF_MS": "20",
        "BOOT_MAX_BACKOFF_MS": "40",
        **env,
    }


async def until_waiting(rig: Rig) -> dict[str, Any]:
    async def look() -> Any:
        agent = await rig.agent_row()
        return agent if agent and agent["status"] == "waiting_for_credentials" else None

    return dict(await rig.until(look))


async def test_a_worker_without_a_credential_parks_until_one_is_configured(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, claude(), waits_for_boot=False),
    ):
        agent = await until_waiting(rig)
        assert agent["credentialMissing"] == ["CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY"]
        task_id = await rig.submit()
        assert not proxy.seen("/ping|/api/poll")
        assert (await rig.task(task_id))["status"] == "pending"
        await rig.set_row("CLAUDE_CODE_OAUTH_TOKEN", TOKEN, is_secret=True)
        assert (await rig.until_ended(task_id))["output"] == "hi there"
        agent = await rig.agent_row() or {}
        assert (agent["credentialMissing"], agent["credStatus"]["ready"]) == (None, True)
        reports = "credential-status"
        await until(lambda: "latest_model" in proxy.seen(reports)[-1].json())
        boot, *_, ended = [v.json() for v in proxy.seen(reports)]
        hint = "Set CLAUDE_CODE_OAUTH_TOKEN or ANTHROPIC_API_KEY"
        assert boot["cred_status"].items() >= {"hint": hint, "reportKind": "boot"}.items()
        assert "ready" not in ended  # it would call a busy agent idle
        status = ended["cred_status"]
        assert (status["reportKind"], status["satisfiedBy"]) == ("post_task", "env")
        assert status["liveTest"]["ok"]
        assert status["liveTest"]["latency_ms"] > 0
        # What was registered before the wait may be long out of date.
        assert len(proxy.seen("POST /api/agents$")) == 2
        assert TOKEN not in rig.worker_log.getvalue()


async def test_the_wait_survives_an_api_that_fails(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, claude(), waits_for_boot=False),
    ):
        await until_waiting(rig)
        proxy.refuse("credential-status|config/resolved", 500, times=4)
        proxy.refuse("POST /api/agents$", 503, times=1)
        await rig.set_row("ANTHROPIC_API_KEY", TOKEN, is_secret=True)
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id))["status"] == "completed"


async def test_another_harness_may_end_the_wait(tmp_path: Path):
    env = claude(HARNESS_COMMAND="echo plain words")
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, env, waits_for_boot=False),
    ):
        await until_waiting(rig)
        row = {"key": "HARNESS_PROVIDER", "value": "subprocess", "isSecret": False}
        proxy.say("config/resolved", {"configs": [row]})
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id))["output"] == "plain words"


async def test_the_wait_has_a_limit(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        begin_s = time.monotonic()
        with pytest.RaisesGroup(CredentialWaitExceeded, flatten_subgroups=True) as caught:
            async with running_worker(rig, claude(BOOT_MAX_WAIT_SECONDS="1")):
                raise AssertionError("it started")
        (error,) = caught.value.exceptions
        while isinstance(error, BaseExceptionGroup):
            (error,) = error.exceptions
        assert isinstance(error, CredentialWaitExceeded)
        assert error.exit_code == 78
        assert time.monotonic() - begin_s >= 1


async def test_the_check_can_be_switched_off(tmp_path: Path):
    async with (
        proxy_rig(tmp_path) as (rig, proxy),
        running_worker(rig, claude(CRED_CHECK_DISABLE="1")),
    ):
        await until(lambda: proxy.seen("/api/poll"))
        assert not proxy.seen("credential-status")
        task_id = await rig.submit()
        task = await rig.until_ended(task_id)
        assert task["status"] == "failed"
        assert "CLAUDE_CODE_OAUTH_TOKEN" in task["failureReason"]


async def test_a_signal_ends_the_wait_and_says_goodbye(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = {**rig.env, **claude(BOOT_INITIAL_BACKOFF_MS="60000", BOOT_MAX_BACKOFF_MS="60000")}
        async with worker_process(tmp_path, env) as worker:
            await worker.until_logged(Event.CREDENTIALS_MISSING)
            await until_waiting(rig)
            begin_s = time.monotonic()
            worker.signal()
            assert await worker.exit_code() == 0
            assert time.monotonic() - begin_s < HANG_S
        agent = await rig.agent_row()
        assert agent is not None
        assert agent["status"] == "offline"


@pytest.mark.parametrize(("failures", "survives"), [(4, True), (5, False)])
async def test_a_stale_registration_is_renewed_after_the_wait_in_five_attempts(
    tmp_path: Path, failures: int, survives: bool
):
    async with proxy_rig(tmp_path) as (rig, proxy):

        async def work() -> None:
            clock = QuickClock(50)
            async with running_worker(rig, claude(), waits_for_boot=False, clock=clock):
                await until_waiting(rig)
                proxy.refuse("POST /api/agents$", 503, times=failures)
                await rig.set_row("ANTHROPIC_API_KEY", TOKEN, is_secret=True)
                await until(lambda: proxy.seen("/api/poll"))

        if survives:
            await work()
        else:
            with pytest.RaisesGroup(ApiRefused, flatten_subgroups=True) as caught:
                await work()
            (error,) = caught.value.exceptions
            while isinstance(error, BaseExceptionGroup):
                (error,) = error.exceptions
            assert isinstance(error, ApiRefused)
            assert (error.status, error.exit_code) == (503, 1)
        assert len(proxy.seen("POST /api/agents$")) == 1 + min(failures + 1, 5)
