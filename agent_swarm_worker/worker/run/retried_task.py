"""Finishes a retry of a task whose result is known here, instead of running it again.

A server that restarts, or sweeps, while the result of a session is still on this disk fails or
supersedes the task and makes a child that repeats it (docs/api.md 7.4, 16.1). The result is in the
outbox, or among those that the server refused (`outbox.queue.Queue.result_of`); recovery puts there
what it finds in a journal. The cost was reported with the session, so the child gets none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.api.wire.tasks import TaskAssigned
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind

if TYPE_CHECKING:
    from agent_swarm_worker.api.wire.tasks import Task, Trigger
    from agent_swarm_worker.worker.boot.parts import RunParts
    from agent_swarm_worker.worker.run.running_task import RunningTask

RETRY_TAGS = frozenset({"reboot-retry", "reason:crash_recovery"})
"""Of children that the server makes because it takes a session for dead."""
MAX_ANCESTORS = 10
PARENT_CHECK_S = 0.5


async def finished_by_parent(worker: RunParts, task: RunningTask, trigger: Trigger) -> bool:
    """Queue the result of the task that this one repeats, if it is known; false if it has to run.

    While that task still occupies a slot, its result may be about to arrive, so it is waited for.
    """
    row = trigger.task if isinstance(trigger, TaskAssigned) else None
    if row is None or not _is_retry(row):
        return False
    known, why = await _known_result(worker, task, row)
    if known is None:
        worker.log.warning(
            Event.TASK_RECOVERED,
            task=row.id,
            parent=row.parent_task_id,
            why=f"it runs again: {why}",
        )
        return False
    args = known | {"task_id": row.id, "session_uuid": task.session_uuid}
    with worker.state.database.transaction(durable=True):  # or a crash would hand it back
        worker.outbox.put(row.id, WriteKind.FINISH, args)
        worker.state.set_phase(row.id, "finishing")
    worker.log.warning(
        Event.TASK_RECOVERED, task=row.id, parent=row.parent_task_id, why=why, status=args["status"]
    )
    return True


def _is_retry(row: Task) -> bool:
    return row.parent_task_id is not None and not RETRY_TAGS.isdisjoint(row.tags)


async def _known_result(
    worker: RunParts, task: RunningTask, row: Task
) -> tuple[dict[str, str] | None, str]:
    """Return the result of the nearest ancestor that has one, and where it is from or why not.

    A retry that was taken for dead in turn, before it ran, is passed over.
    """
    for _ in range(MAX_ANCESTORS):
        parent_id = row.parent_task_id or ""
        known = worker.outbox.result_of(parent_id)
        while known is None and parent_id in worker.slots and task.ended_by is None:
            if worker.shutdown.is_draining:
                return None, "its parent has not settled at the shutdown"
            await worker.clock.sleep(PARENT_CHECK_S)
            known = worker.outbox.result_of(parent_id)
        if known is not None:
            return known, f"the result of {parent_id} is known here"
        try:
            row = await worker.client.tasks.get(parent_id)
        except ApiError as error:
            return None, f"its parent cannot be read: {error}"
        if not _is_retry(row):
            break
    return None, "no result of its parent is known here"
