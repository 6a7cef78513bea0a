"""Folders and files that agents expect to find; what is there already is never touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.atomic import write_atomically
from agent_swarm_worker.container.ownership import give_folder, make_folder
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.swarm.wire import is_identifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from agent_swarm_worker.container.account import Account

_SHARED = ("thoughts", "memory", "downloads", "misc")
_BELOW = {"thoughts": ("plans", "research", "brainstorms"), "downloads": ("slack",)}
_NEEDS_A_PERSON = (
    "AskUserQuestion",
    "NotebookEdit",
    "EnterPlanMode",
    "ExitPlanMode",
    "Artifact",
    "Workflow",
    "ReportFindings",
)
"""Tools of claude that wait for somebody at a terminal, or make what nobody would see."""
_CLAUDE_STATE = {"hasCompletedOnboarding": True, "bypassPermissionsModeAccepted": True}
_CLAUDE_SETTINGS = {
    "permissions": {"allow": ["mcp__agent-swarm__*"], "deny": list(_NEEDS_A_PERSON)},
    "outputStyle": "Concise",
    "disableBundledSkills": True,
    "disableRemoteControl": True,
    "disableClaudeAiConnectors": True,
}
_CODEX_CONFIG = """\
# The container is the sandbox, and nobody is there to approve anything.
approval_policy = "never"
sandbox_mode = "danger-full-access"
"""
_LISTS = "# To do\n"


def own_places(places: tuple[Path, ...], owner: Account, log: Log) -> None:
    """Give the worker the places where volumes are mounted; what is in them stays as it is."""
    for place in places:
        try:
            if place.is_dir():
                give_folder(place, owner)
        except OSError as error:
            log.warning(Event.BOOT_STEP, step="ownership", path=str(place), why=error.strerror)


def make_folders(workspace: Path, agent_id: str, owner: Account | None, log: Log) -> None:
    """Make the agent's folders; a volume that cannot be written costs them, not the start."""
    if not is_identifier(agent_id):
        log.warning(Event.BOOT_STEP, step="folders", why="AGENT_ID cannot be the name of a folder")
        return
    refused = None
    for base, names in _folders(workspace, agent_id):
        if not base.is_dir():
            continue
        try:
            make_folder(base, *names, owner=owner)
        except OSError as error:
            refused = refused or f"{base / '/'.join(names)}: {error.strerror}"
    if refused:
        log.warning(Event.BOOT_STEP, step="folders", why=refused)


def furnish(home: Path, workspace: Path, log: Log) -> None:
    """Write the files that a harness, or an agent, wants to find; run it as the worker's user."""
    files: Mapping[Path, bytes] = {
        workspace / "personal" / "todos.md": _LISTS.encode(),
        home / ".claude.json": orjson.dumps(_CLAUDE_STATE),
        home / ".claude" / "settings.json": orjson.dumps(
            _CLAUDE_SETTINGS, option=orjson.OPT_INDENT_2
        ),
        home / ".codex" / "config.toml": _CODEX_CONFIG.encode(),
    }
    for path, content in files.items():
        try:
            # A link counts as there, even one that leads nowhere.
            if not path.is_symlink() and not path.exists() and path.parents[1].is_dir():
                write_atomically(path, content, mode=0o600)
        except OSError as error:
            log.warning(Event.BOOT_STEP, step="files", path=str(path), why=error.strerror)


def _folders(workspace: Path, agent_id: str) -> Iterator[tuple[Path, tuple[str, ...]]]:
    yield workspace / "personal", ("memory",)
    for kind in _SHARED:
        yield workspace / "shared", (kind, agent_id)
        for name in _BELOW.get(kind, ()):
            yield workspace / "shared", (kind, agent_id, name)
