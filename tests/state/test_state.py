"""The worker's directory: owned once, and no reason to stop working."""

from __future__ import annotations

import contextlib
import fcntl
import resource
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_api import FakeClock
from structlog.testing import capture_logs

from agent_swarm_worker.errors import StateLocked, StateUnwritable
from agent_swarm_worker.ids import counted_ids
from agent_swarm_worker.state.database import WRITE_BACK_INTERVAL_S, Database
from agent_swarm_worker.state.directory import Claim, StateDir, generated_agent_id

if TYPE_CHECKING:
    from collections.abc import Iterator

CLAIM = Claim(
    task_id="t-1",
    session_uuid="s-1",
    harness="claude",
    log_file=Path("/logs/a.jsonl"),
    started_at="2026-01-01T00:00:00.000Z",
    iteration=3,
    tag="s-1",
)


def opened(root: Path, agent_id: str = "agent-1", clock: FakeClock | None = None) -> StateDir:
    return StateDir.open(root, agent_id, clock=clock or FakeClock())


@contextlib.contextmanager
def full_disk() -> Iterator[list[Any]]:
    """No file can grow: what a full disk looks like to a program, without needing one.

    Log lines are caught, since the file they are captured in could not grow either.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with capture_logs() as lines:
            yield lines
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_claims_are_remembered_by_the_next_process(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        state.claim(CLAIM)
        state.set_phase("t-1", "running")
        state.set_log_offset("t-1", 99, str(CLAIM.log_file))
        state.note("name", "value")
    with opened(tmp_path) as state:
        (claim,) = state.running()
        assert claim.log_file == CLAIM.log_file
        assert (claim.phase, claim.log_offset) == ("running", 99)
        assert (claim.iteration, claim.tag, claim.session_uuid) == (3, "s-1", "s-1")
        assert (state.noted("name"), state.noted("other")) == ("value", None)
        state.forget("t-1")
        assert state.running() == ()


def test_the_directory_is_private(tmp_path: Path) -> None:
    (tmp_path / "agent-1").mkdir(mode=0o755)
    with opened(tmp_path) as state:
        assert state.path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("agent_id", ["../../etc", "a/b", "..", ".hidden", "x" * 500, "ä\n\0", ""])
def test_no_agent_id_leads_out_of_the_root(tmp_path: Path, agent_id: str) -> None:
    with opened(tmp_path, agent_id) as state:
        assert state.path.parent == tmp_path
        assert state.path.name not in {".", ".."}


def test_agent_ids_that_look_alike_have_directories_of_their_own(tmp_path: Path) -> None:
    with opened(tmp_path, "a/b") as one, opened(tmp_path, "a_b") as two, opened(tmp_path, "a:b"):
        assert one.path != two.path


HOLD = """
import sys
from pathlib import Path
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.state.directory import StateDir
StateDir.open(Path(sys.argv[1]), "agent-1", clock=SystemClock())
print("open", flush=True)
sys.stdin.read()
"""


def test_two_processes_cannot_share_a_directory(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StateLocked) as caught:
            opened(tmp_path)
        assert caught.value.pid == other.pid
        assert "AGENT_ID" in caught.value.advice
        other.kill()
    # The kernel frees the lock of the dead; nothing is left to clean up.
    opened(tmp_path).close()


def test_what_a_killed_process_was_about_to_start_has_its_lock_for_a_moment(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with (tmp_path / "agent-1" / "lock").open() as inherited:
        fcntl.flock(inherited, fcntl.LOCK_EX)
        becomes_another_program = threading.Timer(0.05, inherited.close)
        becomes_another_program.start()
        opened(tmp_path).close()
        becomes_another_program.join()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("")
    with pytest.raises(StateUnwritable):
        opened(tmp_path / "root")
    with pytest.raises(StateUnwritable):
        generated_agent_id(tmp_path / "root", counted_ids())
    (tmp_path / "agent-1" / "lock").mkdir(parents=True)
    with pytest.raises(StateUnwritable):
        opened(tmp_path)


def test_an_identity_is_made_up_once(tmp_path: Path) -> None:
    ids, root = counted_ids(), tmp_path / "new"
    first = generated_agent_id(root, ids)
    assert generated_agent_id(root, ids) == first
    for broken in (b"", b"a/b", b"\xff\xfe", b"x" * 5000):
        (root / "agent-id").write_bytes(broken)
        renewed = generated_agent_id(root, ids)
        assert renewed != first
        assert generated_agent_id(root, ids) == renewed


def test_a_full_disk_at_boot(tmp_path: Path) -> None:
    with full_disk() as lines:
        state = opened(tmp_path)
        state.claim(CLAIM)
        assert state.running() == (CLAIM,)
        assert state.database.is_degraded
        state.close()
    assert {line["event"] for line in lines} == {"state.degraded"}


def test_a_disk_that_fills_up_and_is_cleared(tmp_path: Path) -> None:
    clock = FakeClock()
    state = opened(tmp_path, clock=clock)
    state.claim(CLAIM)
    with full_disk() as lines:
        for number in range(5):
            state.note(str(number), "x")
        assert state.database.is_degraded
        assert state.running() == (CLAIM,)
        clock.elapsed += WRITE_BACK_INTERVAL_S
        state.note("5", "x")
        assert state.database.is_degraded
    with capture_logs() as later:
        state.forget("t-1")
        clock.elapsed += WRITE_BACK_INTERVAL_S
        state.note("6", "x")
        assert not state.database.is_degraded
    assert [line["event"] for line in lines] == ["state.degraded"]
    assert [line["over"] for line in later] == [True]
    state.close()
    with opened(tmp_path) as reopened:
        assert reopened.running() == ()
        assert [reopened.noted(str(number)) for number in range(7)] == ["x"] * 7


def test_a_full_disk_is_made_up_for_at_the_end(tmp_path: Path) -> None:
    state = opened(tmp_path)
    with full_disk():
        state.claim(CLAIM)
    state.close()
    with opened(tmp_path) as reopened:
        assert reopened.running() == (CLAIM,)


def test_what_lies_on_a_full_disk_is_still_known(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        state.claim(CLAIM)
    with full_disk(), opened(tmp_path) as state:
        assert state.running() == (CLAIM,)
        state.note("a", "b")
    with opened(tmp_path) as state:
        assert state.running() == (CLAIM,)


VERSION_2 = """
CREATE TABLE claims (
    task_id TEXT PRIMARY KEY, session_uuid TEXT NOT NULL, harness TEXT NOT NULL,
    iteration INTEGER NOT NULL, phase TEXT NOT NULL, started_at TEXT NOT NULL,
    log_file TEXT NOT NULL, log_offset INTEGER NOT NULL, tag TEXT NOT NULL,
    told INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, lane TEXT NOT NULL, kind TEXT NOT NULL,
    args BLOB NOT NULL, sent INTEGER NOT NULL DEFAULT 0, uncertain INTEGER NOT NULL DEFAULT 0
);
INSERT INTO claims VALUES ('t', 'u', 'claude', 3, 'running', '2026-01-01T00:00:00.000Z',
    '/logs/x.jsonl', 7, 'the-tag', 5);
