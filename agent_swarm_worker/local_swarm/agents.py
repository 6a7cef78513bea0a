"""Store agents: registration, status and load (docs/api.md 3.1 to 3.4), and profiles.

A profile (docs/api.md 3.7) is role, capabilities and identity texts, each with a budget in
characters.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import history
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route, found
from agent_swarm_worker.local_swarm.tables import AGENTS, TASKS
from agent_swarm_worker.local_swarm.validation import (
    Choice,
    Flag,
    Items,
    Number,
    Shape,
    Text,
    names,
    optional,
)

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

PROVIDERS = ("claude", "codex", "pi", "devin", "claude-managed", "opencode")
"""Harness names of the API (docs/api.md 17.1); a worker maps others to one of them."""

ENABLED_CAPABILITIES = names("core task-pool config mcp profiles memory skills messaging repo")
"""The ones of the public list (docs/api.md 17.3) that this server implements."""

IDENTITY_TEXTS = ("claudeMd", "soulMd", "identityMd", "setupScript", "toolsMd", "heartbeatMd")

REGISTER = Shape(
    name=Text(1),
    isLead=Flag().optional(),
    description=Text().optional(),
    role=Text().optional(),
    capabilities=Items(Text()).optional(),
    maxTasks=Number(integer=True).optional(),
    provider=Choice(*PROVIDERS).optional(),
    harness_provider=Choice(*PROVIDERS).optional(),
    runtimeInstanceId=Text(1).optional(),
)
INCLUDE = Shape(
    include=Choice("tasks").optional(),
    fields=Choice("full", "slim").optional(),
)


# --- registration
def register(store: Store, agent_id: str, body: Document) -> tuple[Document, bool]:
    """Create or refresh an agent; return it and whether it is new.

    Role, description and capabilities are ignored, as by the public server: only the profile route
    stores them. Workers rely on what a second call leaves unchanged (docs/api.md 3.1).
    """
    known = store.get(AGENTS, agent_id) if agent_id else None
    now = store.now()
    if known is not None:
        changes: Document = {"emptyPollCount": 0, "lastUpdatedAt": now}
        if known["status"] == "offline":
            changes["status"] = "idle"
        columns = {"harness_provider": "harnessProvider"}
        for name in ("maxTasks", "provider", "harness_provider"):
            if name in body:
                changes[columns.get(name, name)] = body[name]
        return store.update(AGENTS, agent_id, **changes), False
    agent = store.insert(
        AGENTS,
        {
            "id": agent_id or store.new_id(),
            "name": body["name"],
            "isLead": body.get("isLead", False),
            "status": "idle",
            "capabilities": [],
            "maxTasks": body.get("maxTasks", 1),
            "provider": body.get("provider"),
            "harnessProvider": body.get("harness_provider"),
            "createdAt": now,
            "lastUpdatedAt": now,
        },
    )
    history.add_history(store, "agent_joined", agent_id=agent["id"], new="idle")
    return agent, True


# --- reading
def require(store: Store, agent_id: str) -> Document:
    """Return an agent, or refuse with 404."""
    return found(store.get(AGENTS, agent_id), "Agent")


def lead(store: Store) -> Document | None:
    """Return the oldest lead, one that is online before those that are offline."""
    return store.first(AGENTS, "isLead = 1 ORDER BY status = 'offline', createdAt, rowid")


def harness_of(agent: Document | None) -> str | None:
    """Return the harness that an agent reported."""
    return (agent.get("harnessProvider") or agent.get("provider")) if agent else None


def load(store: Store, agent_id: str) -> int:
    """Return how many tasks occupy the agent: running ones, and offers under review."""
    sql = (
        "SELECT COUNT(*) FROM tasks WHERE (agentId = ? AND status = 'in_progress')"
        " OR (offeredTo = ? AND status = 'reviewing')"
    )
    return int(store.value(sql, agent_id, agent_id))


def has_capacity(store: Store, agent: Document) -> bool:
    """Return whether the agent may take another task."""
    return bool(load(store, agent["id"]) < agent["maxTasks"])


def with_capacity(store: Store, agent: Document) -> Document:
    """Return an agent with its load, as most agent routes do."""
    current, most = load(store, agent["id"]), agent["maxTasks"]
    capacity = {"current": current, "max": most, "available": max(0, most - current)}
    return {**agent, "capacity": capacity}


def summary(agent: Document) -> Document:
    """Return an agent without the long identity texts, for lists."""
    return {name: value for name, value in agent.items() if name not in IDENTITY_TEXTS}


# --- status
def set_status(store: Store, agent_id: str, status: str) -> Document:
    """Set an agent's status."""
    return store.update(AGENTS, agent_id, status=status, lastUpdatedAt=store.now())


