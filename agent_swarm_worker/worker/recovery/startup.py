"""After a crash: what the last process of this agent left behind.

A session it was running is ended here; what the session had said goes out, with its cost. If it had
said its last word, the task is finished with it. If not, the server is told ``crash_recovery``, so
that it makes a resume task for this very agent (docs/api.md 7.4).

Results that are still on their way when a worker starts.

A task whose result waits in the outbox is in progress for the server, and nobody works on it: it
would soon be given to somebody a second time. So it is treated like one whose session has just
ended here: it holds its slot, has a row on the server's list, and beats until the result is there.
So does one of which the server could not be asked yet whether that result still counts.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.reporting.finish import decide_finish
from agent_swarm_worker.reporting.port import task_lane
from agent_swarm_worker.sandboxes.port import GuestSpec
from agent_swarm_worker.worker.boot.parts import (
    Api,
    Basics,
    Config,
    Host,
    Identity,
    Running,
    Storage,
    Unsettled,
)
from agent_swarm_worker.worker.loops.heartbeat import announce
from agent_swarm_worker.worker.recovery.orphaned_session import OrphanedSession
from agent_swarm_worker.worker.recovery.upload_cursor import with_resynced_cursor
from agent_swarm_worker.worker.run.finishing import DELIVERY_WAIT_S
from agent_swarm_worker.worker.run.launch_files import remove_spares
from agent_swarm_worker.worker.run.preparation import SESSIONS_DIR
from agent_swarm_worker.worker.run.running_task import RunningTask

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from agent_swarm_worker.api.wire import Task
    from agent_swarm_worker.state.directory import Claim

LAST_WORDS_S = 3.0
"""How long a start waits for what the last process had queued to arrive."""


class Parts(Identity, Config, Basics, Api, Storage, Running, Unsettled, Host, Protocol):
    """What this module uses of the worker."""


async def recover(worker: Parts) -> None:
    """Deal with every task an earlier process had claimed; before anything else is claimed."""
    for claim in worker.state.running():
        handle = claim.handle or claim.tag
        async with worker.sandbox.collect(handle) as left:
            if claim.phase == "finishing":  # all of it is in the outbox
                worker.state.forget(claim.task_id)
                continue
            resynced = await _resynced(worker, claim)
            spec = GuestSpec(name=claim.session_uuid, handle=handle)
            async with worker.sandbox.open(spec) as guest:
                remains = OrphanedSession(worker, resynced, guest)
                await remains.read(left)
        if claim.phase in {"no_task", "handed_over"} or await _settle(worker, claim, remains):
            worker.state.forget(claim.task_id)
        else:
            worker.unsettled[claim.task_id] = partial(_settle_after_all, worker, claim, remains)
    worker.state.mark_reboot_handled()
    # A result among it must be there before the server is asked for tasks that never began.
    await worker.outbox.flush_all(LAST_WORDS_S)
    # Private files of sessions that are no more; a killed process could not remove its own.
    shutil.rmtree(worker.state.path / SESSIONS_DIR, ignore_errors=True)
    remove_spares(worker.state.path / SESSIONS_DIR)


async def _resynced(worker: Parts, claim: Claim) -> Claim:
    return await with_resynced_cursor(
        claim, state=worker.state, client=worker.client, log=worker.log
    )


async def _settle(worker: Parts, claim: Claim, remains: OrphanedSession) -> bool:
    """Finish the task or have it resumed; false if the server could not be told."""
    try:
        current = await worker.client.tasks.get(claim.task_id)
        if current.status != "in_progress" or current.agent_id != worker.agent_id:
            return True
        if remains.result is not None:
            await _finish(worker, claim, remains, current)
            return True
        answer = await worker.client.tasks.supersede(claim.task_id, "crash_recovery")
    except ApiError as error:
        worker.log.warning(Event.TASK_RECOVERED, task=claim.task_id, why=str(error))
        return isinstance(error, ApiRefused) and not error.is_server_fault
    worker.log.warning(
        Event.TASK_RECOVERED, task=claim.task_id, kind=answer.kind, resume=answer.resume_task_id
    )
    return True


async def _settle_after_all(worker: Parts, claim: Claim, remains: OrphanedSession) -> bool:
    """Try again; the task has a row on the server's list by now."""
    if not await _settle(worker, claim, remains):
        return False
    lane = task_lane(claim.task_id)
    worker.outbox.put(lane, WriteKind.DELETE_ACTIVE_SESSION, {"task_id": claim.task_id})
    worker.state.forget(claim.task_id)
    del worker.unsettled[claim.task_id]
    return True


async def _finish(worker: Parts, claim: Claim, remains: OrphanedSession, current: Task) -> None:
    """Report the result that the last process had no time for."""
    assert remains.result is not None
    body = await decide_finish(
        remains.result,
        harness=claim.harness,
        redactor=worker.scrubber,
        last_text=remains.last_word.last_text,
        task_status=current.status,
        existing_output=current.output,
        output_schema=current.output_schema,
    )
    lane = task_lane(claim.task_id)
    if body is not None:
        worker.outbox.put(
            lane, WriteKind.FINISH, body.args(claim.task_id) | {"session_uuid": claim.session_uuid}
        )
    worker.outbox.put(lane, WriteKind.DELETE_ACTIVE_SESSION, {"task_id": claim.task_id})
    worker.log.warning(Event.TASK_RECOVERED, task=claim.task_id, kind="it had ended")


SETTLE_PAUSE_S = 1.0


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