PRAGMA user_version = 2;
"""


@pytest.mark.parametrize("version", [1, 2])
def test_claims_of_an_earlier_version_are_taken_over(tmp_path: Path, version: int) -> None:
    path = tmp_path / "agent-1" / "worker.sqlite"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_2)
        if version == 1:
            database.executescript("ALTER TABLE claims DROP COLUMN told; PRAGMA user_version = 1;")
    with opened(tmp_path) as state:
        (claim,) = state.running()
        assert (claim.tag, claim.handle, claim.log_offset) == ("the-tag", "", 7)
        assert claim.reported_offset == (5 if version == 2 else 0)
        state.claim(replace(claim, handle="local:the-tag"))
    with opened(tmp_path) as state:
        assert state.running()[0].handle == "local:the-tag"


def unusable_garbage(path: Path) -> None:
    path.write_bytes(b"this was a database once" * 500)


def unusable_version(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = -1")


@pytest.mark.parametrize("spoil", [unusable_garbage, unusable_version])
def test_a_database_that_cannot_be_used_is_set_aside(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "agent-1" / "worker.sqlite"
    path.parent.mkdir()
    assert callable(spoil)
    spoil(path)
    before = path.read_bytes()
    with capture_logs() as lines, opened(tmp_path) as state:
        state.claim(CLAIM)
        assert not state.database.is_degraded
    assert [line["event"] for line in lines] == ["state.degraded"]
    (kept,) = path.parent.glob("worker.sqlite.unusable-*")
    assert kept.read_bytes() == before
    with opened(tmp_path) as state:
        assert state.running() == (CLAIM,)


def test_a_database_that_breaks_while_in_use_is_set_aside(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        for number in range(200):
            state.note(str(number), "x" * 1000)
    path = tmp_path / "agent-1" / "worker.sqlite"
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xaa" * (len(data) - 4096))
    with capture_logs() as lines, opened(tmp_path) as state:
        state.note("after", "all")
        state.claim(CLAIM)
        assert not state.database.is_degraded
    assert [line["event"] for line in lines] == ["state.degraded"]
    with opened(tmp_path) as state:
        assert (state.noted("after"), state.running()) == ("all", (CLAIM,))


@pytest.mark.long
def test_what_could_not_be_read_is_not_replaced(tmp_path: Path) -> None:
    clock = FakeClock()
    path = tmp_path / "worker.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE precious (x)")
        other.execute("BEGIN EXCLUSIVE")
        database = Database(path, clock=clock)
        assert database.is_degraded
        other.rollback()
        clock.elapsed += 10 * WRITE_BACK_INTERVAL_S
        database.run("INSERT INTO notes VALUES ('a', 'b')")
        database.close()
        assert other.execute("SELECT count(*) FROM precious").fetchall() == [(0,)]


def test_our_own_mistakes_are_not_taken_for_the_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "worker.sqlite", clock=FakeClock())
    with pytest.raises(sqlite3.IntegrityError):
        database.run("INSERT INTO notes VALUES ('a', NULL)")
    assert not database.is_degraded
    database.close()


def test_after_a_restart_of_the_machine_every_waiting_write_is_in_doubt(tmp_path: Path) -> None:
    add = "INSERT INTO outbox (lane, kind, args) VALUES ('t', 'note', '{}')"
    with StateDir.open(tmp_path, "agent", clock=FakeClock()) as state:
        state.database.run(add)
        state.database.run(add)
    for boot, doubts in ((None, 0), ("another", 2)):
        with StateDir.open(tmp_path, "agent", clock=FakeClock()) as state:
            assert state.was_rebooted is bool(doubts)
            rows = state.database.run("SELECT uncertain FROM outbox")
            assert sum(maybe_delivered for (maybe_delivered,) in rows) == doubts
            if boot is None:
                state.note("boot_id", "another")


def test_a_file_of_an_earlier_version_is_used_although_the_disk_is_full(tmp_path: Path) -> None:
    clock = FakeClock()
    with opened(tmp_path) as state:
        state.claim(CLAIM)
        file = state.path / "worker.sqlite"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as older:
        older.executescript("ALTER TABLE claims DROP COLUMN handle; PRAGMA user_version = 2;")
    database = None
    try:
        with full_disk() as lines:
            database = Database(file, clock=clock)
            assert database.run("SELECT task_id, handle FROM claims") == [("t-1", "")]
            database.run("INSERT INTO notes VALUES ('said', 'meanwhile')")
        assert any(line["event"] == "state.degraded" for line in lines)
        clock.elapsed += WRITE_BACK_INTERVAL_S
        assert database.run("SELECT value FROM notes WHERE name = 'said'") == [("meanwhile",)]
        assert not database.is_degraded
    finally:
        if database is not None:
            database.close()
    with opened(tmp_path) as state:
        assert [claim.task_id for claim in state.running()] == ["t-1"]
        assert state.noted("said") == "meanwhile"
