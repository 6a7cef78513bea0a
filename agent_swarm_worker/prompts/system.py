"""The system prompt: fixed parts first and changing ones last, so that vendors' caches hit.

The order and the conditions are those of the public worker (docs/prompts.md). It has no
upper limit as a whole: hand it to a harness by file or standard input, never as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_swarm_worker.errors import UnreadableFile
from agent_swarm_worker.prompts import sections
from agent_swarm_worker.prompts.render import Part
from agent_swarm_worker.prompts.texts import clean, join, one_line, squeeze

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.contract import HarnessSpec
    from agent_swarm_worker.prompts.render import PromptBuild
    from agent_swarm_worker.prompts.sections import RepositoryView
    from agent_swarm_worker.settings import Settings
    from agent_swarm_worker.swarm.wire import Requester, Skill


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentContext:
    """What the prompts of all tasks share."""

    agent_id: str
    spec: HarnessSpec
    """The harness that is prompted."""
    settings: Settings
    name: str = ""
    role: str = "worker"
    """The label; a lead may carry any, so it does not decide what the agent is."""
    is_lead: bool = False
    description: str = ""
    soul_md: str = ""
    identity_md: str = ""
    """Empty while it is the generated default, which says nothing."""
    claude_md: str = ""
    """The agent's own notes; empty while they are the generated default."""
    server_capabilities: frozenset[str] | None = None
    """What the server can do; ``None`` if it does not say, which counts as everything."""
    skills: tuple[Skill, ...] = ()
    mcp_servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """What the prompt of one task adds."""

    repository: RepositoryView | None = None
    requester: Requester | None = None
    slack_channel_id: str | None = None
    slack_thread_ts: str | None = None
    additional_prompt: str = ""
    """``task.additionalSystemPrompt`` of older servers (docs/api.md 2.3)."""
    missing_dir: str | None = None
    """The directory the task asked for, if it does not exist."""
    cwd: Path | None = None
    """Where the session works."""


async def system_prompt(
    build: PromptBuild, agent: AgentContext, task: TaskContext, *, operator_prompt: str = ""
) -> str:
    """Compose the system prompt of one session.

    Args:
        build: renders the parts.
        agent: what all tasks share.
        task: what this one adds.
        operator_prompt: the text of ``SYSTEM_PROMPT``, see `operator_prompt`.
    """
    fixed = _fixed_parts(agent, task)
    repository = _repository_part(agent, task)
    requester = _requester_part(task)
    # One call, so that all are rendered at the same time.
    texts = await build.texts([*fixed, *repository, *requester])
    base = squeeze(join(*texts[: len(fixed)]))
    notes = ""
    if agent.spec.capabilities.has_local_environment and not _finds_agent_notes(agent, task):
        notes = sections.agent_notes(agent.claude_md, used_bytes=len(base.encode()))
    return squeeze(
        join(
            base,
            notes,
            *texts[len(fixed) :],
            clean(operator_prompt),
            clean(task.additional_prompt),
            _missing_directory(task),
        )
    )


def operator_prompt(settings: Settings) -> str:
    """Return the operator's own text: ``SYSTEM_PROMPT``, else what ``SYSTEM_PROMPT_FILE`` holds.

    Raises:
        UnreadableFile: the file is named and cannot be read; a worker without the operator's
            instructions must not run.
    """
    if settings.system_prompt.strip() or settings.system_prompt_file is None:
        return settings.system_prompt
    path = settings.system_prompt_file
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UnreadableFile(path, error.strerror or str(error)) from error


def _fixed_parts(agent: AgentContext, task: TaskContext) -> list[Part]:
    composite = Part(
        _composite(agent),
        {
            "name": one_line(agent.name) or "an agent",
            "role": one_line(agent.role),
            "agentId": agent.agent_id,
            "persona": sections.persona(agent.description, agent.soul_md, agent.identity_md),
        },
    )
    if not agent.spec.capabilities.mcp_transports:
        return [composite]
    tools = Part(
        "system.agent.tools_skills",
        {
            "skills": sections.skills(agent.skills, agent.spec),
            "mcp_servers": sections.mcp_servers(agent.mcp_servers),
        },
    )
    return [composite, *_conditional_parts(agent, task), tools]


def _composite(agent: AgentContext) -> str:
    if not agent.spec.capabilities.mcp_transports:
        return "system.session.worker.remote"
    who = "lead" if agent.is_lead else "worker"
    where = "" if agent.spec.capabilities.has_local_environment else ".managed"
    return f"system.session.{who}{where}"


def _conditional_parts(agent: AgentContext, task: TaskContext) -> list[Part]:
    settings, can = agent.settings, agent.spec.capabilities
    scripts_only = bool(settings.scripts_only_mcp)
    parts = []
    if scripts_only:
        parts.append(Part("system.agent.scripts_only_mode"))
    if _can(agent, "pages"):
        shared_drive = can.has_local_environment and settings.agent_fs_api_url
        name = "system.agent.outputs" if shared_drive else "system.agent.outputs.no_agent_fs"
        parts.append(Part(name))
    if settings.slack_enabled and not scripts_only and _can(agent, "slack"):
        parts.append(Part("system.agent.slack"))
    if settings.slack_enabled and scripts_only and task.slack_channel_id and not agent.is_lead:
        thread = {
            "slackChannelId": task.slack_channel_id,
            "slackThreadTs": task.slack_thread_ts or "",
        }
        parts.append(Part("system.agent.scripts_only_mode.slack", thread))
    steers = settings.steering_enabled and can.steer_modes
    if steers and not scripts_only and _can(agent, "core"):
        parts.append(Part("system.agent.steering"))
    return parts


def _can(agent: AgentContext, capability: str) -> bool:
    return agent.server_capabilities is None or capability in agent.server_capabilities


def _repository_part(agent: AgentContext, task: TaskContext) -> list[Part]:
    if task.repository is None:
        return []
    variables = sections.repository(task.repository, agent.spec)
    return [Part("system.agent.repository", variables)]


def _finds_agent_notes(agent: AgentContext, task: TaskContext) -> bool:
    """Some read the notes of every directory upwards; the agent's are in the workspace."""
    if not agent.spec.prompt.reads_agent_notes:
        return False
    return task.cwd is None or task.cwd.is_relative_to(agent.settings.workspace_dir)


def _requester_part(task: TaskContext) -> list[Part]:
    variables = sections.requester(task.requester) if task.requester else None
    return [Part("task.requester.profile", variables)] if variables else []


def _missing_directory(task: TaskContext) -> str:
    if not task.missing_dir:
        return ""
    instead = f" You work in `{clean(str(task.cwd))}` instead." if task.cwd else ""
    return (
        f"WARNING: this task asks for the directory `{one_line(task.missing_dir, 500)}`,"
        f" which does not exist here.{instead} Say so in your output if it matters."
    )
