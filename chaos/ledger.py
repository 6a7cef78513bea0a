"""Compare the sessions' records with the swarm's database: one row for each guarantee."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from chaos.api import SWEEPS
from chaos.report import SHOWN, Row
from chaos.stored import Kept, Stored
from chaos.truth import Run

UNTOLD_S = 15.0
"""A run that ended so shortly before its worker was killed may have been taken for unfinished."""
KILLED = "the worker was killed"
SPAWN_S = 2.0
"""From the start of a process to its first note, on a busy machine."""
SWEPT_S = 1.5
"""How long before or after a first sweep a claim may be on its way, be announced, and begin."""
SWEPT = "Auto-failed by reboot sweep"


@dataclass(slots=True)
class Facts:
    """All that the ledger compares."""

    runs: dict[str, Run]
    stored: Stored
    kept: Kept
    worker_killed_at: list[float] = field(default_factory=list)
    """By the monotonic clock; SIGKILL only."""
    worker_ended_at: list[float] = field(default_factory=list)
    """Every end of a worker, killed or not."""
    worker_stopped: list[tuple[float, float]] = field(default_factory=list)
    """From SIGSTOP to SIGCONT."""
    worker_away: list[tuple[float, float]] = field(default_factory=list)
    """When there was no worker to beat for its sessions."""
    api_restarted_at: list[float] = field(default_factory=list)
    session_killed: set[str] = field(default_factory=set)
    """Runs that were killed on purpose."""
    submitted: set[str] = field(default_factory=set)
    processes_left: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    searched_bytes: int = 0
    slots: int = 1
    full_disks: int = 0
    """How often the worker's disk was filled."""
    strict: bool = False
    """Nothing is forgiven: not what a full disk cost, not an event counted twice."""


def ledger(facts: Facts) -> list[Row]:
    """Compare."""
    return [check(facts) for check in CHECKS]


def _lines(facts: Facts) -> Row:
    """Every line that was said is stored; the one being said may be."""
    row = Row("lines said are stored")
    for run in facts.runs.values():
        stored = {line.n for line in facts.stored.lines.get(run.run, [])}
        journal = {line.n for line in facts.kept.lines.get(run.run, [])}
        row.counted += len(run.said)
        if lost := sorted(journal - stored):
            row.wrong.append(f"{_of(run)}: in the journal, not stored: {_some(lost)}")
        if missing := sorted(run.said.keys() - stored - journal):
            was_said = facts.kept.given_up.get(run.task) and not facts.strict
            (row.stated if was_said else row.wrong).append(
                f"{_of(run)}: never taken in: {_some(missing)}"
            )
    return row


def _doubled_lines(facts: Facts) -> Row:
    row = Row("lines are stored once")
    for name, lines in facts.stored.lines.items():
        row.counted += len(lines)
        twice = sorted(n for n, times in Counter(line.n for line in lines).items() if times > 1)
        if twice:
            row.wrong.append(f"{_name(facts, name)}: {_some(twice)}")
    return row


def _order(facts: Facts) -> Row:
    row = Row("lines are stored in order and unharmed")
    for name, lines in facts.stored.lines.items():
        row.counted += len(lines)
        numbers = list(dict.fromkeys(line.n for line in lines))
        if numbers != sorted(numbers):
            row.wrong.append(f"{_name(facts, name)}: out of order: {_jumps(numbers)}")
        if harmed := [line.n for line in lines if not line.is_intact]:
            row.wrong.append(f"{_name(facts, name)}: changed: {_some(harmed)}")
        tried = facts.runs[name].tried if name in facts.runs else set()
        if made_up := sorted(set(numbers) - tried):
            row.wrong.append(f"{_name(facts, name)}: never said: {_some(made_up)}")
    return row


