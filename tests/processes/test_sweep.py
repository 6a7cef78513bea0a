"""Finding and killing all processes of a session, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import anyio
import pytest
from hostile import gone, is_alive, numbers, python, settled, spec
from patience import HANG_S

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.spawn import spawn
from agent_swarm_worker.processes.stop_tree import find, signal_group, sweep
from agent_swarm_worker.processes.subreaper import TAG_VARIABLE

pytestmark = pytest.mark.anyio
CLOCK = SystemClock()


async def test_a_grandchild_in_its_own_session_is_found_by_the_tag(tag, tmp_path):
    source = """
    deaf()
    if fork():
        os.setsid()
        say(os.getpid())
    rest()
    """
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        (grandchild,) = await numbers(child)
        report = await sweep(tag, clock=CLOCK)
        assert {swept.pid for swept in report.killed} == {child.pid, grandchild}
        assert report.survivors == ()
        assert all("program-" in swept.command for swept in report.killed)
        assert await child.wait() == 137


async def test_a_daemon_is_found_by_the_tag(tag, tmp_path):
    source = """
    if fork():
        os.setsid()
        if fork():
            say(os.getpid())
            rest()
        os._exit(0)
    os.wait()
    """
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        (daemon,) = await numbers(child)
        assert await child.wait() == 0
        assert [swept.pid for swept in (await sweep(tag, clock=CLOCK)).killed] == [daemon]


UNTAGGED = "os.execve(sys.executable, [sys.executable, '-I', '-S', '-c', %r], {})"
SAYS_PID = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


async def test_without_the_tag_the_group_still_tells(tag, tmp_path):
    source = f"if fork(): {UNTAGGED % SAYS_PID}"
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        (untagged,) = await numbers(child)
        assert await child.wait() == 0
        assert find(tag) == []
        assert [info.pid for info in find(tag, child)] == [untagged]
        await sweep(tag, clock=CLOCK, leader=child)
    assert not is_alive(untagged)


async def test_without_tag_and_group_descent_still_tells(tag, tmp_path):
    source = f"""
    if fork():
        os.setsid()
        {UNTAGGED % SAYS_PID}
    rest()
    """
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        (untagged,) = await numbers(child)
        assert not procfs.has_variable(untagged, f"{TAG_VARIABLE}={tag}".encode())
        assert {info.pid for info in find(tag)} == {child.pid, untagged}
        await sweep(tag, clock=CLOCK)
    assert not is_alive(untagged)
    await child.wait()


async def test_what_was_known_before_it_lost_every_mark_is_found(tag, tmp_path):
    source = f"""
    if fork():
        os.setsid()
        {UNTAGGED % SAYS_PID}
    sys.stdin.read()
    """
    async with await spawn(spec(python(tmp_path, source), tag, stdin=True)) as child:
        (untagged,) = await numbers(child)
        known = {info.identity for info in find(tag, child)}
        await child.close_stdin()
        await child.wait()
        assert find(tag, child) == []
        assert [info.pid for info in find(tag, child, known)] == [untagged]
        await sweep(tag, clock=CLOCK, leader=child, known=known)
    assert not is_alive(untagged)


FORKS_ON = """
deaf()
beat = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
end_s = time.monotonic() + 10
say(0)
while time.monotonic() < end_s:
    os.write(beat, b"x")
    if not fork():
        os._exit(0)
    os.setsid()
