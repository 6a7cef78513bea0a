"""Store the memories of agents and search them by shared terms (docs/api.md 15.5).

Without an embedding model similarity is lexical: SQLite's full-text index finds candidates, and
each scores the number of terms that both texts share, divided by the terms of the shorter one. The
score is between 0 and 1, and a short memory can score high for a long task, as workers expect of
the public server's figure (they use results above 0.4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route, found
from agent_swarm_worker.local_swarm.scrub import scrub
from agent_swarm_worker.local_swarm.tables import MEMORIES
from agent_swarm_worker.local_swarm.validation import Choice, Flag, Items, Number, Shape, Text

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

CANDIDATES = 50
MAX_QUERY_TERMS = 60
MAX_CHARS_INDEXED = 20_000

SCOPE = Choice("agent", "swarm")
SOURCE = Choice("manual", "file_index", "session_summary", "task_completion")

SEARCH = Shape(
    query=Text(1),
    intent=Text(1).optional(),
    limit=Number(1, 20, integer=True).optional(5),
    scope=Choice("agent", "swarm", "all").optional("all"),
    source=SOURCE.optional(),
)
LIST = Shape(
    query=Text().optional(),
    agentId=Text().optional(),
    scope=Choice("agent", "swarm", "all").optional("all"),
    source=SOURCE.optional(),
    sourcePath=Text().optional(),
    limit=Number(1, 100, integer=True).optional(20),
    offset=Number(0, None, integer=True).optional(0),
)
INDEX = Shape(
    agentId=Text().optional(),
    content=Text(1),
    name=Text(1),
    scope=SCOPE,
    source=SOURCE,
    sourceTaskId=Text(form="uuid").optional(),
    sourcePath=Text().optional(),
    tags=Items(Text()).optional([]),
    persistMemory=Flag().optional(),
    contextKey=Text().optional(),
)

_WORD = re.compile(r"\w{2,}")
_ENDING = re.compile(r"(?<=\w{3})(?:ings?|eds?|es|e|s)$")
_COMMON = frozenset(
    _WORD.findall(
        """
        about after all also an and any are as at be been before but by can could did do does
        for from get had has have how if in into is it its just like make may me more most must
        my new no not now of on one only or other our out over please should so some such than
        that the their them then there these they this to up us use used using was we were what
        when where which who why will with would you your task
        """
    )
)


def terms_of(text: str) -> set[str]:
    """Return the terms of a text: its words without common ones and English endings."""
    words = _WORD.findall(text[:MAX_CHARS_INDEXED].lower())
    return {_ENDING.sub("", word) for word in words if word not in _COMMON}


def put(store: Store, memory: Document) -> tuple[Document, bool]:
    """Store a memory; return it and whether it replaced one from the same file."""
    memory = {**memory, "content": scrub(store, memory["content"])}
    older = None
    if memory.get("sourcePath"):
        where = "sourcePath = ? AND IFNULL(agentId, '') = ? AND scope = ?"
        key = (memory["sourcePath"], memory.get("agentId") or "", memory["scope"])
        older = store.first(MEMORIES, where, *key)
    now = store.now()
    if older is None:
        stored = store.insert(MEMORIES, {"tags": [], **memory, "createdAt": now, "accessedAt": now})
    else:
        changes = {**memory, "version": older["version"] + 1, "accessedAt": now}
        stored = store.update(MEMORIES, older["id"], **changes)
    _index(store, stored)
    return stored, older is not None


def search(store: Store, agent_id: str, request: Document) -> list[Document]:
    """Return the memories visible to the agent that are most similar to a query, best first.

    `request` has the keys ``query``, ``limit``, ``scope`` and perhaps ``source``.
    """
    scope, source = request["scope"], request.get("source")
    wanted = terms_of(request["query"])
    if not wanted:
        return []
    # Long terms are more specific than short ones.
    longest = sorted(wanted, key=lambda term: (-len(term), term))[:MAX_QUERY_TERMS]
    match = " OR ".join(f'"{term}"' for term in longest)
    # Filter before LIMIT: memories the agent may not see must not displace others.
    where = (
        "number IN (SELECT number FROM memory_terms JOIN memories ON number = memory_terms.rowid"
        " WHERE terms MATCH ? AND (scope = 'swarm' OR agentId = ?) AND (? = 'all' OR scope = ?)"
        " AND IFNULL(?, source) = source ORDER BY rank LIMIT ?)"
    )
    values = (match, agent_id, scope, scope, source, CANDIDATES)
    candidates = store.find(MEMORIES, where, *values)
    rated = [{**memory, "similarity": _similarity(wanted, memory)} for memory in candidates]
    rated.sort(key=lambda memory: -memory["similarity"])
    return rated[: request["limit"]]


def get(store: Store, agent_id: str, memory_id: str) -> Document:
    """Return one memory in full and count the access."""
    visible = "id = ? AND (scope = 'swarm' OR agentId = ?)"
    memory = found(store.first(MEMORIES, visible, memory_id, agent_id), "Memory")
    changes = {"accessedAt": store.now(), "accessCount": memory["accessCount"] + 1}
    return store.update(MEMORIES, memory_id, **changes)


def _similarity(wanted: set[str], memory: Document) -> float:
    terms = terms_of(f"{memory['name']} {memory['content']}")
    shared = len(wanted & terms)
    return round(shared / max(1, min(len(wanted), len(terms))), 4)


def _index(store: Store, memory: Document) -> None:
    number = store.value("SELECT number FROM memories WHERE id = ?", memory["id"])
    terms = " ".join(sorted(terms_of(f"{memory['name']} {memory['content']}")))
    store.run("DELETE FROM memory_terms WHERE rowid = ?", number)
    store.run("INSERT INTO memory_terms (rowid, terms) VALUES (?, ?)", number, terms)


# --- routes
def _search(call: Call) -> Document:
    memories = search(call.store, call.agent_id, call.body)
    shown = ("id", "name", "content", "similarity", "source", "scope", "tags")
    results = [{name: memory[name] for name in shown} for memory in memories]
    return {"results": [{**result, "retrievalSource": "fts"} for result in results]}


def _add(call: Call) -> Reply:
    ignored = ("persistMemory", "contextKey")
    memory = {name: value for name, value in call.body.items() if name not in ignored}
    if memory["scope"] == "agent" and call.agent_id:
        memory.setdefault("agentId", call.agent_id)
    stored, edited = put(call.store, memory)
    answer = {"queued": True, "memoryIds": [stored["id"]]}
    return Reply(202, answer | ({"edited": True} if edited else {}))


def _list(call: Call) -> Document:
    """List memories of all agents, the newest first; a query is not searched for."""
    wanted = call.body
    conditions = {
        "agentId = ?": wanted.get("agentId"),
        "scope = ?": None if wanted["scope"] == "all" else wanted["scope"],
        "source = ?": wanted.get("source"),
        "instr(lower(IFNULL(sourcePath, '')), lower(?)) > 0": wanted.get("sourcePath"),
    }
    asked = {condition: value for condition, value in conditions.items() if value is not None}
    where = " AND ".join(asked) or "1"
    order = f"{where} ORDER BY number DESC LIMIT ? OFFSET ?"
    rows = call.store.find(MEMORIES, order, *asked.values(), wanted["limit"], wanted["offset"])
    total = call.store.value(f"SELECT count(*) FROM memories WHERE {where}", *asked.values())  # noqa: S608 - constants
    page = {"limit": wanted["limit"], "offset": wanted["offset"]}
    return {"results": rows, "total": total, **page, "mode": "list"}


def _get(call: Call) -> Document:
    memory = found(call.store.get(MEMORIES, call.path["id"]), "Memory")
    return {"memory": memory, "links": [], "backlinks": []}


def _delete(call: Call) -> Document:
    number = call.store.value("SELECT number FROM memories WHERE id = ?", call.path["id"])
    if number is None:
        raise Refusal(404, "Memory not found")
    call.store.run("DELETE FROM memory_terms WHERE rowid = ?", number)
    return {"deleted": bool(call.store.delete(MEMORIES, "number = ?", number))}


ROUTES = (
    Route("POST", "/api/memory/search", _search, agent="header", body=SEARCH),
    Route("POST", "/api/memory/index", _add, body=INDEX),
    Route("POST", "/api/memory/list", _list, body=LIST),
    Route("GET", "/api/memory/{id}", _get),
    Route("DELETE", "/api/memory/{id}", _delete),
)