def _costs(facts: Facts) -> Row:
    """A run that said its result has one cost; no run has two."""
    row = Row("one cost for each session that told one")
    rows = Counter((cost["taskId"], cost["inputTokens"]) for cost in facts.stored.costs)
    known = set()
    for run in facts.runs.values():
        if run.cost is None:
            continue
        key = (run.task, run.cost)
        known.add(key)
        row.counted += 1
        if rows[key] > 1:
            row.wrong.append(f"{_of(run)}: {rows[key]} rows")
        elif not rows[key] and max(run.tried) in run.said:
            row.wrong.append(f"{_of(run)}: none")
    row.wrong += [
        f"task {task[:8]}: a cost nobody told" for task, n in rows if (task, n) not in known
    ]
    return row


def _events(facts: Facts) -> Row:
    row = Row("one event for each tool call")
    for run in facts.runs.values():
        for tool in run.tools:
            row.counted += 1
            n, times = int(tool.rpartition("-")[2]), facts.stored.tool_starts.get(tool, 0)
            if times > 1:
                (row.wrong if facts.strict else row.stated).append(f"{_of(run)}: {n} {times} times")
            elif not times and n in run.said:
                row.wrong.append(f"{_of(run)}: {n} missing")
    return row


def _finishes(facts: Facts) -> Row:
    row = Row("every task ends once")
    for task_id, task in facts.stored.tasks.items():
        row.counted += 1
        endings = facts.stored.endings.get(task_id, [])
        if not endings:
            row.wrong.append(f"task {task_id[:8]}: still {task['status']}")
        elif len(endings) > 1:
            row.wrong.append(f"task {task_id[:8]}: {', then '.join(endings)}")
    for task_id in sorted(facts.submitted - facts.stored.tasks.keys()):
        row.wrong.append(f"task {task_id[:8]}: gone")
    return row


def _disk(facts: Facts) -> Row:
    """What is being begun when the disk fills up fails; nothing is claimed after that."""
    row = Row("a full disk fails no more than was begun", facts.full_disks)
    failed = [
        f"task {task_id[:8]}: {_why(task)}"
        for task_id, task in facts.stored.tasks.items()
        if "No space left" in (task.get("failureReason") or "")
    ]
    is_few = len(failed) <= facts.slots * facts.full_disks and not facts.strict
    (row.stated if is_few else row.wrong).extend(failed)
    return row


def _results(facts: Facts) -> Row:
    """A run that ended by itself, and was taken in, has ended its task in its own words."""
    row = Row("a run's own end is its task's end")
    for run in facts.runs.values():
        task = facts.stored.tasks.get(run.task)
        if task is None or run.code is None or run.run in facts.session_killed:
            continue
        row.counted += 1
        wanted = "completed" if run.code == 0 else "failed"
        told = wanted == "failed" or task.get("output") == f"done {run.run}"
        if task["status"] == wanted and told:
            continue
        text = f"{_of(run)}: exit {run.code}, but {task['status']}: {_why(task)}"
        cause = "" if task["status"] == "completed" else _why_not_told(facts, run, task)
        if cause and not facts.strict:
            row.stated.append(f"{text} ({cause})")
        else:
            row.wrong.append(text)
    return row


def _why_not_told(facts: Facts, run: Run, task: dict[str, Any]) -> str:
    """Say what may have kept a run's own end from being its task's end, if anything did.

    A killed worker alone is no reason, if the last word was taken in: the next one reports it.
    """
    if swept := _why_swept(facts, run, task):
        return swept
    cause = _interruption(facts, run)
    lines = facts.stored.lines.get(run.run, [])
    has_result = run.cost is not None and any(line.n == max(run.tried) for line in lines)
    if cause != KILLED or not has_result:
        return cause
    if _happened(facts.api_restarted_at, run):
        return "the API was restarted, too, and gave the task up"
    gentle = set(facts.worker_ended_at) - set(facts.worker_killed_at)
    return "the worker went away" if _happened(gentle, run) else ""


def _why_swept(facts: Facts, run: Run, task: dict[str, Any]) -> str:
    """Say why a restarted server had reason to take a task for dead; nothing if it had none.

    The claim was on its way to the worker, or there was no worker that could have beaten. A
    session that could have been announced must have been.
    """
    if not str(task.get("failureReason")).startswith(SWEPT):
        return ""
    for restarted in facts.api_restarted_at:
        swept = restarted + SWEEPS.first_after_s
        if abs(run.started - swept) <= SWEPT_S:
            return "claimed and not announced yet at the server's first sweep"
        for begin, end in (*facts.worker_away, *facts.worker_stopped):
            if begin <= swept + SWEPT_S and end >= restarted and run.started <= swept:
                return "there was no worker to beat before the server's first sweep"
    return ""


