"""Tools about the swarm itself: who is in it, who you are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents
from agent_swarm_worker.local_swarm.fields import Flag, Text
from agent_swarm_worker.local_swarm.tables import AGENTS
from agent_swarm_worker.local_swarm.tools.tool import Caller, Said, Tool
from agent_swarm_worker.local_swarm.validation import Items, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

JOIN = Shape(
    name=Text(1),
    lead=Flag().optional(False),
    description=Text().optional(),
    role=Text(most=100).optional(),
    capabilities=Items(Text()).optional(),
)


def _swarm(caller: Caller, wanted: Document) -> Said:
    found = [agents.with_capacity(caller.store, agent) for agent in caller.store.find(AGENTS, "1")]
    if not wanted["includeFull"]:
        found = [agents.in_short(agent) for agent in found]
    return Said(f"{len(found)} agent(s).", {"agents": found})


def _me(caller: Caller, _: Document) -> Said:
    agent = agents.with_capacity(caller.store, caller.agent)
    return Said(f"You are {agent['name']} ({caller.agent_id}).", {"yourAgentInfo": agent})


def _join(caller: Caller, given: Document) -> Said:
    # Whoever gets here is registered already; what registration drops is kept now.
    told = {name: given[name] for name in ("description", "role", "capabilities") if name in given}
    agent = caller.store.update(AGENTS, caller.agent_id, **told, lastUpdatedAt=caller.store.now())
    return Said(f"You are in the swarm as {agent['name']}.", {"agent": agents.in_short(agent)})


TOOLS = (
    Tool(
        "get-swarm",
        "List the agents of the swarm, their roles and how busy they are.",
        _swarm,
        Shape(includeFull=Flag().optional(False)),
    ),
    Tool("my-agent-info", "Say who you are in the swarm.", _me),
    Tool("join-swarm", "Tell the swarm your role and capabilities.", _join, JOIN),
)
