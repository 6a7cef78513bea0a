"""Read the records that the sessions wrote of themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Run:
    """One start of the harness. Times are of the machine's monotonic clock."""

    run: str
    task: str = ""
    pid: int = 0
    number: int | None = None
    """Of the piece of work; ``None`` if the prompt did not say."""
    started: float = 0.0
    last: float = 0.0
    """When it was last heard of."""
    said: dict[int, float] = field(default_factory=dict)
    """Line number to when the pipe had taken it."""
    tried: set[int] = field(default_factory=set)
    """Lines it began to say; the last one may have got through or not."""
    tools: list[str] = field(default_factory=list)
    cost: int | None = None
    """Of a run that told its cost, in millionths of a dollar; also its number of input tokens."""
    is_error: bool = False
    is_broken: bool = False
    """Its pipe had no reader any more."""
    code: int | None = None
    """Of a run that ended by itself."""


def read_truth(folder: Path) -> dict[str, Run]:
    """Return the runs by their name."""
    runs = {}
    for file in sorted(folder.glob("run-*.jsonl")):
        run = Run(file.stem.removeprefix("run-"))
        for line in file.read_bytes().splitlines():
            try:
                _add(run, json.loads(line))
            except ValueError:
                continue  # killed in the middle of a note
        if run.task:
            runs[run.run] = run
    return runs


def _add(run: Run, note: dict[str, Any]) -> None:
    if note["what"] != "end":
        run.last = note["at"]
    match note["what"]:
        case "start":
            run.task, run.pid, run.number = note["task"], note["pid"], note["number"]
            run.started = note["at"]
        case "try":
            run.tried.add(note["n"])
        case "said":
            run.said[note["n"]] = note["at"]
        case "tool":
            run.tools.append(note["id"])
        case "result":
            run.cost, run.is_error = note["cost"], note["is_error"]
        case "broken":
            run.is_broken = True
        case "end":
            run.code = note["code"]
