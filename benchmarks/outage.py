"""Measure a task during which the API is down for a while.

A task prints 183 lines in 30 s. After a third of it the API is gone, for 20 s or for 120 s, which
is longer than the task: it ends in between. What was printed, called, spent and said is then held
against what the swarm has of it. Exits with 1 if anything is missing, came twice or ran twice.

==========  ======================================================================================
kill        the swarm's process is killed, and started again on its file; it sweeps after its reboot
freeze      the process is stopped and goes on: what was sent meanwhile is carried out after all
refuse      nobody listens
hang        connections are taken, and no request is ever answered
answer_500  every request is answered with an internal error
html        a gateway shows its page
half_body   every answer breaks off in the middle, after the API has done what was asked
late_500    the API does what was asked, and an internal error is told
==========  ======================================================================================
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks import ledger, processes
from benchmarks.processes import Lead, Swarm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.ledger import Account

LINES = 183
TASK_S = 30.0
BEGIN_S = 10.0
OUTAGES_S = (20.0, 120.0)
STARTS_AT_ONCE = 4
FIRST_SWEEP_S = 5.0
KINDS = ("kill", "freeze", "refuse", "hang", "answer_500", "html", "half_body", "late_500")
QUICK = 0.06
"""How much shorter everything is with ``--quick``, the worker's own intervals included."""
LOOK_S = 0.1
"""How often the swarm is looked at; more often, and the looking itself would be what it does."""
WAIT_S = 90.0
"""How long after the API's return all may take; a worker waits 30 s at most between tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One play."""

    kind: str
    outage_s: float
    scale: float = 1.0

    def lasts_s(self) -> float:
        return self.outage_s * self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageResult:
    """How it went."""

    outage: Outage
    account: Account
    printed_meanwhile: int
    """Lines, while the API was away."""
    caught_up_s: float | None
    """From the API's return until all was stored that had been printed by then, and the task
    finished if the agent had."""

    @property
    def is_right(self) -> bool:
        return self.account.is_right and self.caught_up_s is not None

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.outage.kind,
            "outage_s": round(self.outage.lasts_s(), 1),
            "right": self.is_right,
            "printed_meanwhile": self.printed_meanwhile,
            "caught_up_s": self.caught_up_s and round(self.caught_up_s, 2),
            **asdict(self.account),
        }


async def play(
    outage: Outage, run_dir: Path, starts: anyio.Semaphore | None = None
) -> OutageResult:
    """Play one outage in a directory of its own; `starts` limits how many start at once."""
    scale = outage.scale
    async with AsyncExitStack() as held:
        async with starts or anyio.Semaphore(1):
            swarm = Swarm(run_dir, first_sweep_s=FIRST_SWEEP_S * scale)
            held.callback(swarm.kill)
            await swarm.start()
            started_s = time.monotonic()
            url, away = await held.enter_async_context(_trouble(outage.kind, swarm))
            lead = Lead(swarm.url)
            held.push_async_callback(lead.close)
            await held.enter_async_context(processes.worker(run_dir, url, **_pace(scale)))
            with anyio.fail_after(processes.WAIT_S):
                await processes.until(lead.is_registered)
        with anyio.fail_after(processes.WAIT_S):
            # A claim that the sweep after a start finds unannounced is failed; that one is no part
            # of the outage.
            swept_s = started_s + (FIRST_SWEEP_S + 1) * scale
            await anyio.sleep(max(0.0, swept_s - time.monotonic()))
            task_id = await lead.submit(LINES, TASK_S * scale)
            await processes.until(partial(_has_begun, run_dir, task_id))
        await anyio.sleep(BEGIN_S * scale)
        before = processes.printed(run_dir, task_id)[0]
        async with away():
            await anyio.sleep(outage.lasts_s())
        returned_s, meanwhile = time.monotonic(), processes.printed(run_dir, task_id)[0]
        caught_up_s = None
        with anyio.move_on_after(WAIT_S):
            await processes.until(partial(_is_stored, lead, task_id, meanwhile), every_s=LOOK_S)
            caught_up_s = time.monotonic() - returned_s
            await processes.until(partial(_is_settled, lead, task_id), every_s=LOOK_S)
            # What the server makes of a task that it takes for dead, it makes at its first sweep.
            await anyio.sleep(max(0.0, returned_s + (FIRST_SWEEP_S + 2) * scale - time.monotonic()))
        told = await ledger.account(lead, run_dir, task_id, await ledger.made_of(lead))
    return OutageResult(
        outage=outage,
        account=told,
        printed_meanwhile=meanwhile - before,
        caught_up_s=caught_up_s,
    )


def _pace(scale: float) -> dict[str, str]:
    """Return the worker's own intervals on another time scale; its defaults on the real one."""
    if scale == 1:
        return {}
    defaults = {"POLL": 2, "HEARTBEAT": 3, "CANCEL_CHECK": 1, "EVENTS_FLUSH": 5, "LOG_FLUSH": 1}
    return {f"SWARM_{name}_INTERVAL_S": f"{value * scale:g}" for name, value in defaults.items()}


