"""A pull request that the agent opened is linked with its task."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from recording_proxy import proxy_rig
from rig import harness, running_worker, swarm_rig

from agent_swarm_worker.worker.run import task_run

pytestmark = pytest.mark.anyio


def make_clone(place: Path, opened: Path) -> tuple[Path, Path]:
    """Make a clone on a branch, and a ``gh`` that finds a request when `opened` is there."""
    clone, tools = place / "clone", place / "tools"
    for command in (
        ["git", "init", "-q", "-b", "feature", str(clone)],
        ["git", "-C", str(clone), "remote", "add", "origin", "https://github.com/o/r.git"],
    ):
        subprocess.run(command, check=True)
    tools.mkdir()
    answer = '[{"number": 7, "url": "https://github.com/o/r/pull/7"}]'
    seen = f"[ -e {shlex.quote(str(opened))} ]"
    (tools / "gh").write_text(f"#!/bin/sh\nif {seen}; then echo '{answer}'; else echo '[]'; fi\n")
    (tools / "gh").chmod(0o755)
    return clone, tools


async def linked(tmp_path: Path, *, opened_before: bool) -> tuple[dict[str, Any], int]:
    """Run a task in a clone on a branch; return its row, and how often it was linked."""
    opened = tmp_path / "opened"
    clone, tools = make_clone(tmp_path, opened)
    if opened_before:
        opened.touch()
    async with proxy_rig(tmp_path) as (rig, proxy):
        env = harness("opens", opened, PATH=f"{tools}:{rig.env['PATH']}")
        async with running_worker(rig, env):
            task_id = await rig.submit(dir=str(clone))
            await rig.until_ended(task_id)
            await rig.settled(task_id)
            return await rig.task(task_id), len(proxy.seen(r"PATCH .*/vcs"))


@pytest.mark.parametrize("opened_before", [True, False])
async def test_a_pull_request_is_linked(tmp_path: Path, opened_before: bool):
    row, links = await linked(tmp_path, opened_before=opened_before)
    assert (row["vcsProvider"], row["vcsRepo"], row["vcsNumber"]) == ("github", "o/r", 7)
    assert row["vcsUrl"] == "https://github.com/o/r/pull/7"
    assert links in {1, 2}
    assert row["status"] == "completed"


async def test_no_row_reaches_the_git_of_the_search(tmp_path: Path):
    opened, spied = tmp_path / "opened", tmp_path / "spied"
    clone, tools = make_clone(tmp_path, opened)
    async with swarm_rig(tmp_path) as rig:
        await rig.set_row("GIT_TRACE", str(spied))
        env = harness("opens", opened, PATH=f"{tools}:{rig.env['PATH']}")
        async with running_worker(rig, env):
            task_id = await rig.submit(dir=str(clone))
            await rig.until_ended(task_id)
            await rig.settled(task_id)
            assert (await rig.task(task_id))["vcsNumber"] == 7
    assert not spied.exists()


async def test_a_search_that_breaks_costs_nothing_but_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(task_run, "find_request", broken)
    row, links = await linked(tmp_path, opened_before=True)
    assert (row["status"], row["output"], links) == ("completed", "opened", 0)
