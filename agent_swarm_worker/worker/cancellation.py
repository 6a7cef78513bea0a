"""Noticing that a running task was cancelled: asked every second, for each task on its own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.slots import PerTask

if TYPE_CHECKING:
    from agent_swarm_worker.worker.context import Worker
    from agent_swarm_worker.worker.slots import RunningTask


async def cancellation_loop(worker: Worker) -> None:
    """End the session of every task the server calls cancelled (E9)."""
    async with anyio.create_task_group() as group:
        checks = PerTask(group, partial(_check, worker))
        while True:
            for task in worker.slots:
                if task.has_task and task.ended_by is None:
                    checks.start(task)
            await worker.clock.sleep(worker.settings.cancel_check_interval_s)


async def _check(worker: Worker, task: RunningTask) -> None:
    try:
        is_cancelled = await worker.client.work.cancelled(task.task_id)
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="cancelled-tasks", why=str(error))
        return
    if is_cancelled and await task.end("cancelled", is_ours=False):
        worker.log.info(Event.TASK_CANCELLED, task=task.task_id)
