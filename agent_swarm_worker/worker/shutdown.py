"""The order in which a worker goes down, within its budget.

What still runs when the budget is over is superseded *before* the worker says goodbye, so that the
server hands its continuation to this agent again (docs/api.md 3.12).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.reporting.port import task_lane
from agent_swarm_worker.worker.parts import Api, Basics, Config, Running, Storage
from agent_swarm_worker.worker.slots import TaskState

if TYPE_CHECKING:
    from agent_swarm_worker.worker.slots import RunningTask

ENDING_S = 14.0
"""Of the budget, what ending a stubborn process tree (at most 12 s) and the goodbye may take."""
GOODBYE_S = 2.0
"""Of that, the time for the last writes and `POST /close`."""
LATE_PROGRESS_S = 1.0
"""How long a task is not handed over because something said of it is still on its way."""
GRACEFUL_SHUTDOWN: Final = "graceful_shutdown"


class Parts(Config, Basics, Api, Storage, Running, Protocol):
    """What this module uses of the worker."""


async def go_down(worker: Parts) -> None:
    """Carry the shutdown out, from the first request until nothing runs, within the budget.

    The budget is split: sessions may finish by themselves for a first part, then they are handed
    back and ended, then `say_goodbye` has what is left.
    """
    budget_s = worker.settings.drain_s
    ending_s = min(ENDING_S, budget_s * 2 / 3)
    with anyio.move_on_after(budget_s - ending_s):
        await wait_any(partial(_until_idle, worker), worker.shutdown.wait_hurried)
    with anyio.move_on_after(ending_s - _goodbye_s(worker)):
        async with anyio.create_task_group() as handovers:
            for task in worker.slots:
                handovers.start_soon(supersede, worker, task)
        await _until_idle(worker)


async def _until_idle(worker: Parts) -> None:
    """Wait until nothing runs and nothing can come any more."""
    await worker.shutdown.polling_over.wait()
    await worker.slots.wait_empty()


async def say_goodbye(worker: Parts) -> None:
    """Deliver what is queued, as far as that goes quickly, and close (docs/api.md 3.3).

    Last of all: after a ping the server would take us for alive again. What does not arrive stays
    on disk.
    """
    limit_s = _goodbye_s(worker)
    with anyio.move_on_after(limit_s):
        await worker.outbox.flush_all(limit_s / 2)
        try:
            await worker.client.agents.close()
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="close", why=str(error))


def _goodbye_s(worker: Parts) -> float:
    return min(GOODBYE_S, worker.settings.drain_s / 6)


async def supersede(worker: Parts, task: RunningTask) -> None:
    """Hand a task back: its session is asked to end, the server makes a resume task.

    If the server cannot be reached the claim stays on disk, and the next start hands it back. A
    session that has ended is left alone: its result is on the way, or on disk.
    """
    if not task.is_live:
        return
    task.stop_progress()
    if await _ends_with_its_result(task):
        return
    await task.end(GRACEFUL_SHUTDOWN, is_ours=True)
    if not task.has_task or task.observe_only or task.ended_by != GRACEFUL_SHUTDOWN:
        return
    # An older server pauses it instead, and a progress that came after that would undo it.
    late_s = min(LATE_PROGRESS_S, worker.settings.drain_s / 10)
    await worker.outbox.flushed(task_lane(task.task_id), timeout_s=late_s)
    try:
        answer = await worker.client.tasks.supersede(task.task_id, GRACEFUL_SHUTDOWN)
    except ApiError as error:
        worker.log.warning(Event.TASK_SUPERSEDED, task=task.task_id, why=str(error))
        return
    # Not forgotten: if there is no time for the session's last lines, the next start uploads them.
    worker.state.set_phase(task.task_id, "handed_over")
    worker.log.info(
        Event.TASK_SUPERSEDED, task=task.task_id, kind=answer.kind, resume=answer.resume_task_id
    )


async def _ends_with_its_result(task: RunningTask) -> bool:
    """End a session that has said its result and does not leave; true if the result counts.

    Then there is nothing to hand back. If the time does not suffice, the next start finds the
    result in the journal.
    """
    if task.session is None or task.state is not TaskState.ANSWERED:
        return False
    await task.session.abort(GRACEFUL_SHUTDOWN)
    await task.over.wait()
    return task.ended_by is None
