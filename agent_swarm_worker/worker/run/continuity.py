"""Continues earlier work: by resuming the harness's own session, or by a preamble in the prompt.

A follow-up of a task that this agent ran on the same harness resumes its native session, if that
session's files exist; otherwise a preamble summarizes the earlier task (docs/api.md 7.6).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.prompts.preambles import follow_up_preamble, resume_preamble
from agent_swarm_worker.worker.boot.harness import wire_name

if TYPE_CHECKING:
    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.contract import ProviderAdapter, ProviderSessionConfig
    from agent_swarm_worker.worker.boot.parts import Core

HARNESS_KEY = "harness"
"""In a session's variant meta: the harness's own name, if the server knows another one."""


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
    ran_here = parent.agent_id == worker.agent_id and _ran_on(parent, adapter)
    if not ran_here or not await adapter.can_resume(parent.claude_session_id, config):
        if mode == "native":
            worker.log.warning(
                Event.SESSION_RESUMED,
                task=row.id,
                session=parent.claude_session_id,
                state="not found",
            )
        return config
    worker.log.info(
        Event.SESSION_RESUMED, task=row.id, session=parent.claude_session_id, state="resuming"
    )
    return replace(config, resume_session_id=parent.claude_session_id)


def _ran_on(parent: Task, adapter: ProviderAdapter) -> bool:
    true_name = (parent.harness_variant_meta or {}).get(HARNESS_KEY)
    if true_name is not None:
        return bool(true_name == adapter.name)
    return parent.provider in (None, wire_name(adapter)) and wire_name(adapter) == adapter.name


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
