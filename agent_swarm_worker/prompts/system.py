"""Compose the system prompt: parts that all tasks share first, so that vendors' caches hit.

The order and the conditions of the parts are those of the public worker (docs/prompts.md). The
prompt as a whole has no size limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.files import read_whole
from agent_swarm_worker.prompts.render import Part, block, clean, join, squeeze
from agent_swarm_worker.text import clip_bytes, one_line, text_of_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agent_swarm_worker.api.wire.resources import Guidelines, Skill
    from agent_swarm_worker.api.wire.tasks import Requester
    from agent_swarm_worker.contract import HarnessSpec
    from agent_swarm_worker.prompts.render import PromptBuild
    from agent_swarm_worker.settings import Settings

PERSONA_MAX_BYTES = 20_000
"""Per persona file."""
NOTES_MAX_BYTES = 20_000
REPO_NOTES_MAX_BYTES = 12_000
PROMPT_MAX_BYTES = 120_000
"""The agent's notes may fill the prompt up to here: Linux takes 128 KiB in one argument."""
REQUESTER_NOTES_MAX_BYTES = 8_000
SKILLS_MAX_BYTES = 20_000
"""Of the list for harnesses without skill discovery."""
_SKILL_LINE_CHARS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentContext:
    """Facts about the agent, shared by the prompts of all its tasks."""

    agent_id: str
    spec: HarnessSpec
    """Of the harness that gets the prompt."""
    settings: Settings
    name: str = ""
    role: str = "worker"
    """Free text shown in the prompt; `is_lead` decides what the agent is."""
    is_lead: bool = False
    description: str = ""
    soul_md: str = ""
    identity_md: str = ""
    """Empty while it is the generated default."""
    claude_md: str = ""
    """The agent's own notes; empty while they are the generated default."""
    server_capabilities: frozenset[str] | None = None
    """``None``: the server does not list any, and is assumed to have them all."""
    skills: tuple[Skill, ...] = ()
    mcp_servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """Facts about one task."""

    repository: _Repository | None = None
    requester: Requester | None = None
    slack_channel_id: str | None = None
    slack_thread_ts: str | None = None
    additional_prompt: str = ""
    """``task.additionalSystemPrompt`` of older servers (docs/api.md 2.3)."""
    missing_dir: str | None = None
    """The directory that the task asks for, if it does not exist."""
    cwd: Path | None = None
    """The session's working directory."""


class _Repository(Protocol):
    """The part of `workspace.repository.RepoContext` that the prompt uses."""

    @property
    def clone_path(self) -> Path | None: ...

    @property
    def warning(self) -> str | None: ...

    @property
    def claude_md(self) -> str: ...

    @property
    def auto_stashes(self) -> Mapping[str, str]: ...

    @property
    def guidelines(self) -> Guidelines | None: ...


async def system_prompt(
    build: PromptBuild, agent: AgentContext, task: TaskContext, *, operator_prompt: str = ""
) -> str:
    """Compose the system prompt of one session; for `operator_prompt` see the function."""
    fixed = _fixed_parts(agent, task)
    texts = await build.texts([*fixed, *_task_parts(agent, task)])
    base = squeeze(join(*texts[: len(fixed)]))
    notes = ""
    if agent.spec.capabilities.has_local_environment and not _finds_agent_notes(agent, task):
        notes = _agent_notes(agent.claude_md, used_bytes=len(base.encode()))
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
    """Return ``SYSTEM_PROMPT``; if it is blank, the content of ``SYSTEM_PROMPT_FILE``.

    Raises `UnreadableFile`: a worker must not run without the operator's instructions.
    """
    if settings.system_prompt.strip() or settings.system_prompt_file is None:
        return settings.system_prompt
    return text_of_file(read_whole(settings.system_prompt_file))


