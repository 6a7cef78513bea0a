"""``swarm-worker flush`` delivers the undelivered writes of a stopped worker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from patience import BYTECODE, until
from recording_proxy import proxy_rig
from rig import AGENT, KEY, Rig, harness, running_worker, worker_env
from worker_process import worker_process

from agent_swarm_worker.cli.app import main
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import Queue, WriteKind
from agent_swarm_worker.state.directory import StateDir

pytestmark = pytest.mark.anyio
NOBODY = "http://127.0.0.1:1"


@asynccontextmanager
async def flushing(env: dict[str, str], *words: str) -> AsyncIterator[Process]:
    process = await anyio.open_process(
        [sys.executable, "-m", "agent_swarm_worker", "flush", *words],
        env={**BYTECODE, **env},
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()


async def flushed(env: dict[str, str], *words: str) -> tuple[int, str]:
    """Run the command to its end; return exit code and output."""
    with anyio.fail_after(60):
        async with flushing(env, *words) as process:
            assert process.stdout is not None
            said = b"".join([chunk async for chunk in process.stdout])
            return await process.wait(), said.decode()


def left_behind(root: Path, agent_id: str, *texts: str) -> None:
    """Make the directory of a worker that could not deliver these words."""
    with StateDir.open(root, agent_id, clock=SystemClock()) as state:
        queue = Queue(state.database)
        for text in texts:
            queue.add(f"task-{text}", WriteKind.NOTE, {"task_id": f"task-{text}", "text": text})


async def resume_of(rig: Rig, task_id: str) -> list[str]:
    rows = (await rig.get("/api/tasks", fields="full", limit=100))["tasks"]
    return [row["id"] for row in rows if row.get("parentTaskId") == task_id]


@pytest.mark.long
async def test_a_result_that_could_not_be_told_arrives_without_a_worker(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/finish", 503)
        async with running_worker(rig, harness("says_hi"), drain_ms=1000) as daemon:
            task_id = await rig.submit()
            await until(lambda: proxy.seen("/finish"))
            daemon.shutdown.request("test")
        # Half of it: the finish holds back what comes after it, and nothing else.
        code, said = await flushed(rig.env, "--timeout", "1")
        assert (code, said.split("!")[-1].strip()) == (75, f"{AGENT}: 0 delivered, 2 writes left")
        assert (await rig.task(task_id))["status"] == "in_progress"
        proxy.be_open()
        code, said = await flushed(rig.env, "--json")
        assert code == 0
        assert json.loads(said) == [{"agent": AGENT, "delivered": 2, "left": 0}]
        row = await rig.task(task_id)
        assert (row["status"], row["output"]) == ("completed", "hi there")
        assert proxy.seen("/finish")[-1].headers["x-agent-id"] == AGENT
        async with running_worker(rig, harness("says_hi")):
            await rig.until_ended(await rig.submit())
        assert not proxy.seen("supersede")
        assert len(rig.logged(Event.SESSION_STARTED)) == 2
        assert len(await rig.costs(task_id)) == 1


@pytest.mark.long
async def test_a_crashed_sessions_lines_arrive_and_its_task_stays_for_the_worker(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = {**rig.env, **harness("chats", 40), "SWARM_LOG_FLUSH_INTERVAL_S": "30"}
        async with worker_process(tmp_path, env) as worker:
            task_id = await rig.submit()
            await worker.until_logged(Event.SESSION_OUTPUT, times=41)
            # While it runs, it delivers by itself.
            code, said = await flushed(rig.env)
            assert code == 1
            assert f"is in use by process {worker.pid}\n  that worker delivers by itself" in said
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        assert await rig.lines(task_id) == []
        code, said = await flushed(rig.env)
        assert (code, "nothing left" in said) == (0, True)
        lines = await rig.lines(task_id)
        assert len(lines) == 41
        assert (await rig.task(task_id))["status"] == "in_progress"
        assert not proxy.seen("supersede")
        async with running_worker(rig, harness("says_hi")):
            await rig.until_status(task_id, "superseded")
            (resume_id,) = await resume_of(rig, task_id)
            await rig.until_ended(resume_id)
        assert await rig.lines(task_id) == lines


@pytest.mark.long
async def test_with_a_dead_server_nothing_is_lost_and_it_ends_in_time(tmp_path: Path):
    env = worker_env(NOBODY, tmp_path)
    left_behind(tmp_path / "state", AGENT, "one", "two")
    code, said = await flushed(env, "--timeout", "3")
    assert code == 75
    assert "api.unreachable" in said
    assert f"{AGENT}: 0 delivered, 2 writes left" in said
    assert KEY not in said
    async with flushing(env) as process:
        assert process.stdout is not None
        with anyio.fail_after(60):
            heard = b""
            while b"unreachable" not in heard:
                heard += await process.stdout.receive()
            process.send_signal(signal.SIGINT)
            heard += b"".join([chunk async for chunk in process.stdout])
            assert await process.wait() == 130
    assert f"{AGENT}: 0 delivered, 2 writes left" in heard.decode()
    with StateDir.open(tmp_path / "state", AGENT, clock=SystemClock()) as state:
        assert Queue(state.database).count() == 2


def test_what_waits_is_shown_and_nothing_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    root = tmp_path / "state"
    left_behind(root, AGENT, "one", "two", "two")
    left_behind(root, "another")
    left_behind(root, "busy", "three")
    monkeypatch.setattr("os.environ", worker_env(NOBODY, tmp_path))
    assert main(["flush", "--list"]) == 75
    title, *table = capsys.readouterr().out.splitlines()
    assert title == f"{AGENT}: 3 writes left"
    assert [row.split() for row in table] == [
        ["WRITES", "BYTES", "KIND", "LANE"],
        ["1", "35", "note", "task-one"],
        ["2", "70", "note", "task-two"],
    ]
    with StateDir.open(root, "busy", clock=SystemClock()):
        assert main(["flush", "--all", "--dry-run", "--json"]) == 75
        shown = capsys.readouterr()
    agents = {row["agent"]: len(row["waiting"]) for row in json.loads(shown.out)}
    assert agents == {AGENT: 2, "another": 0}
    assert "busy: state directory" in shown.err
    monkeypatch.setenv("AGENT_ID", "another")
    assert main(["flush", "--list"]) == 0
    assert capsys.readouterr().out == "another: nothing left\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--timeout", "soon"], 2, "argument --timeout: invalid number of seconds value: 'soon'"),
        (["--timeout", "-1"], 2, "invalid number of seconds"),
        (["--timeout", "inf"], 2, "invalid number of seconds"),
        (["--everything"], 2, "unrecognized arguments: --everything"),
        ([], 1, "no worker has left anything in {root}/nobody"),
        (["--all"], 1, "no worker has left anything in {root}\n"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
):
    env = {**worker_env(NOBODY, tmp_path), "AGENT_ID": "nobody"}
    monkeypatch.setattr("os.environ", env)
    assert main(["flush", *words]) == code
    assert said.format(root=tmp_path / "state") in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_worker_without_an_id_is_found_by_the_one_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    root = tmp_path / "state"
    left_behind(root, "made-up", "one")
    (root / "agent-id").write_text("made-up\n")
    env = {**worker_env(NOBODY, tmp_path), "AGENT_ID": ""}
    monkeypatch.setattr("os.environ", env)
    assert main(["flush", "--list"]) == 75
    assert capsys.readouterr().out.startswith("made-up: 1 write left\n")
