"""Whether a claimed task that nobody seems to run is surely ours to begin.

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
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.errors import ApiRefused
from agent_swarm_worker.worker.parts import Api, Basics, Config, Identity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.swarm.sessions import SessionRow
    from agent_swarm_worker.swarm.wire import Task
    from agent_swarm_worker.worker.slots import RunningTask

AFTER_A_BEAT_S = 1.0
ROUNDING_S = 1.0
"""By how much two times of one clock may be off."""


class Parts(Identity, Config, Basics, Api, Protocol):
    """What this module uses of the worker."""


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
