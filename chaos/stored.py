"""Read the stored records: the swarm's database, and the worker's directory."""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MARK = re.compile(r"([0-9a-f]{12}) (\d+) (\w+) (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a run, as it was kept."""

    n: int
    is_intact: bool


@dataclass(slots=True)
class Stored:
    """The swarm's side."""

    tasks: dict[str, dict[str, Any]]
    lines: dict[str, list[Line]]
    """By run, in the order in which the API shows them."""
    session_of: dict[str, str]
    costs: list[dict[str, Any]]
    tool_starts: dict[str, int]
    """How often each tool call's start was counted."""
    endings: dict[str, list[str]]
    """The terminal statuses that a task went into, oldest first."""
    active_sessions: list[str]
    pauses: dict[str, int]
    """How often each task was paused; after that it goes on under its own id."""


@dataclass(slots=True)
class Kept:
    """The worker's side."""

    lines: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))
    outbox: list[str] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    given_up: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Task to the bytes of its journal that a full disk never took; the worker said so."""


def parse(content: str) -> tuple[str, Line] | None:
    """Return the run and the number in a line; ``None`` if it is not one of ours."""
    try:
        mark = _MARK.fullmatch(json.loads(content)["chaos"])
    except (ValueError, KeyError, TypeError):
        return None
    if mark is None:
        return None
    run, n, total, payload = mark.groups()
    is_intact = total == "secret" or f"{zlib.crc32(payload.encode()):08x}" == total
    return run, Line(int(n), is_intact)


TERMINAL = ("completed", "failed", "cancelled", "superseded")


def read_swarm(db: Path) -> Stored:
    """Read a swarm's database that nobody writes any more."""
    connection = sqlite3.connect(db)
    connection.row_factory = sqlite3.Row

    def rows(query: str) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(query)]

    lines, session_of = defaultdict(list), {}
    for row in rows("SELECT * FROM session_logs ORDER BY taskId, iteration, lineNumber, rowid"):
        if parsed := parse(row["content"]):
            lines[parsed[0]].append(parsed[1])
            session_of[parsed[0]] = row["sessionId"]
    tool_starts: dict[str, int] = defaultdict(int)
    for row in rows("SELECT data FROM events WHERE event = 'tool.start'"):
        tool_starts[json.loads(row["data"])["toolCallId"]] += 1
    endings, pauses = defaultdict(list), Counter[str]()
    changes = "SELECT * FROM task_logs WHERE eventType = 'task_status_change' ORDER BY rowid"
    for row in rows(changes):
        if row["newValue"] in TERMINAL:
            endings[row["taskId"]].append(row["newValue"])
        pauses[row["taskId"]] += row["newValue"] == "paused"
    stored = Stored(
        tasks={row["id"]: row for row in rows("SELECT * FROM tasks ORDER BY rowid")},
        lines=dict(lines),
        session_of=session_of,
        costs=rows("SELECT * FROM session_costs ORDER BY rowid"),
        tool_starts=dict(tool_starts),
        endings=dict(endings),
        active_sessions=[row["taskId"] for row in rows("SELECT taskId FROM active_sessions")],
        pauses=dict(pauses),
    )
    connection.close()
    return stored


def read_worker(state: Path) -> Kept:
    """Read the directory of a worker that is gone."""
    kept = Kept()
    for file in sorted(state.rglob("*.jsonl")):
        with file.open(encoding="utf-8", errors="replace", newline="\n") as journal:
            for content in journal:
                if parsed := parse(content):
                    kept.lines[parsed[0]].append(parsed[1])
    for file in state.rglob("worker.sqlite"):
        connection = sqlite3.connect(file)
        kept.outbox += [
            f"{kind} of {lane}"
            for kind, lane in connection.execute("SELECT kind, lane FROM outbox ORDER BY id")
        ]
        kept.claims += [row[0] for row in connection.execute("SELECT task_id FROM claims")]
        connection.close()
    return kept


def read_logs(kept: Kept, logs: Iterable[Path]) -> None:
    """Take over what the worker's own log says it could not keep."""
    for file in logs:
        for line in file.read_bytes().splitlines():
            if b"lost_bytes" not in line:
                continue
            said = json.loads(line)
            if said["event"] == "session.journal_failed" and "task_id" in said:
                kept.given_up[said["task_id"]] += said["lost_bytes"]
