"""Composes the two prompts of a session, and prepares the workspace that they describe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anyio import to_thread

from agent_swarm_worker.aio import wait_all
from agent_swarm_worker.api.wire.tasks import TaskAssigned, TaskOffered
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.prompts.memories import concurrent_work, memories_section
from agent_swarm_worker.prompts.refused_edits import refused_edits_warning
from agent_swarm_worker.prompts.render import join, shipped_texts
from agent_swarm_worker.prompts.system import (
    AgentContext,
    TaskContext,
    operator_prompt,
    system_prompt,
)
from agent_swarm_worker.prompts.user import (
    PromptHarness,
    compose,
    directory_note,
    paused_prompt,
    trigger_prompt,
)
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.skills.folders import command_folders, is_installed, resolve_command
from agent_swarm_worker.worker.boot.registration import profile_facts
from agent_swarm_worker.worker.run.continuity import preamble
from agent_swarm_worker.workspace.profiles import is_default
from agent_swarm_worker.workspace.repository import RepoContext, RepositoryRequest, is_first_kickoff
from agent_swarm_worker.workspace.rules import SessionRules, rules_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AsyncExitStack

    from agent_swarm_worker.api.wire.tasks import Task, Trigger
    from agent_swarm_worker.contract import ProviderAdapter, ProviderSessionConfig
    from agent_swarm_worker.prompts.render import PromptBuild
    from agent_swarm_worker.worker.boot.parts import SessionParts
    from agent_swarm_worker.worker.run.running_task import RunningTask


async def compose_prompts(
    worker: SessionParts,
    adapter: ProviderAdapter,
    config: ProviderSessionConfig,
    *,
    task: RunningTask,
    trigger: Trigger,
    workspace: SessionWorkspace,
    mcp_servers: Sequence[str],
    setup_failure: str = "",
    appended: str = "",
) -> ProviderSessionConfig:
    """Return the config with both prompts; their parts are fetched at once.

    `appended` is the harness profile's end of the prompt.
    """
    build = worker.renderer.build()
    can = adapter_spec(adapter).capabilities
    harness = PromptHarness(
        format_command=adapter.format_command,
        has_mcp=bool(can.mcp_transports),
        download_dir=config.private_dir if can.has_local_environment else None,
    )
    row = trigger.task if isinstance(trigger, TaskAssigned | TaskOffered) else None
    if row is not None and task.trigger_type == "task_resumed":
        task_prompt = partial(paused_prompt, build, row, harness)
    else:
        task_prompt = partial(trigger_prompt, build, trigger, harness)
    system, body, warning, memories, concurrent, summary = await wait_all(
        partial(
            _system_prompt, worker, adapter, build, trigger, workspace, mcp_servers=mcp_servers
        ),
        task_prompt,
        partial(_warning, worker, build),
        partial(_memories, worker, config, row, has_mcp=harness.has_mcp),
        partial(_concurrent_work, worker, config),
        partial(preamble, worker, config, row, has_mcp=harness.has_mcp),
    )
    body = body or worker.options.default_prompt
    note = directory_note(workspace.directory.path, workspace.directory.source)
    warning = join(setup_failure, warning)
    parts = {"warning": warning, "memories": memories, "concurrent": concurrent, "note": note}
    full_prompt = await _with_skill(
        worker, adapter, compose(body, harness, preamble=summary, **parts)
    )
    full_prompt = join(full_prompt, appended) if appended else full_prompt
    if config.resume_session_id is None:
        return replace(config, prompt=full_prompt, system_prompt=system)
    # A resumed session knows the summary; a fresh one, if it is gone, gets the full prompt.
    prompt = await _with_skill(worker, adapter, compose(body, harness, **parts))
    prompt = join(prompt, appended) if appended else prompt
    return replace(config, prompt=prompt, fresh_prompt=full_prompt, system_prompt=system)


async def _system_prompt(
    worker: SessionParts,
    adapter: ProviderAdapter,
    build: PromptBuild,
    trigger: Trigger,
    workspace: SessionWorkspace,
    *,
    mcp_servers: Sequence[str],
) -> str:
    facts, spec = worker.facts, adapter_spec(adapter)
    agent = AgentContext(
        agent_id=worker.agent_id,
        spec=spec,
        settings=worker.settings,
        name=facts.agent.name if facts.agent else "",
        role=facts.role_label,
        is_lead=facts.is_lead,
        description=(facts.agent.description or "") if facts.agent else "",
        soul_md=facts.profile.get("soulMd", ""),
        identity_md=_edited(worker, "identityMd"),
        claude_md=_edited(worker, "claudeMd"),
        server_capabilities=facts.server_capabilities,
        skills=facts.skills,
        mcp_servers=tuple(mcp_servers) if spec.capabilities.mcp_transports else (),
    )
    context = TaskContext(repository=workspace.repository, cwd=workspace.directory.path)
    if isinstance(trigger, TaskAssigned | TaskOffered):
        row = trigger.task
        older = row.raw.get("additionalSystemPrompt")
        context = replace(
            context,
            requester=trigger.requested_by,
            slack_channel_id=row.slack_channel_id,
            slack_thread_ts=row.slack_thread_ts,
            additional_prompt=older if isinstance(older, str) else "",
            missing_dir=workspace.directory.missing,
        )
    own = worker.options.operator_prompt
    operator = operator_prompt(worker.settings) if own is None else own
    return await system_prompt(build, agent, context, operator_prompt=operator)


def _edited(worker: SessionParts, field: str) -> str:
    """Return a profile text, but not the one every new agent starts with."""
    text = worker.facts.profile.get(field, "")
    return "" if is_default(field, text, profile_facts(worker)) else text


async def _with_skill(worker: SessionParts, adapter: ProviderAdapter, prompt: str) -> str:
    """Replace a skill's command by its text, for a harness that does not know the command.

    Such a harness has no commands, or the skills are not installed in a person's home.
    """
    settings, spec = worker.settings, adapter_spec(adapter)
    if spec.skills.native_discovery and not spec.capabilities.has_local_environment:
        return prompt
    if spec.skills.native_discovery and await to_thread.run_sync(
        is_installed, prompt, settings.home, worker.harness.all_specs
    ):
        return prompt
    places = (
        *command_folders(spec, worker.harness_env(), settings.home),
        settings.home / ".agents" / "skills",
        shipped_texts("skills"),
    )
    resolve = partial(resolve_command, prompt, *places, max_chars=settings.max_skill_chars)
    resolved = await to_thread.run_sync(resolve)
    if resolved.warning:
        worker.log.warning(Event.PROMPT_FALLBACK, part="skill", why=resolved.warning)
    return resolved.prompt


async def _memories(
    worker: SessionParts, config: ProviderSessionConfig, row: Task | None, *, has_mcp: bool
) -> str:
    if row is None:
        return ""
    return await memories_section(
        worker.client.resources,
        row,
        config.redactor,
        raters=worker.settings.memory_raters,
        has_mcp=has_mcp,
    )


async def _concurrent_work(worker: SessionParts, config: ProviderSessionConfig) -> str:
    if not worker.facts.is_lead:
        return ""
    server = worker.client.resources
    return await concurrent_work(server, config.redactor, own_task=config.task_id)


async def _warning(worker: SessionParts, build: PromptBuild) -> str:
    async def stored() -> Mapping[str, str]:
        agent = await worker.client.agents.me()
        return {key: value for key, value in agent.raw.items() if isinstance(value, str)}

    try:
        return await refused_edits_warning(build, worker.client.resources, worker.agent_id, stored)
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="refused edits", why=str(error))
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionWorkspace:
    """The working directory of a session, and its repository."""

    directory: WorkingDirectory
    repository: RepoContext | None
    rules: SessionRules


async def prepare_workspace(
    worker: SessionParts,
    row: Task | None,
    parent: Task | None,
    stack: AsyncExitStack,
    env: Mapping[str, str],
) -> SessionWorkspace:
    """Prepare the clone of the task's repository, if any, and choose the working directory.

    `env` has the rules for it; closing `stack` releases the clone.
    """
    repository: RepoContext | None = None
    rules = await to_thread.run_sync(rules_for, env, row.vcs_repo if row else None)
    if row is not None and row.vcs_repo:
        request = RepositoryRequest(
            vcs_repo=row.vcs_repo,
            vcs_provider=row.vcs_provider,
            first_kickoff=is_first_kickoff(row.task_type, parent.status if parent else None),
            task_id=row.id,
        )
        repository = await stack.enter_async_context(worker.repositories.prepared(request))
    directory = choose_directory(
        row.dir if row else None,
        repository.clone_path if repository else None,
        _process_directory(worker),
    )
    return SessionWorkspace(directory=directory, repository=repository, rules=rules)


def _process_directory(worker: SessionParts) -> Path:
    try:
        return Path.cwd()
    except OSError:  # an earlier session has removed it
        return worker.settings.home


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingDirectory:
    """The directory of a session, and where it comes from."""

    path: Path
    source: Literal["task", "clone", "process"]
    missing: str | None = None
    """The directory that the task asks for, if it does not exist."""


def choose_directory(
    task_dir: str | None, clone: Path | None, process_cwd: Path
) -> WorkingDirectory:
    """Return the task's directory if it exists, else the clone, else the worker's own directory."""
    if task_dir and _is_directory(process_cwd / task_dir):
        return WorkingDirectory(path=process_cwd / task_dir, source="task")
    missing = task_dir or None
    if clone is not None and clone.is_dir():
        return WorkingDirectory(path=clone, source="clone", missing=missing)
    return WorkingDirectory(path=process_cwd, source="process", missing=missing)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a NUL byte, a name too long
        return False