@asynccontextmanager
async def _trouble(kind: str, swarm: Swarm) -> AsyncIterator[tuple[str, Any]]:
    """Yield the address for the worker, and what keeps the API away while it is entered."""
    if kind in {"kill", "freeze"}:
        yield swarm.url, {"kill": lambda: _killed(swarm), "freeze": lambda: _frozen(swarm)}[kind]
        return
    from chaos.faults import Fault, Kind
    from chaos.proxy import FaultProxy

    async with FaultProxy(swarm.url) as proxy:

        @asynccontextmanager
        async def harmed() -> AsyncIterator[None]:
            proxy.set(Fault(Kind(kind)))
            yield
            proxy.heal()

        yield proxy.url, harmed


@asynccontextmanager
async def _killed(swarm: Swarm) -> AsyncIterator[None]:
    swarm.kill()
    yield
    await swarm.start()


@asynccontextmanager
async def _frozen(swarm: Swarm) -> AsyncIterator[None]:
    swarm.signal(signal.SIGSTOP)
    yield
    swarm.signal(signal.SIGCONT)


async def _has_begun(run_dir: Path, task_id: str) -> bool:
    return processes.printed(run_dir, task_id)[0] > 0


async def _is_stored(lead: Lead, task_id: str, lines: int) -> bool:
    """Say whether so many lines are there; with all of them, whether the task's end is too."""
    if lines == LINES and not await _is_settled(lead, task_id):
        return False
    return len(await ledger.stored_lines(lead, task_id)) >= lines


async def _is_settled(lead: Lead, task_id: str) -> bool:
    """Say whether the worker has told all: its session row is the last thing to go."""
    task = await lead.get(f"/api/tasks/{task_id}")
    rows = (await lead.get("/api/active-sessions"))["sessions"]
    return task["status"] != "in_progress" and all(row["taskId"] != task_id for row in rows)


async def play_all(outages: list[Outage], run_dir: Path) -> list[OutageResult]:
    """Play them side by side, since each mostly waits; the order is kept."""
    outcomes: dict[Outage, OutageResult] = {}
    # All at once they would keep each other from starting, until a swarm gives up a connection
    # on which nothing has been asked for ten seconds.
    starts = anyio.Semaphore(STARTS_AT_ONCE)

    async def one(outage: Outage) -> None:
        where = run_dir / f"{outage.kind}-{outage.outage_s:g}"
        where.mkdir()
        outcomes[outage] = await play(outage, where, starts)

    async with anyio.create_task_group() as group:
        for outage in outages:
            group.start_soon(one, outage)
    return [outcomes[outage] for outage in outages]


def table(outcomes: list[OutageResult]) -> str:
    """Return the outcomes for people."""
    head = (
        f"{'API':10} {'away':>6} {'lines':>9} {'twice':>6} {'order':>6} {'costs':>6} {'ends':>5}"
        f" {'runs':>5} {'status':>10} {'calls lost/twice':>17} {'after return':>13}"
    )
    rows = [head]
    for outcome in outcomes:
        told, outage = outcome.account, outcome.outage
        after = "never" if outcome.caught_up_s is None else f"{outcome.caught_up_s:.1f} s"
        rows.append(
            f"{outage.kind:10} {outage.lasts_s():4.4g} s {told.lines_stored:5}/{told.lines_printed}"
            f" {told.lines_twice:6} {'yes' if told.in_order else 'no':>6} {told.cost_rows:6}"
            f" {told.completions:5} {told.runs:5} {told.status:>10}"
            f" {told.tool_events_missing:12}/{told.tool_events_twice}   {after:>13}"
            f"{'' if outcome.is_right else '  WRONG'}"
        )
    return "\n".join(rows)


def main() -> int:
    """Play what is asked for, print a table and JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="everything is over in seconds")
    parser.add_argument("--kinds", default=",".join(KINDS), help="default: %(default)s")
    parser.add_argument("--seconds", default=",".join(f"{s:g}" for s in OUTAGES_S))
    parser.add_argument("--json", action="store_true", help="print nothing but JSON")
    parser.add_argument("--keep", type=Path, help="directory for the files of all, kept")
    options = parser.parse_args()
    scale = QUICK if options.quick else 1.0
    outages = [
        Outage(kind=kind, outage_s=float(seconds), scale=scale)
        for seconds in options.seconds.split(",")
        for kind in options.kinds.split(",")
    ]
    with tempfile.TemporaryDirectory() as made:
        outcomes = anyio.run(play_all, outages, options.keep or Path(made))
    if not options.json:
        print(table(outcomes), file=sys.stderr)
    print(json.dumps([outcome.as_json() for outcome in outcomes], indent=2))
    return 0 if all(outcome.is_right for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
