"""Which credentials of a pool are rate-limited, and how often each was used (docs/api.md 14).

The server never sees a key, only its kind, its place in the pool and its last characters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.endpoint import Call, Route
from agent_swarm_worker.local_swarm.fields import Flag, Number, Text
from agent_swarm_worker.local_swarm.tables import KEYS
from agent_swarm_worker.local_swarm.validation import Record, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store
    from agent_swarm_worker.local_swarm.validation import Check

SCOPED: dict[str, Check] = {"scope": Text().optional("global"), "scopeId": Text().optional("")}
NAMED: dict[str, Check] = {"keyType": Text(), "keySuffix": Text(1, 10), **SCOPED}
PLACED: dict[str, Check] = {**NAMED, "keyIndex": Number(0, whole=True)}
WINDOW = Shape(
    status=Text(),
    utilization=Number().optional(),
    resetsAt=Number().optional(),
    isUsingOverage=Flag().optional(),
    surpassedThreshold=Number().optional(),
    lastSeenAt=Text(form="date-time"),
)
MAX_POOL = 1000
AVAILABLE = Shape(
    keyType=Text(), totalKeys=Number(1, MAX_POOL, whole=True, from_text=True), **SCOPED
)
USAGE = Shape(taskId=Text(form="uuid").optional(), **PLACED)
RATE_LIMIT = Shape(rateLimitedUntil=Text(form="date-time"), **PLACED)
WINDOWS = Shape(windows=Record(WINDOW), **PLACED)
STATUS = Shape(keyType=Text().optional(), **SCOPED)

_PROVIDERS = {"OPENAI": "openai", "CODEX": "openai", "OPENROUTER": "openrouter", "DEVIN": "devin"}


def _find(store: Store, key: Document) -> Document | None:
    where = "keyType = ? AND keySuffix = ? AND scope = ? AND IFNULL(scopeId, '') = ?"
    return store.first(KEYS, where, key["keyType"], key["keySuffix"], key["scope"], key["scopeId"])


def _known(store: Store, key: Document) -> Document:
    """Return the row of a key, creating it the first time the key is mentioned."""
    if found := _find(store, key):
        return found
    now = store.now()
    prefix = key["keyType"].split("_")[0]
    row = {
        "keyType": key["keyType"],
        "keySuffix": key["keySuffix"],
        "keyIndex": key["keyIndex"],
        "scope": key["scope"],
        "scopeId": key["scopeId"] or None,
        "status": "available",
        "provider": _PROVIDERS.get(prefix, "anthropic"),
        "rateLimitWindows": {},
        "createdAt": now,
        "updatedAt": now,
    }
    return store.insert(KEYS, row)


def _change(store: Store, key: Document, **changes: object) -> None:
    row = _known(store, key)
    placed = {"keyIndex": key["keyIndex"]} if "keyIndex" in key else {}
    store.update(KEYS, row["id"], **placed, **changes, updatedAt=store.now())


# --- routes
def _available(call: Call) -> Document:
    store, query = call.store, call.query
    scoped = (query["keyType"], query["scope"], query["scopeId"])
    store.run(
        "UPDATE key_status SET status = 'available', rateLimitedUntil = NULL WHERE keyType = ?"
        " AND scope = ? AND IFNULL(scopeId, '') = ? AND rateLimitedUntil <= ?",
        *(*scoped, store.now()),
    )
    rows = store.rows(
        "SELECT keyIndex FROM key_status WHERE keyType = ? AND scope = ?"
        " AND IFNULL(scopeId, '') = ? AND status = 'rate_limited'",
        *scoped,
    )
    limited = {row["keyIndex"] for row in rows}
    free = [index for index in range(query["totalKeys"]) if index not in limited]
    return {"success": True, "availableIndices": free, "totalKeys": query["totalKeys"]}


def _usage(call: Call) -> Document:
    store, key = call.store, call.body
    uses = _known(store, key)["totalUsageCount"] + 1
    _change(store, key, totalUsageCount=uses, lastUsedAt=store.now())
    if "taskId" in key:
        stamp = "UPDATE tasks SET credentialKeySuffix = ?, credentialKeyType = ? WHERE id = ?"
        store.run(stamp, key["keySuffix"], key["keyType"], key["taskId"])
    return _done("Key usage recorded")


def _rate_limit(call: Call) -> Document:
    store, key = call.store, call.body
    limits = _known(store, key)["rateLimitCount"] + 1
    _change(
        store,
        key,
        status="rate_limited",
        rateLimitedUntil=key["rateLimitedUntil"],
        lastRateLimitAt=store.now(),
        rateLimitCount=limits,
    )
    return _done(f"Key …{key['keySuffix']} is rate-limited until {key['rateLimitedUntil']}")


def _windows(call: Call) -> Document:
    store, key = call.store, call.body
    known = _known(store, key)["rateLimitWindows"]
    _change(store, key, rateLimitWindows={**known, **key["windows"]})
    return _done(f"Rate-limit windows recorded for …{key['keySuffix']}")


def _clear(call: Call) -> Document:
    row = _find(call.store, call.body)
    cleared = row is not None and row["status"] == "rate_limited"
    if cleared:
        _change(call.store, call.body, status="available", rateLimitedUntil=None)
    suffix = call.body["keySuffix"]
    words = "Rate limit cleared for" if cleared else "No rate limit was known for"
    return {**_done(f"{words} …{suffix}"), "cleared": cleared}


def _status(call: Call) -> Document:
    query = call.query
    where = "keyType = IFNULL(?, keyType) AND scope = ? AND IFNULL(scopeId, '') = ?"
    values = (query.get("keyType") or None, query["scope"], query["scopeId"])
    return {"success": True, "keys": call.store.find(KEYS, where, *values)}


def _done(message: str) -> Document:
    return {"success": True, "message": message}


ROUTES = (
    Route("GET", "/api/keys/available", _available, query=AVAILABLE),
    Route("GET", "/api/keys/status", _status, query=STATUS),
    Route("POST", "/api/keys/report-usage", _usage, body=USAGE),
    Route("POST", "/api/keys/report-rate-limit", _rate_limit, body=RATE_LIMIT),
    Route("POST", "/api/keys/report-rate-limit-windows", _windows, body=WINDOWS),
    Route("POST", "/api/keys/clear-rate-limit", _clear, body=Shape(**NAMED)),
)
