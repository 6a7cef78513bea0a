"""Run the worker with a wall clock that jumps: ``python -m chaos.worker <file with seconds> …``.

What it adds to the wall clock is read from a file at each look. The monotonic clock stays.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from agent_swarm_worker.cli.app import main
from agent_swarm_worker.clock import SystemClock


def shift_the_clock(file: Path) -> None:
    """Have everything in this process that asks for the time of day get another one."""
    now, seconds = SystemClock.now, time.time

    def offset_s() -> float:
        try:
            return float(file.read_text())
        except (OSError, ValueError):
            return 0.0

    def shifted(self: SystemClock) -> datetime:
        return now(self) + timedelta(seconds=offset_s())

    SystemClock.now = shifted  # type: ignore[method-assign]
    time.time = lambda: seconds() + offset_s()


if __name__ == "__main__":
    shift_the_clock(Path(sys.argv.pop(1)))
    raise SystemExit(main(sys.argv[1:]))
