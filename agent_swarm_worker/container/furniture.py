"""Folders and files that agents expect to find; what is there already is never touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.atomic import write_atomically
from agent_swarm_worker.container.ownership import give_folder, make_folder
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.swarm.wire import is_identifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent_swarm_worker.container.account import Account
    from agent_swarm_worker.contract import HarnessSpec

_SHARED = ("thoughts", "memory", "downloads", "misc")
_BELOW = {"thoughts": ("plans", "research", "brainstorms"), "downloads": ("slack",)}
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


def furnish(home: Path, workspace: Path, specs: Iterable[HarnessSpec], log: Log) -> None:
    """Write the files that a harness, or an agent, wants to find; run it as the worker's user."""
    files = {workspace / "personal" / "todos.md": _LISTS.encode()}
    for spec in specs:
        files |= {home / name: text.encode() for name, text in spec.home_files.items()}
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
