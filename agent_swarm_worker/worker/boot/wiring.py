"""Puts a worker together. The one place that knows which part goes where."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.logs import Event
from agent_swarm_worker.outbox.outbox import Outbox
from agent_swarm_worker.prompts.render import Renderer
from agent_swarm_worker.prompts.texts import TemplateLibrary, shipped_texts
from agent_swarm_worker.skills.places import skill_folders
from agent_swarm_worker.skills.sync import SkillSync
from agent_swarm_worker.state.directory import StateDir, generated_agent_id
from agent_swarm_worker.worker.boot.environment import make_sandbox
from agent_swarm_worker.worker.boot.parts import Worker, WorkerOptions
from agent_swarm_worker.worker.loops.flushing import AGENT_NOTE
from agent_swarm_worker.worker.loops.paused import PausedNotes
from agent_swarm_worker.worker.run.running_task import Slots
from agent_swarm_worker.workspace.claim import claimed
from agent_swarm_worker.workspace.git import Git
from agent_swarm_worker.workspace.identity import Baselines
from agent_swarm_worker.workspace.profile_sync import ProfileSync
from agent_swarm_worker.workspace.repository import Repositories

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.settings import Settings
    from agent_swarm_worker.worker.boot.environment import Environment
    from agent_swarm_worker.worker.boot.harness import Harness
    from agent_swarm_worker.worker.loops.shutdown import Shutdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What exists before the worker touches disk or network."""

    options: WorkerOptions
    environment: Environment
    harness: Harness
    shutdown: Shutdown
    scrubber: Scrubber
    clock: Clock
    ids: IdSource
    log: Log


async def wire(parts: Parts, held: AsyncExitStack) -> Worker:
    """Take possession of the state directory, open the connection, and build the worker.

    Args:
        parts: what is there already.
        held: owns what has to be closed.

    Raises:
        StateError: the state directory cannot be used.
        BadSetting: the API's address or key cannot be used.
    """
    settings, clock, log = parts.environment.settings, parts.clock, parts.log
    root = settings.state_root()
    agent_id = settings.agent_id or generated_agent_id(root, parts.ids)
    runtime_id = parts.ids()
    state = held.enter_context(StateDir.open(root, agent_id, clock=clock, log=log))
    state.note(AGENT_NOTE, agent_id)
    http = await held.enter_async_context(_http(parts, agent_id, runtime_id))
    client = SwarmClient(http, ServerCapabilities(clock, log))
    baselines = Baselines(state.path / "identity-baselines.json")
    return Worker(
        options=parts.options,
        agent_id=agent_id,
        runtime_id=runtime_id,
        environment=parts.environment,
        harness=parts.harness,
        client=client,
        outbox=Outbox(
            state.database, client, clock=clock, log=log, max_bytes=settings.outbox_max_mb << 20
        ),
        state=state,
        slots=Slots(settings.slots(parts.options.role)),
        paused=PausedNotes(state),
        shutdown=parts.shutdown,
        scrubber=parts.scrubber,
        sandbox=make_sandbox(clock=clock, log=log),
        renderer=_renderer(parts, client, agent_id),
        repositories=_repositories(parts, client, state.path),
        baselines=baselines,
        profile_sync=_profile_sync(parts, client, agent_id, baselines, held),
        skills=_skills(parts, client, agent_id),
        clock=clock,
        ids=parts.ids,
        log=log,
        log_dir=(settings.log_dir or state.path / "logs")
        / (settings.log_session_id or parts.ids()[:8]),
    )


def _http(parts: Parts, agent_id: str, runtime_id: str) -> Http:
    settings = parts.environment.settings
    return Http(
        settings.api_url,
        health=ApiHealth(parts.clock, parts.log),
        api_key=settings.api_key,
        agent_id=agent_id,
        runtime_instance_id=runtime_id,
        timeout_s=settings.api_timeout_s,
    )


def _renderer(parts: Parts, client: SwarmClient, agent_id: str) -> Renderer:
    """Without a key the server renders nothing for us (docs/api.md 3.10)."""
    has_key = bool(parts.environment.settings.api_key)
    return Renderer(
        TemplateLibrary(shipped_texts("prompts")),
        clock=parts.clock,
        source=client.resources if has_key else None,
        agent_id=agent_id,
    )


def _repositories(parts: Parts, client: SwarmClient, state_dir: Path) -> Repositories:
    return Repositories(
        client.resources,
        Git(parts.environment.values(), scrub=parts.scrubber.text),
        parts.clock,
        workspace_dir=parts.environment.settings.workspace_dir,
        spare=state_dir / "repos",
        on_secret=parts.scrubber.add,
    )


def _profile_sync(
    parts: Parts,
    client: SwarmClient,
    agent_id: str,
    baselines: Baselines,
    held: AsyncExitStack,
) -> ProfileSync | None:
    settings = parts.environment.settings
    if not _has_workspace(settings):
        return None
    if not held.enter_context(claimed(settings.workspace_dir)):
        where = str(settings.workspace_dir)
        parts.log.warning(Event.IDENTITY, state="another worker's", workspace=where)
        return None
    return ProfileSync(client.agents, agent_id, settings.workspace_dir, baselines, parts.scrubber)


def _skills(parts: Parts, client: SwarmClient, agent_id: str) -> SkillSync | None:
    """Unless told, only where there is a workspace: a person's home is not ours to furnish."""
    settings = parts.environment.settings
    wanted = settings.sync_skills
    if not (_has_workspace(settings) if wanted is None else wanted):
        return None
    return SkillSync(
        client.resources,
        agent_id,
        settings.home,
        shipped=shipped_texts("skills"),
        folders=skill_folders(parts.harness.all_specs),
    )


def _has_workspace(settings: Settings) -> bool:
    return settings.workspace_dir.is_dir() and os.access(settings.workspace_dir, os.W_OK)
