"""The invariants that hold after every step, and after all faults are over."""

from __future__ import annotations

from collections import Counter

import orjson
from api_side import Seen
from fake_harness import FakeHarness
from task_lifecycle import TERMINAL, find
from world import DRAIN_S, NOTICES_S, SLOTS, Process, World


class InvariantViolated(AssertionError):
    """A check does not hold."""


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InvariantViolated(otherwise)


# --- when a session starts
def may_start(world: World, fake: FakeHarness) -> None:
    """At most one live session of a task; no run without a claim; no more than there are slots."""
    others = [p for p in world.book.alive() if p is not fake]
    same = [p for p in others if p.task_id == fake.task_id]
    check(not same, f"{fake} starts while {same and same[0]} of the same task lives")
    mine = [p for p in others if p.agent_id == fake.agent_id]
    check(len(mine) < SLOTS, f"{fake} starts although all {SLOTS} slots are taken")
    check(_was_claimed(world, fake), f"{fake} runs a task that was never claimed")
    ended = _end_of(world, fake.task_id)
    is_news = ended is None or world.loop.time() - ended.at_s < NOTICES_S
    check(is_news, f"{fake} runs a task that was long {ended and ended.after}")


def _was_claimed(world: World, fake: FakeHarness) -> bool:
    return any(
        seen.task_id == fake.task_id
        and seen.after == "in_progress"
        and (seen.cause.who == "lead" or seen.cause.agent_id == fake.agent_id)
        for seen in world.api.history
    )


def _end_of(world: World, task_id: str) -> Seen | None:
    ends = (s for s in world.api.history if s.task_id == task_id and s.after in TERMINAL)
    return next(ends, None)


# --- after every step
class InvariantChecker:
    """Looks at what is new since the last step."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._checked = 0
        self._broken: list[InvariantViolated] = []
        self.walked: set[tuple[str, str, str, str]] = set()

    def starts(self, fake: FakeHarness) -> None:
        """Look at a session that starts; whoever starts it must not be the one to hear of it."""
        try:
            may_start(self._world, fake)
        except InvariantViolated as broken:
            self._broken.append(broken)

    def look(self) -> None:
        world = self._world
        for broken in self._broken:
            raise broken
        for seen in world.api.history[self._checked :]:
            self._is_legal(seen)
            self._is_no_duplication(seen)
        self._checked = len(world.api.history)
        stored_once_and_in_order(world)
        for process in world.processes.values():
            self._is_alive_or_leaving(process)
            for call in world.late_finishes(process):
                check(False, f"{process.name} finishes a task that had been taken: {call}")

    def _is_legal(self, seen: Seen) -> None:
        step = (seen.cause.call, seen.cause.who, seen.before, seen.after)
        check(find(*step) is not None, f"nothing allows this: {seen}")
        self.walked.add(step)

    def _is_no_duplication(self, seen: Seen) -> None:
        """A server that restarts must not take live work for dead."""
        if seen.cause.call != "reboot sweep" or seen.after != "failed":
            return
        world = self._world
        runs = [p for p in world.book.alive() if p.task_id == seen.task_id]
        hung = world.conditions.hung_at_s
        was_reachable = hung is None or seen.at_s - hung > NOTICES_S
        works = any(
            p.works and p.agent_id == run.agent_id and world.loop.time() - p.up_s > NOTICES_S
            for run in runs
            for p in world.processes.values()
        )
        check(not (works and was_reachable), "a live task was given up after an API restart")

    def _is_alive_or_leaving(self, process: Process) -> None:
        now_s = self._world.loop.time()
        if process.is_up and process.stop_asked_s is not None:
            late = now_s - process.stop_asked_s
            check(late <= DRAIN_S + 1, f"{process.name} is still there {late:.0f} s after SIGTERM")
        if process.exits[-1:] in (["stopped"], ["gave up"]) and process.task is None:
            # What an earlier process left is swept once the API answers, which it may never do.
            left = [
                p for p in self._world.book.alive(process.agent_id) if p.started_s >= process.up_s
            ]
            check(not left, f"{process.name} left, and {left and left[0]} lives on")


def stored_once_and_in_order(world: World) -> None:
    """What the server has of a session's lines, spend and tools is true, and there once."""
    tasks_of = {p.session_uuid: p.task_id for p in world.book.sessions}
    for uuid, stored in stored_lines(world).items():
        fake = next(p for p in world.book.sessions if p.session_uuid == uuid)
        lines = [line for _, line in stored]
        twice = [line for line, count in Counter(lines).items() if count > 1]
        check(not twice, f"line {twice and twice[0]} of {fake} is there twice")
        check(lines == sorted(lines), f"lines of {fake} are out of order: {lines}")
        check(set(lines) <= set(fake.said), f"{fake} never said all of {lines}")
        strays = {task for task, _ in stored} - {fake.task_id}
        check(not strays, f"lines of {fake} are under another task")
    for uuid, count in Counter(row[0] for row in costs(world)).items():
        check(count == 1, f"the cost of session {uuid} is there {count} times")
    for uuid, task_id, usd in costs(world):
        fake = next(p for p in world.book.sessions if p.session_uuid == uuid)
        check(task_id == tasks_of[uuid], f"the cost of {fake} is under another task")
        check(usd <= fake.cost_usd, f"{fake} spent less than {usd}")