def update_status(store: Store, agent_id: str | None) -> None:
    """Derive the status from the load; an agent offline or without credentials keeps its own."""
    agent = store.get(AGENTS, agent_id) if agent_id else None
    if agent is None or agent["status"] in {"offline", "waiting_for_credentials"}:
        return
    status = "busy" if load(store, agent["id"]) else "idle"
    if status != agent["status"]:
        set_status(store, agent["id"], status)


# --- routes
def _register(call: Call) -> Reply:
    agent, is_new = register(call.store, call.agent_id, call.body)
    body = {**agent, "enabledCapabilities": list(ENABLED_CAPABILITIES)}
    return Reply(201 if is_new else 200, body)


def _list(call: Call) -> Document:
    agents = [with_capacity(call.store, agent) for agent in call.store.find(AGENTS, "1")]
    if call.query.get("fields") != "full":
        agents = [summary(agent) for agent in agents]
    if call.query.get("include") == "tasks":
        agents = [_with_tasks(call.store, agent) for agent in agents]
    return {"agents": agents}


def _get(call: Call) -> Document:
    agent = with_capacity(call.store, require(call.store, call.path["id"]))
    return _with_tasks(call.store, agent) if call.query.get("include") == "tasks" else agent


def _with_tasks(store: Store, agent: Document) -> Document:
    return {**agent, "tasks": store.find(TASKS, "agentId = ? ORDER BY rowid", agent["id"])}


def _ping(call: Call) -> None:
    agent = require(call.store, call.agent_id)
    if agent["status"] not in {"busy", "waiting_for_credentials"}:
        agent["status"] = "idle"
    set_status(call.store, agent["id"], agent["status"])


def _close(call: Call) -> None:
    set_status(call.store, require(call.store, call.agent_id)["id"], "offline")


def _activity(call: Call) -> None:
    sql = "UPDATE agents SET lastActivityAt = ? WHERE id = ?"
    call.store.run(sql, call.store.now(), call.path["id"])


def install(store: Store, table: str, column: str, item_id: str, agent_id: str) -> Document:
    """Install a skill or a tool server for an agent, once; return the row.

    `table` and `column` name the join table and its reference to the item.
    """
    # Table and column are constants of the callers.
    store.run(
        f"INSERT OR IGNORE INTO {table} (id, agentId, {column}, installedAt)"  # noqa: S608
        " VALUES (?, ?, ?, ?)",
        *(store.new_id(), agent_id, item_id, store.now()),
    )
    sql = f"SELECT * FROM {table} WHERE agentId = ? AND {column} = ?"  # noqa: S608 - as above
    (row,) = store.rows(sql, agent_id, item_id)
    return {**dict(row), "isActive": True}


def _setup_script(call: Call) -> Document:
    shared = "SELECT value FROM config WHERE scope = 'global' AND key = 'SETUP_SCRIPT'"
    own = require(call.store, call.path["id"]).get("setupScript")
    return {"setupScript": own, "globalSetupScript": call.store.value(shared)}


