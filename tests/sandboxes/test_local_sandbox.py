"""The local sandbox through the port that the worker uses."""

from __future__ import annotations

import io
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from patience import HANG_S

from agent_swarm_worker import logs
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    NO_GRACE,
    Command,
    Grace,
    Guest,
    PrivateFile,
    Process,
)
from agent_swarm_worker.errors import BinaryMissing, ProviderError
from agent_swarm_worker.processes.pipe_holder import PipeHolders
from agent_swarm_worker.processes.procfs import inspect
from agent_swarm_worker.processes.stop_tree import find
from agent_swarm_worker.processes.subreaper import adopt_orphans, untagged_orphans
from agent_swarm_worker.sandboxes.local import LocalSandbox
from agent_swarm_worker.sandboxes.port import GuestSpec, Sandbox

pytestmark = pytest.mark.anyio
QUICK = Grace(interrupt_s=0.1, terminate_s=0)
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    os.write(1, f"{os.getpid()}\\n".encode())
time.sleep(600)
"""


@pytest.fixture
def lines() -> io.StringIO:
    stream = io.StringIO()
    logs.configure(human=False, stream=stream)
    return stream


@pytest.fixture
def tag() -> Iterator[str]:
    value = str(uuid.uuid4())
    yield value
    assert find(value) == []


@pytest.fixture
async def guest(tag: str) -> AsyncIterator[Guest]:
    sandbox: Sandbox = LocalSandbox()
    async with sandbox.open(GuestSpec(name=tag)) as opened:
        yield opened


def command(*argv: str, **more: object) -> Command:
    return Command(**{"argv": argv, "cwd": Path("/"), "env": dict(os.environ), **more})


def python(source: str, **more: object) -> Command:
    return command(sys.executable, "-I", "-S", "-c", source, **more)


async def line(process: Process) -> bytes:
    said = b""
    with anyio.fail_after(HANG_S):
        while not said.endswith(b"\n"):
            said += await process.stdout.receive(1)
    return said


async def test_it_ends_a_process_and_all_it_started_and_tells_what_that_was(
    guest: Guest, tag: str, lines: io.StringIO
):
    steps: list[str] = []
    async with await guest.start(python(STUBBORN)) as process:
        await line(process)
        report = await guest.end(process, QUICK, on_step=lambda name, _: steps.append(name))
    assert (report.exit_code, steps) == (137, ["SIGINT", "SIGKILL", "sweep"])
    assert len(report.killed) == 1
    assert report.survivors == ()
    assert find(tag) == []
    (reported,) = [json.loads(text) for text in lines.getvalue().splitlines()]
    assert reported["event"] == "process.swept"
    assert (reported["tag"], reported["count"], reported["ended"]) == (tag, 1, True)


async def test_without_grace_it_kills_without_asking(guest: Guest, lines: io.StringIO):
    async with await guest.start(command("sleep", "600")) as process:
        report = await guest.end(process, NO_GRACE)
    assert (report.exit_code, report.steps) == (137, ("SIGKILL",))
    assert lines.getvalue() == ""


async def test_ending_one_process_leaves_the_others(guest: Guest):
    async with (
        await guest.start(command("sleep", "600", name="one")) as one,
        await guest.start(command("sleep", "600", name="two")) as two,
    ):
        await guest.end(one, NO_GRACE)
        assert two.returncode is None
        await guest.end_all()
        assert await two.wait() == 137


async def test_what_is_left_in_a_guest_ends_with_it(tag: str):
    async with LocalSandbox().open(GuestSpec(name=tag)) as guest:
        process = await guest.start(python(STUBBORN))
        await line(process)
    assert find(tag) == []
    await process.aclose()


HIDDEN = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    program = ["sleep", "600"]
    if os.fork() == 0:
        os.write(1, f"{os.getpid()}\\n".encode())
        os.execvpe(program[0], program, {})
    os._exit(0)
"""


@pytest.fixture
async def adopting() -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(partial(adopt_orphans, clock=SystemClock(), interval_s=0.05))
        await anyio.wait_all_tasks_blocked()
        yield
        group.cancel_scope.cancel()


async def hidden_process(guest: Guest) -> int:
    """Start a process in a session of its own, without environment and without parent."""
    async with await guest.start(python(HIDDEN)) as process:
        pid = int(await line(process))
        assert await process.wait() == 0
    return pid


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
async def test_what_cleared_its_environment_ends_with_the_last_guest(
    tag: str, adopting: None, lines: io.StringIO
):
    sandbox = LocalSandbox()
    async with sandbox.open(GuestSpec(name=f"{tag}-other")) as other:
        async with (
            sandbox.open(GuestSpec(name=tag)) as guest,
            await other.start(command("sleep", "600")) as process,
        ):
            pid = await hidden_process(guest)
            with anyio.fail_after(HANG_S):
                while not untagged_orphans():
                    await anyio.sleep(0.01)
        assert [info.pid for info in untagged_orphans()] == [pid]  # it may be the other's
        assert process.returncode is None
    assert untagged_orphans() == []
    found = inspect(pid)
    assert found is None or found.is_dead
    assert "process.swept" in lines.getvalue()


