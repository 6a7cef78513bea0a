"""Continues earlier work: by resuming the harness's own session, or by a preamble in the prompt.

A follow-up of a task that this agent ran on the same harness resumes its native session, if that
session's files exist; otherwise a preamble summarizes the earlier task (docs/api.md 7.6).

A server that restarts, or sweeps, while the result of a session is still on this disk fails or
supersedes the task and makes a child that repeats it (docs/api.md 7.5, 16.1). The result is in the
outbox, or among those that the server refused (`outbox.queue.Queue.result_of`); recovery puts there
what it finds in a journal. The child is finished with it, at no cost: that was reported already.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.api.wire.tasks import TaskAssigned
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.prompts.preambles import follow_up_preamble, resume_preamble
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.worker.boot.harness import server_names

if TYPE_CHECKING:
    from agent_swarm_worker.api.wire.tasks import Task, Trigger
    from agent_swarm_worker.contract import ProviderAdapter, ProviderSessionConfig
    from agent_swarm_worker.worker.boot.parts import Core, RunParts
    from agent_swarm_worker.worker.run.running_task import RunningTask

HARNESS_KEY = "harness"
"""In a session's variant meta: the harness's own name, if the server knows another one."""

RETRY_TAGS = frozenset({"reboot-retry", "reason:crash_recovery"})
"""Of children that the server makes because it takes a session for dead."""
MAX_ANCESTORS = 10
PARENT_CHECK_S = 0.5


async def parent_of(worker: Core, row: Task | None) -> Task | None:
    """Return the task that `row` continues; ``None`` if there is none or it cannot be read."""
    if row is None or row.parent_task_id is None:
        return None
    try:
        return await worker.client.tasks.get(row.parent_task_id)
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="parent task", why=str(error))
        return None


async def with_native_resume(
    worker: Core,
    adapter: ProviderAdapter,
    config: ProviderSessionConfig,
    row: Task | None,
    parent: Task | None,
) -> ProviderSessionConfig:
    """Return the config with the parent's session to resume, if that is possible here."""
    mode = worker.settings.resume_mode
    if mode == "preamble" or row is None or parent is None or parent.claude_session_id is None:
        return config
    sent = worker.client.capabilities.harness_names.sent_for(server_names(adapter_spec(adapter)))
    ran_here = parent.agent_id == worker.agent_id and _ran_on(parent, adapter.name, sent.session)
    if not ran_here or not await adapter.can_resume(parent.claude_session_id, config):
        if mode == "native":
            worker.log.warning(
                Event.SESSION_RESUMED,
                task=row.id,
                session=parent.claude_session_id,
                state="not found",
            )
        return config
    forks = mode == "fork" and adapter_spec(adapter).capabilities.can_fork
    worker.log.info(
        Event.SESSION_RESUMED,
        task=row.id,
        session=parent.claude_session_id,
        state="forking" if forks else "resuming",
    )
    return replace(config, resume_session_id=parent.claude_session_id, forks=forks)


def meta_of(harness: str, sent: str | None) -> dict[str, str]:
    """Return what is stored with a session whose harness the server knows by another name."""
    return {} if sent == harness else {HARNESS_KEY: harness}


def _ran_on(parent: Task, harness: str, sent: str) -> bool:
    true_name = (parent.harness_variant_meta or {}).get(HARNESS_KEY)
    if true_name is not None:
        return bool(true_name == harness)
    return parent.provider == harness or (parent.provider is None and sent == harness)


async def preamble(
    worker: Core, config: ProviderSessionConfig, row: Task | None, *, has_mcp: bool
) -> str:
    """Return the summary of the earlier work, for a session that does not resume it."""
    if row is None or row.parent_task_id is None:
        return ""
    settings = worker.settings
    tasks = worker.client.tasks
    try:
        if row.task_type == "resume":
            return await resume_preamble(
                tasks,
                row,
                config.redactor,
                max_tokens=settings.context_preamble_resume_max_tokens,
                app_url=settings.app_url,
                steering=worker.client.steering if settings.steering_enabled else None,
                has_mcp=has_mcp,
            )
        return await follow_up_preamble(
            tasks,
            row,
            config.redactor,
            max_tokens=settings.context_preamble_max_tokens,
            app_url=settings.app_url,
            has_mcp=has_mcp,
        )
    except ApiError as error:
        worker.log.warning(Event.PROMPT_FALLBACK, part="preamble", why=str(error))
        return ""


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
