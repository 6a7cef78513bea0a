"""``swarm-worker flush``: deliver the outbox of a worker that no longer runs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from agent_swarm_worker import logs
from agent_swarm_worker.cli.connect import run_until_signal
from agent_swarm_worker.cli.output import notice, print_json, print_line, print_table
from agent_swarm_worker.cli.view import View
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.errors import EXIT_LEFT, StateError, StateLocked
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.settings import Settings, process_env
from agent_swarm_worker.worker.loops.flushing import agents_of, opened

if TYPE_CHECKING:
    import argparse

    from agent_swarm_worker.worker.loops.flushing import Flush

TIMEOUT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--all", action="store_true", help="every agent of the state directory, not AGENT_ID alone"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"for each agent; default: {TIMEOUT_S:g}",
    )
    parser.add_argument(
        "--list", "--dry-run", action="store_true", help="show what waits, and send nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Deliver; return 0 if the outbox is empty, else 75."""
    scrubber = Scrubber()
    scrubber.add_env(process_env())
    logs.configure(level="warning", scrub=scrubber.text)
    settings = Settings.load(process_env())
    agents = agents_of(settings, all_agents=args.all)
    return run_until_signal(_run, args, settings, agents)


async def _run(args: argparse.Namespace, settings: Settings, agents: tuple[str, ...]) -> int:
    left, documents = 0, []
    for agent_id in agents:
        try:
            async with opened(settings, agent_id, clock=SystemClock(), log=logs.Log()) as flush:
                act = _listed if args.list else _delivered
                left_here, document = await act(args, agent_id, flush)
        except StateError as error:
            if isinstance(error, StateLocked):
                error.advice = "that worker delivers by itself; flush is for when none runs"
            if not args.all:
                raise
            notice(f"{agent_id}: {error}; {error.advice}")
            left += not isinstance(error, StateLocked)
            continue
        left += left_here
        documents.append(document)
    if args.json:
        print_json(documents)
    return EXIT_LEFT if left else 0


async def _listed(
    args: argparse.Namespace, agent_id: str, flush: Flush
) -> tuple[int, dict[str, object]]:
    waiting = flush.waiting()
    if not args.json:
        print_line(f"{agent_id}: {_count(sum(row.writes for row in waiting))}")
        if waiting:
            print_table(
                ["WRITES", "BYTES", "KIND", "LANE"],
                [[str(r.writes), str(r.size_bytes), r.kind, r.lane] for r in waiting],
            )
    return len(waiting), {"agent": agent_id, "waiting": [asdict(row) for row in waiting]}


async def _delivered(
    args: argparse.Namespace, agent_id: str, flush: Flush
) -> tuple[int, dict[str, object]]:
    with View(has_status_line=not args.json) as view:
        most = 0

        def count(left: int) -> None:
            nonlocal most
            most = max(most, left)
            view.now(f"{agent_id}: {most - left} of {most} writes delivered")

        try:
            await flush.deliver(args.timeout, count)
        finally:  # shown after an interruption too
            left = flush.outbox.pending()
            if not args.json:
                delivered = f"{most - left} delivered, " if most else ""
                view.say("✔" if not left else "!", f"{agent_id}: {delivered}{_count(left)}")
    return left, {"agent": agent_id, "delivered": most - left, "left": left}


def _count(writes: int) -> str:
    return f"{writes} {'write' if writes == 1 else 'writes'} left" if writes else "nothing left"


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError
    return value


_seconds.__name__ = "number of seconds"
