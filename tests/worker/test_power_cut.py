"""After a power cut only synchronized data exists; the worker recovers from it.

The worker's directory is a file system of its own in an image file. What the kernel has not written
yet is not in that file, so a copy of it is what a disk holds after a power cut.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from patience import until
from recording_proxy import proxy_rig
from rig import AGENT, Rig, harness, running_worker
from worker_process import WorkerProcess, tagged, worker_process

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.logs import Event
from agent_swarm_worker.processes.pipe_holder import PipeHolders
from agent_swarm_worker.state.directory import StateDir

pytestmark = [pytest.mark.anyio, pytest.mark.long]

LINES = 40
WORDS = [f"word {number}" for number in range(LINES)]


class Machine:
    """What a machine with one disk has, until its power is cut."""

    def __init__(self, place: Path, image: Path) -> None:
        self._place, self._image, self.disk = place, image, place / "state"

    def switch_on(self) -> None:
        self.disk.mkdir(mode=0o700, exist_ok=True)
        run("mount", "-o", "loop,commit=600,errors=remount-ro", str(self._image), str(self.disk))

    def cut_the_power(self, worker: WorkerProcess) -> None:
        """Keep what is on the disk now, and nothing else."""
        worker.signal(signal.SIGSTOP)  # nobody writes any more
        left, sessions = self._place / "left", [*self.disk.glob("*/sessions/*")]
        shutil.copyfile(self._image, left)
        worker.signal(signal.SIGKILL)
        for pid in tagged(self._place):
            os.kill(pid, signal.SIGKILL)
        for session in sessions:
            with PipeHolders(session.name):
                pass  # what is in pipes is in memory
        self.switch_off()
        left.replace(self._image)

    def break_the_disk(self) -> None:
        """From now on each new block it is to write is an error, as with a disk that dies."""
        with (self._image.parent / "filler").open("ab") as filler, contextlib.suppress(OSError):
            while True:
                os.write(filler.fileno(), bytes(4096))

    def boot(self) -> None:
        """Switch on again; the kernel gives each boot another name."""
        self.switch_on()
        for file in self.disk.glob("*/worker.sqlite"):
            with closing(sqlite3.connect(file)) as database:
                database.execute("UPDATE notes SET value = 'of before' WHERE name = 'boot_id'")
                database.commit()

    def switch_off(self) -> None:
        run("umount", "-l", str(self.disk))

    def make_disk(self) -> None:
        with self._image.open("wb") as file:
            file.truncate(16 << 20)
        run("mkfs.ext4", "-q", "-F", str(self._image))


def run(*words: str) -> None:
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise OSError(f"{words[0]}: {result.stderr.strip()}")


@contextmanager
def machine_on(place: Path, image: Path) -> Iterator[Machine]:
    machine = Machine(place, image)
    try:
        machine.make_disk()
        machine.switch_on()
    except OSError as error:
        pytest.skip(f"needs a file system of its own: {error}")
    yield machine
    machine.switch_off()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with machine_on(tmp_path, tmp_path / "image") as machine:
        yield machine


@pytest.fixture
def machine_killed_at_call(tmp_path: Path) -> Iterator[Machine]:
    """One whose disk has less than it promises."""
    (medium := tmp_path / "medium").mkdir()
    try:
        run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(medium))
    except OSError as error:
        pytest.skip(f"needs a file system of its own: {error}")
    try:
        with machine_on(tmp_path, medium / "image") as machine:
            yield machine
    finally:
        run("umount", "-l", str(medium))


async def until_said(rig: Rig, task_id: str, count: int) -> None:
    async def look() -> bool:
        return len(await rig.said(task_id)) >= count

    await rig.until(look)


@asynccontextmanager
async def next_boot(rig: Rig, machine: Machine) -> AsyncIterator[None]:
    machine.boot()
    async with running_worker(rig, harness("says_hi")):
        yield


async def test_what_a_session_came_to_outlives_a_power_cut(tmp_path: Path, machine: Machine):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = {**rig.env, **harness("chats_and_ends", LINES)}
        async with worker_process(tmp_path, env) as worker:
            proxy.refuse("/session-logs|/session-costs|/events|/finish")
            task_id = await rig.submit()
            await until(lambda: worker.logged(Event.TASK_FINISHED))
            machine.cut_the_power(worker)
        proxy.be_open()
        async with next_boot(rig, machine):
            task = await rig.until_ended(task_id)
            await rig.settled(task_id)
        assert (task["status"], task["output"]) == ("completed", "all said")
        assert await rig.said(task_id) == WORDS
        assert len(await rig.costs(task_id)) == 1


async def test_what_had_arrived_before_a_power_cut_is_not_counted_again(
    tmp_path: Path, machine: Machine
):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("chats_and_ends", LINES)}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await rig.until_ended(task_id)
            await rig.settled(task_id)
            before = await told(rig, task_id)
            machine.cut_the_power(worker)
        async with next_boot(rig, machine):
            await settled_again(rig)
        assert await told(rig, task_id) == before
        assert await rig.said(task_id) == WORDS
        with StateDir.open(machine.disk, AGENT, clock=SystemClock()) as state:
            assert not state.was_rebooted, "what was left is in order"


async def test_lines_that_arrived_before_a_power_cut_are_not_sent_again(
    tmp_path: Path, machine: Machine
):
    async with proxy_rig(tmp_path) as (rig, _):
        async with worker_process(tmp_path, {**rig.env, **harness("chats", LINES)}) as worker:
            task_id = await rig.submit()
            await until_said(rig, task_id, LINES)
            (journal,) = machine.disk.glob("*/logs/*/*.jsonl")
            with journal.open("rb") as file:
                os.fsync(file.fileno())  # as the kernel does by itself after a while
            machine.cut_the_power(worker)
        async with next_boot(rig, machine):
            assert (await rig.until_ended(task_id))["status"] == "superseded"
            await settled_again(rig)
        assert await rig.said(task_id) == WORDS


async def test_flush_after_a_power_cut_sends_no_line_again(tmp_path: Path, machine: Machine):
    async with proxy_rig(tmp_path) as (rig, _):
        async with worker_process(tmp_path, {**rig.env, **harness("chats", LINES)}) as worker:
            task_id = await rig.submit()
            await until_said(rig, task_id, LINES)
            os.sync()
            machine.cut_the_power(worker)
        machine.boot()
        set_back(machine.disk, task_id)
        async with worker_process(tmp_path, rig.env, command="flush") as flush:
            assert await flush.exit_code() == 0
        set_back(machine.disk, task_id)
        async with running_worker(rig, harness("says_hi")):
            assert (await rig.until_ended(task_id))["status"] == "superseded"
            await settled_again(rig)
        assert await rig.said(task_id) == WORDS


def set_back(disk: Path, task_id: str) -> None:
    """Have the disk know of the claim and of nothing that came after it."""
    (file,) = disk.glob("*/worker.sqlite")
    with closing(sqlite3.connect(file)) as database:
        (journal,) = disk.glob("*/logs/*/*.jsonl")
        begin = len(journal.read_bytes().partition(b"\n")[0]) + 1
        done = database.execute(
            "UPDATE claims SET log_offset = ?, told = 0 WHERE task_id = ?", (begin, task_id)
        )
        assert done.rowcount == 1
        database.commit()


@pytest.mark.parametrize("is_written", [True, False])
@pytest.mark.parametrize("count", [1, 17, LINES])
async def test_a_power_cut_at_any_moment_takes_nothing_back(
    tmp_path: Path, machine: Machine, count: int, is_written: bool
):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("chats_and_ends", LINES, 0.03)}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await until_said(rig, task_id, count)
            if is_written:
                os.sync()  # of what comes now, nothing is
                await until_said(rig, task_id, count)
            machine.cut_the_power(worker)
            before = await rig.said(task_id)
        async with next_boot(rig, machine):
            await rig.until_ended(task_id)
            await settled_again(rig)
        after = await rig.said(task_id)
        assert after == WORDS[: len(after)]
        assert len(after) >= len(before)
        assert len(await rig.costs(task_id)) <= 1
        events = [
            (row["event"], row["data"].get("toolCallId")) for row in await rig.events(task_id)
        ]
        assert len(events) == len(set(events))


async def told(rig: Rig, task_id: str) -> dict[str, Any]:
    return {
        "logs": len(await rig.logs(task_id)),
        "costs": len(await rig.costs(task_id)),
        "events": len(await rig.events(task_id)),
    }


async def settled_again(rig: Rig) -> None:
    """Wait until a task that comes after it is done."""
    task_id = await rig.submit("another")
    await rig.until_ended(task_id)
    await rig.settled(task_id)


async def test_a_disk_that_dies_costs_a_running_session_nothing(
    tmp_path: Path, machine_killed_at_call: Machine
):
    async with proxy_rig(tmp_path) as (rig, _):
        env = {**rig.env, **harness("chats_and_ends", LINES, 0.05)}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await until_said(rig, task_id, LINES // 4)
            machine_killed_at_call.break_the_disk()
            task = await rig.until_ended(task_id)
            await rig.settled(task_id)
            assert worker.logged(Event.STATE_DEGRADED)
            worker.signal()
            assert await worker.exit_code() == 0
        assert (task["status"], task["output"]) == ("completed", "all said")
        assert await rig.said(task_id) == WORDS
        assert len(await rig.costs(task_id)) == 1
