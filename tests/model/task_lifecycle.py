"""The table of task states: which change is made by whom, and by which call.

One row is one change of a task's status that the server carries out. Whoever wants to check it
holds it against docs/api.md, section by section; the tests hold it against what the local
swarm and the worker really do: a change that is not in this table is a finding.

``python tests/model/task_lifecycle.py`` prints it as docs/state-machine.md has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

NEW: Final = "(new)"
TERMINAL: Final = frozenset({"completed", "failed", "cancelled", "superseded"})
OPEN: Final = ("unassigned", "pending", "in_progress", "paused")

Who: TypeAlias = Literal["lead", "worker", "server"]


@dataclass(frozen=True, slots=True)
class Change:
    """One legal change of a task's status."""

    call: str
    """The call or the sweep, as `api_side` names it."""
    section: str
    """Of docs/api.md."""
    who: Who
    before: str
    after: str
    why: str


def _born(call: str, section: str, who: Who, why: str) -> tuple[Change, Change]:
    return (
        Change(call, section, who, NEW, "pending", f"{why}, for the same agent"),
        Change(call, section, who, NEW, "unassigned", f"{why}, its agent being away"),
    )


LIFE: Final[tuple[Change, ...]] = (
    # --- how tasks come into being
    Change("create", "5.4", "lead", NEW, "pending", "a task for this agent"),
    Change("create", "5.4", "lead", NEW, "unassigned", "a task for any agent of the pool"),
    *_born("supersede", "7.5", "worker", "the resume task of a shutdown or crash"),
    *_born("supersede", "7.5", "lead", "the resume task"),
    *_born("sweep", "16.2", "server", "the resume task of a session without a sign of life"),
    *_born("reboot sweep", "16.1", "server", "the second try of a session without a beat"),
    Change("finish", "12.4", "worker", NEW, "pending", "a message nobody had time to deliver"),
    Change("cancel", "12.4", "lead", NEW, "pending", "a message nobody had time to deliver"),
    Change("steered", "12.2", "worker", NEW, "pending", "a message the session did not accept"),
    Change("steer", "12.4", "lead", NEW, "pending", "a message for a task that has ended"),
    # --- claiming
    Change("poll", "4.2", "worker", "pending", "in_progress", "claimed; nobody acknowledges it"),
    Change("poll", "4.2", "worker", "unassigned", "in_progress", "claimed out of the pool"),
    Change("sweep", "16.2", "server", "unassigned", "pending", "the pool gives to an idle agent"),
    Change("orphans", "6.7", "worker", "in_progress", "pending", "claimed, but never begun"),
    # --- while it runs
    Change("pause", "5.8", "lead", "in_progress", "paused", "its session is to end"),
    Change("pause", "5.8", "worker", "in_progress", "paused", "undoes the trap of 5.9"),
    Change("resume", "5.8", "lead", "paused", "in_progress", "continues in a new session"),
    Change("resume", "5.8", "worker", "paused", "in_progress", "a shutdown had paused it"),
    Change("steer", "12.4", "lead", "paused", "in_progress", "a message resumes the task"),
    Change("progress", "5.9", "worker", "paused", "in_progress", "trap: late progress resumes it"),
    Change("progress", "5.9", "worker", "pending", "in_progress", "trap, and the repair of 7.1"),
    # --- the end
    Change("finish", "7.1", "worker", "in_progress", "completed", "the session's result"),
    Change("finish", "7.1", "worker", "in_progress", "failed", "the session's failure"),
    Change("supersede", "7.4", "worker", "in_progress", "superseded", "shutdown or crash"),
    Change("supersede", "7.4", "lead", "in_progress", "superseded", "by hand"),
    *(Change("cancel", "5.5", "lead", before, "cancelled", "by hand") for before in OPEN),
    Change("sweep", "16.2", "server", "in_progress", "superseded", "no sign of life"),
    Change("sweep", "16.2", "server", "in_progress", "failed", "the same, for the fourth time"),
    Change("reboot sweep", "16.1", "server", "in_progress", "failed", "no beat since the restart"),
)


def find(call: str, who: str, before: str, after: str) -> Change | None:
    """Return the row that allows a change."""
    wanted = (call, who, before, after)
    return next((r for r in LIFE if (r.call, r.who, r.before, r.after) == wanted), None)


def as_markdown() -> str:
    """Return the table as the page shows it."""
    rows = [
        f"| {row.before} | {row.after} | {row.call} | {row.who} | {row.section} | {row.why} |"
        for row in sorted(LIFE, key=lambda row: _ORDER.index(row.before))
    ]
    head = "| from | to | by | who | section | what it is |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


_ORDER = (NEW, *OPEN)

if __name__ == "__main__":
    print(as_markdown())
