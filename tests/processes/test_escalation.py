"""Ending process trees that ignore signals, fork or leave their group."""

from __future__ import annotations

import os
import signal
import time

import anyio
import pytest
from hostile import PatientClock, everything, gone, is_alive, numbers, python, spec
from patience import HANG_S

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract.guest import DEFAULT_GRACE
from agent_swarm_worker.processes.spawn import spawn
from agent_swarm_worker.processes.stop_tree import (
    KILL,
    LINGER_S,
    SWEEP_S,
    Step,
    end_process_tree,
    find,
    kill_now,
)

pytestmark = pytest.mark.anyio
CLOCK = SystemClock()
QUICK = (Step(signal.SIGINT, 0.2), Step(signal.SIGTERM, 0.2), Step(signal.SIGKILL, 1.0))
PATIENT = (Step(signal.SIGINT, 30.0), Step(signal.SIGTERM, 30.0), Step(signal.SIGKILL, 1.0))
DEFAULT = (
    Step(signal.SIGINT, DEFAULT_GRACE.interrupt_s),
    Step(signal.SIGTERM, DEFAULT_GRACE.terminate_s),
    KILL,
)

SAYS_LAST_WORD = """
def last_word(number, frame):
    say("final")
    sys.exit(5)
signal.signal(signal.{0}, last_word)
"""

WORST = """
deaf()
if fork():
    os.setsid()
    if fork():
        say(os.getpid())
        rest()
    rest()
rest()
"""
"""Ignores what can be ignored; a daemon in its own session holds the pipes and ignores it too."""


async def test_one_that_follows_sigint_is_asked_once_and_heard_out(tag, tmp_path):
    source = SAYS_LAST_WORD.format("SIGINT") + "deaf(signal.SIGTERM)\nsay(0)\nrest()"
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        await numbers(child)
        report = await end_process_tree(child, clock=CLOCK, steps=PATIENT)
        assert (report.exit_code, report.steps) == (5, ("SIGINT",))
        assert await everything(child) == b"final\n"


async def test_one_that_ignores_sigint_gets_sigterm(tag, tmp_path):
    source = SAYS_LAST_WORD.format("SIGTERM") + "deaf(signal.SIGINT)\nsay(0)\nrest()"
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        await numbers(child)
        report = await end_process_tree(child, clock=CLOCK, steps=QUICK)
        assert (report.exit_code, report.steps) == (5, ("SIGINT", "SIGTERM"))


async def test_the_worst_is_killed_and_each_step_is_reported(tag, tmp_path):
    reported: list[tuple[str, float]] = []
    async with await spawn(spec(python(tmp_path, WORST), tag)) as child:
        (daemon,) = await numbers(child)
        report = await end_process_tree(
            child, clock=CLOCK, steps=QUICK, on_step=lambda *step: reported.append(step)
        )
        assert (report.exit_code, report.steps) == (137, ("SIGINT", "SIGTERM", "SIGKILL"))
        assert not is_alive(daemon)
        assert daemon in {swept.pid for swept in report.swept.killed}
        assert await everything(child) == b""
    assert [name for name, _ in reported] == ["SIGINT", "SIGTERM", "SIGKILL", "sweep"]
    for (_, at_s), due_s in zip(reported, (0.0, 0.2, 0.4, 0.4), strict=True):
        assert at_s >= due_s


@pytest.mark.long
async def test_the_worst_is_gone_within_twelve_seconds_by_default(tag, tmp_path):
    began_s = time.perf_counter()
    async with await spawn(spec(python(tmp_path, WORST), tag)) as child:
        await numbers(child)
        report = await end_process_tree(child, clock=CLOCK, steps=DEFAULT)
        assert find(tag, child) == []
    assert report.exit_code == 137
    assert time.perf_counter() - began_s < HANG_S


async def test_what_even_the_kernel_will_not_end_takes_at_most_twelve_seconds(tag, monkeypatch):
    assert sum(step.grace_s for step in DEFAULT) + LINGER_S + SWEEP_S <= 12
    clock = PatientClock()
    async with await spawn(spec(("sleep", "600"), tag)) as child:
        with monkeypatch.context() as patched:
            patched.setattr(os, "kill", lambda *_: None)
            patched.setattr(os, "killpg", lambda *_: None)
            report = await end_process_tree(child, clock=clock, steps=DEFAULT)
        assert report.exit_code is None
        assert [swept.pid for swept in report.swept.survivors] == [child.pid]
        assert 10 < report.elapsed_s <= 12
        assert (await end_process_tree(child, clock=CLOCK, steps=DEFAULT)).exit_code == 130


async def test_a_dead_child_goes_straight_to_the_sweep(tag, tmp_path):
    reported: list[str] = []
    source = """
    deaf()
    if fork():
        if fork():
            os.setsid()
            say(os.getpid())
        rest()
    """
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        (stray,) = await numbers(child)
        await child.wait()
        report = await end_process_tree(
            child, clock=CLOCK, steps=PATIENT, on_step=lambda name, _: reported.append(name)
        )
    assert (report.exit_code, report.steps, reported) == (0, (), ["sweep"])
    assert len(report.swept.killed) == 2
    assert not is_alive(stray)


