"""Tasks that the server has given us in an answer we never saw.

A poll claims before it answers (docs/api.md 4.2). If the answer is cut off, or this process
dies over it, the task is ours, nobody runs it, and no other poll will speak of it. So after a poll
that may have been carried out, and at a start after a crash, the server is asked what it holds for
ours, and what nobody has begun is begun.

That nobody else has begun it is shown by `verified_claim`; a place is kept for it meanwhile.
Mentions come again by themselves, 30 minutes later; and so does an offer where this cannot tell.

Whether a claimed task that nobody seems to run is surely ours to begin.

Two processes may have one agent id, and the other one may have been given the task just now. So:

* It was claimed after the earliest poll whose answer we miss. Its age is the difference of two
  times of the server's clock, the time since that poll one of two of ours: the clocks need not
  agree. What is older was claimed by somebody else, who may be slow to say so, and is left to the
  orphan recovery (docs/api.md 6.7).
* It has no session on the server's list, none stored with it, and not a line of a log.
* A session row of ours gets in: of all who look for the same task, the server lets one in. The row
  also keeps orphan recovery and sweeps away.
* For longer than a beat nothing changes. Another worker that has just been given the task puts its
  own row in the place of ours, at once or with its first beat, and then ours is withdrawn.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol

import orjson

from agent_swarm_worker.api.wire import TaskAssigned, TaskOffered
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import ApiError, ApiRefused, Unauthorized
from agent_swarm_worker.logs import Event
from agent_swarm_worker.reporting.port import task_lane
from agent_swarm_worker.worker.boot.parts import Api, Basics, Config, Identity, Running, Storage
from agent_swarm_worker.worker.run.running_task import RunningTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from agent_swarm_worker.api.sessions import SessionRow
    from agent_swarm_worker.api.wire import Task

NOTE = "lost-claims"
NOTE_INTERVAL_S = 60.0
"""How much the note on disk may lag behind the last poll."""
LOOK_INTERVAL_S = 5.0
AT_ONCE_S = 1.0
"""The least time between two looks, however many polls fail."""
WATCH_S = 60.0
"""How long a server may take to carry out a poll that we have given up."""
MAX_LISTED = 100
MAX_REMEMBERED = 64


class Parts(Identity, Config, Basics, Api, Storage, Running, Protocol):
    """What this module uses of the worker."""


class ClaimReconciliation:
    """Finds claims whose answer was lost, and begins them as if the poll had answered."""

    def __init__(
        self,
        worker: Parts,
        group: TaskGroup,
        begin: Callable[[TaskAssigned | TaskOffered], None],
        until_draining: Callable[[Callable[[], Awaitable[None]]], Awaitable[bool]],
    ) -> None:
        """Take up what an earlier process was not sure of.

        Args:
            worker: the process.
            group: owns the waiting for a task to be safely ours.
            begin: runs a trigger; called while there is room for it.
            until_draining: waits for something, false if it is time to leave.
        """
        self._worker, self._group = worker, group
        self._begin, self._until_draining = begin, until_draining
        self._since_s: float | None = None
        """When the earliest poll was sent that may have claimed something unseen."""
        self._watch_until_s = self._next_look_s = 0.0
        self._looked_s = self._noted_s = -math.inf
        self._begun: deque[str] = deque(maxlen=MAX_REMEMBERED)
        self._not_ours: deque[tuple[str, str]] = deque(maxlen=MAX_REMEMBERED)
        self._rows: dict[str, str] = {}
        """By task, the session of a row that keeps its place while we make sure."""
        self._read_note()

    # --- what the poll loop tells
    def polling(self) -> float:
        """Note, on disk, that a poll is about to be sent; return the moment for `lost`."""
        now_s = self._worker.clock.monotonic()
        if now_s - self._noted_s >= NOTE_INTERVAL_S:
            self._note()
        return now_s

    def lost(self, sent_s: float) -> None:
        """Say that the poll sent then may have claimed something."""
        now_s = self._worker.clock.monotonic()
        self._watch(sent_s)
        self._next_look_s = min(self._next_look_s, max(now_s, self._looked_s + AT_ONCE_S))

    def begun(self, task_id: str) -> None:
        """Say that this process has begun a task: what becomes of it is no lost claim."""
        self._begun.append(task_id)

    def close(self) -> None:
        """Say that this was the last poll; what is not clear stays noted for the next start."""
        if self._since_s is None and not self._rows:
            self._worker.state.note(NOTE, "")

    # --- looking
    async def look(self) -> None:
        """Begin to take up what is found, if there may be something and there is room."""
        worker, now_s = self._worker, self._worker.clock.monotonic()
        is_time = self._since_s is not None and now_s >= self._next_look_s
        if not is_time or worker.client.http.health.is_down or not worker.slots.has_room:
            return
        self._looked_s, self._next_look_s = now_s, now_s + LOOK_INTERVAL_S
        try:
            found = await self._candidates()
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="tasks", why=str(error))
            if isinstance(error, ApiRefused) and not isinstance(error, Unauthorized):
                # A server that cannot be asked has to sort it out by itself.
                self._since_s = self._since_s if error.is_server_fault else None
            return
        if not found and now_s >= self._watch_until_s:
            self._since_s = None
            self._rows = {t: session for t, session in self._rows.items() if t in worker.slots}
        for row in found:
            if worker.slots.has_room:
                self._take(row)

    async def _candidates(self) -> list[Task]:
        """Return what is ours on the server and begun by nobody, as far as lists tell."""
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
            if is_claimed(worker, row) and not self._is_known(row, claims)
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
                await worker.client.sessions.withdraw(session.id)  # of an attempt that failed
            else:
                del unknown[session.task_id]
        return list(unknown.values())

    def _is_known(self, row: Task, claims: set[str]) -> bool:
        worker = self._worker
        return (
            row.id in worker.slots
            or row.id in claims
            or row.id in worker.paused
            or row.id in self._begun
            or (row.id, row.last_updated_at) in self._not_ours
            or worker.outbox.pending(task_lane(row.id)) > 0
        )

    def _watch(self, since_s: float) -> None:
        self._since_s = since_s if self._since_s is None else min(self._since_s, since_s)
        self._watch_until_s = self._worker.clock.monotonic() + WATCH_S

    # --- taking up
    def _take(self, row: Task) -> None:
        """Keep a place for a task while it is made sure that it is ours."""
        place = RunningTask.reserved(row.id, self._worker.ids(), _trigger_of(row).type)
        self._rows[row.id] = place.session_uuid
        self._note()
        self._worker.slots.add(place)
        since_s = self._since_s or self._worker.clock.monotonic()
        self._group.start_soon(self._make_sure, place, row, since_s)

    async def _make_sure(self, place: RunningTask, row: Task, since_s: float) -> None:
        worker, found = self._worker, None
        try:
            found = await verified_claim(worker, place, since_s, self._until_draining)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="lost-claim", why=str(error))
            self._watch(since_s)
            return
        finally:
            worker.slots.remove(place)
        if worker.shutdown.is_draining:
            return  # noted: the next start looks again
        self._rows.pop(row.id, None)
        self._note()
        if found is None:
            self._not_ours.append((row.id, row.last_updated_at))
            return
        worker.log.warning(Event.TASK_RECOVERED, task=row.id, why="the answer to its poll was lost")
        self._begin(_trigger_of(found))

    # --- the note
    def _note(self) -> None:
        clock = self._worker.clock
        self._noted_s = clock.monotonic()
        ago_s = 0.0 if self._since_s is None else self._noted_s - self._since_s
        since = wire_time(clock.now() - timedelta(seconds=ago_s))
        note = orjson.dumps({"since": since, "rows": self._rows}).decode()
        self._worker.state.note(NOTE, note)

    def _read_note(self) -> None:
        """See whether an earlier process went away in the middle of polling."""
        clock = self._worker.clock
        try:
            note = orjson.loads(self._worker.state.noted(NOTE) or "")
            ago_s = (clock.now() - datetime.fromisoformat(note["since"])).total_seconds()
            self._rows = {str(task_id): str(uuid) for task_id, uuid in note["rows"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        self.lost(clock.monotonic() - max(0.0, ago_s))


def _trigger_of(row: Task) -> TaskAssigned | TaskOffered:
    return TaskOffered(task=row) if row.status == "reviewing" else TaskAssigned(task=row)


AFTER_A_BEAT_S = 1.0
ROUNDING_S = 1.0
"""By how much two times of one clock may be off."""


def is_claimed(worker: Parts, row: Task) -> bool:
    """True for a task that a poll of this agent has returned and that did not go on since."""
    if row.claude_session_id or row.finished_at:
        return False
    if row.status == "reviewing":
        return row.offered_to == worker.agent_id and row.agent_id is None
    return row.status == "in_progress" and row.agent_id == worker.agent_id


async def verified_claim(
    worker: Parts,
    place: RunningTask,
    since_s: float,
    until_draining: Callable[[Callable[[], Awaitable[None]]], Awaitable[bool]],
) -> Task | None:
    """Return the task if nobody but us can be running it; it has a row of ours then.

    Args:
        worker: the process.
        place: what beats for the row meanwhile.
        since_s: when the earliest poll was sent whose answer is missing.
        until_draining: waits for something, false if the shutdown began first.

    Raises:
        ApiError: that could not be found out; there may be a row of ours.
    """
    sessions, clock = worker.client.sessions, worker.clock
    reserved = await sessions.reserve(
        agent_id=worker.agent_id,
        trigger_type=place.trigger_type,
        task_id=place.task_id,
        session_uuid=place.session_uuid,
    )
    if reserved is None:
        return None
    unseen_s = clock.monotonic() - since_s
    place.session_row = True
    before = await _unbegun(worker, place.task_id)
    settle_s = worker.settings.heartbeat_interval_s + AFTER_A_BEAT_S
    if (
        before is not None
        and _age_s(before, reserved) <= unseen_s + ROUNDING_S
        and await until_draining(partial(clock.sleep, settle_s))
    ):
        after = await _unbegun(worker, place.task_id)
        listed = await sessions.list(worker.agent_id) or ()
        is_same = after is not None and after.last_updated_at == before.last_updated_at
        if is_same and any(row.id == reserved.id for row in listed):
            return after
    await sessions.withdraw(reserved.id)
    return None


async def _unbegun(worker: Parts, task_id: str) -> Task | None:
    """Return the task if it is claimed for us and no session has said a word of it."""
    tasks = worker.client.tasks
    try:
        task = await tasks.get(task_id, logs_limit=1)
        has_spoken = bool(await tasks.session_logs(task_id, limit=1))
    except ApiRefused as refusal:
        if refusal.is_server_fault:
            raise
        return None
    return task if task.id == task_id and is_claimed(worker, task) and not has_spoken else None


def _age_s(task: Task, reserved: SessionRow) -> float:
    """Return how long before the row the task was claimed, endless if the server does not say."""
    try:
        claimed = datetime.fromisoformat(task.last_updated_at)
        age_s = (datetime.fromisoformat(reserved.started_at) - claimed).total_seconds()
    except (ValueError, TypeError):
        return math.inf
    # After the row: somebody is at work on it.
    return age_s if age_s >= -ROUNDING_S else math.inf
