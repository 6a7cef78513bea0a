"""The comparison of records detects a manipulation of each kind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent_swarm_worker.local_swarm.store import CREATE
from chaos.disk import small_disk
from chaos.ledger import Facts, ledger
from chaos.report import find_secret, table
from chaos.stored import read_logs, read_swarm, read_worker
from chaos.truth import read_truth
from chaos.world import processes_with

TASK, OTHER, RUN, SECOND = "task-one", "task-two", "aaaaaaaaaaaa", "bbbbbbbbbbbb"
TOOL = f"tool-{RUN}-1"


def line(run: str, n: int) -> str:
    payload = f"says {n} 🦊"
    mark = f"{run} {n} {zlib.crc32(payload.encode()):08x} {payload}"
    return json.dumps({"type": "assistant", "chaos": mark})


class Scene:
    """One run of three lines, a tool call and a cost, and all of it arrived."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.truth, self.state = place / "truth", place / "state"
        for folder in (self.truth, self.state):
            folder.mkdir()
        self.db = sqlite3.connect(place / "swarm.sqlite", isolation_level=None)
        self.db.executescript(f"PRAGMA synchronous = OFF; BEGIN; {CREATE}; COMMIT;")
        worker = sqlite3.connect(self.state / "worker.sqlite", isolation_level=None)
        worker.execute("PRAGMA synchronous = OFF")
        worker.execute("CREATE TABLE outbox (id INTEGER, kind TEXT, lane TEXT)")
        worker.execute("CREATE TABLE claims (task_id TEXT)")
        self.worker = worker
        self.task(TASK, "completed", output=f"done {RUN}")
        self.run(RUN, TASK, at=100.0)
        for n in range(3):
            self.store(RUN, TASK, n)
        self.cost()
        self.tool_start()
        self.facts = replace(self.read(), submitted={TASK})

    def task(self, task: str, status: str, output: str = "", parent: str | None = None) -> None:
        values = {
            **dict.fromkeys(("key", "task", "source", "createdAt", "lastUpdatedAt"), "-"),
            **dict.fromkeys(("tags", "dependsOn"), "[]"),
            "id": task,
            "status": status,
            "priority": 1,
            "output": output,
            "parentTaskId": parent,
        }
        self.insert("tasks", **values)
        self.change(task, status)

    def change(self, task: str, status: str) -> None:
        name = f"{task}-{status}-{self.db.total_changes}"
        kind = "task_status_change"
        self.insert(
            "task_logs", id=name, eventType=kind, taskId=task, newValue=status, createdAt="-"
        )

    def run(self, run: str, task: str, at: float) -> None:
        notes = [{"what": "start", "task": task, "pid": 1, "number": 1}]
        for n in range(3):
            notes += [{"what": "try", "n": n}, {"what": "said", "n": n}]
        notes += [{"what": "tool", "id": f"tool-{run}-1"}, {"what": "result"}, {"what": "end"}]
        extra = {"cost": 500_000, "is_error": False, "code": 0}
        text = "\n".join(
            json.dumps({"at": at + n / 100, **note, **extra}) for n, note in enumerate(notes)
        )
        (self.truth / f"run-{run}.jsonl").write_text(text)
        (self.state / f"{run}.jsonl").write_text("".join(line(run, n) + "\n" for n in range(3)))

    def store(
        self, run: str, task: str, n: int, *, number: int | None = None, text: str = ""
    ) -> None:
        self.insert(
            "session_logs",
            id=f"{run}-{self.db.total_changes}",
            taskId=task,
            sessionId=f"session-{run}",
            iteration=1,
            cli="x",
            content=text or line(run, n),
            lineNumber=n if number is None else number,
            createdAt="-",
        )

    def cost(self, tokens: int = 500_000) -> None:
        columns = [row[1:4] for row in self.db.execute("PRAGMA table_info(session_costs)")]
        values = {
            name: 0 if "INT" in kind or "REAL" in kind else "-"
            for name, kind, must in columns
            if must
        }
        values |= {"id": f"cost-{self.db.total_changes}", "taskId": TASK, "inputTokens": tokens}
        self.insert("session_costs", **values)

    def tool_start(self) -> None:
        columns = [row[1:4] for row in self.db.execute("PRAGMA table_info(events)")]
        values = {name: "-" for name, _, must in columns if must}
        data = json.dumps({"toolCallId": TOOL})
        values |= {"id": f"event-{self.db.total_changes}", "event": "tool.start", "data": data}
        self.insert("events", **values)

    def insert(self, table: str, **values: object) -> None:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self.db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))

    def read(self) -> Facts:
        kept = read_worker(self.state)
        read_logs(kept, self.place.glob("*.log"))
        return Facts(read_truth(self.truth), read_swarm(self.place / "swarm.sqlite"), kept)

    def wrong(self, **facts: object) -> dict[str, list[str]]:
        found = self.read()
        now = replace(found, **{"submitted": {TASK}, **facts})
        return {row.name: row.wrong for row in ledger(now) if row.wrong}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.db.close()
    scene.worker.close()


