"""The parts of a worker, as the loops and steps see them.

No loop or step takes the whole `Worker`: each module declares, in its class `Parts`, which of these
it uses, and mypy holds it to that.

What every loop of the worker shares. Data and wiring; behaviour is in the files beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from agent_swarm_worker.credentials.credential import LoginState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.api.wire import Agent, Skill, Task
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.errors import ApiError
    from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.outbox.outbox import Outbox
    from agent_swarm_worker.prompts.render import Renderer
    from agent_swarm_worker.sandboxes.port import Sandbox
    from agent_swarm_worker.settings import Settings
    from agent_swarm_worker.skills.sync import SkillSync
    from agent_swarm_worker.state.directory import StateDir
    from agent_swarm_worker.worker.boot.environment import Environment
    from agent_swarm_worker.worker.boot.harness import Harness
    from agent_swarm_worker.worker.loops.paused import PausedNotes
    from agent_swarm_worker.worker.loops.shutdown import Shutdown
    from agent_swarm_worker.worker.run.running_task import Slots
    from agent_swarm_worker.workspace.identity import Baselines
    from agent_swarm_worker.workspace.profile_sync import ProfileSync
    from agent_swarm_worker.workspace.profiles import AgentTemplate
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

    logins: LoginState


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What the command line adds to the settings."""

    role: str = "worker"
    """``worker`` or ``lead``."""
    default_prompt: str = ""
    operator_prompt: str | None = None
    """Replaces ``SYSTEM_PROMPT`` and its file."""
    additional_args: tuple[str, ...] = ()
    """Passed on to the harness's command line."""


@dataclass(slots=True)
class AgentFacts:
    """What is known of this agent; filled by boot, refreshed by `reconfigure`."""

    agent: Agent | None = None
    profile: dict[str, str] = field(default_factory=dict)
    server_capabilities: frozenset[str] | None = None
    skills: tuple[Skill, ...] = ()
    template: AgentTemplate | None = None
    is_lead: bool = False
    role_label: str = "worker"


@dataclass(slots=True, kw_only=True)
class Worker:
    """One worker process."""

    options: WorkerOptions
    agent_id: str
    runtime_id: str
    environment: Environment
    harness: Harness
    client: SwarmClient
    outbox: Outbox
    state: StateDir
    slots: Slots
    paused: PausedNotes
    shutdown: Shutdown
    scrubber: Scrubber
    sandbox: Sandbox
    renderer: Renderer
    repositories: Repositories
    baselines: Baselines
    profile_sync: ProfileSync | None
    skills: SkillSync | None
    clock: Clock
    ids: IdSource
    log: Log
    log_dir: Path
    facts: AgentFacts = field(default_factory=AgentFacts)
    logins: LoginState = field(default_factory=LoginState)
    unsettled: dict[str, Callable[[], Awaitable[bool]]] = field(default_factory=dict)
    """By task that an earlier process left: what tells the server of it, as it could not be told at
    the start; true once it was."""
    paused_at_start: Sequence[Task] | ApiError | None = None
    """What the server called paused at the start, or why it did not say; until it is taken up."""
    sessions_started: int = 0

    @property
    def settings(self) -> Settings:
        """Settings in force, configuration rows of the server included."""
        return self.environment.settings

    def next_iteration(self) -> int:
        """Count sessions from 1 (docs/api.md 15)."""
        self.sessions_started += 1
        return self.sessions_started
