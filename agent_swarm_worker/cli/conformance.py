"""``swarm-worker conformance``: check which promises of the contract a harness keeps."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from agent_swarm_worker import logs
from agent_swarm_worker.cli.connect import run_until_signal
from agent_swarm_worker.cli.output import print_json, print_line
from agent_swarm_worker.conformance.harness_fixture import find_fixture
from agent_swarm_worker.conformance.suite import examine
from agent_swarm_worker.errors import EXIT_FAILURE, UsageError

if TYPE_CHECKING:
    import argparse

    from agent_swarm_worker.conformance.suite import Outcome

MARKS = {"kept": "✔", "broken": "✘", "not run": "·"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("provider", metavar="NAME", help="a harness, as `providers` lists them")
    parser.add_argument(
        "--env",
        metavar="K=V",
        action="append",
        default=[],
        help="a variable for its sessions, which get nothing else of this environment but PATH",
    )
    parser.add_argument(
        "--stage", metavar="MODULE:ATTR", help="what its sessions talk to, if no entry point says"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run all checks; return 1 if a promise is broken."""
    # Checks provoke errors on purpose; each outcome has its own.
    logs.configure(level="error", stream=io.StringIO())
    return run_until_signal(_examine, args)


async def _examine(args: argparse.Namespace) -> int:
    harness = find_fixture(args.provider, args.stage)
    outcomes: list[Outcome] = []
    async for outcome in examine(args.provider, env=_variables(args.env), harness=harness):
        outcomes.append(outcome)
        if not args.json:
            why = f"\n    {outcome.why}" if outcome.why else ""
            print_line(f"{MARKS[outcome.state]} {outcome.check.promise}{why}")
    count = {state: sum(one.state == state for one in outcomes) for state in MARKS}
    if args.json:
        rows = [
            {"check": o.check.name, "promise": o.check.promise, "state": o.state, "why": o.why}
            for o in outcomes
        ]
        print_json({"provider": args.provider, "checks": rows})
    else:
        print_line(f"{count['kept']} kept, {count['broken']} broken, {count['not run']} not run")
    return EXIT_FAILURE if count["broken"] else 0


def _variables(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    for name, equals, _ in split:
        if not name or not equals:
            raise UsageError(f"--env takes NAME=VALUE, not {name!r}")
    return {name: value for name, _, value in split}