def test_a_run_of_which_all_arrived_is_good(scene: Scene):
    assert scene.wrong() == {}
    assert scene.wrong(strict=True) == {}


def again(scene: Scene) -> None:
    scene.run(SECOND, TASK, at=101.0)
    for n in range(3):
        scene.store(SECOND, TASK, n)


def beside(scene: Scene) -> None:
    """The work goes on in a second task while the first run still speaks."""
    scene.task(OTHER, "completed", output=f"done {SECOND}", parent=TASK)
    scene.run(SECOND, OTHER, at=100.05)


TAMPERINGS: dict[str, tuple[Callable[[Scene], object], str]] = {
    "a lost line": (
        lambda s: s.db.execute("DELETE FROM session_logs WHERE lineNumber = 1"),
        "lines said are stored",
    ),
    "a line that was never taken in": (
        lambda s: (
            s.db.execute("DELETE FROM session_logs WHERE lineNumber = 2"),
            (s.state / f"{RUN}.jsonl").write_text(line(RUN, 0) + "\n" + line(RUN, 1) + "\n"),
        ),
        "lines said are stored",
    ),
    "a doubled line": (lambda s: s.store(RUN, TASK, 1, number=9), "lines are stored once"),
    "lines out of order": (
        lambda s: s.db.execute("UPDATE session_logs SET lineNumber = 9 WHERE lineNumber = 0"),
        "lines are stored in order and unharmed",
    ),
    "a changed line": (
        lambda s: s.db.execute("UPDATE session_logs SET content = replace(content, 'says', 'sad')"),
        "lines are stored in order and unharmed",
    ),
    "a line nobody said": (
        lambda s: s.store(RUN, TASK, 7),
        "lines are stored in order and unharmed",
    ),
    "a doubled cost": (lambda s: s.cost(), "one cost for each session that told one"),
    "a lost cost": (
        lambda s: s.db.execute("DELETE FROM session_costs"),
        "one cost for each session that told one",
    ),
    "a cost nobody told": (lambda s: s.cost(7), "one cost for each session that told one"),
    "a lost event": (lambda s: s.db.execute("DELETE FROM events"), "one event for each tool call"),
    "a task that never ends": (
        lambda s: s.db.executescript(
            "UPDATE tasks SET status = 'in_progress', output = NULL; DELETE FROM task_logs"
        ),
        "every task ends once",
    ),
    "a second finish": (lambda s: s.change(TASK, "failed"), "every task ends once"),
    "work failed by a full disk": (
        lambda s: s.db.execute("UPDATE tasks SET failureReason = 'x: No space left on device'"),
        "a full disk fails no more than was begun",
    ),
    "a vanished task": (lambda s: s.db.execute("DELETE FROM tasks"), "every task ends once"),
    "somebody else's result": (
        lambda s: s.db.execute("UPDATE tasks SET output = 'overwritten'"),
        "a run's own end is its task's end",
    ),
    "a second run": (again, "every claim is run once"),
    "two runs at once": (beside, "every claim is run once"),
    "a write that was not delivered": (
        lambda s: s.worker.execute("INSERT INTO outbox VALUES (1, 'logs', 'lane')"),
        "nothing is left behind",
    ),
    "a claim": (
        lambda s: s.worker.execute("INSERT INTO claims VALUES ('t')"),
        "nothing is left behind",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_each_tampering_is_noticed(scene: Scene, name: str):
    tamper, promise = TAMPERINGS[name]
    tamper(scene)
    wrong = scene.wrong()
    assert promise in wrong
    assert f"✘  {promise}" in table(ledger(replace(scene.read(), submitted={TASK})))


def test_a_left_process_and_a_leak_are_differences(scene: Scene):
    assert scene.wrong(processes_left=["7"]) == {"nothing is left behind": ["process 7"]}
    assert scene.wrong(leaks=["x.log: 1 times"]) == {"no secret in any byte": ["x.log: 1 times"]}


@pytest.mark.parametrize(
    "form", ["s3cret+/=x", "czNjcmV0Ky89eA==", "s3cret%2B%2F%3Dx", "7333637265742b2f3d78"]
)
def test_a_secret_is_found_in_every_form_it_travels_in(tmp_path: Path, form: str):
    (tmp_path / "a").write_text(f"x{form}y")
    (tmp_path / "b").write_text("nothing")
    found, searched = find_secret("s3cret+/=x", sorted(tmp_path.iterdir()))
    assert found == ["a: 1 times"]
    assert searched == len(form) + 2 + 7


def test_a_killed_worker_excuses_no_lost_line_and_no_lost_cost(scene: Scene):
    (scene.state / f"{RUN}.jsonl").write_text(line(RUN, 0) + "\n" + line(RUN, 1) + "\n")
    scene.db.execute("DELETE FROM session_logs WHERE lineNumber = 2")
    scene.db.execute("DELETE FROM session_costs")
    scene.db.execute("DELETE FROM events")
    assert scene.wrong(worker_killed_at=[101.0]).keys() >= {
        "lines said are stored",
        "one cost for each session that told one",
        "one event for each tool call",
    }


def test_a_second_run_is_right_only_after_its_worker_went_away(scene: Scene):
    scene.task(OTHER, "completed", output=f"done {SECOND}", parent=TASK)
    scene.run(SECOND, OTHER, at=200.0)
    for n in range(3):
        scene.store(SECOND, OTHER, n)
    assert "every claim is run once" in scene.wrong()
    assert "every claim is run once" not in scene.wrong(worker_ended_at=[100.05])
    assert "every claim is run once" in scene.wrong(worker_ended_at=[190.0])


def test_a_result_that_was_taken_in_is_reported_whatever_killed_the_worker(scene: Scene):
    scene.db.execute("UPDATE tasks SET status = 'superseded', output = NULL")
    promise = "a run's own end is its task's end"
    killed = {"worker_killed_at": [101.0], "worker_ended_at": [101.0]}
    assert promise in scene.wrong()
    assert promise in scene.wrong(**killed)
    assert promise not in scene.wrong(worker_ended_at=[101.0])
    assert promise not in scene.wrong(**killed, api_restarted_at=[102.0])
    scene.db.execute("DELETE FROM session_logs WHERE lineNumber = 2")
    assert promise not in scene.wrong(**killed)


def test_only_a_claim_on_its_way_at_the_first_sweep_may_be_swept(scene: Scene):
    scene.db.execute(
        "UPDATE tasks SET status = 'failed', failureReason = 'Auto-failed by reboot sweep: x'"
    )
    promise = "a run's own end is its task's end"
    sweep_s = 4.0
    assert promise in scene.wrong()
    assert promise not in scene.wrong(api_restarted_at=[100.0 - sweep_s])
    assert promise in scene.wrong(api_restarted_at=[100.0 - sweep_s - 2])
    assert promise in scene.wrong(api_restarted_at=[100.0 - sweep_s + 2])
    # Or one whose worker was away from the server's start to its sweep.
    assert promise not in scene.wrong(api_restarted_at=[102.0], worker_away=[(101.0, 107.0)])
    assert promise in scene.wrong(api_restarted_at=[102.0], worker_away=[(80.0, 90.0)])


def test_what_a_full_disk_never_took_is_stated_not_hidden(scene: Scene):
    (scene.state / f"{RUN}.jsonl").write_text(line(RUN, 0) + "\n")
    scene.db.execute("DELETE FROM session_logs WHERE lineNumber > 0")
    said = {"event": "session.journal_failed", "task_id": TASK, "lost_bytes": 9}
    (scene.place / "worker-1.log").write_text(json.dumps(said) + "\n")
    assert "lines said are stored" not in scene.wrong()
    assert "lines said are stored" in scene.wrong(strict=True)


def test_a_small_disk_can_be_filled_and_what_lay_on_it_stays(tmp_path: Path):
    with small_disk(tmp_path / "disk") as disk:
        (disk.path / "kept").write_text("x")
        if not disk.is_mounted:
            pytest.skip("nothing can be mounted here")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.path / "more").write_text("x" * 5000)
        disk.free()
        (disk.path / "more").write_text("x" * 5000)
    assert (tmp_path / "disk" / "kept").read_text() == "x"
    assert not (tmp_path / "disk" / "filler").exists()


def test_a_process_that_was_left_is_seen(tmp_path: Path):
    assert processes_with(tmp_path) == []
    code = "import os, time; os.fork(); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, str(tmp_path / "truth")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.readline()
            assert process.pid in processes_with(tmp_path)
            assert len(processes_with(tmp_path)) == 2
        finally:
            os.killpg(process.pid, signal.SIGKILL)
