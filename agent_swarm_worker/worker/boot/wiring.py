"""Builds a `Worker` from its settings; the only module that constructs its parts."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.files import make_private_dir
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.outbox import Outbox
from agent_swarm_worker.prompts.render import Renderer, TemplateLibrary, shipped_texts
from agent_swarm_worker.skills.folders import skill_folders
from agent_swarm_worker.skills.sync import SkillSync
from agent_swarm_worker.state.directory import StateDir
from agent_swarm_worker.worker.boot.environment import make_sandbox
from agent_swarm_worker.worker.boot.parts import Worker, WorkerOptions
from agent_swarm_worker.worker.loops.flushing import AGENT_ID_KEY
from agent_swarm_worker.worker.run.pending_summaries import PendingSummaries
from agent_swarm_worker.worker.run.running_task import PausedTaskStore, Slots
from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.identity import Baselines, ProfileSync, profile_lock
from agent_swarm_worker.workspace.repository import Repositories

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.settings import Settings
    from agent_swarm_worker.worker.boot.connection import ApiConnection
    from agent_swarm_worker.worker.boot.environment import Environment
    from agent_swarm_worker.worker.boot.harness import Harness
    from agent_swarm_worker.worker.loops.run_policy import Shutdown


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInputs:
    """What exists before the worker opens its state directory."""

    options: WorkerOptions
    environment: Environment
    harness: Harness
    connection: ApiConnection
    shutdown: Shutdown
    scrubber: Scrubber
    clock: Clock
    ids: IdSource
    log: Log


def wire(inputs: WorkerInputs, stack: AsyncExitStack) -> Worker:
    """Lock the state directory and build the worker; `stack` closes what is opened here."""
    settings, clock, log = inputs.environment.settings, inputs.clock, inputs.log
    connection = inputs.connection
    inputs.scrubber.add_env(inputs.harness.profile.variables)
    agent_id = connection.agent_id
    state = stack.enter_context(
        StateDir.open(settings.state_root(), agent_id, clock=clock, log=log)
    )
    name = settings.log_session_id or inputs.ids()[:8]
    log_dir = _log_dir(settings, state.path, name)
    state.note(AGENT_ID_KEY, agent_id)
    client = SwarmClient(connection.http, ServerCapabilities(clock, log))
    client.config.first_request = connection.first_request
    baselines = Baselines(state.path / "identity-baselines.json")
    return Worker(
        options=inputs.options,
        agent_id=agent_id,
        runtime_id=connection.runtime_id,
        environment=inputs.environment,
        harness=inputs.harness,
        client=client,
        outbox=Outbox(
            state.database, client, clock=clock, log=log, max_bytes=settings.outbox_max_mb << 20
        ),
        state=state,
        slots=Slots(settings.slots(inputs.options.role)),
        paused_tasks=PausedTaskStore(state),
        summaries=PendingSummaries(state),
        shutdown=inputs.shutdown,
        scrubber=inputs.scrubber,
        sandbox=make_sandbox(clock=clock, log=log),
        renderer=_renderer(inputs, client, agent_id),
        repositories=_repositories(inputs, client, state.path),
        profile_sync=_profile_sync(inputs, client, agent_id, baselines, stack),
        skills=_skills(inputs, client, agent_id),
        clock=clock,
        ids=inputs.ids,
        log=log,
        log_dir=log_dir,
    )


def _log_dir(settings: Settings, state_dir: Path, name: str) -> Path:
    """Return this process's folder of journals; create ``LOG_DIR``, so that a session need not.

    Raises:
        BadSetting: it cannot be created or written. A full disk may be so only for now.
    """
    root = settings.log_dir
    if root is None:
        return state_dir / "logs" / name
    folder = root / name
    try:
        make_private_dir(root)
        place = folder if folder.exists() else root
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise BadSetting("LOG_DIR", str(root), f"{place} is not a directory one may write to")
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            why = error.strerror or type(error).__name__
            raise BadSetting("LOG_DIR", str(root), why) from None
    return folder


def _renderer(inputs: WorkerInputs, client: SwarmClient, agent_id: str) -> Renderer:
    """Without an API key the server renders no templates (docs/api.md 3.10)."""
    has_key = bool(inputs.environment.settings.api_key)
    return Renderer(
        TemplateLibrary(shipped_texts("prompts")),
        clock=inputs.clock,
        server=client.resources if has_key else None,
        agent_id=agent_id,
    )


def _repositories(inputs: WorkerInputs, client: SwarmClient, state_dir: Path) -> Repositories:
    return Repositories(
        client.resources,
        Git(
            inputs.environment.for_own_git(inputs.environment.values()),
            scrub=inputs.scrubber.text,
        ),
        inputs.clock,
        workspace_dir=inputs.environment.settings.workspace_dir,
        fallback_dir=state_dir / "repos",
        on_secret=inputs.scrubber.add,
    )


def _profile_sync(
    inputs: WorkerInputs,
    client: SwarmClient,
    agent_id: str,
    baselines: Baselines,
    stack: AsyncExitStack,
) -> ProfileSync | None:
    settings = inputs.environment.settings
    if not _has_workspace(settings):
        return None
    if not stack.enter_context(profile_lock(settings.workspace_dir)):
        where = str(settings.workspace_dir)
        inputs.log.warning(Event.IDENTITY, state="another worker's", workspace=where)
        return None
    return ProfileSync(client.agents, agent_id, settings.workspace_dir, baselines, inputs.scrubber)


def _skills(inputs: WorkerInputs, client: SwarmClient, agent_id: str) -> SkillSync | None:
    """Without a setting, skills are installed only beside a workspace, not in a person's home."""
    settings = inputs.environment.settings
    enabled = settings.sync_skills
    if not (_has_workspace(settings) if enabled is None else enabled):
        return None
    return SkillSync(
        client.resources,
        agent_id,
        settings.home,
        shipped=shipped_texts("skills"),
        folders=skill_folders(inputs.harness.all_specs),
    )


def _has_workspace(settings: Settings) -> bool:
    return settings.workspace_dir.is_dir() and os.access(settings.workspace_dir, os.W_OK)
