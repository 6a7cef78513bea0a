"""Hundreds of short tasks beside one long session, on one worker: does anything grow?

The worker is looked at from outside every few seconds. After a warm-up a line is put through each
series; it is flat if even its steepest likely slope stays below a stated bound. What every task
printed is held against what the swarm has of it, and objects that grow with the number of tasks are
named by their type. Exits with 1 if something is not flat, was lost, came twice or was left behind.
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
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks import ledger, stage, trend
from benchmarks.probe import Sample, look, outbox_rows
from benchmarks.stage import Lead, Swarm

if TYPE_CHECKING:
    import subprocess

SLOTS = 5
LINES_PER_S = 5
"""Of the long session."""
SHORT_LINES, SHORT_S = 20, 1.5
WARM_UP = 0.2
"""Of the time: what is allocated once is allocated by then."""
SAMPLES = 400
MIN_SAMPLE_S = 0.5
REST_S = 6.0
"""Before and after, with nothing to do: idle connections are closed by then."""

BOUNDS = {
    "rss_mb": (4.0, 1.5),
    "private_dirty_mb": (4.0, 1.5),
    "descriptors": (1.0, 3.0),
    "threads": (1.0, 2.0),
    "children": (1.0, 2.0),
    "state_mb": (1.0, 2.0),
    "outbox_rows": (10.0, 15.0),
}
"""What may grow by how much in an hour and still counts as flat; and by how much in a whole run
that is so short that its noise, taken by the hour, says nothing."""
MORE_PER_TASK = 0.5
"""A type with so many more objects, or a container with so many more elements, for each task more
is a leak."""


@dataclass
class Watch:
    """What was seen of one worker."""

    process: subprocess.Popen[bytes]
    place: Path
    began_s: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def look(self) -> Sample:
        """Take a sample, and keep it."""
        at_s = time.monotonic() - self.began_s
        sample = look(self.process.pid, self.place, at_s=at_s, tasks_done=len(self.done))
        self.samples.append(sample)
        return sample

    async def keep_looking(self, every_s: float) -> None:
        """Take samples until cancelled."""
        while True:
            self.look()
            await anyio.sleep(every_s)

    async def objects(self) -> dict[str, Any]:
        """Ask the worker what it holds."""
        path = self.place / "objects.json"
        path.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        with anyio.fail_after(stage.PATIENCE_S):
            while not path.exists():  # noqa: ASYNC110 - another process makes it
                await anyio.sleep(0.05)
        return dict(json.loads(path.read_text()))


@dataclass(frozen=True, slots=True)
class Grown:
    """What the worker holds more of at the end than after the warm-up."""

    tasks: int
    """Done in between."""
    blocks: int
    """Of memory that the interpreter has given out."""
    malloc_bytes: int
    """That the C library has given out; what grows of the process but not here is fragments."""
    most: dict[str, int]
    """Objects by type, and elements by container, of which there are most more."""


async def soak(minutes: float, tasks: int, place: Path) -> dict[str, Any]:
    """Run it all; return the report."""
    seconds = minutes * 60
    async with AsyncExitStack() as held:
        swarm = Swarm(place, first_sweep_s=5.0)
        held.callback(swarm.kill)
        await swarm.start()
        lead = Lead(swarm.url)
        held.push_async_callback(lead.close)
        settings = {"MAX_CONCURRENT_TASKS": str(SLOTS)}
        process = await held.enter_async_context(stage.worker(place, swarm.url, **settings))
        with anyio.fail_after(stage.PATIENCE_S):
            await stage.until(lead.is_registered)
        await anyio.sleep(REST_S)
        watch = Watch(process, place)
        before = watch.look()
        ids, grown = await _busy(watch, lead, seconds, tasks)
        await anyio.sleep(REST_S)
        after = watch.look()
        made = await ledger.made_of(lead)
        accounts = {task: await ledger.account(lead, place, task, made) for task in ids}
    return report(watch, (before, after), grown, accounts)


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
        await anyio.sleep(watch.began_s + seconds * 0.97 - time.monotonic())
        grown = _grown(first, await watch.objects(), len(watch.done) - done)
        with anyio.fail_after(stage.PATIENCE_S + seconds):
            await stage.until(partial(_is_idle, watch, ids, tasks), every_s=0.2)
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
    return len(ids) == tasks + 1 and watch.done >= set(ids) and not outbox_rows(watch.place)


def report(
    watch: Watch,
    rests: tuple[Sample, Sample],
    grown: Grown,
    accounts: dict[str, ledger.Account],
) -> dict[str, Any]:
    """Judge what was seen."""
    before, after = rests
    busy = watch.samples[1:-1]
    warm = [sample for sample in busy if sample.at_s >= WARM_UP * busy[-1].at_s]
    series = {name: _series(name, warm) for name in BOUNDS}
    many = MORE_PER_TASK * max(grown.tasks, 80)
    leaks = {name: more for name, more in grown.most.items() if more >= many}
    left = {
        "descriptors": after.descriptors - before.descriptors,
        "threads": after.threads - before.threads,
        "children": after.children,
        "outbox_rows": after.outbox_rows,
    }
    wrong = {task: told.as_json() for task, told in accounts.items() if not told.is_right}
    return {
        "leaks": leaks,
        "seconds": round(busy[-1].at_s),
        "tasks": len(accounts),
        "lines": sum(told.lines_printed for told in accounts.values()),
        "series": series,
        "left_behind": left,
        "grown": asdict(grown),
        "journal_bytes_per_printed_byte": round(after.journals_mb / after.printed_mb, 3),
        "journals_mb": round(after.journals_mb, 2),
        "cpu_percent_of_a_core": round(
            100 * (busy[-1].cpu_s - busy[0].cpu_s) / (busy[-1].at_s - busy[0].at_s), 1
        ),
        "peak_rss_mb": round(max(sample.rss_mb for sample in watch.samples), 1),
        "idle_rss_mb": {"before": round(before.rss_mb, 1), "after": round(after.rss_mb, 1)},
        "wrong": wrong,
        "samples": [asdict(sample) for sample in watch.samples],
    }


def _series(name: str, samples: list[Sample]) -> dict[str, Any]:
    """Judge one series."""
    # -1 stands for what could not be seen.
    seen = [sample for sample in samples if getattr(sample, name) >= 0]
    values = [float(getattr(sample, name)) for sample in seen]
    hours = (seen[-1].at_s - seen[0].at_s) / 3600
    by_hour = trend.fit([sample.at_s / 3600 for sample in seen], values)
    by_tasks = trend.fit([sample.tasks_done / 100 for sample in seen], values)
    an_hour, a_run = BOUNDS[name]
    bound = max(an_hour, a_run / hours)
    return {
        "flat": by_hour.at_most < bound,
        "per_hour": round(by_hour.slope, 3),
        "per_hour_error": round(by_hour.error, 3),
        "bound_per_hour": round(bound, 2),
        "per_100_tasks": round(by_tasks.slope, 4),
        "per_100_tasks_error": round(by_tasks.error, 4),
        "mean": round(sum(values) / len(values), 2),
        "max": round(max(values), 2),
        "line": trend.sparkline(values),
    }


def verdict(told: dict[str, Any]) -> list[str]:
    """Return what is not as it should be."""
    faults = [f"{name} grows" for name, one in told["series"].items() if not one["flat"]]
    faults += [f"a leak of {name}: {count} more" for name, count in told["leaks"].items()]
    faults += [f"task {task} is wrong: {account}" for task, account in told["wrong"].items()]
    left = told["left_behind"]
    # A connection that was needed a moment ago may still be kept.
    if left["descriptors"] > 2 or left["threads"] > 1 or left["children"] or left["outbox_rows"]:
        faults.append(f"left behind: {left}")
    return faults


def table(told: dict[str, Any]) -> str:
    """Return the report for people."""
    rows = [f"{'':17} {'mean':>8} {'max':>8} {'per hour':>18} {'bound':>8} {'per 100 tasks':>18}"]
    for name, one in told["series"].items():
        hour = f"{one['per_hour']:.2f} ± {one['per_hour_error']:.2f}"
        tasks = f"{one['per_100_tasks']:.3f} ± {one['per_100_tasks_error']:.3f}"
        rows.append(
            f"{name:17} {one['mean']:8} {one['max']:8} {hour:>18} {one['bound_per_hour']:8}"
            f" {tasks:>18}  {one['line']} {'flat' if one['flat'] else 'GROWS'}"
        )
    rows.append(
        f"{told['tasks']} tasks and {told['lines']} lines in {told['seconds']} s:"
        f" {'WRONG' if told['wrong'] else 'nothing lost, nothing twice'};"
        f" left behind: {told['left_behind']}; {told['cpu_percent_of_a_core']} % of a core;"
        f" {told['journal_bytes_per_printed_byte']} bytes of journal per byte printed;"
        f" between warm-up and end {told['grown']['blocks']:+} blocks of Python's memory,"
        f" {told['grown']['malloc_bytes']:+} bytes of C's"
    )
    return "\n".join([*rows, *verdict(told)])


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
