"""An agent's profile: role, capabilities, identity texts with budgets (docs/api.md 3.7)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents, events
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route
from agent_swarm_worker.local_swarm.fields import Choice, Text
from agent_swarm_worker.local_swarm.tables import AGENTS
from agent_swarm_worker.local_swarm.validation import Items, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

BUDGET_CHARS = {"soulMd": 10_000, "identityMd": 10_000, "claudeMd": 20_000, "toolsMd": 20_000}
MAX_FILE_CHARS = 262_144
REPORTED_SOURCES = frozenset({"self_edit", "session_sync"})
"""Changes from these leave an event behind, accepted or not (docs/api.md 3.7)."""

AVATAR = Shape(
    type=Choice("lucide"),
    icon=Text(most=64, pattern="[a-z0-9-]+"),
    color=Text(pattern="#[0-9a-fA-F]{6}").optional(),
)
PROFILE = Shape(
    role=Text(most=100).optional(),
    description=Text().optional(),
    capabilities=Items(Text()).optional(),
    claudeMd=Text().optional(),
    soulMd=Text().optional(),
    identityMd=Text().optional(),
    setupScript=Text(most=MAX_FILE_CHARS).optional(),
    toolsMd=Text().optional(),
    heartbeatMd=Text(most=MAX_FILE_CHARS).optional(),
    avatar=AVATAR.optional().nullable(),
    changeSource=Text().optional(),
    changedByAgentId=Text().optional(),
    changeReason=Text().optional(),
)
ABOUT_THE_CHANGE = ("changeSource", "changedByAgentId", "changeReason")


def _rejection(field: str, text: str, stored: str) -> Document | None:
    """Say why a text is too long.

    The public server lets a text that is too long already shrink in steps. Here none ever is.
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
    events.record(
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
    changes = {name: call.body[name] for name in call.body if name not in ABOUT_THE_CHANGE}
    if not changes:
        raise Refusal(400, "At least one profile field must be provided")
    store, agent = call.store, agents.known(call.store, call.path["id"])
    source = call.body.get("changeSource", "")
    limited = [field for field in BUDGET_CHARS if field in changes]
    for field in limited:
        stored = agent.get(field, "")
        if rejection := _rejection(field, changes[field], stored):
            if source in REPORTED_SOURCES:
                hashes = {"dbHash": _digest(stored), "diskHash": _digest(changes[field])}
                data = {**rejection, **hashes, "changeSource": source}
                _record(store, "system.profile_sync_rejected", agent["id"], data)
            # An answer, not a Refusal: the event has to be kept.
            return Reply(400, {"error": rejection["reason"], "profileSyncRejection": rejection})
    updated = store.update(AGENTS, agent["id"], **changes, lastUpdatedAt=store.now())
    for field in limited if source in REPORTED_SOURCES else ():
        data = {"field": field, "dbHash": _digest(updated[field]), "changeSource": source}
        _record(store, "system.profile_sync_reconciled", agent["id"], data)
    return agents.with_capacity(store, updated)


ROUTES = (Route("PUT", "/api/agents/{id}/profile", _put, body=PROFILE),)
