"""The command line ``python -m chaos``."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import anyio

from chaos.plan import make_plan
from chaos.report import table
from chaos.runner import Report, Runner

SECONDS_PER_FAULT = 2.3


def main(argv: list[str] | None = None) -> int:
    """Return 0 if nothing was lost, doubled, left or leaked, else 1."""
    args = _arguments(argv)
    seed = int(time.time()) if args.seed is None else args.seed
    seconds = args.seconds or args.faults * SECONDS_PER_FAULT
    plan = make_plan(seed, args.faults, seconds, scale=args.scale, has_disk=not args.no_disk)
    if args.plan:
        print("\n".join(f"{step.at_s:7.2f}s  {step}" for step in plan))
        return 0
    run_dir = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-", dir=args.dir))

    def say(text: str) -> None:
        if not args.json:
            print(text, flush=True)

    say(f"seed {seed}, {args.faults} faults in about {seconds:.0f} s, in {run_dir}")
    runner = Runner(run_dir, plan, seed=seed, slots=args.slots, strict=args.strict, say=say)
    # A shell makes the jobs in its background deaf to SIGINT, and so their children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        report = anyio.run(runner.run)
    except KeyboardInterrupt:
        say(f"seed {seed}: interrupted; see {run_dir}")
        return 130
    _print(report, as_json=args.json)
    if report.is_good and not args.keep:
        shutil.rmtree(run_dir)
    return 0 if report.is_good else 1


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument(
        "--seed", type=int, help="the same seed draws the same faults; default: now"
    )
    parser.add_argument("--faults", type=int, default=200, help="default: 200")
    parser.add_argument(
        "--seconds", type=float, help="over which they are spread; default: 2.3 each"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of how long each lasts; default: 1"
    )
    parser.add_argument("--slots", type=int, default=4, help="of the worker; default: 4")
    parser.add_argument("--strict", "--strict-pipes", action="store_true", help="forgive nothing")
    parser.add_argument("--no-disk", action="store_true", help="do not mount a small disk to fill")
    parser.add_argument("--plan", action="store_true", help="print the faults and do nothing")
    parser.add_argument("--dir", help="where the run's directory is made; default: the system's")
    parser.add_argument("--keep", action="store_true", help="keep that directory in any case")
    parser.add_argument("--json", action="store_true", help="print one JSON document and no more")
    return parser.parse_args(argv)


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**asdict(report), "is_good": report.is_good}, default=str, indent=2))
        return
    print(f"\n{table(report.rows)}\n")
    print(
        f"{report.tasks} tasks, {report.runs} runs, {report.requests} requests"
        f" ({report.harmed} harmed); settled in {report.settled_in_s:.1f} s, drained in"
        f" {report.drained_in_s:.1f} s, {report.took_s:.0f} s in all"
    )
    print(f"worker before: {report.before}\nworker after:  {report.after}")
    if not report.is_good:
        print(f"seed {report.seed}: something is wrong; see {report.run_dir}")


if __name__ == "__main__":
    sys.exit(main())