def _fixed_parts(agent: AgentContext, task: TaskContext) -> list[Part]:
    composite = Part(
        _composite(agent),
        {
            "name": one_line(agent.name) or "an agent",
            "role": one_line(agent.role),
            "agentId": agent.agent_id,
            "persona": _persona(agent.description, agent.soul_md, agent.identity_md),
        },
    )
    if not agent.spec.capabilities.mcp_transports:
        return [composite]
    tools = Part(
        "system.agent.tools_skills",
        {
            "skills": _skills(agent.skills, agent.spec),
            "mcp_servers": _mcp_servers(agent.mcp_servers),
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


def _task_parts(agent: AgentContext, task: TaskContext) -> list[Part]:
    parts = []
    if task.repository is not None:
        variables = _repository_variables(task.repository, agent.spec)
        parts.append(Part("system.agent.repository", variables))
    if task.requester is not None and (variables := _requester_variables(task.requester)):
        parts.append(Part("task.requester.profile", variables))
    return parts


def _finds_agent_notes(agent: AgentContext, task: TaskContext) -> bool:
    """True if the harness itself reads the agent's notes in the workspace, above its `cwd`."""
    if not agent.spec.prompt.reads_agent_notes:
        return False
    return task.cwd is None or task.cwd.is_relative_to(agent.settings.workspace_dir)


def _missing_directory(task: TaskContext) -> str:
    if not task.missing_dir:
        return ""
    instead = f" You work in `{clean(str(task.cwd))}` instead." if task.cwd else ""
    return (
        f"WARNING: this task asks for the directory `{one_line(task.missing_dir, 500)}`,"
        f" which does not exist here.{instead} Say so in your output if it matters."
    )


def _persona(description: str, soul: str, identity: str) -> str:
    parts = [
        clip_bytes(clean(part).strip(), PERSONA_MAX_BYTES, "[...truncated]")
        for part in (description, soul, identity)
    ]
    return block("\n\n".join(part for part in parts if part))


def _skills(installed: Sequence[Skill], spec: HarnessSpec) -> str:
    if not installed:
        return ""
    find = "`skill-list` shows them all, `skill-search` finds one by intent, `skill-get` reads one."
    is_local = spec.capabilities.has_local_environment
    if spec.skills.native_discovery:
        where = "in your harness's skills directory"
        if not is_local:
            where = "on the server; use the skill tools"
        text = f"{len(installed)} skills are installed {where}. {find}"
        return block(f"{text} Use one that fits before you do the work by hand.")
    slash = "/" if is_local else ""
    how = "its SKILL.md in your skills directory" if is_local else "it with `skill-get`"
    lines = [
        f"- {slash}{one_line(skill.name, 100)}: {one_line(skill.description, _SKILL_LINE_CHARS)}"
        for skill in installed
    ]
    listed = clip_bytes("\n".join(lines), SKILLS_MAX_BYTES, f"[... {len(lines)} skills in all]")
    return block(
        f"Installed skills. When one fits, read {how} and follow it.\n\n{listed}\n\n{find}"
    )


def _mcp_servers(names: Sequence[str]) -> str:
    listed = ", ".join(flat for name in names if (flat := one_line(name, 100)))
    text = f"Connected MCP servers: {listed}. Their tools are in your tool list."
    return block(text if listed else "")


def _agent_notes(notes: str, *, used_bytes: int) -> str:
    """Return the agent's own CLAUDE.md, cut so that the prompt stays below `PROMPT_MAX_BYTES`."""
    header = "## Your notes (CLAUDE.md)\n\n"
    room = min(NOTES_MAX_BYTES, max(0, PROMPT_MAX_BYTES - used_bytes)) - len(header)
    notice = "[...truncated, see /workspace/CLAUDE.md for full content]"
    text = clip_bytes(clean(notes).strip(), room, notice)
    return header + text if text else ""


def _repository_variables(repo: _Repository, spec: HarnessSpec) -> dict[str, str]:
    """Quote the repository's CLAUDE.md for a harness that does not read it by itself."""
    local = spec.capabilities.has_local_environment and repo.clone_path is not None
    notes = repo.claude_md if local and not spec.prompt.reads_repository_notes else ""
    notice = f"[...truncated, see {repo.clone_path}/CLAUDE.md for full content]"
    stashes = "\n".join(f"- {ref}: {one_line(text)}" for ref, text in repo.auto_stashes.items())
    return {
        "clone_note": block(f"The repository is cloned at `{repo.clone_path}`.") if local else "",
        "warning": block(f"WARNING: {one_line(repo.warning)}") if repo.warning else "",
        "repo_claude_md": block(clip_bytes(clean(notes).strip(), REPO_NOTES_MAX_BYTES, notice)),
        "auto_stashes": block(
            "Uncommitted work of earlier sessions was put aside here:\n\n"
            f"{stashes}\n\nBring it back with `git stash apply <ref>`, or `git stash pop <ref>`."
        )
        if stashes
        else "",
        "guidelines": _guidelines(repo.guidelines),
        "code_quality": block(
            "Load the `code-quality` skill before you push, open a pull request or review one;"
            " this is required."
        )
        if spec.capabilities.mcp_transports
        else "",
    }


def _guidelines(rules: Guidelines | None) -> str:
    if rules is None:
        return block("### Repository Guidelines\n\nNone are defined. Ask the lead before you push.")
    if not (rules.pr_checks or rules.merge_checks or rules.review or rules.allow_merge):
        return ""
    parts = ["### Repository Guidelines (MANDATORY)"]
    if rules.pr_checks:
        checks = "\n".join(
            f"{number}. `{one_line(check)}`" for number, check in enumerate(rules.pr_checks, 1)
        )
        parts.append(
            f"Run these before a push, mend what fails, and never use `--no-verify`:\n\n{checks}"
        )
    allowed = "Allowed" if rules.allow_merge else "Not allowed"
    parts.append(f"Merge Policy. Auto-merge: {allowed}.\n\n{_bullets(rules.merge_checks)}".strip())
    if rules.review:
        parts.append(f"Review Guidance:\n\n{_bullets(rules.review)}")
    return block("\n\n".join(parts))


def _requester_variables(person: Requester) -> dict[str, str]:
    """Return the variables of the requester part; empty if only the name is known."""
    preferences = {"Tone": person.tone, "language": person.language, "verbosity": person.verbosity}
    stated = [f"{label}: {one_line(value, 200)}" for label, value in preferences.items() if value]
    notes = clean(person.notes or "").strip()
    notes = clip_bytes(notes, REQUESTER_NOTES_MAX_BYTES, "[...truncated]")
    if not (person.role or notes or stated):
        return {}
    return {
        "requester_name": one_line(person.name, 200),
        "requester_role_suffix": f" ({one_line(person.role, 200)})" if person.role else "",
        "requester_comms_section": f"\n{', '.join(stated)}." if stated else "",
        "requester_notes_section": f"\nNotes:\n{notes}" if notes else "",
    }


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {one_line(item)}" for item in items)
