"""bash: real commands, their background processes, and scrubbed output."""

from __future__ import annotations

import os
import stat
import time
from functools import partial
from pathlib import Path

import anyio
import pytest
from patience import HANG_S
from tool_rig import Workshop, shop

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.processes.stop_tree import find, sweep

__all__ = ["shop"]
pytestmark = pytest.mark.anyio
SECRET = "s3cret-value-of-the-operator"


async def test_a_command_says_what_it_prints(shop: Workshop):
    assert await shop.use("bash", command="pwd -P; echo $HOME; cat") == (
        f"{os.path.realpath(shop.cwd)}\n{shop.config.env['HOME']}"
    )
    assert await shop.use("bash", command="true") == "(no output)"


async def test_both_streams_come_in_the_order_they_were_written(shop: Workshop):
    loop = "for n in 1 2 3 4 5; do echo out $n; echo err $n >&2; done"
    expected = [f"{stream} {n}" for n in range(1, 6) for stream in ("out", "err")]
    assert (await shop.use("bash", command=loop)).splitlines() == expected


async def test_the_exit_code_is_told(shop: Workshop):
    assert await shop.fails("bash", command="echo no; exit 3") == "no\n\n[exit code 3]"
    assert "[exit code 137]" in await shop.fails("bash", command="kill -KILL $$")
    assert "[exit code 127]" in await shop.fails("bash", command="there-is-no-such-program")
    assert "bash: " in await shop.fails("bash", command="x" * 3_000_000)
    assert "bash: " in await shop.fails("bash", command="a\0b")
    assert "not valid Unicode" in await shop.fails("bash", command="\ud800")


async def test_a_command_that_closed_its_output_is_waited_for(shop: Workshop):
    await shop.fails("bash", command="exec >&- 2>&-; sleep 0.3; touch done; exit 4")
    assert (shop.cwd / "done").exists()


@pytest.mark.long
async def test_the_time_limit_ends_the_tree(shop: Workshop, tag: str):
    with anyio.fail_after(HANG_S):
        said = await shop.fails(
            "bash", command="echo begun; (setsid sleep 300 & ); sleep 300", timeout=1
        )
    assert said == "begun\n\n[ended: it took longer than 1 s]"
    assert find(tag) == []


@pytest.mark.parametrize(
    "command", ["sleep 300", "trap 'touch asked' INT TERM; echo on; sleep 300; sleep 300"]
)
async def test_cancelling_kills_the_tree_at_once(shop: Workshop, tag: str, command: str):
    with anyio.fail_after(HANG_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shop.tools["bash"].run, {"command": f"setsid sleep 299 & {command}"})
            while len(find(tag)) < 3:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert not (shop.cwd / "asked").exists()
    assert find(tag) == []


@pytest.mark.long
async def test_an_abort_cuts_the_end_at_the_time_limit_short(shop: Workshop, tag: str):
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            command = "trap 'touch asked' INT TERM; while :; do sleep 0.1; done"
            tasks.start_soon(shop.tools["bash"].run, {"command": command, "timeout": 1})
            while not (shop.cwd / "asked").exists():
                await anyio.sleep(0.01)
            begin_s = time.monotonic()
            tasks.cancel_scope.cancel()
    assert time.monotonic() - begin_s < 6  # the rest of the escalation takes seven
    assert find(tag) == []


@pytest.mark.long
async def test_what_runs_in_the_background_delays_nothing_and_lives_on(shop: Workshop, tag: str):
    with anyio.fail_after(HANG_S):
        assert await shop.use("bash", command="sleep 300 & echo started") == "started"
    # Another call that is ended takes nothing of it along.
    await shop.fails("bash", command="sleep 300", timeout=1)
    assert len(find(tag)) == 1
    # The session's own sweep is what ends it.
    await sweep(tag, clock=SystemClock())
    assert find(tag) == []


@pytest.mark.long
async def test_calls_side_by_side_do_not_end_each_other(shop: Workshop):
    said: list[str] = []

    async def patient() -> None:
        said.append(await shop.use("bash", command="sleep 2; echo survived"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(shop.fails, "bash", command="touch on; sleep 300", timeout=1))
        while not (shop.cwd / "on").exists():
            await anyio.sleep(0.01)
        tasks.start_soon(patient)  # younger than what is ended
        await shop.use("grep", pattern="x")
    assert said == ["survived"]


async def test_long_output_is_shown_in_part_and_kept_as_a_whole(shop: Workshop):
    said = await shop.use("bash", command="seq 1 200000")
    assert said.startswith("1\n2\n3\n")
    assert "199999\n200000\n\n[" in said
    assert "[… 1.2 MB left out …]" in said
    assert len(said) < 60_000
    path = Path(said.rpartition("\n\n[")[2].partition(" has all ")[0])
    assert path.read_text() == "".join(f"{n}\n" for n in range(1, 200_001))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await shop.use("read", path=str(path), offset=100_000, limit=1)).startswith("100000\n")
    await shop.fails("write", path=str(path), content="")


async def test_many_short_lines_are_shown_in_part_too(shop: Workshop):
    said = await shop.use("bash", command="yes '' | head -n 5000; echo end")
    assert said.count("\n") < 2100
    assert "end\n\n[" in said


@pytest.mark.long
async def test_a_flood_costs_no_memory(shop: Workshop):
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _peak_kb()
    said = await shop.use("bash", command="yes 0123456789 | head -c 70000000", timeout=150)
    assert _peak_kb() - before < 30_000
    assert "has the first part" in said
    (path,) = (shop.config.private_dir / "tool-output").iterdir()
    assert path.stat().st_size == 64 * 1024 * 1024


def _peak_kb() -> int:
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1])


async def test_secrets_reach_neither_the_model_nor_the_file(shop: Workshop):
    shop.config.redactor.add("OPERATOR", SECRET)
    halves = f"printf %s {SECRET[:9]}; sleep 0.2; echo {SECRET[9:]}"
    assert await shop.use("bash", command=halves) == "[REDACTED:OPERATOR]"
    assert SECRET not in await shop.fails("bash", command=f"echo {SECRET}; exit 1")
    noise = f"for n in $(seq 1 4000); do echo $n {SECRET[:10]}{SECRET[10:]} $n; done"
    said = await shop.use("bash", command=noise)
    (path,) = (shop.config.private_dir / "tool-output").iterdir()
    assert SECRET[:12] not in said + path.read_text()


async def test_a_disk_that_takes_no_more_costs_the_file_only(shop: Workshop):
    (shop.config.private_dir / "tool-output").write_text("in the way")
    assert "200000\n\n[1.2 MB in all, for which no file" in await shop.use(
        "bash", command="seq 1 200000"
    )
