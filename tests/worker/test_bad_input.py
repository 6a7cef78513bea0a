"""Hostile tasks, programs and disks fail a session, but not the worker."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rig import AGENT, Rig, harness, running_worker, swarm_rig

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    ProviderAdapter,
    ProviderResult,
    ProviderSessionConfig,
    ProviderTraits,
    SessionInit,
)
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.kit.session import BaseSession
from agent_swarm_worker.worker.boot import harness as worker_harness

pytestmark = pytest.mark.anyio

BEGIN = b'{"type": "system", "subtype": "init", "session_id": "s-1", "model": "m"}\n'
SPOKE = b'{"type": "assistant", "message": {"content": [{"type": "text", "text": "hm"}]}}\n'
END = b'{"type": "result", "subtype": "success", "is_error": false, "result": "fine"}\n'


SAID_TWICE = ["waiting", *(f"line {n} {'x' * 5000}" for n in range(200)), "going on"]
"""By ``waits_twice.py``."""


async def said(rig: Rig, task_id: str) -> list[Any]:
    """Return the agent's own words, in the order of the log."""
    return [
        line["message"]["content"][0]["text"]
        for line in await rig.lines(task_id)
        if line["type"] == "assistant"
    ]


async def ran(rig: Rig, env: dict[str, str], text: str = "Do it", **task: Any) -> dict[str, Any]:
    """Run one task and return its row."""
    async with running_worker(rig, env):
        task_id = await rig.submit(text, **task)
        row = await rig.until_ended(task_id)
        await rig.settled(task_id)
        return row


@pytest.mark.parametrize("text", ["\x00\x1b[31mred\x07\u2028\u202e", "m" * (1 << 20), " . "])
async def test_strange_texts_reach_the_agent(tmp_path: Path, text: str):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("witness", tmp_path), text)
        given = json.loads((tmp_path / f"{row['id']}.json").read_text())
    readable = text.translate({0: None, 7: None, 27: None})
    assert f'Task: "{readable}"' in given["prompt"]


async def test_strange_lines_are_logged_and_passed_over(tmp_path: Path):
    strange = [b"not JSON", b"\xff\xfe not UTF-8 \x80", b"[1, 2", b'{"type": "assistant"}', b"7"]
    async with swarm_rig(tmp_path) as rig:
        said = BEGIN + b"".join(line + b"\n" for line in strange) + SPOKE + END
        row = await ran(rig, rig.prints(said))
        assert (row["status"], row["output"]) == ("completed", "fine")
        logged = await rig.lines(row["id"])
        assert len(logged) == 8
        assert logged[1] == {"type": "stdout", "content": "not JSON"}
        assert logged[2] == {"type": "stdout", "content": "\ufffd\ufffd not UTF-8 \ufffd"}
        assert logged[5] == 7
        assert not rig.logged(Event.TRANSLATE_FAILED)


async def test_output_that_is_cut_off_is_a_failure_with_its_last_line_logged(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, rig.prints(BEGIN + SPOKE + END[:40]))
        assert row["status"] == "failed"
        assert "cannot be read" in row["failureReason"]
        assert (await rig.lines(row["id"]))[-1]["content"] == END[:40].decode()


@pytest.mark.long
async def test_a_line_of_50_mb(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("shouts", 50))
        assert row["output"] == "hoarse"
        kinds = [json.loads(log["content"])["type"] for log in await rig.logs(row["id"])]
        # The server takes no such body: the line is in the journal, its ends and neighbours arrive.
        assert kinds == ["system", "assistant", "cut_line", "result"]
        (dropped,) = rig.logged(Event.WRITE_DROPPED)
        assert dropped["status"] == 413
        assert dropped["chars"] > 50_000_000
        (journal,) = (tmp_path / "state").glob("*/logs/*/*.jsonl")
        assert journal.stat().st_size > 50_000_000


async def test_a_program_that_stays_after_its_result_is_sent_home(tmp_path: Path):
    (tmp_path / "said").write_bytes(BEGIN + SPOKE + END)
    async with swarm_rig(tmp_path) as rig:
        env = harness("stays", tmp_path / "said", SWARM_RESULT_GRACE_S="0.2")
        row = await ran(rig, env)
        assert (row["status"], row["output"]) == ("completed", "fine")


@pytest.mark.long
async def test_a_flood_on_standard_error_is_cut_and_the_task_goes_on(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("floods", 30))
        assert row["output"] == "flooded"
        logged = await rig.lines(row["id"])
        size = sum(len(line.get("content", "")) for line in logged if line["type"] == "stderr")
        assert 15 << 20 < size < 17 << 20
        assert "not recorded" in json.dumps([line for line in logged if line["type"] == "stderr"])


@pytest.mark.long
async def test_a_program_that_never_reads_its_prompt(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("deaf_to_its_prompt"), "long " * (1 << 20))
        assert row["output"] == "unasked"


async def test_a_program_that_is_gone_when_it_is_needed(tmp_path: Path):
    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    env = {"HARNESS_PROVIDER": "subprocess", "HARNESS_COMMAND": str(program)}
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        row = await rig.until_ended(await rig.submit())
        assert row["output"] == "hello"
        program.unlink()
        row = await rig.until_ended(await rig.submit())
        assert row["status"] == "failed"
        assert row["failureReason"].startswith("Spawn failed: cannot run")
        assert "binary_missing" in row["failureReason"]


async def test_a_program_that_destroys_its_surroundings(tmp_path: Path):
    place = tmp_path / "place"
    place.mkdir()
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("vandal"), dir=str(place))
        assert (row["status"], row["output"]) == ("completed", "all gone")
        assert list((tmp_path / "state" / AGENT / "sessions").iterdir()) == []
        assert not place.exists()


