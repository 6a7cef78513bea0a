"""Locks that let one worker at a time refresh a shared login (docs/api.md 13.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route
from agent_swarm_worker.local_swarm.fields import Number, Text
from agent_swarm_worker.local_swarm.validation import Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

MAX_TTL_MS = 300_000

NAME = Shape(key=Text(pattern="[a-zA-Z0-9._:-]{1,200}"))
ACQUIRE = Shape(ttlMs=Number(most=MAX_TTL_MS, above=0, whole=True))
RELEASE = Shape(owner=Text(1))


def _key(call: Call) -> str:
    return str(NAME.parse({"key": call.path["key"]})["key"])


def _acquire(call: Call) -> Document:
    store, key = call.store, _key(call)
    store.run("DELETE FROM refresh_locks WHERE key = ? AND expiresAt <= ?", key, store.now())
    owner, until = store.new_id(), store.ahead(call.body["ttlMs"] / 1000)
    sql = "INSERT OR IGNORE INTO refresh_locks (key, owner, expiresAt) VALUES (?, ?, ?)"
    if not store.run(sql, key, owner, until):
        raise Refusal(409, "Lock is held by another caller")
    return {"owner": owner}


def _release(call: Call) -> None:
    # A lock that expired may belong to somebody else by now, so only its owner releases it.
    sql = "DELETE FROM refresh_locks WHERE key = ? AND owner = ?"
    call.store.run(sql, _key(call), call.body["owner"])


ROUTES = (
    Route("POST", "/api/oauth/refresh-locks/{key}", _acquire, body=ACQUIRE),
    Route("DELETE", "/api/oauth/refresh-locks/{key}", _release, body=RELEASE),
)
