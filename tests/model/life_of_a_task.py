"""The model: what may become of a task, who makes it so, and by which call.

One row is one change of a task's status that the server carries out. Whoever wants to check it
holds it against the API reference, section by section; the tests hold it against what the local
swarm and the worker really do: a change that is not in this table is a finding.

``python tests/model/life_of_a_task.py`` prints it as docs/state-machine.md has it.
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
    """Where the API reference has it."""
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
    Change("create", "3", "lead", NEW, "pending", "a task for this agent"),
    Change("create", "3", "lead", NEW, "unassigned", "a task for whoever has room"),
    *_born("supersede", "6.1", "worker", "the resume task of a shutdown or crash"),
    *_born("supersede", "6.1", "lead", "the resume task"),
    *_born("sweep", "B", "server", "the resume task of a session without a sign of life"),
    *_born("reboot sweep", "7.2", "server", "the second try of a session without a beat"),
    Change("finish", "A.8", "worker", NEW, "pending", "a message nobody had time to deliver"),
    Change("cancel", "A.8", "lead", NEW, "pending", "a message nobody had time to deliver"),
    Change("steered", "E46", "worker", NEW, "pending", "a message the session did not take"),
    Change("steer", "A.8", "lead", NEW, "pending", "a message that comes too late"),
    # --- claiming
    Change("poll", "E8", "worker", "pending", "in_progress", "claimed; nobody acknowledges it"),
    Change("poll", "E8", "worker", "unassigned", "in_progress", "claimed out of the pool"),
    Change("sweep", "B", "server", "unassigned", "pending", "the pool gives to an idle agent"),
    Change("orphans", "E25", "worker", "in_progress", "pending", "claimed, but never begun"),
    # --- while it runs
    Change("pause", "E17", "lead", "in_progress", "paused", "its session is to end"),
    Change("pause", "E17", "worker", "in_progress", "paused", "a trap is put right (E13)"),
    Change("resume", "E18", "lead", "paused", "in_progress", "goes on in a new session"),
    Change("resume", "E18", "worker", "paused", "in_progress", "a shutdown had paused it"),
    Change("steer", "A.8", "lead", "paused", "in_progress", "a message wakes the task"),
    Change("progress", "E13", "worker", "paused", "in_progress", "trap: a late word wakes it"),
    Change("progress", "E13", "worker", "pending", "in_progress", "trap, and the repair of E15"),
    # --- the end
    Change("finish", "E15", "worker", "in_progress", "completed", "the session's result"),
    Change("finish", "E15", "worker", "in_progress", "failed", "the session's failure"),
    Change("supersede", "E16", "worker", "in_progress", "superseded", "shutdown or crash"),
    Change("supersede", "E16", "lead", "in_progress", "superseded", "by hand"),
    *(Change("cancel", "E9", "lead", before, "cancelled", "by hand") for before in OPEN),
    Change("sweep", "B", "server", "in_progress", "superseded", "no sign of life"),
    Change("sweep", "B", "server", "in_progress", "failed", "the same, for the fourth time"),
    Change("reboot sweep", "7.2", "server", "in_progress", "failed", "no beat since the restart"),
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
    head = "| from | to | by | who | reference | what it is |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


_ORDER = (NEW, *OPEN)

if __name__ == "__main__":
    print(as_markdown())