def stored_lines(world: World) -> dict[str, list[tuple[str, int]]]:
    """Task and number of each stored line, in the order the server shows them, by session."""
    found: dict[str, list[tuple[str, int]]] = {}
    rows = world.api.rows(
        "SELECT sessionId, taskId, content FROM session_logs ORDER BY iteration, lineNumber, rowid"
    )
    for session_uuid, task_id, content in rows:
        line = orjson.loads(content)
        if "line" in line:
            found.setdefault(session_uuid, []).append((task_id, line["line"]))
    return found


def costs(world: World) -> list[tuple[str, str, float]]:
    return [
        (uuid, task, usd)
        for uuid, task, usd in world.api.rows(
            "SELECT sessionId, taskId, totalCostUsd FROM session_costs"
        )
    ]


# --- when everything is well again
def check_reported(world: World) -> None:
    """Nothing is lost: neither a line, nor a cost, nor a result, nor a task."""
    lines, spent = stored_lines(world), {uuid: usd for uuid, _, usd in costs(world)}
    for fake in world.book.sessions:
        told = [line for _, line in lines.get(fake.session_uuid, ())]
        missing = sorted(set(fake.said) - set(told))
        check(not missing, f"lines {missing} of {fake} were lost")
        arrived = spent.get(fake.session_uuid, 0.0)
        check(arrived == fake.cost_usd, f"{fake} spent {fake.cost_usd}, and {arrived} arrived")
    _tools_arrived(world)
    _messages_heard_once(world)
    _results_arrived(world)
    _nothing_is_left(world)


def _tools_arrived(world: World) -> None:
    """At least once: those of a session that is read again after a kill may come twice."""
    events = world.api.rows("SELECT data FROM events WHERE event = 'tool.start'")
    stored = {orjson.loads(data)["toolCallId"] for (data,) in events if data}
    for fake in world.book.sessions:
        lost = set(fake.tools) - stored
        check(not lost, f"tool calls {lost} of {fake} were lost")


def _messages_heard_once(world: World) -> None:
    for fake in world.book.sessions:
        twice = [text for text, count in Counter(fake.heard).items() if count > 1]
        check(not twice, f"{fake} heard a message twice: {twice}")
    waiting = world.api.rows("SELECT id FROM steering_messages WHERE status = 'pending'")
    check(not waiting, f"{len(waiting)} messages are neither delivered nor promoted")


def _results_arrived(world: World) -> None:
    """A result is on its task, unless the task was taken away before it could be told."""
    rows = world.api.rows("SELECT id, status, output, failureReason FROM tasks")
    by_id = {task_id: (status, output or reason or "") for task_id, status, output, reason in rows}
    for fake in world.book.sessions:
        status, words = by_id[fake.task_id]
        if fake.result is None:
            continue
        if status == "completed":
            check(words == fake.result, f"{fake} came to another end than {words!r}")
            continue
        end = _end_of(world, fake.task_id)
        taken = end is not None and end.cause.call in {"cancel", "sweep", "reboot sweep"}
        by_hand = end is not None and end.cause.call == "supersede" and end.cause.who == "lead"
        check(
            taken or by_hand,
            f"{fake} came to a good end, but its task was {status} ({end})",
        )


def _nothing_is_left(world: World) -> None:
    open_tasks = world.api.rows(
        "SELECT id, status FROM tasks WHERE status NOT IN"
        " ('completed', 'failed', 'cancelled', 'superseded')"
    )
    check(not open_tasks, f"tasks were left: {open_tasks}")
    stopped = world.api.rows("SELECT taskId FROM active_sessions")
    check(not stopped, f"the server still believes in sessions of {stopped}")
    for task_id, status in world.api.rows("SELECT id, status FROM tasks"):
        if status == "superseded":
            children = world.api.rows("SELECT id FROM tasks WHERE parentTaskId = ?", task_id)
            check(bool(children), f"nobody goes on with the superseded task {task_id}")


def check_quiescent(world: World) -> bool:
    """True if there is nothing left to do or to tell."""
    ((open_tasks,),) = world.api.rows(
        "SELECT count(*) FROM tasks WHERE status NOT IN"
        " ('completed', 'failed', 'cancelled', 'superseded')"
    )
    pending = sum(
        p.worker.outbox.pending() + len(p.worker.slots) + len(p.worker.state.running())
        for p in world.processes.values()
        if p.is_up and p.worker is not None
    )
    rows = world.api.rows("SELECT 1 FROM active_sessions")
    return not open_tasks and not pending and not rows
