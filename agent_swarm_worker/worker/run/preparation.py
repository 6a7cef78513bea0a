"""Prepares a session: from a claimed trigger to its complete configuration (docs/api.md 15)."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING

from agent_swarm_worker.aio import wait_all
from agent_swarm_worker.api.wire.tasks import TaskAssigned, TaskOffered
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
from agent_swarm_worker.tool_bridge.serving import SERVER as TOOLS_SERVER
from agent_swarm_worker.worker.boot.environment import needed_variables
from agent_swarm_worker.worker.boot.harness import HARNESS_PROFILE_KEY
from agent_swarm_worker.worker.loops.housekeeping import owner
from agent_swarm_worker.worker.run.continuity import parent_of, with_native_resume
from agent_swarm_worker.worker.run.launch_files import (
    SESSIONS_DIR,
    SessionMcpServers,
    private_dir,
    session_mcp_servers,
)
from agent_swarm_worker.worker.run.model_choice import RequestedModel, choose_model
from agent_swarm_worker.worker.run.permissions import session_permissions
from agent_swarm_worker.worker.run.prompting import compose_prompts, prepare_workspace
from agent_swarm_worker.worker.run.running_task import RESUMED
from agent_swarm_worker.worker.run.session_commands import commands_around
from agent_swarm_worker.worker.run.session_credentials import select_credentials_for
from agent_swarm_worker.worker.run.session_profile import (
    SessionProfile,
    catalogue_servers,
    session_profile,
)
from agent_swarm_worker.worker.run.session_summary import Transcript
from agent_swarm_worker.worker.run.session_tools import with_tools
from agent_swarm_worker.worker.run.watchdog import SessionLimits, limits_of
from agent_swarm_worker.workspace.git import identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from agent_swarm_worker.api.wire.tasks import Task, Trigger
    from agent_swarm_worker.contract import Guest, ProviderAdapter
    from agent_swarm_worker.credentials.pools import Selection
    from agent_swarm_worker.worker.boot.parts import RunParts, SessionParts
    from agent_swarm_worker.worker.run.prompting import SessionWorkspace
    from agent_swarm_worker.worker.run.running_task import RunningTask


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSession:
    """A session that is ready to start, with the data that its report needs."""

    adapter: ProviderAdapter
    config: ProviderSessionConfig
    model: RequestedModel
    credentials: tuple[Selection, ...]
    metadata_bytes: int
    workspace: SessionWorkspace
    profile: SessionProfile
    notes: list[str]
    """What went wrong beside the session, for its log."""
    limits: SessionLimits
    transcript: Transcript = field(default_factory=Transcript)
    """For the summary; also of the session that asks for fitting output."""

    @property
    def directory(self) -> Path:
        """Where the session works, on this machine."""
        return self.workspace.directory.path


@asynccontextmanager
async def prepared(
    worker: RunParts,
    task: RunningTask,
    trigger: Trigger,
    final_check: Callable[[], Awaitable[object]],
) -> AsyncIterator[PreparedSession]:
    """Prepare a session; its guest, clone and private directory are released afterwards.

    `final_check` is called while the prompts are composed; it may end the task.

    Raises:
        SwarmWorkerError: it cannot be prepared; the task fails with this reason.
    """
    trigger = await _with_task_text(worker, trigger)
    row = trigger.task if isinstance(trigger, TaskAssigned | TaskOffered) else None
    async with AsyncExitStack() as stack:
        # A resumed task continues itself: its own session, on its own branch.
        resumed = row if task.trigger_type == RESUMED else None
        inputs, parent = await _inputs(worker, task, row, resumed, stack)
        config = _config(worker, task, row, inputs)
        config = await with_tools(
            worker,
            inputs.adapter,
            config,
            tags=row.tags if row else (),
            of_profile=inputs.profile.profile.tools,
            stack=stack,
        )
        config = await with_native_resume(worker, inputs.adapter, config, row, parent)
        notes = await _setup(worker, task, inputs, config, stack)
        compose = partial(
            compose_prompts,
            worker,
            inputs.adapter,
            config,
            task=task,
            trigger=trigger,
            workspace=inputs.workspace,
            mcp_servers=_named(config, inputs.tools),
            setup_failure="\n".join(notes),
            appended=inputs.profile.profile.append_prompt,
        )
        notes[:0] = inputs.profile.notes
        config, _ = await wait_all(compose, final_check)
        yield PreparedSession(
            adapter=inputs.adapter,
            config=config,
            model=inputs.model,
            credentials=tuple(inputs.credentials),
            metadata_bytes=begin_journal(worker, config, task, inputs.profile),
            workspace=inputs.workspace,
            profile=inputs.profile,
            notes=notes,
            limits=limits_of(
                worker.settings,
                harness=inputs.adapter.name,
                tags=row.tags if row else (),
                log=worker.log.bind(task=task.task_id),
            ),
        )


async def _setup(
    worker: RunParts,
    task: RunningTask,
    inputs: _SessionInputs,
    config: ProviderSessionConfig,
    stack: AsyncExitStack,
) -> list[str]:
    """Run the operator's setup command; return the reasons of failures, of the cleanup too."""
    if not adapter_spec(inputs.adapter).capabilities.has_local_environment:
        return []
    commands = commands_around(
        config,
        inputs.workspace.rules,
        worker.shutdown,
        worker.log.bind(task=task.task_id),
        budget_s=worker.settings.drain_s,
    )
    return await stack.enter_async_context(commands)


