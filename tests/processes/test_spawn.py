"""Starting a child, its standard input, and closing its pipes."""

from __future__ import annotations

import gc
import os
import signal
import stat
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hostile import everything, is_alive, numbers, python, spec
from patience import HANG_S

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import BinaryMissing, ProviderError
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.processes.spawn import ProcessSpec, spawn
from agent_swarm_worker.processes.stop_tree import kill_now
from agent_swarm_worker.processes.subreaper import HOLDER_VARIABLE, TAG_VARIABLE

pytestmark = pytest.mark.anyio

FATAL = ("HUP", "INT", "QUIT", "ILL", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2")
FATAL += ("PIPE", "ALRM", "TERM", "XCPU", "XFSZ", "VTALRM", "PROF", "SYS")


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_input_goes_in_and_output_comes_out(tag):
    async with await spawn(
        spec(("sh", "-c", "cat; echo oops >&2; exit 3"), tag, stdin=True)
    ) as child:
        assert await child.send(b"hello ")
        assert await child.send(b"you")
        await child.close_stdin()
        assert await everything(child) == b"hello you"
        assert await child.stderr.receive() == b"oops\n"
        assert await child.wait() == 3
        assert child.returncode == 3


async def test_a_child_leads_its_own_session_and_carries_the_tag(tag, tmp_path):
    source = (
        f"say(os.getpid(), os.getsid(0), os.getpgrp()); say(os.environ[{TAG_VARIABLE!r}]); rest()"
    )
    async with await spawn(spec(python(tmp_path, source), tag)) as child:
        assert await numbers(child) == [child.pid] * 3
        assert await child.stdout.receive() == tag.encode() + b"\n"
        assert child.start_time == procfs.inspect(child.pid).start_time
        await kill_now(child, clock=SystemClock())


async def test_an_outer_tag_is_replaced(tag):
    environment = {**os.environ, TAG_VARIABLE: "outer"}
    started = ProcessSpec(("sh", "-c", f"echo ${TAG_VARIABLE}"), Path("/"), environment, tag)
    async with await spawn(started) as child:
        assert await everything(child) == tag.encode() + b"\n"
        await child.wait()


async def test_without_input_there_is_nothing_to_wait_for(tag):
    async with await spawn(spec(("sh", "-c", "readlink /proc/self/fd/0; cat"), tag)) as child:
        assert await everything(child) == b"/dev/null\n"
        assert await child.wait() == 0
        assert await child.send(b"x") is False


async def test_input_can_be_opened_by_name(tag):
    async with await spawn(spec(("cat", "/dev/stdin"), tag, stdin=True)) as child:
        await child.send(b"by name")
        await child.close_stdin()
        assert await everything(child) == b"by name"
        await child.wait()


@pytest.mark.parametrize("name", FATAL)
async def test_a_death_by_signal_counts_as_in_a_shell(tag, name):
    number = signal.Signals[f"SIG{name}"].value
    async with await spawn(spec(("sh", "-c", f"ulimit -c 0; kill -{number} $$"), tag)) as child:
        assert await child.wait() == 128 + number


async def test_the_program_is_looked_up_on_the_path_of_the_spec(tag, tmp_path):
    program = tmp_path / "only-here"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    started = ProcessSpec(("only-here",), tmp_path, {"PATH": str(tmp_path)}, tag)
    async with await spawn(started) as child:
        assert await everything(child) == b"found\n"
        await child.wait()


def not_executable(directory: Path) -> str:
    (directory / "plain").write_text("#!/bin/sh\n")
    return str(directory / "plain")


def no_interpreter(directory: Path) -> str:
    path = directory / "lost"
    path.write_text("#!/nowhere/python9\n")
    path.chmod(stat.S_IRWXU)
    return str(path)


def no_format(directory: Path) -> str:
    path = directory / "garbage"
    path.write_bytes(b"\x00\x01\x02")
    path.chmod(stat.S_IRWXU)
    return str(path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda _: "no-such-harness", "not found on PATH"),
        (lambda here: str(here / "missing"), "no such file"),
        (lambda _: "/etc/passwd/nothing", "no such file"),
        (not_executable, "permission denied"),
        (lambda here: str(here), "permission denied"),
        (no_interpreter, "interpreter"),
        (no_format, "not a program"),
    ],
)
async def test_a_missing_program_says_why(tag, tmp_path, make, why):
    before, program = open_files(), make(tmp_path)
    with pytest.raises(BinaryMissing, match=why) as caught:
        await spawn(replace(spec((program,), tag, stdin=True), durable=True))
    assert caught.value.program == program
    assert open_files() == before
    assert not any(procfs.has_variable(pid, keepers_of(tag)) for pid in procfs.snapshot())


@pytest.mark.parametrize(
    ("argv", "cwd", "why"),
    [
        ((), "/", "command is empty"),
        (("true",), "/no/such/place", "/no/such/place: No such file"),
        (("true",), "/etc/passwd", "/etc/passwd: Not a directory"),
        (("true", "x" * 200_000), "/", "argument list too long.*2 arguments has 200000 bytes"),
        (("true", "a\0b"), "/", "unusable argument.*null byte"),
        (("true", "\ud800"), "/", "unusable argument"),
    ],
)
async def test_what_cannot_start_is_a_clear_error(tag, argv, cwd, why):
    before = open_files()
    with pytest.raises(ProviderError, match=why) as caught:
        await spawn(spec(argv, tag, cwd=Path(cwd), stdin=True))
    assert not isinstance(caught.value, BinaryMissing)
    assert open_files() == before


