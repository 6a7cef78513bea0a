"""Shuts the worker down within its budget, step by step.

The first signal stops polling and lets running sessions finish within the drain budget; the second
ends the drain; the third ends the process at once. Sessions that still run after the drain are
superseded before the worker closes, so that the server gives their resume tasks to this agent again
(docs/api.md 3.12). Undelivered writes are on disk, and the next start delivers them.

The event loop may hang in a shutdown, by a disk or a calculation, and the interpreter waits for
threads, such as one in a name lookup. So the exit timer, a thread, ends the process after the
budget.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.worker.run.running_task import GRACEFUL_SHUTDOWN, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.worker.boot.parts import LoopParts
    from agent_swarm_worker.worker.run.running_task import RunningTask

ENDING_S = 14.0
"""The part of the budget for ending process trees (at most 12 s each) and closing."""
CLOSE_S = 2.0
"""The part of that for the last writes and `POST /close`."""
LATE_PROGRESS_S = 1.0
"""How long a supersede waits for progress of the task in delivery."""
OVERTIME_S = 2.0
"""How long after the budget the shutdown counts as hung."""
FLUSH_S = 0.2
"""How long the last log lines may wait for a blocked stream."""
EXIT_WITHIN_S = 1.0
"""How long the interpreter may take to exit after the shutdown."""


async def drain_and_supersede(worker: LoopParts) -> None:
    """Wait for running sessions, then supersede those that still run."""
    budget_s = worker.settings.drain_s
    ending_s = min(ENDING_S, budget_s * 2 / 3)
    with anyio.move_on_after(budget_s - ending_s):
        await wait_any(partial(_until_done, worker), worker.shutdown.hurried.wait)
    with anyio.move_on_after(ending_s - _close_budget_s(worker)):
        async with anyio.create_task_group() as handovers:
            for task in worker.slots:
                handovers.start_soon(supersede, worker, task)
        await _until_idle(worker)


async def _until_idle(worker: LoopParts) -> None:
    await worker.shutdown.polling_over.wait()
    await worker.slots.wait_empty()


async def _until_done(worker: LoopParts) -> None:
    await _until_idle(worker)
    await worker.summaries.wait_idle()


async def flush_and_close(worker: LoopParts) -> None:
    """Deliver queued writes for a short time, then close the agent (docs/api.md 3.3).

    The close comes last: a later ping would mark the agent as alive.
    """
    limit_s = _close_budget_s(worker)
    with anyio.move_on_after(limit_s):
        await worker.outbox.flush_all(limit_s / 2)
        try:
            await worker.client.agents.close()
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="close", why=str(error))


def _close_budget_s(worker: LoopParts) -> float:
    return min(CLOSE_S, worker.settings.drain_s / 6)


async def supersede(worker: LoopParts, task: RunningTask) -> None:
    """End a task's session and hand the task back; the server makes a resume task.

    Without an answer the claim stays on disk, and the next start supersedes it. A task whose
    session has ended is skipped: its result is in the outbox. So is one that is being handed back,
    as a task of the last poll is, which the drain finds as well.
    """
    if not task.is_live or task.handed_back:
        return
    task.handed_back = True
    task.stop_progress()
    if await _ends_with_its_result(task):
        return
    await task.end(GRACEFUL_SHUTDOWN, is_ours=True)
    if not task.has_task or task.observe_only or task.ended_by != GRACEFUL_SHUTDOWN:
        return
    # An older server pauses it instead, and progress that arrives later would resume it.
    late_s = min(LATE_PROGRESS_S, worker.settings.drain_s / 10)
    await worker.outbox.flushed(task.task_id, timeout_s=late_s)
    try:
        answer = await worker.client.tasks.supersede(task.task_id, GRACEFUL_SHUTDOWN)
    except ApiError as error:
        worker.log.warning(Event.TASK_SUPERSEDED, task=task.task_id, why=str(error))
        task.handed_back = False
        return
    # The claim stays: if there is no time for the last lines, the next start uploads them.
    worker.state.set_phase(task.task_id, "handed_over")
    worker.log.info(
        Event.TASK_SUPERSEDED, task=task.task_id, kind=answer.kind, resume=answer.resume_task_id
    )


async def _ends_with_its_result(task: RunningTask) -> bool:
    """End a session that has reported its result but not exited; true if the result counts.

    If time runs out, the next start finds the result in the journal.
    """
    if task.session is None or task.state is not TaskState.ANSWERED:
        return False
    await task.session.abort(GRACEFUL_SHUTDOWN)
    await task.over.wait()
    return task.ended_by is None


class ExitTimer:
    """Ends this process after a time; only for a process that runs nothing but the worker."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def end_within(
        self, seconds: float, *, exit_code: int, before_exit: Callable[[], None] | None = None
    ) -> None:
        """End the process after so many seconds; replaces an earlier call.

        `before_exit` is called first; it must not wait.
        """
        if self._timer is not None:
            self._timer.cancel()

        def end() -> None:
            try:
                if before_exit is not None:
                    before_exit()
            finally:
                logs.flush(wait_s=FLUSH_S)
                os._exit(exit_code)

        self._timer = threading.Timer(seconds, end)
        self._timer.daemon = True
        self._timer.start()
