"""At any time the journal and the capture buffer together hold all output, once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import orjson
import pytest
from session_config import session_config

from agent_swarm_worker.contract import (
    DEFAULT_GRACE,
    EndReport,
    Grace,
    Process,
)
from agent_swarm_worker.contract.guest import OnStep
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.journal.repair import repair
from agent_swarm_worker.processes.capture_buffer import CaptureBuffer
from agent_swarm_worker.processes.pipe_holder import HeldPipe, PipeHolders
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, Launch
from agent_swarm_worker.sandboxes.local import LocalGuest
from agent_swarm_worker.worker.recovery.orphaned_session import NoTranslator

pytestmark = pytest.mark.anyio

SECRET = "the first line of a long secret\nand its second line, no shorter"
CHILD = """
import os, sys, time
place, out, err = sys.argv[1:]
os.write(1, out.encode().decode("unicode_escape").encode())
os.write(2, err.encode().decode("unicode_escape").encode())
while not os.path.exists(place + "/go"):
    time.sleep(0.01)
"""


class KeptOutputRig(LocalGuest):
    """A session of a child that says something, waits for ``go`` and ends."""

    def __init__(self, place: Path, out: str, err: str) -> None:
        self.tag = f"kept-{time.monotonic_ns()}"
        super().__init__(self.tag)
        self.place, self.journal = place, place / "log.jsonl"
        self.at_the_end: tuple[bytes, bytes] | None = None
        argv = (sys.executable, "-S", "-c", CHILD, str(place), out, err)
        launch = Launch(argv=argv, env={"PATH": "/usr/bin:/bin"}, cwd=place)
        redactor = Scrubber()
        redactor.add("SECRET", SECRET)
        config = session_config(
            place,
            session_uuid=self.tag,
            guest=self,
            cwd=place,
            log_file=self.journal,
            redactor=redactor,
        )
        self.session = CliSession(
            config, lambda _: CliHarness(launch=launch, translator=NoTranslator())
        )

    async def end(
        self, process: Process, grace: Grace = DEFAULT_GRACE, *, on_step: OnStep | None = None
    ) -> EndReport:
        """Read the held pipes after the end of the process, before the pipe holder ends."""
        report = await super().end(process, grace, on_step=on_step)
        self.at_the_end = self.left()
        return report

    def left(self) -> tuple[bytes, bytes]:
        """What the next worker would find that is not in the journal."""
        holders = PipeHolders(self.tag)  # not left: that would end the holder
        try:
            (out,), (err,) = holders.stdout, holders.stderr
            size = self.journal.stat().st_size
            return out.unjournaled(size), err.unjournaled(size)
        finally:
            for stream in (*holders.stdout, *holders.stderr):
                stream.close()

    def recorded(self) -> list[str]:
        records = [orjson.loads(line) for line in self.journal.read_bytes().splitlines()]
        return [f"{record['type']}: {record['content']}" for record in records]


@asynccontextmanager
async def spoken(rig: KeptOutputRig, records: int) -> AsyncIterator[None]:
    """Run it; when there are so many records it is quiet."""
    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:
            group.start_soon(rig.session.wait_for_completion)
            while not rig.journal.exists() or len(rig.recorded()) < records:
                await anyio.sleep(0.01)
            yield
            (rig.place / "go").touch()


async def test_of_half_a_line_all_that_was_read_is_kept_and_nothing_before_it(tmp_path: Path):
    rig = KeptOutputRig(tmp_path, r"one\nhalf a li", r"ouch\nhalf an ou")
    async with spoken(rig, records=2):
        assert rig.left() == (b"half a li", b"half an ou")
        assert sorted(rig.recorded()) == ["stderr: ouch", "stdout: one"]


async def test_a_secret_of_several_lines_is_kept_from_its_beginning(tmp_path: Path):
    first, second = SECRET.split("\n")
    rig = KeptOutputRig(tmp_path, r"one\n", rf"ouch\n{first}\n{second[:20]}")
    async with spoken(rig, records=2):
        assert rig.left() == (b"", f"{first}\n{second[:20]}".encode())


@pytest.mark.parametrize("end", ["", r"\n", r"\n\n", r"\n \n"])
async def test_when_it_has_ended_nothing_is_left_to_tell_again(tmp_path: Path, end: str):
    rig = KeptOutputRig(tmp_path, r"one\ntwo" + end, r"ouch\nagain" + end)
    async with spoken(rig, records=2):
        pass
    assert rig.at_the_end == (b"", b"")
    told = "\n".join(rig.recorded()).replace(": ", "\n").split("\n")
    assert sorted(filter(str.strip, told)) == sorted(
        ["stdout", "one", "stdout", "two", "stderr", "ouch", "again"]
        + ["stderr"] * (not end)  # what has no end is told by itself
    )


async def test_what_is_not_recorded_is_not_kept_either(tmp_path: Path):
    """Blank lines mean nothing, but there may be many."""
    rig = KeptOutputRig(tmp_path, r"one\n\n\n", r"\n\n\n")
    async with spoken(rig, records=1):
        pass
    assert rig.at_the_end == (b"", b"")
    assert rig.recorded() == ["stdout: one"]


def test_half_a_line_that_nobody_keeps_is_cut_off(tmp_path: Path):
    """An agent within the worker has no pipes; its worker was killed in the middle of a write."""
    journal = tmp_path / "log.jsonl"
    journal.write_bytes(b'{"n":1}\n{"n":')
    with PipeHolders("nobody") as holders:
        assert repair(journal, holders) == ([], [])
    assert journal.read_bytes() == b'{"n":1}\n'


def test_what_begins_nobody_knows_where_is_told_from_the_next_line_on():
    """The file in memory could not be made longer; the pipe is all there is."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    capture_buffer = CaptureBuffer.make("tested")
    os.ftruncate(capture_buffer.handle, 0)
    left = HeldPipe(reading, CaptureBuffer(capture_buffer.handle))
    os.write(writing, b"lf a secret\nnext\nlast")
    left.drain()
    assert left.unjournaled(0) == b"next\nlast"
    left.close()
    os.close(writing)