def _named(config: ProviderSessionConfig, tools: SessionMcpServers) -> tuple[str, ...]:
    """Return the names of the tool servers that the prompt tells of."""
    is_served = any(server.name == TOOLS_SERVER for server in config.mcp_servers)
    return (*tools.installed, TOOLS_SERVER) if is_served else tools.installed


@dataclass(frozen=True, slots=True, kw_only=True)
class _SessionInputs:
    adapter: ProviderAdapter
    profile: SessionProfile
    model: RequestedModel
    credentials: list[Selection]
    tools: SessionMcpServers
    workspace: SessionWorkspace
    guest: Guest
    private_dir: Path
    redactor: Scrubber


async def _inputs(
    worker: SessionParts,
    task: RunningTask,
    row: Task | None,
    resumed: Task | None,
    stack: AsyncExitStack,
) -> tuple[_SessionInputs, Task | None]:
    """Collect what a session is built from; return it, and the parent of the task.

    `resumed` is the row of a task that continues its own session. `stack` releases the guest, the
    clone and the private directory.
    """
    adapter = worker.harness.adapter
    log = worker.log.bind(task=task.task_id)
    profile = await session_profile(worker, adapter, row, log)
    redactor = Scrubber(worker.scrubber)
    folder = worker.state.path / SESSIONS_DIR
    private = stack.enter_context(private_dir(folder, task.session_uuid, log=worker.log))
    model = choose_model(row, tiers=adapter_spec(adapter).models.tiers, env=profile.env)
    # Independent requests, sent at once.
    (parent, workspace), credentials, tools, _ = await wait_all(
        partial(_parent_and_workspace, worker, row, resumed, stack, profile.env),
        partial(select_credentials_for, worker, adapter, row, model.model, profile.env),
        partial(session_mcp_servers, worker, adapter, task, row, redactor, stack=stack),
        partial(_refresh_skills, worker, adapter),
    )
    for selection in credentials:
        redactor.add(selection.key_type, selection.value)
    guest = await _open_guest(worker, task, workspace, private, stack)
    inputs = _SessionInputs(
        adapter=adapter,
        profile=profile,
        model=model,
        credentials=credentials,
        tools=await catalogue_servers(profile, tools, guest, redactor=redactor, log=log),
        workspace=workspace,
        guest=guest,
        private_dir=private,
        redactor=redactor,
    )
    return inputs, parent


def _config(
    worker: SessionParts, task: RunningTask, row: Task | None, inputs: _SessionInputs
) -> ProviderSessionConfig:
    settings, guest = worker.settings, inputs.guest
    cwd = PurePath(guest.path(inputs.workspace.directory.path))
    gate = session_permissions(
        worker,
        inputs.adapter,
        guest=guest,
        cwd=cwd,
        redactor=inputs.redactor,
        task_id=task.task_id,
        override=inputs.profile.profile.permissions,
    )
    return ProviderSessionConfig(
        prompt="",
        guest=guest,
        model=inputs.model.model,
        reasoning_effort=inputs.model.effort,
        role=worker.facts.role_label,
        agent_id=worker.agent_id,
        task_id=task.task_id,
        session_uuid=task.session_uuid,
        api_url=settings.api_url,
        api_key=settings.api_key,
        cwd=cwd,
        permissions=gate,
        log_file=log_file(worker, task, task.session_uuid),
        private_dir=PurePath(guest.path(inputs.private_dir)),
        env=_session_env(worker, inputs, task),
        redactor=inputs.redactor,
        mcp_servers=inputs.tools.servers,
        iteration=worker.next_iteration(),
        result_grace_s=settings.result_grace_s,
        journal_max_bytes=settings.journal_max_mb << 20,
        # Of an argument that is given twice, programs take the last.
        additional_args=(*inputs.profile.profile.args, *worker.options.additional_args),
        vcs_repo=row.vcs_repo if row else None,
        context_key=row.context_key if row else None,
    )


