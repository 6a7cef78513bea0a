"""The outbox against the sudden death of its process, and of its disk."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING
from unittest.mock import Mock

import anyio
import pytest
from fake_api import Answer, FakeClock, Reply, Request, serving
from outbox_rig import running_outbox
from patience import until
from structlog.testing import capture_logs

from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.state.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

# Puts writes while it delivers them, and says so after each.
WRITER = """
import sys
from pathlib import Path
import anyio
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.state.database import Database
from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.outbox.outbox import Outbox
from agent_swarm_worker.outbox.queue import WriteKind

async def main(url, path, deliver):
    clock = SystemClock()
    database = Database(Path(path) / "worker.sqlite", clock=clock)
    async with Http(url, health=ApiHealth(clock)) as http:
        outbox = Outbox(database, SwarmClient(http, ServerCapabilities(clock)), clock=clock)
        async with anyio.create_task_group() as group:
            if deliver == "deliver":
                group.start_soon(outbox.run)
            for number in range(10_000):
                lane = f"lane-{number % 3}"
                outbox.put(lane, WriteKind.NOTE, {"task_id": lane, "text": str(number)})
                print(number, flush=True)
                await anyio.sleep(0)

anyio.run(main, *sys.argv[1:])
"""


def write_and_be_killed(url: str, path: Path, mode: str, writes: int) -> int:
    """Run the writer until it has put so many, kill it, and return the last number it named."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(path), mode], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < writes:
            pass
        writer.send_signal(signal.SIGKILL)
        rest = [
            line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")
        ]
    return int(rest[-1]) if rest else writes


def by_lane(requests: list[Request]) -> dict[str, list[int]]:
    lanes: dict[str, list[int]] = {}
    for request in (request for request in requests if request.method == "POST"):
        lanes.setdefault(request.path.split("/")[3], []).append(int(request.body["progress"]))
    return lanes


@pytest.mark.long
@pytest.mark.parametrize("mode", ["hoard", "deliver"])
async def test_nothing_that_was_put_is_lost_by_a_kill(tmp_path: Path, mode: str) -> None:
    async with serving(lambda _: Reply()) as server:
        last = await anyio.to_thread.run_sync(write_and_be_killed, server.url, tmp_path, mode, 100)
        # A request of the dead may still be on its way through the server.
        await until(lambda: len(server.requests) >= (1 if mode == "deliver" else 0))
        before = len(server.requests)
        async with running_outbox(server.url, tmp_path) as outbox:
            left = outbox.pending()
            assert await outbox.flush_all(10)
    assert before + left >= last
    for lane, numbers in by_lane(server.requests).items():
        expected = [n for n in range(last + 1) if n % 3 == int(lane[-1])]
        assert [n for n in dict.fromkeys(numbers) if n <= last] == expected, "all, and in order"
        assert numbers == sorted(numbers)
        assert len(numbers) <= len(set(numbers)) + 1, "only the one under way may come twice"


def left_by_a_kill(database: Path, place: Path) -> list[str]:
    """Return the notes that a process finds if the one at work is killed now."""
    place.mkdir()
    for file in database.parent.glob(f"{database.name}*"):
        shutil.copy(file, place)
    copy = Database(place / database.name, clock=FakeClock())
    found = [name for (name,) in copy.run("SELECT name FROM notes ORDER BY rowid")]
    copy.close()
    return found


@pytest.mark.parametrize("durable", [True, False])
async def test_after_a_kill_all_of_a_block_is_there_or_nothing(
    tmp_path: Path, durable: bool
) -> None:
    database = Database(path := tmp_path / "worker.sqlite", clock=FakeClock())
    add = "INSERT INTO notes VALUES (?, '')"
    with database.transaction(durable=durable):
        database.run(add, "a")
        database.run_durably(add, "b")
        with database.transaction():
            database.run(add, "c")
        assert left_by_a_kill(path, tmp_path / "in the middle") == []
    assert left_by_a_kill(path, tmp_path / "behind it") == ["a", "b", "c"]
    with contextlib.suppress(LookupError), database.transaction(durable=durable):
        database.run(add, "d")
        raise LookupError
    database.run(add, "e")
    assert left_by_a_kill(path, tmp_path / "at last") == ["a", "b", "c", "d", "e"]
    database.close()


@pytest.mark.parametrize("can_rename", [True, False])
async def test_what_can_be_read_of_a_file_that_breaks_is_taken_along(
    tmp_path: Path, can_rename: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(path := tmp_path / "worker.sqlite", clock=FakeClock())
    for number in range(3):
        database.run("INSERT INTO notes VALUES (?, 'kept')", str(number))
    for number in range(200):
        database.run(
            "INSERT INTO outbox (lane, kind, args) VALUES ('t', 'note', ?)",
            bytes(5000) + b"%d" % number,
        )
    database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    database.run("PRAGMA cache_size = 1")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size * 3 // 4)
        file.write(b"not a page any more" * 400)
    if not can_rename:
        refused = OSError(30, "Read-only file system")
        monkeypatch.setattr("pathlib.Path.replace", Mock(side_effect=refused))
    with capture_logs() as lines:
        rows = database.run("SELECT length(args) FROM outbox")
    assert 100 < len(rows) < 200
    assert database.is_degraded is not can_rename
    assert [line["event"] for line in lines][:1] == ["state.degraded"]
    database.run("INSERT INTO notes VALUES ('3', 'new')")
    assert [name for (name,) in database.run("SELECT name FROM notes")] == ["0", "1", "2", "3"]
    database.close()
    if can_rename:
        again = Database(path, clock=FakeClock())
        assert len(again.run("SELECT 1 FROM outbox")) == len(rows)
        again.close()
        assert list(tmp_path.glob("*.unusable-*"))


async def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    async with serving(lambda _: Reply()) as server:
        with capture_logs() as lines:
            async with running_outbox(server.url, tmp_path) as outbox:
                outbox.put("t", WriteKind.NOTE, {"task_id": "t", "text": "0"})
                before = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
                try:
                    for number in range(1, 20):
                        outbox.put("t", WriteKind.NOTE, {"task_id": "t", "text": str(number)})
                    assert await outbox.flushed("t", timeout_s=5)
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert by_lane(server.requests) == {"t": list(range(20))}
    assert [line["event"] for line in lines if "over" not in line] == ["state.degraded"]
    # What was delivered from memory is not delivered again from the disk.
    async with (
        serving(lambda _: Reply()) as later,
        running_outbox(later.url, tmp_path) as outbox,
    ):
        assert outbox.pending() == 0


async def test_what_waits_outlives_many_processes(tmp_path: Path) -> None:
    refuse: Callable[[Request], Answer] = lambda _: Reply(503, "x")  # noqa: E731
    for number in range(3):
        async with serving(refuse) as server, running_outbox(server.url, tmp_path) as outbox:
            outbox.put("t", WriteKind.NOTE, {"task_id": "t", "text": str(number)})
            await until(lambda server=server: bool(server.requests))  # type: ignore[misc]
    async with serving(lambda _: Reply()) as server, running_outbox(server.url, tmp_path) as outbox:
        assert await outbox.flush_all(5)
    assert by_lane(server.requests) == {"t": [0, 1, 2]}
