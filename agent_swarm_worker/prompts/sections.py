"""The parts of the system prompt made from data: persona, skills, repository, requester."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.prompts.texts import block, clean, cut_bytes, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent_swarm_worker.contract import HarnessSpec
    from agent_swarm_worker.swarm.wire import Guidelines, Requester, Skill

PERSONA_MAX_BYTES = 20_000
"""Of each persona file. The server allows 10,000 characters, and longer ones it already has."""
NOTES_MAX_BYTES = 20_000
REPO_NOTES_MAX_BYTES = 12_000
PROMPT_MAX_BYTES = 120_000
"""What notes may fill a prompt up to; under Linux's limit of 128 KiB for one argument."""

REQUESTER_NOTES_MAX_BYTES = 8_000
SKILLS_MAX_BYTES = 20_000
"""Of the list that harnesses without skill discovery get; the rest is found with the tools."""
_SKILL_LINE_CHARS = 300


class Stash(Protocol):
    """Work that a refresh of the clone has put aside."""

    @property
    def ref(self) -> str:
        """What git calls it."""
        ...

    @property
    def message(self) -> str:
        """When and on which branch."""
        ...


class RepositoryView(Protocol):
    """The repository as the session finds it; `workspace.repository` makes it."""

    @property
    def clone_path(self) -> Path | None:
        """Where the clone is."""
        ...

    @property
    def warning(self) -> str | None:
        """What went wrong with it."""
        ...

    @property
    def claude_md(self) -> str:
        """The repository's own notes for agents."""
        ...

    @property
    def auto_stashes(self) -> Sequence[Stash]:
        """Work of earlier sessions."""
        ...

    @property
    def guidelines(self) -> Guidelines | None:
        """What the swarm demands here."""
        ...


def persona(description: str, soul: str, identity: str) -> str:
    """Return who the agent is, as one block."""
    parts = [
        cut_bytes(clean(part).strip(), PERSONA_MAX_BYTES, "[...truncated]")
        for part in (description, soul, identity)
    ]
    return block("\n\n".join(part for part in parts if part))


def skills(installed: Sequence[Skill], spec: HarnessSpec) -> str:
    """Return what the prompt says about installed skills; nothing if there are none."""
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
    mark = "/" if is_local else ""
    how = "its SKILL.md in your skills directory" if mark else "it with `skill-get`"
    lines = [
        f"- {mark}{one_line(skill.name, 100)}: {one_line(skill.description, _SKILL_LINE_CHARS)}"
        for skill in installed
    ]
    listed = cut_bytes("\n".join(lines), SKILLS_MAX_BYTES, f"[... {len(lines)} skills in all]")
    return block(
        f"Installed skills. When one fits, read {how} and follow it.\n\n{listed}\n\n{find}"
    )


def mcp_servers(names: Sequence[str]) -> str:
    """Return what the prompt says about connected tool servers."""
    known = ", ".join(flat for name in names if (flat := one_line(name, 100)))
    return (
        block(f"Connected MCP servers: {known}. Their tools are in your tool list.")
        if known
        else ""
    )


def agent_notes(notes: str, *, used_bytes: int) -> str:
    """Return the agent's own CLAUDE.md, as far as there is room."""
    header = "## Your notes (CLAUDE.md)\n\n"
    room = min(NOTES_MAX_BYTES, max(0, PROMPT_MAX_BYTES - used_bytes)) - len(header)
    notice = "[...truncated, see /workspace/CLAUDE.md for full content]"
    text = cut_bytes(clean(notes).strip(), room, notice)
    return header + text if text else ""


def repository(repo: RepositoryView, spec: HarnessSpec) -> dict[str, str]:
    """Return the variables of the repository part.

    Args:
        repo: the repository as it is.
        spec: the harness; the repository's CLAUDE.md is quoted for one that does not read it.
    """
    local = spec.capabilities.has_local_environment and repo.clone_path is not None
    notes = repo.claude_md if local and not spec.prompt.reads_repository_notes else ""
    notice = f"[...truncated, see {repo.clone_path}/CLAUDE.md for full content]"
    stashes = "\n".join(f"- {stash.ref}: {one_line(stash.message)}" for stash in repo.auto_stashes)
    return {
        "clone_note": block(f"The repository is cloned at `{repo.clone_path}`.") if local else "",
        "warning": block(f"WARNING: {one_line(repo.warning)}") if repo.warning else "",
        "repo_claude_md": block(cut_bytes(clean(notes).strip(), REPO_NOTES_MAX_BYTES, notice)),
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


def requester(person: Requester) -> dict[str, str] | None:
    """Return the variables of the requester part; ``None`` if nothing but a name is known."""
    wishes = {"Tone": person.tone, "language": person.language, "verbosity": person.verbosity}
    named = [f"{label}: {one_line(value, 200)}" for label, value in wishes.items() if value]
    notes = clean(person.notes or "").strip()
    notes = cut_bytes(notes, REQUESTER_NOTES_MAX_BYTES, "[...truncated]")
    if not (person.role or notes or named):
        return None
    return {
        "requester_name": one_line(person.name, 200),
        "requester_role_suffix": f" ({one_line(person.role, 200)})" if person.role else "",
        "requester_comms_section": f"\n{', '.join(named)}." if named else "",
        "requester_notes_section": f"\nNotes:\n{notes}" if notes else "",
    }


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {one_line(item)}" for item in items)
