"""Connects a task with the pull request its agent opened (docs/api.md 5.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.swarm.queue import WriteKind
from agent_swarm_worker.swarm.wire import vcs_body
from agent_swarm_worker.worker.parts import Api, Basics
from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.vcs import find_request

if TYPE_CHECKING:
    from agent_swarm_worker.worker.preparation import Ready
    from agent_swarm_worker.worker.slots import RunningTask

INTERVAL_S = 60.0


class Parts(Basics, Api, Protocol):
    """What this module uses of the worker."""


async def watch_pull_request(worker: Parts, task: RunningTask, ready: Ready, lane: str) -> None:
    """Look every minute until there is one; ends with the session."""
    while not await link_pull_request(worker, task, ready, lane):
        await worker.clock.sleep(INTERVAL_S)


async def link_pull_request(worker: Parts, task: RunningTask, ready: Ready, lane: str) -> bool:
    """Look once; true if a pull request was found and its link queued."""
    if not adapter_spec(ready.adapter).capabilities.has_local_environment:
        return False
    try:
        git = Git(ready.config.env, timeout_s=20.0, scrub=ready.config.redactor.text)
        found = await find_request(git, ready.directory)
    except Exception as error:  # a link that is missing costs less than a session
        worker.log.warning(Event.REPOSITORY, task=task.task_id, why=repr(error))
        return False
    if found is None:
        return False
    link = vcs_body(provider=found.provider, repo=found.repo, number=found.number, url=found.url)
    if link is not None:
        worker.outbox.put(lane, WriteKind.VCS, {"task_id": task.task_id, "link": link})
    return True
