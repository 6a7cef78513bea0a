"""From a claimed trigger to everything a session needs (docs/api.md 15)."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.aio import wait_all
from agent_swarm_worker.api.wire import TaskAssigned, TaskOffered
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.contract import ProviderSessionConfig
from agent_swarm_worker.credentials.pools import session_env
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.guards.child_env import harness_env
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.journal.files import file_name, first_record
from agent_swarm_worker.journal.writer import Journal
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.sandboxes.port import GuestSpec
from agent_swarm_worker.worker.boot.environment import needed_variables
from agent_swarm_worker.worker.boot.parts import (
    Api,
    Basics,
    Config,
    Host,
    Identity,
    Logins,
    Prompts,
    Sessions,
    Storage,
    Workspace,
)
from agent_swarm_worker.worker.loops.housekeeping import owner
from agent_swarm_worker.worker.run.continuity import parent_of, with_native_resume
from agent_swarm_worker.worker.run.launch_files import (
    ToolServers,
    private_dir,
    session_tool_servers,
)
from agent_swarm_worker.worker.run.prompting import compose_prompts, place_of
from agent_swarm_worker.worker.run.running_task import RESUMED
from agent_swarm_worker.worker.run.selection import ModelChoice, choose_model, select_for
from agent_swarm_worker.worker.run.watchdog import SessionLimits, limits_of
from agent_swarm_worker.workspace.git import identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from agent_swarm_worker.api.wire import Task, Trigger
    from agent_swarm_worker.contract import Guest, ProviderAdapter
    from agent_swarm_worker.credentials.pools import Selection
    from agent_swarm_worker.worker.run.prompting import Place
    from agent_swarm_worker.worker.run.running_task import RunningTask

SESSIONS_DIR = "sessions"
"""In the state directory: one private directory per running session."""


class Parts(
    Identity, Config, Basics, Api, Storage, Host, Logins, Prompts, Workspace, Sessions, Protocol
):
    """What this module uses of the worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """All that one session is given, and what its report needs to know."""

    adapter: ProviderAdapter
    config: ProviderSessionConfig
    model: ModelChoice
    credentials: tuple[Selection, ...]
    metadata_bytes: int
    directory: Path
    """Where the session works, on this machine."""
    limits: SessionLimits


@asynccontextmanager
async def prepared(
    worker: Parts,
    task: RunningTask,
    trigger: Trigger,
    last_look: Callable[[], Awaitable[object]],
) -> AsyncIterator[Ready]:
    """Prepare a session; what it holds (the clone, its private directory) is held until the end.

    Args:
        worker: the process.
        task: whose session it is.
        trigger: what began it.
        last_look: done while the prompts are composed; it may end the task.

    Raises:
        SwarmWorkerError: it cannot be prepared; the task is to fail with this reason.
    """
    trigger = await _told_in_full(worker, trigger)
    row = trigger.task if isinstance(trigger, TaskAssigned | TaskOffered) else None
    adapter = worker.harness.adapter
    redactor = Scrubber(worker.scrubber)
    async with AsyncExitStack() as held:
        # A paused task goes on from itself: in its own session, on its own branch.
        resumed = row if task.trigger_type == RESUMED else None
        private = held.enter_context(_private_dir(worker, task))
        model = _model_of(worker, adapter, row)
        # What this asks the server for does not depend on each other, so it is asked at once.
        (parent, place), credentials, tools, _ = await wait_all(
            partial(_parent_and_place, worker, row, resumed, held),
            partial(select_for, worker, adapter, row, model.model),
            partial(session_tool_servers, worker, adapter, task, row, redactor),
            partial(_refresh_skills, worker, adapter),
        )
        for selection in credentials:
            redactor.add(selection.key_type, selection.value)
        means = _Means(
            adapter=adapter,
            model=model,
            credentials=credentials,
            tools=tools,
            place=place,
            guest=await _open_guest(worker, task, place, private, held),
            private_dir=private,
            redactor=redactor,
        )
        config = _config(worker, task, row, means)
        config = await with_native_resume(worker, adapter, config, row, parent)
        compose = partial(
            compose_prompts,
            worker,
            adapter,
            config,
            task=task,
            trigger=trigger,
            place=place,
            tool_servers=tools.installed,
        )
        config, _ = await wait_all(compose, last_look)
        yield Ready(
            adapter=adapter,
            config=config,
            model=model,
            credentials=tuple(credentials),
            metadata_bytes=_begin_journal(worker, config, task),
            directory=place.directory.path,
            limits=_limits(worker, adapter, task, row),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Means:
    """What one session works with."""

    adapter: ProviderAdapter
    model: ModelChoice
    credentials: list[Selection]
    tools: ToolServers
    place: Place
    guest: Guest
    private_dir: Path
    redactor: Scrubber


def _config(
    worker: Parts, task: RunningTask, row: Task | None, means: _Means
) -> ProviderSessionConfig:
    """Return the configuration of a session, still without its prompts."""
    settings, guest = worker.settings, means.guest
    return ProviderSessionConfig(
        prompt="",
        guest=guest,
        model=means.model.model,
        reasoning_effort=means.model.effort,
        role=worker.facts.role_label,
        agent_id=worker.agent_id,
        task_id=task.task_id,
        session_uuid=task.session_uuid,
        api_url=settings.api_url,
        api_key=settings.api_key,
        cwd=PurePath(guest.path(means.place.directory.path)),
        log_file=_log_file(worker, task),
        private_dir=PurePath(guest.path(means.private_dir)),
        env=_session_env(worker, means.adapter, task, means.credentials, guest),
        redactor=means.redactor,
        mcp_servers=means.tools.servers,
        iteration=worker.next_iteration(),
        result_grace_s=settings.result_grace_s,
        journal_max_bytes=settings.journal_max_mb << 20,
        additional_args=worker.options.additional_args,
        vcs_repo=row.vcs_repo if row else None,
        context_key=row.context_key if row else None,
    )


def _model_of(worker: Config, adapter: ProviderAdapter, row: Task | None) -> ModelChoice:
    return choose_model(
        tiers=adapter_spec(adapter).models.tiers,
        env=worker.environment.values(),
        task_model=row.model if row else None,
        task_tier=row.model_tier if row else None,
        task_effort=row.effort if row else None,
    )


async def _parent_and_place(
    worker: Parts, row: Task | None, resumed: Task | None, held: AsyncExitStack
) -> tuple[Task | None, Place]:
    """Return the task that this one continues, and where it works."""
    parent = resumed or await parent_of(worker, row)
    return parent, await place_of(worker, row, parent, held)


async def _refresh_skills(worker: Parts, adapter: ProviderAdapter) -> None:
    if worker.skills is not None and adapter_spec(adapter).capabilities.has_local_environment:
        worker.facts.skills = await worker.skills.refresh()


async def _told_in_full(worker: Parts, trigger: Trigger) -> Trigger:
    """Fetch the task of a trigger that names one without saying what is to be done."""
    if not isinstance(trigger, TaskAssigned | TaskOffered) or trigger.task.text:
        return trigger
    try:
        return replace(trigger, task=await worker.client.tasks.get(trigger.task.id))
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="task", why=str(error))
        return trigger


