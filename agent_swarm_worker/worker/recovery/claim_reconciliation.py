"""Finds tasks that the server has claimed for this agent in a poll whose answer was lost.

A poll claims before it answers (docs/api.md 4.2). If the answer is lost, or this process is killed
before it reads it, the task is claimed, no session runs, and no later poll returns it. So after a
poll that may have been carried out, and at the start after a crash, `ClaimReconciliation` compares
the server's list of this agent's tasks with the tasks that run here, and begins the missing ones.
Mentions and offers that cannot be verified are repeated by the server after 30 minutes.

Two processes may share one agent id, so no other process may run the task. Verified is:

* The task was claimed after the earliest poll whose answer is missing. Its age is a difference of
  two times of the server's clock, the time since that poll one of two of ours, so the clocks need
  not agree. Orphan recovery on the server handles an older task (docs/api.md 6.7).
* The task has no session on the server's list, none stored with it, and no log line.
* The server accepts a session row of ours: it accepts one of all processes that verify the same
  task. The row also keeps the server's orphan recovery and sweeps away from it.
* The task does not change for longer than a heartbeat interval. Another worker that was just given
  the task replaces our row with its own, at once or with its first heartbeat.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.api.wire.tasks import TaskAssigned, TaskOffered
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import ApiError, ApiRefused, Unauthorized
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.run.running_task import RunningTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from agent_swarm_worker.api.sessions import SessionRow
    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.worker.boot.parts import LoopParts

NOTE_KEY = "lost-claims"
NOTE_INTERVAL_S = 60.0
"""How far the note on disk may lag behind the last poll."""
CHECK_INTERVAL_S = 5.0
MIN_CHECK_INTERVAL_S = 1.0
WATCH_S = 60.0
"""How long a server may take to carry out a poll whose request was abandoned."""
MAX_LISTED = 100
MAX_REMEMBERED = 64
HEARTBEAT_MARGIN_S = 1.0
"""How much longer than a heartbeat interval a task must stay unchanged."""
ROUNDING_S = 1.0
"""Tolerance when two times of one clock are compared."""


class ClaimReconciliation:
    """Finds claims whose answer was lost, and begins them like triggers of a poll."""

    def __init__(
        self,
        worker: LoopParts,
        group: TaskGroup,
        begin: Callable[[TaskAssigned | TaskOffered], None],
        until_draining: Callable[[Callable[[], Awaitable[None]]], Awaitable[bool]],
    ) -> None:
        """Read the note of an earlier process.

        `begin` runs a trigger; it is called while a slot is free. `until_draining` awaits a call;
        false if the shutdown began first.
        """
        self._worker, self._group = worker, group
        self._begin, self._until_draining = begin, until_draining
        self._since_s: float | None = None
        """When the earliest poll was sent whose answer is missing; ``None`` if none is."""
        self._watch_until_s = self._next_check_s = 0.0
        self._checked_s = self._noted_s = -math.inf
        self._begun: deque[str] = deque(maxlen=MAX_REMEMBERED)
        self._not_ours: deque[tuple[str, str]] = deque(maxlen=MAX_REMEMBERED)
        self._rows: dict[str, str] = {}
        """By task, the session id of the row that reserves it during verification."""
        self._read_note()

    # --- called by the poll loop
    def poll_started(self) -> float:
        """Save that a poll is about to be sent; return the time for `answer_lost`."""
        now_s = self._worker.clock.monotonic()
        if now_s - self._noted_s >= NOTE_INTERVAL_S:
            self._save_note()
        return now_s

    def answer_lost(self, sent_s: float) -> None:
        """Watch for a claim of the poll that was sent at this time."""
        now_s = self._worker.clock.monotonic()
        self._watch(sent_s)
        self._next_check_s = min(
            self._next_check_s, max(now_s, self._checked_s + MIN_CHECK_INTERVAL_S)
        )

    def task_begun(self, task_id: str) -> None:
        """Exclude a task that this process has begun."""
        self._begun.append(task_id)

    def polling_ended(self) -> None:
        """Clear the note, unless a claim is still unverified: the next start continues with it."""
        if self._since_s is None and not self._rows:
            self._worker.state.note(NOTE_KEY, "")

    # --- finding
    async def reconcile(self) -> None:
        """Start to verify the claims that are found, if an answer is missing and a slot is free."""
        worker, now_s = self._worker, self._worker.clock.monotonic()
        is_due = self._since_s is not None and now_s >= self._next_check_s
        if not is_due or worker.client.http.health.is_down or not worker.slots.has_room:
            return
        self._checked_s, self._next_check_s = now_s, now_s + CHECK_INTERVAL_S
        try:
            found = await self._candidates()
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="tasks", why=str(error))
            if isinstance(error, ApiRefused) and not isinstance(error, Unauthorized):
                # A server without this list recovers the task by itself.
                self._since_s = self._since_s if error.is_server_fault else None
            return
        if not found and now_s >= self._watch_until_s:
            self._since_s = None
            self._rows = {t: session for t, session in self._rows.items() if t in worker.slots}
        for row in found:
            if worker.slots.has_room:
                self._reserve(row)

    async def _candidates(self) -> list[Task]:
        """Return the tasks that are claimed for this agent and have no session, by the lists."""
        worker, tasks = self._worker, self._worker.client.tasks
        rows = [
            *await tasks.list(
                status="in_progress", agent_id=worker.agent_id, limit=MAX_LISTED, background=True
            ),
            *await tasks.list(status="reviewing", limit=MAX_LISTED, background=True),
        ]
        claims = {claim.task_id for claim in worker.state.running()}
        unknown = {
            row.id: row
            for row in rows
            if _is_claimed(worker, row) and not self._is_known(row, claims)
        }
        if not unknown:
            return []
        sessions = await worker.client.sessions.list(worker.agent_id)
        if sessions is None:
            return []
        for session in sessions:
            if session.task_id is None or session.task_id not in unknown:
                continue
            if session.session_uuid == self._rows.get(session.task_id, ""):
                await worker.client.sessions.withdraw(session.id)  # of a failed attempt
            else:
                del unknown[session.task_id]
        return list(unknown.values())

    def _is_known(self, row: Task, claims: set[str]) -> bool:
        worker = self._worker
        return (
            row.id in worker.slots
            or row.id in claims
            or row.id in worker.paused_tasks
            or row.id in self._begun
            or (row.id, row.last_updated_at) in self._not_ours
            or worker.outbox.pending(row.id) > 0
        )

    def _watch(self, since_s: float) -> None:
        self._since_s = since_s if self._since_s is None else min(self._since_s, since_s)
        self._watch_until_s = self._worker.clock.monotonic() + WATCH_S

    # --- verifying
    def _reserve(self, row: Task) -> None:
        """Reserve a slot for a task while its claim is verified."""
        reservation = RunningTask.reserved(row.id, self._worker.ids(), _trigger_of(row).type)
        self._rows[row.id] = reservation.session_uuid
        self._save_note()
        self._worker.slots.add(reservation)
        since_s = self._since_s or self._worker.clock.monotonic()
        self._group.start_soon(self._verify, reservation, row, since_s)

    async def _verify(self, reservation: RunningTask, row: Task, since_s: float) -> None:
        worker, found = self._worker, None
        try:
            found = await _verified_claim(worker, reservation, since_s, self._until_draining)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="lost-claim", why=str(error))
            self._watch(since_s)
            return
        finally:
            worker.slots.remove(reservation)
        if worker.shutdown.is_draining:
            return  # the note stays: the next start verifies it
        self._rows.pop(row.id, None)
        self._save_note()
        if found is None:
            self._not_ours.append((row.id, row.last_updated_at))
            return
        worker.log.warning(Event.TASK_RECOVERED, task=row.id, why="the answer to its poll was lost")
        self._begin(_trigger_of(found))

    # --- the note
    def _save_note(self) -> None:
        clock = self._worker.clock
        self._noted_s = clock.monotonic()
        ago_s = 0.0 if self._since_s is None else self._noted_s - self._since_s
        since = wire_time(clock.now() - timedelta(seconds=ago_s))
        note = orjson.dumps({"since": since, "rows": self._rows}).decode()
        self._worker.state.note(NOTE_KEY, note)

    def _read_note(self) -> None:
        """Restore the watch of an earlier process that did not end its polling."""
        clock = self._worker.clock
        try:
            note = orjson.loads(self._worker.state.noted(NOTE_KEY) or "")
            ago_s = (clock.now() - datetime.fromisoformat(note["since"])).total_seconds()
            self._rows = {str(task_id): str(uuid) for task_id, uuid in note["rows"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        self.answer_lost(clock.monotonic() - max(0.0, ago_s))


def _trigger_of(row: Task) -> TaskAssigned | TaskOffered:
    return TaskOffered(task=row) if row.status == "reviewing" else TaskAssigned(task=row)


def _is_claimed(worker: LoopParts, row: Task) -> bool:
    """True for a task that was claimed for this agent and has no session or result yet."""
    if row.claude_session_id or row.finished_at:
        return False
    if row.status == "reviewing":
        return row.offered_to == worker.agent_id  # whoever it is assigned to meanwhile
    return row.status == "in_progress" and row.agent_id == worker.agent_id


async def _verified_claim(
    worker: LoopParts,
    reservation: RunningTask,
    since_s: float,
    until_draining: Callable[[Callable[[], Awaitable[None]]], Awaitable[bool]],
) -> Task | None:
    """Return the task if no other process can be running it; its session row is then ours.

    After an `ApiError` the server may have a row of ours as well.
    """
    sessions, clock = worker.client.sessions, worker.clock
    reserved = await sessions.reserve(
        agent_id=worker.agent_id,
        trigger_type=reservation.trigger_type,
        task_id=reservation.task_id,
        session_uuid=reservation.session_uuid,
    )
    if reserved is None:
        return None
    unanswered_s = clock.monotonic() - since_s
    reservation.session_row = True
    before = await _unbegun(worker, reservation.task_id)
    settle_s = worker.settings.heartbeat_interval_s + HEARTBEAT_MARGIN_S
    if (
        before is not None
        and _age_s(before, reserved) <= unanswered_s + ROUNDING_S
        and await until_draining(partial(clock.sleep, settle_s))
    ):
        after = await _unbegun(worker, reservation.task_id)
        listed = await sessions.list(worker.agent_id) or ()
        is_same = after is not None and after.last_updated_at == before.last_updated_at
        if is_same and any(row.id == reserved.id for row in listed):
            return after
    await sessions.withdraw(reserved.id)
    return None


async def _unbegun(worker: LoopParts, task_id: str) -> Task | None:
    """Return the task if it is claimed for this agent and has no log line."""
    tasks = worker.client.tasks
    try:
        task = await tasks.get(task_id, logs_limit=1)
        has_lines = bool(await tasks.session_logs(task_id, limit=1))
    except ApiRefused as refusal:
        if refusal.is_server_fault:
            raise
        return None
    return task if task.id == task_id and _is_claimed(worker, task) and not has_lines else None


def _age_s(task: Task, reserved: SessionRow) -> float:
    """Return how long before our row the task was claimed; infinite if that is unknown."""
    try:
        claimed = datetime.fromisoformat(task.last_updated_at)
        age_s = (datetime.fromisoformat(reserved.started_at) - claimed).total_seconds()
    except (ValueError, TypeError):
        return math.inf
    # A change after our row: another process works on the task.
    return age_s if age_s >= -ROUNDING_S else math.inf
