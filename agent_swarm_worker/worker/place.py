"""Where a session works: the directory, and the repository it is in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.worker.parts import Config, Workspace
from agent_swarm_worker.workspace.directory import choose
from agent_swarm_worker.workspace.repository import (
    RepoContext,
    RepositoryRequest,
    is_first_kickoff,
)

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from agent_swarm_worker.swarm.wire import Task
    from agent_swarm_worker.workspace.directory import WorkingDirectory


class Parts(Config, Workspace, Protocol):
    """What this module uses of the worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a session works, as far as its prompts must know."""

    directory: WorkingDirectory
    repository: RepoContext | None


async def place_of(
    worker: Parts, row: Task | None, parent: Task | None, held: AsyncExitStack
) -> Place:
    """Prepare the clone of the task's repository, if it has one, and choose the directory.

    The clone is in use until `held` is closed.
    """
    repository: RepoContext | None = None
    if row is not None and row.vcs_repo:
        request = RepositoryRequest(
            vcs_repo=row.vcs_repo,
            vcs_provider=row.vcs_provider,
            first_kickoff=is_first_kickoff(row.task_type, parent.status if parent else None),
        )
        repository = await held.enter_async_context(worker.repositories.prepared(request))
    directory = choose(
        row.dir if row else None,
        repository.clone_path if repository else None,
        _process_directory(worker),
    )
    return Place(directory=directory, repository=repository)


def _process_directory(worker: Parts) -> Path:
    try:
        return Path.cwd()
    except OSError:  # an earlier session has removed it
        return worker.settings.home
