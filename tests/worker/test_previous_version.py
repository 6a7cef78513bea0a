"""A worker recovers the state directory of a killed earlier version."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from recording_proxy import proxy_rig
from rig import AGENT, Rig, harness, running_worker
from worker_process import worker_process

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import EXIT_CONFIG, StateNewer
from agent_swarm_worker.outbox.queue import Queue
from agent_swarm_worker.state.database import SCHEMA_VERSION
from agent_swarm_worker.state.directory import BOOT_ID, StateDir

pytestmark = pytest.mark.anyio

KEPT = Path(__file__).parent / "previous_version"
FACTS = json.loads((KEPT / "facts.json").read_text())
"""What `make_state` says of the directory."""


@pytest.mark.parametrize("machine", ["the same", "another"])
async def test_its_claims_are_recovered_and_its_outbox_delivered(tmp_path: Path, machine: str):
    async with proxy_rig(tmp_path) as (rig, _):
        tasks = await unpacked(rig)
        boot_id = BOOT_ID.read_text().strip() if machine == "the same" else "of before"
        change(tmp_path, "UPDATE notes SET value = ? WHERE name = 'boot_id'", boot_id)
        with StateDir.open(tmp_path / "state", AGENT, clock=SystemClock()) as state:
            assert state.was_rebooted is (machine == "another")
            claimed = {claim.task_id for claim in state.running()}
            assert claimed == {tasks["goes on"], tasks["said all"]}
            assert Queue(state.database).count() == len(FACTS["outbox"]) == 10
        async with running_worker(rig, harness("says_hi")):
            for task_id in tasks.values():
                await rig.until_ended(task_id)
                await rig.settled(task_id)
            (resume,) = await children_of(rig, tasks["goes on"])
            assert (await rig.until_ended(resume["id"]))["output"] == "hi there"
        ended = {name: await rig.task(task_id) for name, task_id in tasks.items()}
        for name in ("ends", "said all"):
            assert (ended[name]["status"], ended[name]["output"]) == ("completed", "it is done")
            (cost,) = await rig.costs(tasks[name])
            assert cost["totalCostUsd"] == 0.25
        assert ended["goes on"]["status"] == "superseded"
        for name, task_id in tasks.items():
            assert FACTS["said"][name] == ["before"]  # those lines had been delivered
            assert await rig.said(task_id) == ["after"]
            complaints = [line for line in await rig.lines(task_id) if line["type"] == "stderr"]
            assert [line["content"] for line in complaints] == ["a complaint"]
        with StateDir.open(tmp_path / "state", AGENT, clock=SystemClock()) as state:
            assert (state.running(), Queue(state.database).count()) == ((), 0)


@pytest.mark.long
@pytest.mark.parametrize("command", ["worker", "flush"])
async def test_a_directory_of_a_newer_version_is_refused_in_one_line(tmp_path: Path, command: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await unpacked(rig)
        change(tmp_path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        files = contents(tmp_path / "state")
        async with worker_process(
            tmp_path, {**rig.env, **harness("says_hi")}, command=command
        ) as worker:
            assert await worker.exit_code(within_s=60) == EXIT_CONFIG
        (line,) = worker.lines()
        assert (
            f"newer worker (format {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION})" in line
        )
        assert not proxy.seen("/api/poll|/finish|/session-logs")
        assert contents(tmp_path / "state") == files
        with pytest.raises(StateNewer):  # and nobody holds its lock
            StateDir.open(tmp_path / "state", AGENT, clock=SystemClock())


async def children_of(rig: Rig, task_id: str) -> list[dict[str, Any]]:
    tasks = (await rig.get("/api/tasks", fields="full", limit=100))["tasks"]
    return [task for task in tasks if task.get("parentTaskId") == task_id]


def contents(directory: Path) -> dict[str, bytes]:
    """Return what the worker wrote for good, by name."""
    kept = ("*.jsonl", "*.sqlite*", "mcp.json")
    return {str(path): path.read_bytes() for kind in kept for path in directory.rglob(kind)}


def change(place: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(place / "state" / AGENT / "worker.sqlite")) as database:
        database.execute(statement, values)
        database.commit()


async def unpacked(rig: Rig) -> dict[str, str]:
    """Put the directory where the worker looks for it, with tasks of this swarm in it."""
    tasks = {}
    for name in FACTS["tasks"]:
        task_id = await rig.submit(f"Task {name}")
        await rig.post(f"/api/tasks/{task_id}/progress", {"progress": "mine"})
        tasks[name] = task_id
    names = {FACTS["tasks"][name]: task_id for name, task_id in tasks.items()}
    names[FACTS["place"]] = str(rig.place)
    with tarfile.open(KEPT / "state.tar.xz") as archive:
        archive.extractall(rig.place, filter="data")
    state = rig.place / "state" / AGENT
    for file in (*state.glob("logs/*/*"), *state.glob("sessions/*/*")):
        file.write_text(renamed(file.read_text(), names))
    with closing(sqlite3.connect(state / "worker.sqlite")) as database:
        for table, columns in {
            "claims": ("task_id", "log_file"),
            "outbox": ("lane", "args"),
        }.items():
            for row, *values in database.execute(
                f"SELECT rowid, {', '.join(columns)} FROM {table}"
            ).fetchall():
                for column, value in zip(columns, values, strict=True):
                    database.execute(
                        f"UPDATE {table} SET {column} = ? WHERE rowid = ?",
                        (renamed(value, names), row),
                    )
        database.commit()
    return tasks


def renamed(value: Any, names: dict[str, str]) -> Any:
    """Replace old ids and paths by those of today."""
    if isinstance(value, bytes):
        return renamed(value.decode(), names).encode()
    for old, new in names.items():
        value = value.replace(old, new)
    return value
