"""A harness with predictable output: ``agent.py <directory>``.

Its task says what it does: ``lines=183 seconds=30``. It prints normalized events, evenly spread,
all with its own task's id, and the same tool-call ids and words as every other task. In the
directory it leaves a line in ``runs/<task>`` for each time it was started, and in
``printed/<task>`` how many lines and bytes it has printed so far.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

CALLS = 5
"""One line in so many begins a tool call, and the next one ends it."""
WINDOW_TOKENS = 200_000


def lines_of(task_id: str, count: int) -> list[str]:
    """Return what a task prints, first to last.

    Args:
        task_id: is in every line.
        count: of lines; at least 3.
    """
    events: list[dict[str, object]] = [
        {"type": "session_init", "session_id": f"native-{task_id}", "model": "bench-1"}
    ]
    events += [_event(n) for n in range(1, count - 1)]
    cost = {"total_cost_usd": 0.25, "input_tokens": count, "output_tokens": 2 * count}
    events.append(
        {"type": "result", "output": f"{count} lines of {task_id}", "cost": cost, "is_error": False}
    )
    return [json.dumps({**event, "n": n, "task": task_id}) for n, event in enumerate(events)]


def _event(n: int) -> dict[str, object]:
    if n == 1:
        return {
            "type": "context_usage",
            "context_used_tokens": 1000,
            "context_total_tokens": WINDOW_TOKENS,
        }
    call = {"tool_call_id": f"call-{n // CALLS}", "tool_name": "Bash"}
    match n % CALLS:
        case 2:
            return {"type": "tool_start", **call, "args": {"description": f"Step {n}"}}
        case 3:
            return {"type": "tool_end", **call, "result": "as in every other session"}
        case _:
            return {"type": "message", "role": "assistant", "content": "The same words everywhere."}


def planned(task: str) -> tuple[int, float]:
    """Return the lines and the seconds that a task asks for."""
    found = re.search(r"lines=(\d+) seconds=([\d.]+)", task)
    assert found is not None, "the task does not say how much"
    return int(found[1]), float(found[2])


def main() -> None:
    """Print, on time."""
    run_dir, task_id = Path(sys.argv[1]), os.environ["AGENT_SWARM_TASK_ID"]
    count, seconds = planned(sys.stdin.buffer.read().decode("utf-8", "replace"))
    with (run_dir / "runs" / task_id).open("a") as runs:
        runs.write(f"{os.getpid()}\n")
    note = os.open(run_dir / "printed" / task_id, os.O_WRONLY | os.O_CREAT)
    began_s, printed_bytes = time.monotonic(), 0
    for n, line in enumerate(lines_of(task_id, count)):
        wait_s = began_s + seconds * n / (count - 1) - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        print(line, flush=True)
        printed_bytes += len(line) + 1
        # Always as long, and in one piece: there is no moment at which it cannot be read.
        os.pwrite(note, b"%9d %12d" % (n + 1, printed_bytes), 0)


if __name__ == "__main__":
    main()
