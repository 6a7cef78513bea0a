"""Runs a worker against a lying API, and checks that it still works."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import orjson
from lying_proxy import LyingProxy
from rig import KEY, Rig, harness, running_worker, swarm_rig

from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import known_specs
from agent_swarm_worker.skills.folders import skill_folders

MAX_BLOCKED_S = 2.0
"""Of processor time that no other loop gets a turn in; the machine may be busy otherwise."""
OWN = (
    "state",
    "workspace",
    "swarm.sqlite",
    *(f"home/{folder}" for folder in skill_folders(known_specs())),
)


@asynccontextmanager
async def fuzz(place: Path, *, lies_at_boot: bool = False) -> AsyncIterator[tuple[Rig, LyingProxy]]:
    """Run a worker before a proxy; fail if anything outside of its directories has changed."""
    proxy = LyingProxy(seeded(place))
    env = fuzzed_env(place)
    with proxy.before_every_swarm():
        async with swarm_rig(place) as rig:
            before = foreign_files(place)
            proxy.is_lying = lies_at_boot
            async with anyio.create_task_group() as watch:
                watch.start_soon(_watch_the_loop)
                async with running_worker(rig, env, waits_for_boot=not lies_at_boot):
                    yield rig, proxy
                watch.cancel_scope.cancel()
            assert foreign_files(place) == before
            _look_at_the_log(rig)


def seeded(place: Path) -> Path:
    """Make the directories; return the one that nobody may touch."""
    decoy = place / "decoy"
    for folder in (decoy, place / "home", place / "workspace" / "personal"):
        folder.mkdir(parents=True)
    (decoy / "precious.txt").write_text("mine")
    (place / "home" / ".profile").write_text("mine as well")
    return decoy


def fuzzed_env(place: Path) -> dict[str, str]:
    """Return the settings of a worker that uses as much of the API as there is."""
    return harness(
        "says_hi",
        STEERING_ENABLED="true",
        MAX_CONCURRENT_TASKS="4",
        SWARM_SYNC_SKILLS="true",
        SWARM_WORKSPACE_DIR=str(place / "workspace"),
    )


async def still_works(rig: Rig) -> None:
    """Have a task done, as if nothing had been."""
    for _ in range(2):
        task = await rig.until_ended(await rig.submit(), within_s=30)
        assert (task["status"], task["output"]) == ("completed", "hi there"), task
        assert await rig.logs(task["id"])


def foreign_files(place: Path) -> dict[str, bytes | None]:
    """Return what lies around, but for what is the worker's own."""
    return {
        name: path.read_bytes() if path.is_file() else None
        for path in _below(place)
        if not (name := str(path.relative_to(place))).startswith(OWN)
        and not any(own.startswith(f"{name}/") for own in OWN)
    }


def _below(place: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(place):
        yield from (Path(folder, name) for name in (*folders, *files))


async def _watch_the_loop() -> None:
    while True:
        before_s = time.thread_time()
        await anyio.sleep(0.01)
        blocked_s = time.thread_time() - before_s
        assert blocked_s < MAX_BLOCKED_S, f"nothing else ran for {blocked_s:.1f} s"


def _look_at_the_log(rig: Rig) -> None:
    text = rig.worker_log.getvalue()
    assert KEY not in text
    assert "\x1b" not in text
    known = {event.value for event in Event}
    for line in text.split("\n")[:-1]:
        assert orjson.loads(line)["event"] in known
