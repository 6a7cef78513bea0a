"""Settles the claims of an earlier process at the start of a worker.

Each claimed session is ended, and its output and cost are reported, with the result if it had
finished. Otherwise the task is superseded with ``crash_recovery``, so that the server makes a
resume task for this agent (docs/api.md 7.4).

A task whose result is still in the outbox, or whose claim could not be settled because the API does
not answer, is in progress on the server. It holds a slot, has a session row and gets heartbeats
until that is done; otherwise the server would give it to another worker.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.reporting.finish import decide_finish
from agent_swarm_worker.sandboxes.port import GuestSpec
from agent_swarm_worker.worker.loops.heartbeat import create_session_row
from agent_swarm_worker.worker.recovery.orphaned_session import OrphanedSession
from agent_swarm_worker.worker.recovery.upload_cursor import with_resynced_cursor
from agent_swarm_worker.worker.run.finishing import DELIVERY_WAIT_S
from agent_swarm_worker.worker.run.running_task import RunningTask

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.state.directory import Claim
    from agent_swarm_worker.worker.boot.parts import BootParts

RUNNING = "in_progress"
NOT_SETTLED = frozenset({"no_task", "offer", "handed_over"})
"""Phases of claims of which only lines, events and cost are reported."""
TAKEN_FOR_DEAD = frozenset({"failed", "superseded"})
RETRY_PAUSE_S = 1.0
FLUSH_WAIT_S = 3.0
"""How long a start waits for the delivery of the outbox."""


async def recover(worker: BootParts) -> None:
    """Settle every claim of an earlier process, before anything else is claimed."""
    for claim in worker.state.running():
        handle = claim.handle or claim.tag
        async with worker.sandbox.recover_output(handle) as unread:
            if claim.phase == "finishing":  # everything is in the outbox
                worker.state.forget(claim.task_id)
                continue
            resynced = await with_resynced_cursor(
                claim, state=worker.state, client=worker.client, log=worker.log
            )
            spec = GuestSpec(name=claim.session_uuid, handle=handle)
            async with worker.sandbox.open(spec) as guest:
                orphan = OrphanedSession(worker, resynced, guest)
                await orphan.replay(unread)
        if claim.phase in NOT_SETTLED or await _settle(worker, claim, orphan):
            worker.state.forget(claim.task_id)
        else:
            worker.unsettled_claims[claim.task_id] = partial(_retry_settling, worker, claim, orphan)
    # Results must arrive before the server is asked to put back tasks that were never started.
    await worker.outbox.flush_all(FLUSH_WAIT_S)


async def _settle(worker: BootParts, claim: Claim, orphan: OrphanedSession) -> bool:
    """Finish or supersede the task; false if the API did not answer, or it still runs elsewhere."""
    if orphan.runs_at_vendor:
        return False  # a second session must not work beside it
    try:
        current = await worker.client.tasks.get(claim.task_id)
        is_ours = current.agent_id == worker.agent_id
        # A server that took the session for dead has made a task that repeats this one.
        if is_ours and orphan.result is not None and current.status in {*TAKEN_FOR_DEAD, RUNNING}:
            await _finish(worker, claim, orphan, current)
            return True
        if not is_ours or current.status != RUNNING:
            return True
        answer = await worker.client.tasks.supersede(claim.task_id, "crash_recovery")
    except ApiError as error:
        worker.log.warning(Event.TASK_RECOVERED, task=claim.task_id, why=str(error))
        return isinstance(error, ApiRefused) and not error.is_server_fault
    worker.log.warning(
        Event.TASK_RECOVERED, task=claim.task_id, kind=answer.kind, resume=answer.resume_task_id
    )
    return True


async def _retry_settling(worker: BootParts, claim: Claim, orphan: OrphanedSession) -> bool:
    """Settle a claim again; its task has a session row by now, which is removed."""
    if orphan.runs_at_vendor:
        await orphan.end_at_vendor_late()
    if not await _settle(worker, claim, orphan):
        return False
    lane = claim.task_id
    worker.outbox.put(lane, WriteKind.DELETE_ACTIVE_SESSION, {"task_id": claim.task_id})
    worker.state.forget(claim.task_id)
    del worker.unsettled_claims[claim.task_id]
    return True


async def _finish(worker: BootParts, claim: Claim, orphan: OrphanedSession, current: Task) -> None:
    assert orphan.result is not None
    body = await decide_finish(
        orphan.result,
        harness=claim.harness,
        redactor=worker.scrubber,
        last_text=orphan.replayed.last_text,
        task_status=None if current.status in TAKEN_FOR_DEAD else current.status,
        existing_output=current.output,
        output_schema=current.output_schema,
    )
    lane = claim.task_id
    if body is not None:
        worker.outbox.put(
            lane, WriteKind.FINISH, body.args(claim.task_id) | {"session_uuid": claim.session_uuid}
        )
    worker.outbox.put(lane, WriteKind.DELETE_ACTIVE_SESSION, {"task_id": claim.task_id})
    worker.summaries.begin(orphan.summary(current))
    worker.log.warning(Event.TASK_RECOVERED, task=claim.task_id, kind="its session had finished")


async def hold_undelivered(worker: BootParts) -> None:
    """Hold a slot and a session row for each task whose result or claim is undelivered."""
    for task_id in {*worker.outbox.lanes_with(WriteKind.FINISH), *worker.unsettled_claims}:
        task = RunningTask.reporting(task_id, worker.ids(), "result_undelivered")
        worker.slots.add(task)
        try:
            await create_session_row(worker, task)
        except ApiError as error:
            worker.log.debug(Event.API_REFUSED, call="active-session", why=str(error))


def release_when_delivered(worker: BootParts, group: TaskGroup) -> None:
    """Release each of these slots when its result has arrived."""
    for task in worker.slots:
        group.start_soon(partial(_release, worker, task), name=f"result of {task.task_id}")


async def _release(worker: BootParts, task: RunningTask) -> None:
    try:
        settle = worker.unsettled_claims.get(task.task_id)
        while settle is not None and not await settle():
            if worker.shutdown.is_draining:
                return  # its claim is on disk: the next start settles it
            await worker.clock.sleep(RETRY_PAUSE_S)
        await worker.outbox.flushed(task.task_id, timeout_s=DELIVERY_WAIT_S)
    finally:
        worker.slots.remove(task)