# --- profile
BUDGET_CHARS = {"soulMd": 10_000, "identityMd": 10_000, "claudeMd": 20_000, "toolsMd": 20_000}
MAX_FILE_CHARS = 262_144
REPORTED_SOURCES = frozenset({"self_edit", "session_sync"})
"""Change sources whose accepted and rejected changes are recorded as events (docs/api.md 3.7)."""

AVATAR = Shape(
    type=Choice("lucide"),
    icon=Text(max_length=64, pattern="[a-z0-9-]+"),
    color=Text(pattern="#[0-9a-fA-F]{6}").optional(),
)
PROFILE = Shape(
    role=Text(max_length=100).optional(),
    description=Text().optional(),
    capabilities=Items(Text()).optional(),
    **optional(Text(), "claudeMd soulMd identityMd"),
    setupScript=Text(max_length=MAX_FILE_CHARS).optional(),
    toolsMd=Text().optional(),
    heartbeatMd=Text(max_length=MAX_FILE_CHARS).optional(),
    avatar=AVATAR.optional().nullable(),
    **optional(Text(), "changeSource changedByAgentId changeReason"),
)
CHANGE_METADATA = ("changeSource", "changedByAgentId", "changeReason")


def _rejection(field: str, text: str, stored: str) -> Document | None:
    """Return the rejection of a text that exceeds its budget.

    The public server lets a stored text that is too long shrink in steps; here none is stored.
    """
    budget, size, before = BUDGET_CHARS[field], len(text), len(stored)
    if size <= budget:
        return None
    reason = f"{field} has {size} characters, its budget is {budget}; the stored text has {before}"
    return {
        "ok": False,
        "field": field,
        "diskSize": size,
        "dbSize": before,
        "budget": budget,
        "delta": size - budget,
        "reason": reason,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _record(store: Store, event: str, agent_id: str, data: Document) -> None:
    history.record_event(
        store,
        {
            "category": "system",
            "event": event,
            "status": "error" if event.endswith("rejected") else "ok",
            "source": "api",
            "agentId": agent_id,
            "data": data,
        },
    )


def _put(call: Call) -> Document | Reply:
    changes = {name: call.body[name] for name in call.body if name not in CHANGE_METADATA}
    if not changes:
        raise Refusal(400, "At least one profile field must be provided")
    store, agent = call.store, require(call.store, call.path["id"])
    source = call.body.get("changeSource", "")
    limited = [field for field in BUDGET_CHARS if field in changes]
    for field in limited:
        stored = agent.get(field, "")
        if rejection := _rejection(field, changes[field], stored):
            if source in REPORTED_SOURCES:
                hashes = {"dbHash": _digest(stored), "diskHash": _digest(changes[field])}
                data = {**rejection, **hashes, "changeSource": source}
                _record(store, "system.profile_sync_rejected", agent["id"], data)
            # A reply, not a Refusal, which would roll back the event.
            return Reply(400, {"error": rejection["reason"], "profileSyncRejection": rejection})
    updated = store.update(AGENTS, agent["id"], **changes, lastUpdatedAt=store.now())
    for field in limited if source in REPORTED_SOURCES else ():
        data = {"field": field, "dbHash": _digest(updated[field]), "changeSource": source}
        _record(store, "system.profile_sync_reconciled", agent["id"], data)
    return with_capacity(store, updated)


ROUTES = (
    Route("POST", "/api/agents", _register, body=REGISTER),
    Route("GET", "/api/agents", _list, query=INCLUDE),
    Route("GET", "/api/agents/{id}", _get, query=INCLUDE),
    Route("GET", "/api/agents/{id}/setup-script", _setup_script),
    Route("PUT", "/api/agents/{id}/activity", _activity),
    Route("POST", "/ping", _ping, agent="header"),
    Route("POST", "/close", _close, agent="header"),
    Route("PUT", "/api/agents/{id}/profile", _put, body=PROFILE),
)