"""
"""Leaves its process, its group and its session, over and over: seen, it is somewhere else."""


@pytest.mark.long
async def test_one_that_forks_on_and_on_is_caught(tag, tmp_path):
    argv = python(tmp_path, FORKS_ON)
    beats = [tmp_path / f"beat-{number}" for number in range(6)]
    children = [await spawn(spec((*argv, str(beat)), tag)) for beat in beats]
    for child in children:
        await numbers(child)
    await anyio.sleep(0.05)
    report = await sweep(tag, clock=CLOCK, timeout_s=HANG_S)
    assert report.survivors == ()
    steps = [beat.stat().st_size for beat in beats]
    await anyio.sleep(0.1)
    assert [beat.stat().st_size for beat in beats] == steps
    for child in children:
        await child.wait()
        await child.aclose()


async def test_all_are_stopped_before_the_first_is_killed(tag, tmp_path, monkeypatch):
    """Of those that watch each other none sees another die."""
    sent: list[tuple[int, int]] = []
    source = "os.setsid() if fork() else None\nsay(os.getpid())\nrest()"
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        pids = {(await numbers(child))[0] for _ in range(2)}

        def kill(pid: int, number: int, really: object = os.kill) -> None:
            sent.append((pid, number))
            really(pid, number)

        monkeypatch.setattr(os, "kill", kill)
        await sweep(tag, clock=CLOCK)
        await child.wait()
    assert {pid for pid, _ in sent} == pids
    assert {number for _, number in sent[:2]} == {signal.SIGSTOP}
    assert {number for _, number in sent[2:4]} == {signal.SIGKILL}


@pytest.mark.parametrize("change", ["{}x", "x{}", "{} ", "{}\n{}"])
async def test_another_tag_is_left_alone(tag, change):
    other = change.format(tag, tag)
    async with await settled(await spawn(spec(("sleep", "600"), other))) as child:
        assert (await sweep(tag, clock=CLOCK)).killed == ()
        assert child.returncode is None
        await sweep(other, clock=CLOCK)
        await child.wait()


async def test_the_tag_as_the_value_of_another_variable_does_not_count(tag):
    other = spec(("sleep", "600"), "other-" + tag)
    environment = {**other.env, "X": f"{TAG_VARIABLE}={tag}", "MY_" + TAG_VARIABLE: tag}
    started = type(other)(other.argv, other.cwd, environment, other.tag)
    async with await settled(await spawn(started)) as child:
        assert find(tag) == []
        await sweep(other.tag, clock=CLOCK)
        await child.wait()


async def test_a_huge_environment_is_searched_to_its_end(tag):
    small = spec(("sleep", "600"), tag)
    environment = {**small.env, **{f"FILL_{number}": "x" * 16383 for number in range(8)}}
    started = type(small)(small.argv, small.cwd, environment, tag)
    async with await settled(await spawn(started)) as child:
        assert [info.pid for info in find(tag)] == [child.pid]
        await sweep(tag, clock=CLOCK)
        await child.wait()


async def test_twenty_at_once(tag, tmp_path):
    source = """
    deaf()
    for _ in range(20):
        if fork():
            os.setsid()
            say(os.getpid())
            rest()
    """
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        pids = [(await numbers(child))[0] for _ in range(20)]
        report = await sweep(tag, clock=CLOCK, leader=child, timeout_s=HANG_S)
    assert {swept.pid for swept in report.killed} >= set(pids)
    assert not any(is_alive(pid) for pid in pids)
    await child.wait()


async def test_never_ourselves(tag, tmp_path):
    """A worker inside a session carries that session's tag; sweeping it must not end the worker."""
    program = tmp_path / "worker.py"
    program.write_text(
        "import anyio, os, subprocess, sys\n"
        "from agent_swarm_worker.clock import SystemClock\n"
        "from agent_swarm_worker.processes.stop_tree import sweep\n"
        "other = subprocess.Popen(['sleep', '600'])\n"
        "report = anyio.run(lambda: sweep(sys.argv[1], clock=SystemClock()))\n"
        "assert [swept.pid for swept in report.killed] == [other.pid], report\n"
        "print(other.wait(), os.getpid())\n"
    )
    done = await anyio.run_process(
        [sys.executable, str(program), tag], env={**os.environ, TAG_VARIABLE: tag}, stderr=None
    )
    assert done.stdout.startswith(b"-9 ")


@dataclass
class Impostor:
    pid: int
    start_time: int | None


async def test_a_recycled_pid_is_a_stranger(tag):
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:  # noqa: ASYNC220 - a stranger is what `spawn` did not start
        born = procfs.inspect(stranger.pid).start_time
        for start_time in (born - 1, None):
            leader = Impostor(stranger.pid, start_time)
            signal_group(leader, 9)
            report = await sweep(tag, clock=CLOCK, leader=leader, known={(stranger.pid, born - 1)})
            assert report.killed == ()
        assert is_alive(stranger.pid)
        assert [info.pid for info in find(tag, Impostor(stranger.pid, born))] == [stranger.pid]
        stranger.kill()


async def test_what_cannot_be_killed_is_reported_after_the_deadline(tag, monkeypatch):
    async with await settled(await spawn(spec(("sleep", "600"), tag))) as child:
        with monkeypatch.context() as patched:

            def refuse(*_: object) -> None:
                raise PermissionError

            patched.setattr(os, "kill", refuse)
            report = await sweep(tag, clock=CLOCK, timeout_s=0.05)
        assert report.killed == ()
        assert [swept.pid for swept in report.survivors] == [child.pid]
        await sweep(tag, clock=CLOCK)
        await child.wait()


async def test_an_empty_tag_matches_nobody():
    with pytest.raises(ValueError, match="every process"):
        find("")


async def test_without_a_process_table_the_group_is_killed(tag, tmp_path, monkeypatch):
    async with await spawn(spec(("sh", "-c", "sleep 600 & echo $!; wait"), tag)) as child:
        (grandchild,) = await numbers(child)
        with monkeypatch.context() as patched:
            patched.setattr(procfs, "snapshot", dict)
            patched.setattr(procfs, "inspect", lambda _: None)
            assert (await sweep(tag, clock=CLOCK, leader=child)).killed == ()
        assert await child.wait() == 137
        await gone(grandchild)


async def test_a_long_command_line_is_shortened(tag):
    async with await settled(await spawn(spec(("sleep", "600", "0" * 5000), tag))) as child:
        (swept,) = (await sweep(tag, clock=CLOCK)).killed
        await child.wait()
    assert len(swept.command) == 120
    assert swept.command.startswith("sleep 600 000")


async def test_a_name_made_of_parentheses_is_parsed(tmp_path, tag):
    program = tmp_path / "a) S 1 1 (b"
    program.symlink_to("/bin/sleep")
    async with await spawn(spec((str(program), "600"), tag)) as child:
        info = procfs.inspect(child.pid)
        assert (info.parent, info.group, info.session) == (os.getpid(), child.pid, child.pid)
        await sweep(tag, clock=CLOCK)
        await child.wait()
