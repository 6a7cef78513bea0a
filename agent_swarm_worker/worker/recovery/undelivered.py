"""Results that are still on their way when a worker starts.

A task whose result waits in the outbox is in progress for the server, and nobody works on it: it
would soon be given to somebody a second time. So it is treated like one whose session has just
ended here: it holds its slot, has a row on the server's list, and beats until the result is there.
So does one of which the server could not be asked yet whether that result still counts.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.swarm.queue import WriteKind
from agent_swarm_worker.worker.finishing import DELIVERY_WAIT_S
from agent_swarm_worker.worker.heartbeat import announce
from agent_swarm_worker.worker.parts import Api, Basics, Identity, Running, Unsettled
from agent_swarm_worker.worker.slots import RunningTask

if TYPE_CHECKING:
    from anyio.abc import TaskGroup


SETTLE_PAUSE_S = 1.0


class Parts(Identity, Basics, Api, Running, Unsettled, Protocol):
    """What this module uses of the worker."""


async def hold_undelivered(worker: Parts) -> None:
    """Take a slot for each; before the server is asked for tasks that never began."""
    for task_id in {*worker.outbox.lanes_with(WriteKind.FINISH), *worker.unsettled}:
        task = RunningTask.reporting(task_id, worker.ids(), "result_undelivered")
        worker.slots.add(task)
        try:
            await announce(worker, task)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="active-session", why=str(error))


def release_when_delivered(worker: Parts, group: TaskGroup) -> None:
    """Give each of these slots back as soon as its result has arrived."""
    for task in worker.slots:
        group.start_soon(partial(_release, worker, task), name=f"result of {task.task_id}")


async def _release(worker: Parts, task: RunningTask) -> None:
    try:
        settle = worker.unsettled.get(task.task_id)
        while settle is not None and not await settle():
            if worker.shutdown.is_draining:
                return  # its claim is on disk: the next start tries again
            await worker.clock.sleep(SETTLE_PAUSE_S)
        await worker.outbox.flushed(task.task_id, timeout_s=DELIVERY_WAIT_S)
    finally:
        worker.slots.remove(task)
