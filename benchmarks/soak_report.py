"""Evaluate a soak: growth of the series, lost or duplicated lines, leftovers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import trend

if TYPE_CHECKING:
    from benchmarks.ledger import Account
    from benchmarks.probe import Sample

WARM_UP = 0.2
"""Of the time: what is allocated once is allocated by then."""

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
SLACK = {"weakref.ReferenceType": 250, "_contextvars.Context": 100}
"""What comes and goes: a connection of SQLite forgets its dead cursors two hundred at a time, the
loop the contexts of its cancelled timers a hundred at a time."""


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


def report(
    samples: list[Sample],
    rests: tuple[Sample, Sample],
    grown: Grown,
    accounts: dict[str, Account],
) -> dict[str, Any]:
    """Judge what was seen."""
    before, after = rests
    busy = samples[1:-1]
    warm = [sample for sample in busy if sample.at_s >= WARM_UP * busy[-1].at_s]
    series = {name: _series(name, warm) for name in BOUNDS}
    many = MORE_PER_TASK * max(grown.tasks, 80)
    leaks = {name: more for name, more in grown.most.items() if more >= many + SLACK.get(name, 0)}
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
        "peak_rss_mb": round(max(sample.rss_mb for sample in samples), 1),
        "idle_rss_mb": {"before": round(before.rss_mb, 1), "after": round(after.rss_mb, 1)},
        "wrong": wrong,
        "samples": [asdict(sample) for sample in samples],
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
    # A connection that was needed a moment ago may still be kept, and so may threads of the pool.
    if left["descriptors"] > 2 or left["threads"] > 3 or left["children"] or left["outbox_rows"]:
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
