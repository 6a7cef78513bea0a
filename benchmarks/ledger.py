"""Compare the lines that a task printed with those that the swarm has stored."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import agent, processes

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.processes import Lead

PAGE = 1000
"""The most events the server gives back at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One task, as the swarm knows it in the end."""

    status: str
    lines_printed: int
    lines_stored: int
    """Different ones."""
    lines_twice: int
    in_order: bool
    cost_rows: int
    completions: int
    runs: int
    session_known: bool
    output_right: bool
    tool_events_missing: int
    tool_events_twice: int
    contexts: int
    tasks_made_of_it: int
    """Retries and resumes that the server made because it took the worker for dead."""

    @property
    def is_right(self) -> bool:
        """True if nothing is missing, nothing came twice, and it ran once."""
        return self == right(self.lines_printed) and self.lines_printed > 0

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def right(lines: int) -> Account:
    """Return the account of a task that printed so many lines and had no trouble."""
    return Account(
        status="completed",
        lines_printed=lines,
        lines_stored=lines,
        lines_twice=0,
        in_order=True,
        cost_rows=1,
        completions=1,
        runs=1,
        session_known=True,
        output_right=True,
        tool_events_missing=0,
        tool_events_twice=0,
        contexts=2,  # the agent says one thing about it, the worker the last
        tasks_made_of_it=0,
    )


async def stored_lines(lead: Lead, task_id: str) -> list[str]:
    """Return the stored lines of a task's agent, in the server's order."""
    rows = (await lead.get(f"/api/tasks/{task_id}/session-logs"))["logs"]
    return [str(row["content"]) for row in rows]


async def stored_events(lead: Lead, task_id: str) -> list[dict[str, Any]]:
    """Return all events of a task; there may be more than the server gives back at once."""
    found: dict[str, dict[str, Any]] = {}
    until: dict[str, str] = {}
    while True:
        page = (await lead.get("/api/events", taskId=task_id, limit=PAGE, **until))["events"]
        news = {row["id"]: row for row in page if row["id"] not in found}
        found |= news
        if len(page) < PAGE or not news:
            return list(found.values())
        until = {"until": page[-1]["createdAt"]}


async def made_of(lead: Lead) -> Counter[str]:
    """Return how many tasks the swarm has made of each."""
    everything = (await lead.get("/api/tasks", limit=PAGE))["tasks"]
    return Counter(str(task["parentTaskId"]) for task in everything if task.get("parentTaskId"))


async def account(lead: Lead, run_dir: Path, task_id: str, made: Counter[str]) -> Account:
    """Compare everything the swarm has of a task with what its agent printed."""
    task = await lead.get(f"/api/tasks/{task_id}")
    count = agent.planned(str(task["task"]))[0]
    expected = agent.lines_of(task_id, count)
    stored = await stored_lines(lead, task_id)
    different = list(dict.fromkeys(stored))
    events = await stored_events(lead, task_id)
    calls_missing, calls_twice = _calls(events, expected)
    history = (await lead.get(f"/api/tasks/{task_id}", logsLimit=1000))["logs"]
    changes = [row for row in history if row["eventType"] == "task_status_change"]
    return Account(
        status=str(task["status"]),
        lines_printed=processes.printed(run_dir, task_id)[0],
        lines_stored=len(set(different) & set(expected)),
        lines_twice=len(stored) - len(different),
        in_order=different == expected,
        cost_rows=len((await lead.get("/api/session-costs", taskId=task_id))["costs"]),
        completions=sum(row["newValue"] == "completed" for row in changes),
        runs=processes.runs(run_dir, task_id),
        session_known=task.get("claudeSessionId") == f"native-{task_id}",
        output_right=task.get("output") == f"{count} lines of {task_id}",
        tool_events_missing=calls_missing,
        tool_events_twice=calls_twice,
        contexts=len((await lead.get(f"/api/tasks/{task_id}/context"))["snapshots"]),
        tasks_made_of_it=made[task_id],
    )


def _calls(events: list[dict[str, Any]], lines: list[str]) -> tuple[int, int]:
    """Return how many starts and ends of tool calls are missing, and how many came twice."""
    printed = {
        (event["type"].replace("_", "."), event["tool_call_id"])
        for event in map(json.loads, lines)
        if event["type"] in {"tool_start", "tool_end"}
    }
    got = Counter(
        (event["event"], event["data"]["toolCallId"])
        for event in events
        if event["event"] in {"tool.start", "tool.end"}
    )
    return len(printed - set(got)), sum(times - 1 for times in got.values())
