"""The disk fills up while a worker works: a real, small file system."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from patience import until
from rig import AGENT, Rig, harness, running_worker, swarm_rig
from worker_process import WorkerProcess, worker_process

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.outbox.queue import Queue, WriteKind
from agent_swarm_worker.state.database import Database
from agent_swarm_worker.worker.loops import housekeeping
from agent_swarm_worker.worker.run.launch_files import (
    PROBE_BYTES,
    private_dir,
    remove_private_dirs,
)

pytestmark = pytest.mark.anyio

# Says 100 lines of 2 kB, waits for a file, says 100 more, and so on.
TALKER = """
import json, pathlib, sys, time
place = pathlib.Path(sys.argv[1])
def say(**event): print(json.dumps(event), flush=True)
say(type="system", subtype="init", session_id="s-1", model="m-1")
number = 0
for part in ("before", "while", "after"):
    while not (place / part).exists():
        time.sleep(0.01)
    for _ in range(100):
        text = {"type": "text", "text": f"{number} {'x' * 2000}"}
        say(type="assistant", message={"role": "assistant", "content": [text]})
        number += 1
    call = {"type": "tool_use", "id": part, "name": "Bash", "input": {"command": "true"}}
    say(type="assistant", message={"role": "assistant", "content": [call]})
say(type="result", subtype="success", is_error=False, result="said it all", total_cost_usd=0.5)
"""


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, *, but_bytes: int = 0) -> None:
        with (self.path / "filler").open("ab") as filler, contextlib.suppress(OSError):
            while True:
                os.write(filler.fileno(), bytes(4096))
        os.truncate(self.path / "filler", (self.path / "filler").stat().st_size - but_bytes)

    def clear(self) -> None:
        (self.path / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs to mount a file system")
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a file system here")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@asynccontextmanager
async def talking(
    tmp_path: Path, disk: Disk
) -> AsyncIterator[tuple[Rig, WorkerProcess, str, Path]]:
    """A worker whose files lie on the disk, and whose session has said a third of all."""
    async with swarm_rig(tmp_path) as rig:
        env = {**rig.env, **rig.agent(TALKER, str(tmp_path)), "SWARM_STATE_DIR": str(disk.path)}
        (tmp_path / "before").touch()
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await until_said(rig, task_id, 100)
            (journal,) = disk.path.glob(f"{AGENT}/logs/*/*.jsonl")
            yield rig, worker, task_id, journal


def numbers(lines: list[Any]) -> list[int]:
    parts = [line["message"]["content"][0] for line in lines if line["type"] == "assistant"]
    return [int(part["text"].split()[0]) for part in parts if part["type"] == "text"]


async def said(rig: Rig, task_id: str) -> list[int]:
    rows = (await rig.get(f"/api/tasks/{task_id}/session-logs", limit=1000))["logs"]
    return numbers([json.loads(row["content"]) for row in rows])


async def until_said(rig: Rig, task_id: str, number: int) -> None:
    async def look() -> bool:
        return len(await said(rig, task_id)) >= number

    await rig.until(look)
    assert await said(rig, task_id) == list(range(number))


async def all_is_told(rig: Rig, task_id: str) -> None:
    row = await rig.until_ended(task_id)
    assert (row["status"], row["output"]) == ("completed", "said it all")
    await rig.settled(task_id)
    assert await said(rig, task_id) == list(range(300)), "once, and in order"
    assert [cost["totalCostUsd"] for cost in await rig.costs(task_id)] == [0.5]


def told(worker: WorkerProcess, event: Event, path: Path) -> int:
    """How often the worker said that this file is in trouble."""
    return sum(
        line.get("path") == str(path) and "over" not in line for line in worker.logged(event)
    )


@pytest.mark.long
async def test_a_disk_that_is_full_for_a_while_is_used_again(tmp_path: Path, disk: Disk):
    async with talking(tmp_path, disk) as (rig, worker, task_id, journal):
        disk.fill()
        (tmp_path / "while").touch()
        await worker.until_logged(Event.JOURNAL_FAILED)
        await worker.until_logged(Event.STATE_DEGRADED)
        await until(lambda: "199 xxx" in worker.text())
        disk.clear()
        (tmp_path / "after").touch()
        await all_is_told(rig, task_id)
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        assert numbers(lines) == list(range(300)), "what was held in memory is on disk"
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0
        assert told(worker, Event.JOURNAL_FAILED, journal) == 1
        database = disk.path / AGENT / "worker.sqlite"
        assert told(worker, Event.STATE_DEGRADED, database) == 1
        assert worker.logged(Event.STATE_DEGRADED)[-1]["over"]
    with contextlib.closing(sqlite3.connect(database)) as left:
        assert left.execute("SELECT count(*) FROM outbox").fetchall() == [(0,)]
        assert left.execute("SELECT count(*) FROM claims").fetchall() == [(0,)]


@pytest.mark.long
async def test_a_worker_that_is_killed_while_its_disk_is_full_loses_no_line(
    tmp_path: Path, disk: Disk
):
    async with talking(tmp_path, disk) as (rig, worker, task_id, journal):
        disk.fill()
        (tmp_path / "while").touch()
        await until(lambda: "199 xxx" in worker.text())
        worker.signal(signal.SIGKILL)
        await worker.exit_code()
        assert b"199 xxx" not in journal.read_bytes()
        disk.clear()
        env = {"SWARM_STATE_DIR": str(disk.path), **harness("waits", "/nowhere")}
        async with running_worker(rig, env, drain_ms=3000):
            await rig.until_ended(task_id)
            await until_said(rig, task_id, 200)
        told = numbers([json.loads(line) for line in journal.read_text().splitlines()])
        assert told == list(range(200))


@pytest.mark.long
async def test_a_disk_that_stays_full_costs_no_line(tmp_path: Path, disk: Disk):
    async with talking(tmp_path, disk) as (rig, worker, task_id, journal):
        disk.fill()
        (tmp_path / "while").touch()
        (tmp_path / "after").touch()
        await all_is_told(rig, task_id)
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0
        assert told(worker, Event.JOURNAL_FAILED, journal) == 1


async def test_a_spare_directory_of_the_dead_is_removed(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder, other = disk.path / "sessions", disk.path / "others"
    disk.fill()
    with private_dir(folder, "a", log=Log()) as mine, private_dir(other, "b", log=Log()) as theirs:
        assert mine.parent == theirs.parent == tmp_path
        assert mine.stat().st_mode & 0o777 == 0o700
        (mine / "key").write_bytes(bytes(PROBE_BYTES))
        remove_private_dirs(folder)
        assert (mine.exists(), theirs.exists()) == (False, True)
    assert not theirs.exists()


@pytest.mark.parametrize("room_bytes", [0, 4096, 16_384, 65_536, 204_800])
def test_wherever_the_disk_fills_up_each_write_is_kept_once(
    tmp_path: Path, disk: Disk, room_bytes: int
):
    """Between two pages of a write or between two writes; on reading the file again as well."""
    clock = SystemClock()
    queue = Queue(database := Database(disk.path / "worker.sqlite", clock=clock))
    disk.fill(but_bytes=room_bytes)
    for number in range(60):
        queue.add(f"t-{number % 3}", WriteKind.NOTE, {"n": number, "x": "y" * 9000})
        if number % 4 == 3:
            head = queue.get(queue.next(f"t-{number % 3}")[0][0])
            assert head is not None
            queue.remove(head)
    assert database.is_degraded
    expected = noted(database)
    assert len(expected) == 45 == len(set(expected))
    disk.clear()
    database.close()
    again = Database(disk.path / "worker.sqlite", clock=clock)
    assert noted(again) == expected
    again.close()


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("room_bytes", [0, 4096, 16_384, 65_536, 204_800])
def test_wherever_the_disk_fills_up_in_a_block_all_of_it_is_kept_once(
    tmp_path: Path, disk: Disk, room_bytes: int, durable: bool
):
    clock = SystemClock()
    queue = Queue(database := Database(disk.path / "worker.sqlite", clock=clock))
    disk.fill(but_bytes=room_bytes)
    for block in range(12):
        with database.transaction(durable=durable):
            for number in range(5 * block, 5 * block + 5):
                queue.add("t", WriteKind.NOTE, {"n": number, "x": "y" * 9000})
            head = queue.get(queue.next("t")[0][0])
            assert head is not None
            queue.remove(head)
    assert database.is_degraded
    assert noted(database) == [*range(12, 60)]
    disk.clear()
    database.close()
    again = Database(disk.path / "worker.sqlite", clock=clock)
    assert noted(again) == [*range(12, 60)]
    again.close()


def noted(database: Database) -> list[int]:
    rows = database.run("SELECT json_extract(args, '$.n') FROM outbox ORDER BY id")
    return [number for (number,) in rows]


def test_without_a_disk_the_same_limit_holds_for_the_memory(tmp_path: Path, disk: Disk):
    disk.fill()
    database = Database(disk.path / "worker.sqlite", clock=SystemClock())
    queue = Queue(database, max_bytes=100_000)
    assert database.is_degraded
    for number in range(300):
        queue.add(f"t-{number}", WriteKind.LOGS, {"text": "x" * 1000, "n": number})
    ((size,),) = database.run("SELECT sum(length(args)) FROM outbox")
    assert 80_000 < size < 100_000
    assert noted(database)[-1] == 299
    database.close()


async def test_a_session_that_says_too_much_is_recorded_in_part_and_told_in_full(tmp_path: Path):
    """Three MiB of deltas, where one may be recorded; all else is there."""
    delta = {"type": "stream_event", "event": {}, "x": "y" * 4000}
    text = {"type": "text", "text": "0 hi"}
    init = {"type": "system", "subtype": "init", "session_id": "s-1", "model": "m-1"}
    said_first = {"type": "assistant", "message": {"role": "assistant", "content": [text]}}
    end = {"type": "result", "subtype": "success", "is_error": False, "total_cost_usd": 0.5}
    end |= {"result": "said it all"}
    words = [init, *[delta] * 750, said_first, end]
    async with swarm_rig(tmp_path) as rig:
        env = rig.prints(words, HARNESS_OUTPUT="stream-json", SWARM_JOURNAL_MAX_MB="1")
        async with running_worker(rig, env):
            task_id = await rig.submit()
            row = await rig.until_ended(task_id)
            await rig.settled(task_id)
        assert (row["status"], row["output"]) == ("completed", "said it all")
        assert [cost["totalCostUsd"] for cost in await rig.costs(task_id)] == [0.5]
        rows = (await rig.get(f"/api/tasks/{task_id}/session-logs", limit=1000))["logs"]
        lines = [json.loads(row["content"]) for row in rows]
        kinds = [line["type"] for line in lines]
        assert kinds[-4:] == ["journal_limit", "assistant", "result", "journal_limit"]
        left_out = lines[-1]["left_out"]["debug"]["lines"]
        assert left_out + kinds.count("stream_event") == 750
        assert left_out > 300
        (journal,) = tmp_path.glob(f"state/{AGENT}/logs/*/*.jsonl")
        assert journal.stat().st_size < 1024 * 1024


async def test_a_worker_that_cannot_read_its_database_deletes_no_journal(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
):
    """It does not know what has arrived; as soon as it knows, it goes on."""
    looks: list[Any] = []
    find = housekeeping.find

    def noted_find(*args: Any) -> Any:
        looks.append(find(*args))
        return looks[-1]

    monkeypatch.setattr(housekeeping, "find", noted_find)
    monkeypatch.setattr(housekeeping, "INTERVAL_S", 0.02)
    folder = disk.path / AGENT / "logs" / "run"
    folder.mkdir(parents=True)
    old = folder / "2026-01-01T00-00-00-000Z-5a5a5a5a-0000.jsonl"
    old.write_text("{}\n")
    os.utime(old, (1, 1))
    disk.fill()
    async with swarm_rig(tmp_path) as rig:
        env = {**rig.env, **harness("says_hi"), "SWARM_STATE_DIR": str(disk.path)}
        async with running_worker(rig, env):
            await until(lambda: len(looks) > 2)
            assert all(looks), "it is found"
            assert old.exists()
        disk.clear()
        async with running_worker(rig, env):
            await until(lambda: not old.exists())