async def _parent_and_workspace(
    worker: SessionParts,
    row: Task | None,
    resumed: Task | None,
    stack: AsyncExitStack,
    env: Mapping[str, str],
) -> tuple[Task | None, SessionWorkspace]:
    parent = resumed or await parent_of(worker, row)
    return parent, await prepare_workspace(worker, row, parent, stack, env)


async def _refresh_skills(worker: SessionParts, adapter: ProviderAdapter) -> None:
    if worker.skills is not None and adapter_spec(adapter).capabilities.has_local_environment:
        worker.facts.skills = await worker.skills.refresh()


async def _with_task_text(worker: SessionParts, trigger: Trigger) -> Trigger:
    """Return the trigger with its task fetched, if the trigger has no task text."""
    if not isinstance(trigger, TaskAssigned | TaskOffered) or trigger.task.text:
        return trigger
    try:
        return replace(trigger, task=await worker.client.tasks.get(trigger.task.id))
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="task", why=str(error))
        return trigger


async def _open_guest(
    worker: SessionParts,
    task: RunningTask,
    workspace: SessionWorkspace,
    private: Path,
    stack: AsyncExitStack,
) -> Guest:
    mounts = {"work": workspace.directory.path, "private": private, "home": worker.settings.home}
    spec = GuestSpec(name=task.session_uuid, mounts=mounts)
    guest = await stack.enter_async_context(worker.sandbox.open(spec))
    task.handle = guest.handle
    return guest


def _session_env(worker: SessionParts, inputs: _SessionInputs, task: RunningTask) -> dict[str, str]:
    credentials, profile = inputs.credentials, inputs.profile
    spec = adapter_spec(inputs.adapter)
    all_credentials = [each.credentials for each in worker.harness.all_specs]
    env = harness_env(
        session_env(spec.credentials, profile.env, credentials, all_credentials),
        tracing_switches=spec.tracing_variables,
    )
    needed = (
        *needed_variables(inputs.adapter, env),
        *(used.key_type for used in credentials),
        *profile.profile.variables,
    )
    return {
        **inputs.guest.environment(env, needed),
        **identity(env),
        "MCP_BASE_URL": worker.settings.api_url,
        "AGENT_ID": worker.agent_id,
        "AGENT_SWARM_AGENT_ID": worker.agent_id,
        "AGENT_SWARM_TASK_ID": task.task_id,
        "SWARM_RUNTIME_INSTANCE_ID": worker.runtime_id,
    }


def log_file(worker: SessionParts, task: RunningTask, session_uuid: str) -> Path:
    """Return the path of a session's journal."""
    return worker.log_dir / file_name(
        timestamp=wire_time(worker.clock.now()),
        label=task.task_id if task.has_task else "notask",
        session_uuid=session_uuid,
        resumes_task=task.trigger_type == RESUMED,
    )


def begin_journal(
    worker: SessionParts, config: ProviderSessionConfig, task: RunningTask, profile: SessionProfile
) -> int:
    """Write the journal's first record, which is not uploaded; return its size."""
    fields = {
        "sessionId": config.session_uuid,
        "iteration": config.iteration,
        "timestamp": wire_time(worker.clock.now()),
        "harness": worker.harness.name,
        HARNESS_PROFILE_KEY: str(profile.profile.name),
        "permissions": config.permissions.mode if config.permissions else None,
        "trigger": task.trigger_type,
        "taskId": task.task_id,
        "yolo": bool(worker.settings.yolo),
        "model": config.model or None,
        "resumes": config.resume_session_id,
        "forks": config.forks or None,
        "prompt": config.prompt,
    }
    kind = "lead" if worker.options.is_lead else "worker"
    record = first_record(kind, owner(worker.state, worker.ids), fields)
    return Journal.begin(config.log_file, config.redactor.leaves(record), log=worker.log)