def _happened(moments: Iterable[float], run: Run) -> bool:
    begin, end = run.started - SPAWN_S, run.last + UNTOLD_S
    return any(begin <= at <= end for at in moments)


def _executions(facts: Facts) -> Row:
    """A task is run once; its work again only after the worker that ran it went away."""
    row = Row("every claim is run once")
    by_task, by_work = defaultdict(list), defaultdict(list)
    for run in sorted(facts.runs.values(), key=lambda run: run.started):
        by_task[run.task].append(run)
        by_work[_root(facts.stored, run.task)].append(run)
    for task_id, runs in by_task.items():
        row.counted += 1
        if len(runs) > 1:
            # An API that did not take the task back for a resume may still have paused it.
            is_paused = len(runs) <= 1 + facts.stored.pauses.get(task_id, 0)
            (row.stated if is_paused and not facts.strict else row.wrong).append(
                f"task {task_id[:8]}: run {len(runs)} times: {_some([run.run for run in runs])}"
            )
    for runs in by_work.values():
        for before, after in pairwise(runs):
            if after.started < before.last:
                row.wrong.append(f"{_of(after)}: began while {_of(before)} still ran")
            task = facts.stored.tasks.get(before.task) or {}
            if not _interruption(facts, before) and not _why_swept(facts, before, task):
                row.wrong.append(f"{_of(after)}: runs again what {_of(before)} was not kept from")
    return row


def _interruption(facts: Facts, run: Run) -> str:
    """Say what may have kept a run from its end, if anything did.

    The run may have ended by itself, and its worker been killed before the server knew.
    """
    if _happened(facts.worker_killed_at, run):
        return KILLED
    if _happened(facts.worker_ended_at, run):
        return "the worker went away"
    for stopped, continued in facts.worker_stopped:
        if stopped <= run.last + UNTOLD_S and continued >= run.started:
            return "the worker stood still"
    return ""


def _root(stored: Stored, task_id: str) -> str:
    seen = set()
    while task_id not in seen:
        seen.add(task_id)
        parent = (stored.tasks.get(task_id) or {}).get("parentTaskId")
        if not parent:
            break
        task_id = parent
    return task_id


def _left(facts: Facts) -> Row:
    row = Row("nothing is left behind", counted=len(facts.runs))
    row.wrong += [f"process {text}" for text in facts.processes_left]
    row.wrong += [f"active session of {task[:8]}" for task in facts.stored.active_sessions]
    row.wrong += [f"in the outbox: {text}" for text in facts.kept.outbox]
    row.wrong += [f"claim of {task[:8]}" for task in facts.kept.claims]
    return row


def _secrets(facts: Facts) -> Row:
    return Row("no secret in any byte", counted=facts.searched_bytes, wrong=list(facts.leaks))


CHECKS: tuple[Callable[[Facts], Row], ...] = (
    _lines,
    _doubled_lines,
    _order,
    _costs,
    _events,
    _finishes,
    _disk,
    _results,
    _executions,
    _left,
    _secrets,
)


def _of(run: Run) -> str:
    return f"run {run.run} of task {run.task[:8]}"


def _name(facts: Facts, name: str) -> str:
    return _of(facts.runs[name]) if name in facts.runs else f"run {name}"


def _why(task: dict[str, Any]) -> str:
    return str(task.get("failureReason") or task.get("output") or "")[:100]


def _some(numbers: Sequence[object]) -> str:
    more = f" … ({len(numbers)})" if len(numbers) > SHOWN else ""
    return ", ".join(map(str, numbers[:SHOWN])) + more


def _jumps(numbers: list[int]) -> str:
    return ", ".join(f"{before}→{after}" for before, after in pairwise(numbers) if after < before)
