"""Detect growth of a worker over hundreds of short tasks beside one long session.

Memory, descriptors and others are sampled every few seconds. A line is fitted to each series after
a warm-up; the series is flat if its slope plus two standard errors is below a bound. Printed lines
are compared with stored ones, and types whose objects grow with the number of tasks are reported.
Exits with 1 if a series is not flat, or lines were lost, duplicated or left behind.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks import ledger, processes
from benchmarks.probe import Sample, look, outbox_rows
from benchmarks.processes import Lead, Swarm
from benchmarks.soak_report import WARM_UP, Grown, report, table, verdict

if TYPE_CHECKING:
    import subprocess

SLOTS = 5
LINES_PER_S = 5
"""Of the long session."""
SHORT_LINES, SHORT_S = 20, 1.5
SAMPLES = 400
MIN_SAMPLE_S = 0.5
LOOKS = 5
"""At what the worker holds: what a request or a session needs for a moment is no leak."""
REST_S = 6.0
"""Before and after, with nothing to do: idle connections are closed by then."""


@dataclass
class Watch:
    """What was seen of one worker."""

    process: subprocess.Popen[bytes]
    run_dir: Path
    began_s: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def look(self) -> Sample:
        """Take a sample, and keep it."""
        at_s = time.monotonic() - self.began_s
        sample = look(self.process.pid, self.run_dir, at_s=at_s, tasks_done=len(self.done))
        self.samples.append(sample)
        return sample

    async def keep_looking(self, every_s: float) -> None:
        """Take samples until cancelled."""
        while True:
            self.look()
            await anyio.sleep(every_s)

    async def objects(self) -> dict[str, Any]:
        """Ask the worker what it holds all the time: the least of several answers."""
        answers = []
        for _ in range(LOOKS):
            answers.append(await self._held())
            await anyio.sleep(SHORT_S / 2)
        return {
            "blocks": min(held["blocks"] for held in answers),
            "malloc_bytes": min(held["malloc_bytes"] for held in answers),
            "types": _least([held["types"] for held in answers]),
            "lengths": _least([held["lengths"] for held in answers]),
        }

    async def _held(self) -> dict[str, Any]:
        path = self.run_dir / "objects.json"
        path.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        with anyio.fail_after(processes.WAIT_S):
            while not path.exists():  # noqa: ASYNC110 - another process makes it
                await anyio.sleep(0.05)
        return dict(json.loads(path.read_text()))


def _least(answers: list[dict[str, int]]) -> dict[str, int]:
    names = set(answers[0]).intersection(*answers)
    return {name: min(answer[name] for answer in answers) for name in names}


async def soak(minutes: float, tasks: int, run_dir: Path) -> dict[str, Any]:
    """Run it all; return the report."""
    seconds = minutes * 60
    async with AsyncExitStack() as held:
        swarm = Swarm(run_dir, first_sweep_s=5.0)
        held.callback(swarm.kill)
        await swarm.start()
        lead = Lead(swarm.url)
        held.push_async_callback(lead.close)
        settings = {"MAX_CONCURRENT_TASKS": str(SLOTS)}
        process = await held.enter_async_context(processes.worker(run_dir, swarm.url, **settings))
        with anyio.fail_after(processes.WAIT_S):
            await processes.until(lead.is_registered)
        await anyio.sleep(REST_S)
        watch = Watch(process, run_dir)
        before = watch.look()
        ids, grown = await _busy(watch, lead, seconds, tasks)
        await anyio.sleep(REST_S)
        after = watch.look()
        made = await ledger.made_of(lead)
        accounts = {task: await ledger.account(lead, run_dir, task, made) for task in ids}
    return report(watch.samples, (before, after), grown, accounts)


async def _busy(watch: Watch, lead: Lead, seconds: float, tasks: int) -> tuple[list[str], Grown]:
    """Keep the worker busy for so long; return the ids of all tasks, and what grew meanwhile."""
    ids = [await lead.submit(int(seconds * LINES_PER_S), seconds)]
    every_s = max(MIN_SAMPLE_S, seconds / SAMPLES)
    async with anyio.create_task_group() as group:
        group.start_soon(watch.keep_looking, every_s)
        group.start_soon(_note_done, watch, lead)
        group.start_soon(_submit, lead, ids, tasks, (seconds - 3 * SHORT_S) / tasks)
        await anyio.sleep(seconds * WARM_UP)
        first, done = await watch.objects(), len(watch.done)
        await anyio.sleep(max(0.0, watch.began_s + seconds * 0.9 - time.monotonic()))
        grown = _grown(first, await watch.objects(), len(watch.done) - done)
        with anyio.fail_after(processes.WAIT_S + seconds):
            await processes.until(partial(_is_idle, watch, ids, tasks), every_s=0.2)
        group.cancel_scope.cancel()
    return ids, grown


def _grown(first: dict[str, Any], then: dict[str, Any], tasks: int) -> Grown:
    types = Counter(then["types"]) - Counter(first["types"])
    lengths = Counter({name: then["lengths"].get(name, 0) for name in first["lengths"]})
    lengths -= Counter(first["lengths"])
    return Grown(
        tasks=tasks,
        blocks=then["blocks"] - first["blocks"],
        malloc_bytes=then["malloc_bytes"] - first["malloc_bytes"],
        most=dict((types + lengths).most_common(15)),
    )


async def _submit(lead: Lead, ids: list[str], tasks: int, every_s: float) -> None:
    """Submit short tasks at an even pace, so that they last as long as the long one."""
    began_s = time.monotonic()
    for number in range(tasks):
        await anyio.sleep(max(0.0, began_s + number * every_s - time.monotonic()))
        ids.append(await lead.submit(SHORT_LINES, SHORT_S))


async def _note_done(watch: Watch, lead: Lead) -> None:
    while True:
        listed = (await lead.get("/api/tasks", limit=ledger.PAGE, status="completed"))["tasks"]
        watch.done |= {task["id"] for task in listed}
        await anyio.sleep(1.0)


async def _is_idle(watch: Watch, ids: list[str], tasks: int) -> bool:
    return len(ids) == tasks + 1 and watch.done >= set(ids) and not outbox_rows(watch.run_dir)


def main() -> int:
    """Soak, print a table and JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--tasks", type=int, help="short ones; by default 500 in 30 minutes")
    parser.add_argument("--json", action="store_true", help="print nothing but JSON")
    parser.add_argument("--keep", type=Path, help="directory for the files, kept")
    options = parser.parse_args()
    tasks = options.tasks or max(10, round(options.minutes * 500 / 30))
    with tempfile.TemporaryDirectory() as made:
        told = anyio.run(soak, options.minutes, tasks, options.keep or Path(made))
    if not options.json:
        print(table(told), file=sys.stderr)
    print(json.dumps(told))
    return 1 if verdict(told) else 0


if __name__ == "__main__":
    sys.exit(main())