async def test_a_launcher_goes_at_once_and_the_real_one_still_has_its_say(tag, tmp_path):
    """The whole group gets the signal, and the harness may finish its output."""
    source = """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if fork():
        deaf(signal.SIGTERM)
        def last_word(number, frame):
            time.sleep(0.05)
            say("final")
            os._exit(0)
        signal.signal(signal.SIGINT, last_word)
        say(os.getpid())
        rest()
    rest()
    """
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        await numbers(child)
        report = await end_process_tree(child, clock=CLOCK, steps=PATIENT)
        assert report.exit_code == 130
        assert await everything(child) == b"final\n"


async def test_a_launcher_that_ignores_signals_does_not_shield_the_real_one(tag, tmp_path):
    source = """
    deaf()
    if fork():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        say(os.getpid())
        rest()
    os.wait()
    sys.exit(4)
    """
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        await numbers(child)
        report = await end_process_tree(child, clock=CLOCK, steps=PATIENT)
        assert (report.exit_code, report.steps) == (4, ("SIGINT",))


async def test_a_group_that_stays_behind_is_not_waited_for(tag, tmp_path):
    source = """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if fork():
        deaf()
        say(os.getpid())
    rest()
    """
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        (deaf_one,) = await numbers(child)
        with anyio.fail_after(LINGER_S + 5):
            report = await end_process_tree(child, clock=CLOCK, steps=PATIENT)
    assert (report.exit_code, report.steps) == (130, ("SIGINT",))
    assert [swept.pid for swept in report.swept.killed] == [deaf_one]


async def test_one_that_lost_every_mark_is_swept(tag, tmp_path):
    """No tag, no group, and its parent dies of the first signal."""
    source = """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if fork():
        os.setsid()
        code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code], {})
    rest()
    """
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        (lost,) = await numbers(child)
        await end_process_tree(child, clock=CLOCK, steps=PATIENT)
        assert not is_alive(lost)


async def test_two_escalations_at_once_ask_once(tag, tmp_path):
    source = """
    asked = []
    signal.signal(signal.SIGINT, lambda *_: (asked.append(1), say("asked")))
    signal.signal(signal.SIGTERM, lambda *_: (say("reported"), sys.exit(len(asked))))
    say(0)
    while True: rest()
    """
    reports = []
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        await numbers(child)

        async def end() -> None:
            reports.append(await end_process_tree(child, clock=CLOCK, steps=QUICK))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            tasks.start_soon(end)
        assert await everything(child) == b"asked\nreported\n"
    assert [report.exit_code for report in reports] == [1, 1]
    assert [report.steps for report in reports] == [("SIGINT", "SIGTERM"), ()]


async def test_kill_now_does_not_ask_and_cuts_a_ladder_short(tag, tmp_path):
    reports = []
    async with await spawn(spec(python(tmp_path, WORST), tag)) as child:
        (daemon,) = await numbers(child)

        async def end() -> None:
            reports.append(await end_process_tree(child, clock=CLOCK, steps=PATIENT))

        with anyio.fail_after(HANG_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(end)
                await anyio.wait_all_tasks_blocked()
                assert child.returncode is None
                assert (await kill_now(child, clock=CLOCK)).exit_code == 137
        assert not is_alive(daemon)
    assert [report.steps for report in reports] == [("SIGINT",)]


async def test_a_cancelled_ladder_kills_on_its_way_out(tag, tmp_path):
    async with await spawn(spec(python(tmp_path, WORST), tag)) as child:
        (daemon,) = await numbers(child)
        with anyio.move_on_after(0.1) as scope:
            await end_process_tree(child, clock=CLOCK, steps=PATIENT)
        assert scope.cancelled_caught
        with anyio.fail_after(HANG_S):
            assert await child.wait() == 137
        await gone(daemon)


async def test_a_reporter_that_fails_does_not_save_the_child(tag, tmp_path):
    def fail(name: str, elapsed_s: float) -> None:
        raise OSError(name)

    async with await spawn(spec(python(tmp_path, WORST), tag)) as child:
        (daemon,) = await numbers(child)
        with pytest.raises(OSError, match="SIGINT"):
            await end_process_tree(child, clock=CLOCK, steps=PATIENT, on_step=fail)
        with anyio.fail_after(HANG_S):
            assert await child.wait() == 137
        await gone(daemon)


async def test_it_may_be_called_again(tag):
    async with await spawn(spec(("sleep", "600"), tag)) as other:
        assert (await kill_now(other, clock=CLOCK)).steps == ("SIGKILL",)
    async with await spawn(spec(("sleep", "600"), tag)) as child:
        first = await end_process_tree(child, clock=CLOCK, steps=QUICK)
        again = await end_process_tree(child, clock=CLOCK, steps=QUICK)
        killed = await kill_now(child, clock=CLOCK)
    assert (first.exit_code, first.steps) == (130, ("SIGINT",))
    assert again.steps == killed.steps == ()
    assert again.exit_code == killed.exit_code == 130


@pytest.mark.long
async def test_twenty_trees_at_once(tag, tmp_path):
    argv = python(tmp_path, WORST)
    children = [await spawn(spec(argv, tag)) for _ in range(20)]
    daemons = [(await numbers(child))[0] for child in children]
    async with anyio.create_task_group() as tasks:
        for child in children:
            tasks.start_soon(lambda child=child: end_process_tree(child, clock=CLOCK, steps=QUICK))
    assert [child.returncode for child in children] == [137] * 20
    assert not any(is_alive(pid) for pid in daemons)
    for child in children:
        await child.aclose()