def _limits(
    worker: Parts, adapter: ProviderAdapter, task: RunningTask, row: Task | None
) -> SessionLimits:
    return limits_of(
        worker.settings,
        harness=adapter.name,
        tags=row.tags if row else (),
        log=worker.log.bind(task=task.task_id),
    )


async def _open_guest(
    worker: Parts, task: RunningTask, place: Place, private: Path, held: AsyncExitStack
) -> Guest:
    """Open the guest of a session; what runs in it is ended with `held`."""
    mounts = {"work": place.directory.path, "private": private, "home": worker.settings.home}
    spec = GuestSpec(name=task.session_uuid, mounts=mounts)
    guest = await held.enter_async_context(worker.sandbox.open(spec))
    task.handle = guest.handle
    return guest


def _session_env(
    worker: Parts,
    adapter: ProviderAdapter,
    task: RunningTask,
    credentials: list[Selection],
    guest: Guest,
) -> dict[str, str]:
    """The complete environment of the harness (docs/api.md 15.9)."""
    spec = adapter_spec(adapter)
    all_credentials = [each.credentials for each in worker.harness.all_specs]
    env = harness_env(
        session_env(spec.credentials, worker.environment.values(), credentials, all_credentials),
        tracing_switches=spec.tracing_variables,
    )
    needed = (
        *needed_variables(adapter, env),
        *(selection.key_type for selection in credentials),
    )
    return {
        **guest.environment(env, needed),
        **identity(env),
        "MCP_BASE_URL": worker.settings.api_url,
        "AGENT_ID": worker.agent_id,
        "AGENT_SWARM_AGENT_ID": worker.agent_id,
        "AGENT_SWARM_TASK_ID": task.task_id,
        "SWARM_RUNTIME_INSTANCE_ID": worker.runtime_id,
    }


def _private_dir(worker: Parts, task: RunningTask) -> AbstractContextManager[Path]:
    return private_dir(worker.state.path / SESSIONS_DIR, task.session_uuid, log=worker.log)


def _log_file(worker: Parts, task: RunningTask) -> Path:
    return worker.log_dir / file_name(
        timestamp=wire_time(worker.clock.now()),
        label=task.task_id if task.has_task else "notask",
        session_uuid=task.session_uuid,
        resumes_task=task.trigger_type == RESUMED,
    )


def _begin_journal(worker: Parts, config: ProviderSessionConfig, task: RunningTask) -> int:
    """Write the journal's first line; it describes the run and is not uploaded."""
    record = first_record(
        role=worker.options.role,
        owner=owner(worker.state, worker.ids),
        session_uuid=config.session_uuid,
        iteration=config.iteration,
        timestamp=wire_time(worker.clock.now()),
        harness=worker.harness.name,
        trigger=task.trigger_type,
        task_id=task.task_id,
        yolo=bool(worker.settings.yolo),
        model=config.model,
        resumes=config.resume_session_id,
        prompt=config.prompt,
    )
    return Journal.begin(config.log_file, config.redactor.leaves(record), log=worker.log)
