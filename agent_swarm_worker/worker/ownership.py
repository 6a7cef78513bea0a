"""Whether a task is still ours, and letting go of one that is not.

It is asked where the server may have given the task up without a word to us: just before its
session begins, for a sweep may have come between the claim and the first beat, and whenever the
server has no row of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.parts import Api, Basics, Identity

if TYPE_CHECKING:
    from agent_swarm_worker.swarm.wire import Task
    from agent_swarm_worker.worker.slots import RunningTask

LOST = "lost"
LOOK_TIMEOUT_S = 5.0
"""How long a session may wait for the look before it: an API that is away takes nothing from us."""


class Parts(Identity, Basics, Api, Protocol):
    """What this module uses of the worker."""


async def is_gone(worker: Parts, task: RunningTask) -> bool:
    """Look once more before the session begins; false as well if nobody could be asked.

    Seconds after its own restart the server fails what it has seen no session for, and starts it a
    second time (docs/api.md 16.1): the claim's answer may still have been on its way.
    """
    with anyio.move_on_after(LOOK_TIMEOUT_S):
        try:
            return await was_taken(worker, task)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="task", why=str(error))
    return False


async def was_taken(worker: Parts, task: RunningTask) -> bool:
    """Ask whether the task is gone, and end the work on it if so.

    Raises:
        ApiError: that could not be found out.
    """
    if not task.has_task:
        return False
    try:
        current = await worker.client.tasks.get(task.task_id, logs_limit=1)
    except ApiRefused as refusal:
        if refusal.is_server_fault:
            raise
        return False
    if not current.is_terminal and not is_elsewhere(worker, current):
        return False
    if current.status == "completed" and task.session is not None:
        # The agent ended the task itself, through its tools; it may have its last word.
        return True
    await let_go(worker, task, current)
    return True


def is_elsewhere(worker: Parts, current: Task) -> bool:
    """True if the server names another agent for the task."""
    return current.agent_id not in (None, worker.agent_id)


async def let_go(worker: Parts, task: RunningTask, current: Task) -> None:
    """End the work on a task that is not ours any more; its result is not ours to write."""
    if await task.end(LOST, is_ours=False):
        worker.log.warning(Event.TASK_LOST, task=task.task_id, status=current.status)
