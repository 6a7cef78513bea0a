"""Making this agent known to the server, and keeping it known."""

from __future__ import annotations

from typing import Protocol

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event
from agent_swarm_worker.settings import default_agent_name
from agent_swarm_worker.worker.parts import Api, Basics, Config, Identity, Running
from agent_swarm_worker.workspace.default_profile import AgentFacts

REFRESH_S = 300.0
"""How often a worker registers again; a server with several runtimes per agent expects it."""


class Described(Identity, Config, Protocol):
    """What a description of this agent is made of."""


class Parts(Identity, Config, Basics, Api, Running, Protocol):
    """What this module uses of the worker."""


async def register(worker: Parts) -> bool:
    """Register or refresh this agent (docs/api.md 3.1); true if the server's capabilities changed.

    Raises:
        ApiError: it did not work.
    """
    settings, facts = worker.settings, worker.facts
    template = facts.template
    agent = await worker.client.agents.register(
        name=settings.agent_name
        or (template.display_name if template else None)
        or default_agent_name(worker.options.role, worker.agent_id),
        is_lead=facts.is_lead,
        role=facts.role_label,
        capabilities=_capabilities(worker),
        max_tasks=worker.slots.capacity,
        provider=worker.harness.wire_name,
    )
    worker.log.info(
        Event.REGISTERED, agent=worker.agent_id, name=agent.name, harness=worker.harness.name
    )
    before, facts.agent = facts.server_capabilities, agent
    if agent.enabled_capabilities is not None:
        facts.server_capabilities = frozenset(agent.enabled_capabilities)
    return before != facts.server_capabilities


async def register_again(worker: Parts) -> bool:
    """Register once more, as far as that works; true if it did.

    A server whose database was reset, or on which somebody deleted this agent, has forgotten the
    role and the capabilities too.
    """
    try:
        await register(worker)
    except ApiError as error:
        worker.log.debug(Event.API_REFUSED, call="register", why=str(error))
        return False
    await state_role(worker)
    return True


async def state_role(worker: Parts) -> None:
    """Store role and capabilities where the server has none.

    Registration accepts and drops them (docs/api.md 3.1), and without them the work that is
    reserved for a role never reaches this agent. Values somebody set are left alone.
    """
    agent = worker.facts.agent
    if agent is None:
        return
    missing: dict[str, object] = {}
    if not agent.role:
        missing["role"] = worker.facts.role_label[:100]
    capabilities = _capabilities(worker)
    if capabilities and not agent.capabilities:
        missing["capabilities"] = list(capabilities)
    if missing:
        try:
            await worker.client.agents.profile(worker.agent_id, missing, change_source="system")
        except ApiError as error:
            worker.log.warning(Event.IDENTITY, step="role", why=str(error))


def profile_facts(worker: Described) -> AgentFacts:
    """What a generated profile is made of."""
    agent = worker.facts.agent
    return AgentFacts(
        name=agent.name if agent else "",
        role=worker.facts.role_label,
        description=(agent.description or "") if agent else "",
        # What `state_role` stores, which may be on its way.
        capabilities=(agent.capabilities or _capabilities(worker)) if agent else (),
    )


def _capabilities(worker: Described) -> tuple[str, ...]:
    template = worker.facts.template
    return worker.settings.capabilities or (template.capabilities if template else ())
