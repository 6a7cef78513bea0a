"""Defines the data of one worker process, in groups that modules may use.

Only `daemon.py` and `boot/wiring.py` handle the whole `Worker`. Every other module takes one of its
base classes, which mypy checks: a loop cannot reach what belongs to a session, nor the reverse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_swarm_worker.credentials.credential import LoginState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.api.wire.resources import Agent, Skill
    from agent_swarm_worker.api.wire.tasks import Task
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
    from agent_swarm_worker.worker.loops.run_policy import Shutdown
    from agent_swarm_worker.worker.run.pending_summaries import PendingSummaries
    from agent_swarm_worker.worker.run.running_task import PausedTaskStore, Slots
    from agent_swarm_worker.workspace.identity import ProfileSync
    from agent_swarm_worker.workspace.profiles import AgentTemplate
    from agent_swarm_worker.workspace.repository import Repositories


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Options of the command line, in addition to the settings."""

    role: str = "worker"
    """``lead``, ``worker``, or the name under which a worker is registered."""
    default_prompt: str = ""
    operator_prompt: str | None = None
    """Replaces ``SYSTEM_PROMPT`` and its file."""
    additional_args: tuple[str, ...] = ()
    """Passed on to the harness's command line."""

    @property
    def is_lead(self) -> bool:
        """True if this agent delegates to workers; every other role is a worker."""
        return self.role == "lead"


@dataclass(slots=True)
class AgentRecord:
    """This agent as the server knows it; filled by boot, refreshed by `reconfigure`."""

    agent: Agent | None = None
    profile: dict[str, str] = field(default_factory=dict)
    server_capabilities: frozenset[str] | None = None
    skills: tuple[Skill, ...] = ()
    template: AgentTemplate | None = None
    is_lead: bool = False
    role_label: str = "worker"
    logged_name: tuple[str, str] = ("", "")
    """The harness, and the name it was last registered as."""
    login_details: dict[str, object] = field(default_factory=dict)
    """What the last test of an SDK's login found, see `LoginTest`."""


@dataclass(kw_only=True, eq=False, repr=False)
class Core:
    """Services and facts of the process that every part of the worker may use."""

    options: WorkerOptions
    agent_id: str
    runtime_id: str
    facts: AgentRecord = field(default_factory=AgentRecord)
    environment: Environment
    harness: Harness
    client: SwarmClient
    outbox: Outbox
    state: StateDir
    log_dir: Path
    sandbox: Sandbox
    renderer: Renderer
    scrubber: Scrubber
    clock: Clock
    ids: IdSource
    log: Log
    summaries: PendingSummaries
    logins: LoginState = field(default_factory=LoginState)

    @property
    def settings(self) -> Settings:
        """Settings in force, configuration rows of the server included."""
        return self.environment.settings

    def harness_env(self) -> dict[str, str]:
        """Return the environment in force, and over it the variables of the harness profile."""
        profile = self.harness.profile
        return {**self.environment.values(profile.permissions), **profile.variables}


@dataclass(kw_only=True, eq=False, repr=False)
class LoopParts(Core):
    """Used by the loops: the running tasks, the paused ones, and the shutdown."""

    slots: Slots
    shutdown: Shutdown
    paused_tasks: PausedTaskStore
    paused_at_start: Sequence[Task] | ApiError | None = None
    """The paused tasks boot fetched for the poll loop, or why it could not; ``None`` once used."""


@dataclass(kw_only=True, eq=False, repr=False)
class WorkspaceParts(Core):
    """What keeps the agent's profile files and skills current."""

    profile_sync: ProfileSync | None
    skills: SkillSync | None


@dataclass(kw_only=True, eq=False, repr=False)
class SessionParts(WorkspaceParts):
    """Used to prepare one session and to report its end."""

    repositories: Repositories
    sessions_started: int = 0

    def next_iteration(self) -> int:
        """Count sessions from 1 (docs/api.md 15)."""
        self.sessions_started += 1
        return self.sessions_started


@dataclass(kw_only=True, eq=False, repr=False)
class RunParts(LoopParts, SessionParts):
    """Used to run a task from its trigger to its finish."""


@dataclass(kw_only=True, eq=False, repr=False)
class BootParts(LoopParts, WorkspaceParts):
    """Used by the boot sequence and by crash recovery."""

    unsettled_claims: dict[str, Callable[[], Awaitable[bool]]] = field(default_factory=dict)
    """By task of an earlier process whose end could not be reported at the start: retries the
    report; true once it succeeded."""


@dataclass(kw_only=True, eq=False, repr=False)
class Worker(RunParts, BootParts):
    """One worker process."""
