"""What a parent left of the signals of a worker, and what each signal does to it."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path

import pytest
from patience import until
from recording_proxy import proxy_rig
from rig import harness
from worker_process import tagged, worker_process

from agent_swarm_worker.logs import Event
from agent_swarm_worker.processes.signals import name_of

pytestmark = pytest.mark.anyio

PARENT = """
import os, signal, sys
ignored, blocked = (list(map(int, filter(None, text.split(",")))) for text in sys.argv[1:3])
for number in ignored:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
os.execv(sys.argv[3], sys.argv[3:])
"""
ALL = [*range(1, 9), *range(10, 19), *range(20, 32), signal.SIGRTMIN]
"""Every signal that can be ignored or blocked."""


def parent(*, ignores: list[int] = [], blocks: list[int] = []) -> tuple[str, ...]:  # noqa: B006
    lists = (",".join(str(int(number)) for number in numbers) for numbers in (ignores, blocks))
    return (sys.executable, "-S", "-c", PARENT, *lists)


def shell(script: str) -> dict[str, str]:
    return {
        "HARNESS_PROVIDER": "subprocess",
        "HARNESS_COMMAND": shlex.join(["sh", "-c", script]),
        "HARNESS_OUTPUT": "text",
    }


@pytest.mark.parametrize(
    ("ignores", "blocks"),
    [
        pytest.param([signal.SIGCHLD], [], id="ignores SIGCHLD", marks=pytest.mark.long),
        pytest.param([], [signal.SIGTERM], id="blocks SIGTERM", marks=pytest.mark.long),
        pytest.param(ALL, [], id="ignores all"),
        pytest.param([], ALL, id="blocks all"),
    ],
)
async def test_what_a_parent_ignored_or_blocked_is_undone(
    tmp_path: Path, ignores: list[int], blocks: list[int]
):
    """The exit codes of sessions are known, SIGTERM arrives, and sessions have clean signals."""
    env = shell("cat >/dev/null; grep Sig /proc/self/status; exit $(cat code)")
    started_by = parent(ignores=ignores, blocks=blocks)
    async with (
        proxy_rig(tmp_path) as (rig, _),
        worker_process(tmp_path, {**rig.env, **env}, parent=started_by) as worker,
    ):
        for code, status in ((3, "failed"), (0, "completed")):
            (tmp_path / "code").write_text(str(code))
            row = await rig.until_ended(await rig.submit(dir=str(tmp_path)))
            assert row["status"] == status, row
            assert not code or "exited with code 3" in row["failureReason"]
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0
    masks = dict(line.split(":\t") for line in row["output"].splitlines())
    assert masks["SigBlk"] == "0" * 16
    # What nohup and shells ignore stays so, except for SIGINT, which the worker handles.
    usual = {signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
    left = {number for number in signal.Signals if int(masks["SigIgn"], 16) >> (number - 1) & 1}
    assert left <= (usual if ignores == ALL else set())


async def test_a_signal_without_a_meaning_ends_neither_worker_nor_session(tmp_path: Path):
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPROF, signal.SIGIO, 40)
    go_on = tmp_path / "go-on"
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("waits", go_on)}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_STARTED)
            for times, number in enumerate((*numbers, *numbers), start=1):
                worker.signal(number)
                ignored = await worker.until_logged(Event.SIGNAL_IGNORED, times=times)
                assert ignored[-1]["signal"] == name_of(number)
            go_on.touch()
            assert (await rig.until_ended(task_id))["status"] == "completed"
            assert not worker.logged(Event.WORKER_DRAINING)


@pytest.mark.parametrize(
    "number",
    [
        *(signal.SIGQUIT, signal.SIGXCPU, signal.SIGINT),
        *(
            pytest.param(number, marks=pytest.mark.long)
            for number in (signal.SIGHUP, signal.SIGPWR)
        ),
    ],
)
async def test_a_signal_that_stops_a_worker_hands_back_its_task(tmp_path: Path, number: int):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("waits", "/nowhere"), "SHUTDOWN_TIMEOUT": "1500"}
        # A shell starts a job in the background with these ignored.
        asynchronous = parent(ignores=[signal.SIGINT, signal.SIGQUIT])
        async with worker_process(tmp_path, env, parent=asynchronous) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_STARTED)
            worker.signal(number)
            assert await worker.exit_code() == 0
            await until(lambda: tagged(tmp_path) == [])
        assert (await rig.task(task_id))["status"] == "superseded"


@pytest.mark.long
async def test_a_worker_under_nohup_survives_the_hangup(tmp_path: Path):
    go_on = tmp_path / "go-on"
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("waits", go_on)}
        under = parent(ignores=[signal.SIGHUP])
        async with worker_process(tmp_path, env, parent=under) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_STARTED)
            worker.signal(signal.SIGHUP)
            worker.signal(signal.SIGUSR1)
            await worker.until_logged(Event.SIGNAL_IGNORED)
            go_on.touch()
            assert (await rig.until_ended(task_id))["status"] == "completed"
            assert not worker.logged(Event.WORKER_DRAINING)
