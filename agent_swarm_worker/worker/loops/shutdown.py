"""The order in which a worker goes down, within its budget.

What still runs when the budget is over is superseded *before* the worker says goodbye, so that the
server hands its continuation to this agent again (docs/api.md 3.12).

The end of the process, whatever else happens.

The shutdown keeps its budget as long as the event loop turns. It may not: a disk that hangs, an
expression without end; and when all is done, the interpreter still waits for threads, of which one
may sit in a name server that does not answer. A thread of our own, on which nothing waits, ends
the process then. What is undelivered is on disk, and the next start sees to it.

How far a shutdown has come, and the signals that drive it.

The first one stops polling at once and lets running sessions finish within the drain budget; the
second cuts the drain short; the third ends the process on the spot.
"""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from agent_swarm_worker import logs
from agent_swarm_worker.aio import wait_any
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.reporting.port import task_lane
from agent_swarm_worker.worker.boot.parts import Api, Basics, Config, Running, Storage
from agent_swarm_worker.worker.run.running_task import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.worker.run.running_task import RunningTask

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


OVERTIME_S = 2.0
"""How long after the budget the shutdown is taken to hang."""
FLUSH_S = 0.2
"""How long the last lines of the log may wait for a stream that takes nothing."""
LEAVE_WITHIN_S = 1.0
"""How long the interpreter may take to end when all is done."""


class ExitTimer:
    """Ends this process after a time; only for a process that is the worker's alone."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def end_within(
        self, seconds: float, *, exit_code: int, last_act: Callable[[], None] | None = None
    ) -> None:
        """End the process after so many seconds; replaces what was asked for before.

        Args:
            seconds: from now.
            exit_code: of the process.
            last_act: done before, without waiting.
        """
        if self._timer is not None:
            self._timer.cancel()

        def end() -> None:
            try:
                if last_act is not None:
                    last_act()
            finally:
                logs.flush(wait_s=FLUSH_S)
                os._exit(exit_code)

        self._timer = threading.Timer(seconds, end)
        self._timer.daemon = True
        self._timer.start()


class Shutdown:
    """How far the shutdown has come. Loops read it; signals and `request` drive it."""

    def __init__(self, *, log: Log) -> None:
        self.polling_over = anyio.Event()
        """Set when no further task can come from a poll."""
        self.last_act: Callable[[], None] = lambda: None
        """Done by the third request, before the process ends on the spot."""
        self._log = log
        self._requests = 0
        self._draining = anyio.Event()
        self._hurried = anyio.Event()

    @property
    def is_draining(self) -> bool:
        """True from the first request on."""
        return self._draining.is_set()

    async def wait_draining(self) -> None:
        """Return at the first request."""
        await self._draining.wait()

    async def wait_hurried(self) -> None:
        """Return at the second request."""
        await self._hurried.wait()

    def request(self, why: str) -> None:
        """Ask for the next step of the shutdown."""
        self._requests += 1
        self._log.info(Event.WORKER_DRAINING, why=why, request=self._requests)
        if self._requests == 1:
            self._draining.set()
        elif self._requests == 2:
            self._hurried.set()
        else:
            self.last_act()
            logs.flush(wait_s=1.0)
            os._exit(1)

    async def watch_signals(self) -> None:
        """Turn signals into requests, for as long as this runs."""
        with anyio.open_signal_receiver(*_stopping_signals()) as received:
            async for number in received:
                self.request(signal.Signals(number).name)


def _stopping_signals() -> list[signal.Signals]:
    """The signals that stop a worker; a closed terminal is one, unless it was told not to care."""
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hangs_up else [])]