async def test_a_task_that_destroys_the_directory_of_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(place)
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("vandal")):
        row = await rig.until_ended(await rig.submit())
        assert row["output"] == "all gone"
        assert not place.exists()
        row = await rig.until_ended(await rig.submit(dir=str(tmp_path / "home")))
        assert row["status"] == "completed"


async def test_a_home_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "home").write_text("a file")
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, harness("says_hi", SWARM_SYNC_SKILLS="true"))
        assert row["output"] == "hi there"


async def test_events_that_are_not_for_a_program_to_make(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        env = harness("prints_by_task", tmp_path, HARNESS_OUTPUT="jsonl")
        (tmp_path / "secret").write_bytes(b'{"type": "message", "content": "of another task"}\n')
        async with running_worker(rig, env):
            other = await rig.until_ended(await rig.submit("print=secret"))
            (journal,) = (tmp_path / "state").rglob("*.jsonl")
            stolen = {"path": str(journal), "metadata_bytes": 0}
            said = [
                {"type": "custom", "name": "session.journal", "data": stolen},
                {"type": "message", "role": "assistant", "content": "mine"},
                {"type": "result", "output": "x", "cost": {"inputTokens": 0}},
            ]
            huge = json.dumps(said[2]).replace("0", "1e999")
            lines = "\n".join([json.dumps(said[0]), json.dumps(said[1]), huge])
            (tmp_path / "spoof").write_text(lines)
            row = await rig.until_ended(await rig.submit("print=spoof"))
            await rig.settled(row["id"])
        assert (row["status"], row["output"]) == ("completed", "x")
        logged = [log["content"] for log in await rig.logs(row["id"])]
        assert logged == lines.split("\n")
        assert len(await rig.logs(other["id"])) == 1
        assert not rig.logged(Event.TRANSLATE_FAILED)


async def test_a_log_directory_that_cannot_be_written_costs_no_line(tmp_path: Path):
    logs = tmp_path / "logs"
    async with swarm_rig(tmp_path) as rig:
        async with running_worker(rig, harness("says_hi", LOG_DIR=str(logs))):
            shutil.rmtree(logs)
            logs.touch()
            row = await rig.until_ended(await rig.submit())
            await rig.settled(row["id"])
        assert (row["status"], row["output"]) == ("completed", "hi there")
        kinds = [line["type"] for line in await rig.lines(row["id"])]
        assert (kinds[0], kinds[-1]) == ("system", "result")
        assert rig.logged(Event.JOURNAL_FAILED)


async def test_a_full_disk_delays_lines_and_loses_none(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    (tmp_path / "state").mkdir()
    async with swarm_rig(tmp_path) as rig:
        with small_disk(tmp_path / "state", "16m") as fill:
            env = harness("waits_twice", first, second)
            async with running_worker(rig, env):
                task_id = await rig.submit()
                await rig.until(lambda: rig.logs(task_id))
                with fill():
                    first.touch()

                    async def noticed() -> bool:
                        return bool(rig.logged(Event.JOURNAL_FAILED))

                    await rig.until(noticed)
                second.touch()
                row = await rig.until_ended(task_id)
                await rig.settled(task_id)
        assert row["output"] == "done at last"
        assert await said(rig, task_id) == SAID_TWICE


async def test_a_disk_that_is_full_at_the_start_delays_lines_and_loses_none(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    (tmp_path / "logs").mkdir()
    async with swarm_rig(tmp_path) as rig:
        with small_disk(tmp_path / "logs", "4m") as fill:
            env = harness("waits_twice", first, second, LOG_DIR=str(tmp_path / "logs"))
            async with running_worker(rig, env):
                with fill():
                    task_id = await rig.submit()

                    async def noticed() -> bool:
                        return len(rig.logged(Event.JOURNAL_FAILED)) > 1

                    await rig.until(noticed)
                first.touch()
                second.touch()
                row = await rig.until_ended(task_id)
                await rig.settled(task_id)
        assert row["output"] == "done at last"
        assert await said(rig, task_id) == SAID_TWICE


async def test_a_provider_that_breaks_keeps_what_its_session_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def create(name: str) -> ProviderAdapter:
        return BrokenAdapter()

    monkeypatch.setattr(worker_harness, "create_provider", create)
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, {"HARNESS_PROVIDER": "broken"})
        assert row["status"] == "failed"
        assert "RuntimeError" in row["failureReason"]
        assert [line["type"] for line in await rig.lines(row["id"])] == ["assistant"]
        assert row["claudeSessionId"] == "b-1"


class BrokenAdapter:
    """A provider with a mistake in it."""

    name = "broken"
    traits = ProviderTraits()

    async def check(self, env: object, guest: object) -> None:
        pass

    async def create_session(self, config: ProviderSessionConfig) -> BrokenSession:
        return BrokenSession(config, clock=SystemClock())

    async def can_resume(self, session_id: str, config: ProviderSessionConfig) -> bool:
        return False

    def format_command(self, command_name: str) -> str:
        return command_name


class BrokenSession(BaseSession):
    async def wait_for_completion(self) -> ProviderResult:
        self.emit(SessionInit("b-1"))
        self.journal.append([SPOKE.strip()])
        self.close_journal()
        raise RuntimeError("a mistake")

    async def abort(self, reason: str = "cancelled") -> None:
        pass


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Any]:
    """Mount a small disk; yields what fills it for a while. Needs the rights to mount."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")

    @contextmanager
    def fill() -> Iterator[None]:
        ballast = place / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        try:
            yield
        finally:
            ballast.unlink()

    try:
        yield fill
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