def keepers_of(tag: str) -> bytes:
    return f"{HOLDER_VARIABLE}={tag}".encode()


async def test_a_start_under_cancellation_still_hands_over_the_child(tag):
    with anyio.CancelScope() as scope:
        scope.cancel()
        child = await spawn(spec(("sleep", "600"), tag))
    await kill_now(child, clock=SystemClock())
    await child.aclose()
    assert child.returncode == 137


async def test_a_child_that_never_reads_blocks_only_until_cancelled(tag):
    before = open_files()
    async with await spawn(spec(("sleep", "600"), tag, stdin=True)) as child:
        with anyio.move_on_after(0.1) as scope:
            await child.send(b"x" * 5_000_000)
        assert scope.cancelled_caught
        await kill_now(child, clock=SystemClock())
        assert await child.send(b"more") is False
    assert open_files() == before


async def test_a_child_that_stops_reading_is_no_error(tag):
    async with await spawn(spec(("sh", "-c", "exec <&-; sleep 600"), tag, stdin=True)) as child:
        with anyio.fail_after(HANG_S):
            assert await child.send(b"x" * 5_000_000) is False
        await kill_now(child, clock=SystemClock())


async def test_closing_input_wakes_whoever_is_sending(tag):
    async with (
        await spawn(spec(("sleep", "600"), tag, stdin=True)) as child,
        anyio.create_task_group() as tasks,
    ):
        taken: list[bool] = []

        async def send() -> None:
            taken.append(await child.send(b"x" * 5_000_000))

        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        await child.close_stdin()
        await kill_now(child, clock=SystemClock())
    assert taken == [False]


async def test_two_senders_take_turns(tag):
    async with (
        await spawn(spec(("cat",), tag, stdin=True)) as child,
        anyio.create_task_group() as tasks,
    ):
        size = 1_000_000

        async def send_both() -> None:
            async with anyio.create_task_group() as senders:
                senders.start_soon(child.send, b"a" * size)
                senders.start_soon(child.send, b"b" * size)
            await child.close_stdin()

        tasks.start_soon(send_both)
        assert await everything(child) == b"a" * size + b"b" * size
        await child.wait()


async def test_a_flood_on_standard_error_does_not_block_standard_output(tag, tmp_path):
    source = "sys.stderr.write('e' * 20_000_000); say('done')"
    async with (
        await spawn(spec(python(tmp_path, source), tag)) as child,
        anyio.create_task_group() as tasks,
    ):
        seen = 0

        async def count() -> None:
            nonlocal seen
            async for chunk in child.stderr:
                seen += len(chunk)

        tasks.start_soon(count)
        assert await everything(child) == b"done\n"
        assert await child.wait() == 0
    assert seen == 20_000_000


async def test_a_flood_leaves_time_to_others(tag):
    async with await spawn(spec(("yes",), tag)) as child:
        with anyio.move_on_after(0.1):
            await everything(child)
        await kill_now(child, clock=SystemClock())


async def test_exit_is_seen_although_a_grandchild_holds_the_pipes(tag):
    before = open_files()
    async with await spawn(
        spec(("sh", "-c", "setsid sleep 600 & echo $!"), tag, stdin=True)
    ) as child:
        with anyio.fail_after(HANG_S):
            assert await child.wait() == 0
        (grandchild,) = await numbers(child)
        assert is_alive(grandchild)
    assert open_files() == before
    await kill_now(child, clock=SystemClock())
    assert not is_alive(grandchild)


async def test_the_program_on_the_path_may_lack_its_interpreter(tag, tmp_path):
    program = Path(no_interpreter(tmp_path)).name
    with pytest.raises(BinaryMissing, match="interpreter"):
        await spawn(ProcessSpec((program,), Path("/"), {"PATH": str(tmp_path)}, tag))


async def test_reading_what_is_there_can_still_be_cancelled(tag):
    async with await spawn(spec(("echo", "there"), tag)) as child:
        await child.wait()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await child.stdout.receive()
        assert scope.cancelled_caught
        assert await child.stdout.receive() == b"there\n"


async def test_a_cancelled_read_loses_nothing(tag):
    async with await spawn(spec(("cat",), tag, stdin=True)) as child:
        received = b""
        for number in range(200):
            with anyio.CancelScope() as scope:
                await child.send(b"%d " % number)
                if number % 3:
                    scope.cancel()
                received += await child.stdout.receive()
        await child.close_stdin()
        received += await everything(child)
        assert received.split() == [b"%d" % number for number in range(200)]
        await child.wait()


async def test_closing_wakes_whoever_is_reading(tag):
    async with (
        await spawn(spec(("sleep", "600"), tag)) as child,
        anyio.create_task_group() as tasks,
    ):
        woken = anyio.Event()

        async def read() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await child.stdout.receive()
            woken.set()

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await child.aclose()
        await woken.wait()
        with pytest.raises(anyio.ClosedResourceError):
            await child.stdout.receive()
        await kill_now(child, clock=SystemClock())


async def test_the_end_of_output_stays_the_end(tag):
    async with await spawn(spec(("true",), tag)) as child:
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await child.stdout.receive()
        await child.wait()
