"""Tools that search and store memories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, memory
from agent_swarm_worker.local_swarm.endpoint import Refusal
from agent_swarm_worker.local_swarm.tools.tool import Caller, Tool, ToolResult
from agent_swarm_worker.local_swarm.validation import Choice, Items, Number, Shape, Text

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

EXCERPT_CHARS = 300

SEARCH = Shape(
    query=Text(1),
    intent=Text(1).optional().described("What you need it for."),
    scope=Choice("all", "agent", "swarm").optional("all"),
    limit=Number(1, 50, integer=True).optional(10),
    source=memory.SOURCE.optional(),
)
STORE = Shape(
    content=Text(1).described("The fact, where it applies, and how you know."),
    name=Text(1, 200).described("One line that says what it is about."),
    scope=memory.SCOPE.optional("agent").described("agent: for you; swarm: for everybody."),
    tags=Items(Text()).optional([]),
    taskId=Text(form="uuid").optional(),
    intent=Text(1).optional(),
)
INJECT = Shape(
    agentId=Text(),
    learning=Text(1),
    category=Choice("mistake-pattern", "best-practice", "codebase-knowledge", "preference"),
)


def _search(caller: Caller, wanted: Document) -> ToolResult:
    memories = memory.search(caller.store, caller.agent_id, wanted)
    shown = ("id", "name", "similarity", "source", "scope", "tags", "createdAt")
    results = [
        {**{name: row[name] for name in shown}, "excerpt": row["content"][:EXCERPT_CHARS]}
        for row in memories
    ]
    return ToolResult(f"{len(results)} memory(ies).", {"results": results})


def _get(caller: Caller, wanted: Document) -> ToolResult:
    found = memory.get(caller.store, caller.agent_id, wanted["memoryId"])
    return ToolResult(found["name"], {"memory": found})


def _store(caller: Caller, given: Document) -> ToolResult:
    row = {name: given[name] for name in ("name", "content", "scope", "tags")}
    row |= {"agentId": caller.agent_id, "source": "manual"}
    row["sourceTaskId"] = given.get("taskId") or caller.source_task_id
    stored, _ = memory.put(caller.store, row)
    return ToolResult("Remembered.", {"memoryIds": [stored["id"]]})


def _inject(caller: Caller, given: Document) -> ToolResult:
    if not caller.agent["isLead"]:
        raise Refusal(403, "Only the lead can put a learning into another agent's memory")
    receiver = agents.require(caller.store, given["agentId"])
    stored, _ = memory.put(
        caller.store,
        {
            "agentId": receiver["id"],
            "name": f"Learning: {given['category']}",
            "content": given["learning"],
            "scope": "agent",
            "source": "manual",
            "sourceTaskId": caller.source_task_id,
            "tags": [given["category"]],
        },
    )
    return ToolResult(f"{receiver['name']} will remember it.", {"memoryId": stored["id"]})


TOOLS = (
    Tool("memory-search", "Search what you and the swarm remember.", _search, SEARCH),
    Tool(
        "memory-get",
        "Read one memory in full.",
        _get,
        Shape(memoryId=Text(form="uuid"), intent=Text(1).optional()),
    ),
    Tool("memory-store", "Remember something for later tasks.", _store, STORE),
    Tool("inject-learning", "Let another agent remember something (lead only).", _inject, INJECT),
)