async def test_a_pipe_holder_and_a_child_of_ours_are_no_orphans(tag: str, adopting: None):
    async with (
        LocalSandbox().open(GuestSpec(name=tag)) as guest,
        await guest.start(command("sleep", "600", durable=True)),
        await anyio.open_process(["sleep", "600"], env={}) as ours,
    ):
        assert untagged_orphans() == []
        ours.kill()


async def test_a_crashed_workers_guest_is_found_by_its_handle(tag: str, lines: io.StringIO):
    async with (
        LocalSandbox().open(GuestSpec(name=tag)) as guest,
        await guest.start(python(STUBBORN)) as process,
    ):
        await line(process)
        report = await LocalSandbox().sweep(guest.handle)
        assert len(report.killed) == 2
        assert await process.wait() == 137
    assert "process.swept" in lines.getvalue()


@pytest.mark.parametrize("known_by", ["handle", "tag"])
async def test_what_was_said_is_kept_until_somebody_has_made_it_safe(tag: str, known_by: str):
    """By its tag alone a session is known that an earlier version has started."""
    async with LocalSandbox().open(GuestSpec(name=tag)) as guest:
        handle = guest.handle if known_by == "handle" else tag
        said = python("import os, time; os.write(1, b'7\\n'); time.sleep(600)", durable=True)
        async with await guest.start(said) as process:
            assert await line(process) == b"7\n"
            with suppress(InterruptedError):
                async with LocalSandbox().recover_output(handle):
                    raise InterruptedError
            async with LocalSandbox().recover_output(handle) as unread:
                assert [stream.unjournaled(0) for stream in unread.stdout] == [b"7\n"]
            with anyio.fail_after(HANG_S):
                while PipeHolders(tag).stdout:
                    await anyio.sleep(0.01)


async def test_a_handle_leads_back_to_the_same_guest(tag: str):
    async with (
        LocalSandbox().open(GuestSpec(name=tag)) as guest,
        await guest.start(command("sleep", "600")) as process,
    ):
        async with LocalSandbox().open(GuestSpec(name="other", handle=guest.handle)) as again:
            assert again.handle == guest.handle
            await again.end_all()
        assert await process.wait() == 137


async def test_at_the_last_moment_it_kills_without_waiting(guest: Guest, tag: str):
    async with await guest.start(command("sleep", "600", durable=True)) as process:
        LocalSandbox().kill(guest.handle)
        assert await process.wait() == 137
    assert PipeHolders(tag).stdout == ()


async def test_it_ends_only_what_is_its_own(guest: Guest):
    other = LocalSandbox()
    async with (
        other.open(GuestSpec(name=str(uuid.uuid4()))) as elsewhere,
        await elsewhere.start(command("sleep", "600")) as process,
    ):
        with pytest.raises(ProviderError, match=process.label):
            await guest.end(process)
        assert process.returncode is None


async def test_a_command_is_run_to_its_end(guest: Guest):
    argv = ("sh", "-c", "echo out; echo err >&2; exit 7")
    limits = {"env": dict(os.environ), "cwd": Path("/"), "timeout_s": 20.0}
    done = await guest.run(argv, max_output=100, **limits)
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 7)
    assert not done.timed_out
    assert (await guest.run(("seq", "1000"), max_output=4, **limits)).stdout == b"1\n2\n"
    done = await guest.run(("seq", "1000"), max_output=9, keep_end=True, **limits)
    assert done.stdout == b"999\n1000\n"
    assert (await guest.run(("echo",), max_output=9, keep_end=True, **limits)).stdout == b"\n"
    much = bytes(range(256)) * 4096
    assert (await guest.run(("cat",), stdin=much, max_output=2**21, **limits)).stdout == much
    done = await guest.run(("true",), stdin=much, max_output=9, **limits)  # nobody reads it
    assert done.exit_code == 0
    with pytest.raises(BinaryMissing):
        await guest.run(("no-such-program",), max_output=1, **limits)


async def test_a_command_that_takes_too_long_has_no_exit_code(guest: Guest, tag: str):
    done = await guest.run(
        ("sh", "-c", "echo early; sleep 600"),
        env=dict(os.environ),
        cwd=Path("/"),
        timeout_s=0.5,
        max_output=100,
    )
    assert (done.exit_code, done.timed_out) == (None, True)
    assert find(tag) == []


async def test_private_files_are_private_and_replace_nothing(guest: Guest, tmp_path: Path):
    path = tmp_path / "new" / "secret"
    await guest.put([PrivateFile(path=path, content=b"x")])
    assert path.read_bytes() == b"x"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with pytest.raises(FileExistsError):
        await guest.put([PrivateFile(path=path, content=b"y")])
    trap = tmp_path / "trap"
    trap.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        await guest.put([PrivateFile(path=trap, content=b"y")])
    assert not (tmp_path / "elsewhere").exists()


async def test_a_path_and_the_environment_are_the_workers(guest: Guest, tmp_path: Path):
    assert guest.path(tmp_path) == str(tmp_path)
    assert guest.environment({"SOME": "thing"}) == {"SOME": "thing"}
