"""The parts of a worker, as the loops and steps see them.

No loop or step takes the whole `Worker`: each module declares, in its class `Parts`, which of these
it uses, and mypy holds it to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.errors import ApiError
    from agent_swarm_worker.guards.scrubber import Scrubber
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.login.memory import LoginMemory
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.prompts.render import Renderer
    from agent_swarm_worker.sandboxes.port import Sandbox
    from agent_swarm_worker.settings import Settings
    from agent_swarm_worker.skills.sync import SkillSync
    from agent_swarm_worker.swarm.client import SwarmClient
    from agent_swarm_worker.swarm.outbox import Outbox
    from agent_swarm_worker.swarm.state import StateDir
    from agent_swarm_worker.swarm.wire import Task
    from agent_swarm_worker.worker.context import AgentFacts, WorkerOptions
    from agent_swarm_worker.worker.environment import Environment
    from agent_swarm_worker.worker.harness import Harness
    from agent_swarm_worker.worker.paused_notes import PausedNotes
    from agent_swarm_worker.worker.signals import Shutdown
    from agent_swarm_worker.worker.slots import Slots
    from agent_swarm_worker.workspace.identity import Baselines
    from agent_swarm_worker.workspace.profile_sync import ProfileSync
    from agent_swarm_worker.workspace.repository import Repositories


class Identity(Protocol):
    """Who this process is."""

    options: WorkerOptions
    agent_id: str
    runtime_id: str
    facts: AgentFacts


class Config(Protocol):
    """What it is told to do, configuration rows of the server included."""

    environment: Environment
    harness: Harness

    @property
    def settings(self) -> Settings:
        """Settings in force."""
        ...


class Basics(Protocol):
    """Time, ids, the log, and the scrubber of the process."""

    clock: Clock
    ids: IdSource
    log: Log
    scrubber: Scrubber


class Api(Protocol):
    """The way to the server: calls that are answered, and writes that must arrive."""

    client: SwarmClient
    outbox: Outbox


class Storage(Protocol):
    """What is on disk."""

    state: StateDir
    paused: PausedNotes
    log_dir: Path


class Running(Protocol):
    """The tasks that run, and how far the shutdown has come."""

    slots: Slots
    shutdown: Shutdown


class Unsettled(Protocol):
    """Tasks of an earlier process of which the server could not be told yet."""

    unsettled: dict[str, Callable[[], Awaitable[bool]]]


class PausedAtStart(Protocol):
    """What boot has asked for the poll loop."""

    paused_at_start: Sequence[Task] | ApiError | None


class Host(Protocol):
    """Where child processes run."""

    sandbox: Sandbox


class Logins(Protocol):
    """What is known of the credentials in use."""

    logins: LoginMemory


class Prompts(Protocol):
    """What renders prompts."""

    renderer: Renderer


class Workspace(Protocol):
    """Clones, skills and the files of the profile."""

    repositories: Repositories
    baselines: Baselines
    profile_sync: ProfileSync | None
    skills: SkillSync | None


class Sessions(Protocol):
    """The count of sessions."""

    def next_iteration(self) -> int:
        """Count one more; from 1."""
        ...
