"""Clones that every worker has from the start; the rest are made when a task names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.repository import Repositories, RepositoryRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.swarm.wire import Repo


class _Known:
    """The swarm's answer, which we have already."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    async def repos(self, name: str) -> Sequence[Repo]:  # noqa: ARG002 - there is only this one
        return (self._repo,)


async def clone_all(
    repos: Sequence[Repo], env: Mapping[str, str], *, workspace: Path, clock: Clock
) -> None:
    """Clone what is not there; bring the rest up to date where that disturbs nobody's work.

    Nothing is raised for a repository that cannot be had: the log says why.
    """
    for repo in repos:
        places = Repositories(
            _Known(repo), Git(env), clock, workspace_dir=workspace, spare=workspace
        )
        request = RepositoryRequest(vcs_repo=repo.url, first_kickoff=False)
        async with places.prepared(request):
            pass
