"""Control access to the API; keep the state of credential pools, and the users.

Access: with an API key, a caller must present it. Without one the server listens on loopback only,
where every local program is trusted, but not a web page in the user's browser, which can reach
loopback too: creating a task means running commands. A keyless server therefore refuses requests
with a foreign ``Origin``, and a ``Host`` that is not loopback (DNS rebinding).

Credential pools (docs/api.md 14): rate limits and use counts. The server never sees a key, only
its type, its index in the pool and its last characters.

Users (docs/api.md 4.3): the people who ask for work, named by triggers.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route, found, json_response
from agent_swarm_worker.local_swarm.tables import KEYS, USERS
from agent_swarm_worker.local_swarm.validation import (
    Choice,
    Flag,
    Items,
    Number,
    Record,
    Shape,
    Text,
    optional,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from agent_swarm_worker.local_swarm.store import Document, Store
    from agent_swarm_worker.local_swarm.validation import Check

OPEN_PATHS = frozenset({"/health", "/openapi.json"})


# --- access
def require_safe_binding(host: str, api_key: str) -> None:
    """Check that other machines are not served without a key.

    Raises:
        BadSetting: `host` is not loopback and `api_key` is empty.
    """
    if not api_key and not is_loopback(host):
        why = "without an API key only a loopback address is allowed"
        raise BadSetting("host", host, why)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class AccessControl:
    """ASGI middleware that authorizes every request."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app, self._key = app, api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401 or 403."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            headers = Headers(scope=scope)
            if self._key and not self._knows_key(headers):
                await json_response(401, {"error": "Unauthorized"})(scope, receive, send)
                return
            if not self._key and _is_foreign(headers):
                await json_response(403, {"error": "Forbidden: not a local caller"})(
                    scope, receive, send
                )
                return
        await self._app(scope, receive, send)

    def _knows_key(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Headers are latin-1 on the wire; clients send a key with other characters as UTF-8.
        given_bytes = given.strip().encode("latin-1")
        return scheme.lower() == "bearer" and hmac.compare_digest(given_bytes, self._key)


def _is_foreign(headers: Headers) -> bool:
    origins = headers.getlist("origin")
    if not origins and headers.get("sec-fetch-site") == "cross-site":
        return True  # an image or a link: browsers send no Origin for these
    names = [f"//{headers.get('host', '')}", *origins]
    return not all(is_loopback(_host_of(name)) for name in names)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


# --- credential pools
SCOPED: dict[str, Check] = {"scope": Text().optional("global"), "scopeId": Text().optional("")}
KEY: dict[str, Check] = {"keyType": Text(), "keySuffix": Text(1, 10), **SCOPED}
INDEXED_KEY: dict[str, Check] = {**KEY, "keyIndex": Number(0, integer=True)}
WINDOW = Shape(
    status=Text(),
    **optional(Number(), "utilization resetsAt"),
    isUsingOverage=Flag().optional(),
    surpassedThreshold=Number().optional(),
    lastSeenAt=Text(form="date-time"),
)
MAX_POOL = 1000
AVAILABLE = Shape(
    keyType=Text(), totalKeys=Number(1, MAX_POOL, integer=True, from_text=True), **SCOPED
)
USAGE = Shape(taskId=Text(form="uuid").optional(), **INDEXED_KEY)
RATE_LIMIT = Shape(rateLimitedUntil=Text(form="date-time"), **INDEXED_KEY)
WINDOWS = Shape(windows=Record(WINDOW), **INDEXED_KEY)
STATUS = Shape(keyType=Text().optional(), **SCOPED)

_PROVIDERS = {"OPENAI": "openai", "CODEX": "openai", "OPENROUTER": "openrouter", "DEVIN": "devin"}


def _find(store: Store, key: Document) -> Document | None:
    """Return the row of a key; the public server identifies it by type, suffix and scope."""
    where = "keyType = ? AND keySuffix = ? AND scope = ? AND IFNULL(scopeId, '') = ?"
    return store.first(KEYS, where, key["keyType"], key["keySuffix"], key["scope"], key["scopeId"])


def _find_or_create(store: Store, key: Document) -> Document:
    if row := _find(store, key):
        return row
    now = store.now()
    prefix = key["keyType"].split("_")[0]
    row = {
        **{name: key[name] for name in ("keyType", "keySuffix", "keyIndex", "scope")},
        "scopeId": key["scopeId"] or None,
        "status": "available",
        "provider": _PROVIDERS.get(prefix, "anthropic"),
        "rateLimitWindows": {},
        "createdAt": now,
        "updatedAt": now,
    }
    return store.insert(KEYS, row)


def _change(store: Store, key: Document, **changes: object) -> None:
    row = _find_or_create(store, key)
    if "keyIndex" in key:
        changes["keyIndex"] = key["keyIndex"]
    store.update(KEYS, row["id"], **changes, updatedAt=store.now())


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
    uses = _find_or_create(store, key)["totalUsageCount"] + 1
    _change(store, key, totalUsageCount=uses, lastUsedAt=store.now())
    if "taskId" in key:
        stamp = "UPDATE tasks SET credentialKeySuffix = ?, credentialKeyType = ? WHERE id = ?"
        store.run(stamp, key["keySuffix"], key["keyType"], key["taskId"])
    return _done("Key usage recorded")


def _rate_limit(call: Call) -> Document:
    store, key = call.store, call.body
    limits = _find_or_create(store, key)["rateLimitCount"] + 1
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
    known = _find_or_create(store, key)["rateLimitWindows"]
    _change(store, key, rateLimitWindows={**known, **key["windows"]})
    return _done(f"Rate-limit windows recorded for …{key['keySuffix']}")


def _clear(call: Call) -> Document:
    row = _find(call.store, call.body)
    cleared = row is not None and row["status"] == "rate_limited"
    if cleared:
        _change(call.store, call.body, status="available", rateLimitedUntil=None)
    message = "Rate limit cleared for" if cleared else "No rate limit was known for"
    return {**_done(f"{message} …{call.body['keySuffix']}"), "cleared": cleared}


def _status(call: Call) -> Document:
    query = call.query
    where = "keyType = IFNULL(?, keyType) AND scope = ? AND IFNULL(scopeId, '') = ?"
    values = (query.get("keyType") or None, query["scope"], query["scopeId"])
    return {"success": True, "keys": call.store.find(KEYS, where, *values)}


def _done(message: str) -> Document:
    return {"success": True, "message": message}


# --- users
COMMS = Shape(**optional(Text(), "tone language verbosity")).optional()
USER_STATUS = Choice("invited", "active", "suspended")

CREATE = Shape(
    name=Text(1),
    **optional(Text(), "email role notes"),
    emailAliases=Items(Text()).optional([]),
    preferredChannel=Text().optional("slack"),
    timezone=Text().optional(),
    metadata=Record().optional(),
    dailyBudgetUsd=Number().optional().nullable(),
    status=USER_STATUS.optional("active"),
)
CHANGE = Shape(
    name=Text(1).optional(),
    **optional(Text(), "email role notes"),
    emailAliases=Items(Text()).optional(),
    **optional(Text(), "preferredChannel timezone"),
    metadata=Record().optional().nullable(),
    comms=COMMS,
    dailyBudgetUsd=Number().optional().nullable(),
    status=USER_STATUS.optional(),
)


def requester(store: Store, task: Document) -> Document:
    """Return ``{"requestedBy": …}`` for a trigger, empty if the user is not known."""
    user = store.get(USERS, task.get("requestedByUserId", ""))
    if user is None:
        return {}
    shown = ("name", "email", "role", "notes", "comms")
    return {"requestedBy": {name: user[name] for name in shown if user.get(name)}}


def _view(user: Document) -> Document:
    return {"user": {**user, "identities": [], "tokens": [], "recentEvents": []}}


def _create(call: Call) -> Document:
    now = call.store.now()
    return _view(call.store.insert(USERS, {**call.body, "createdAt": now, "lastUpdatedAt": now}))


def _list(call: Call) -> Document:
    return {"users": [_view(user)["user"] for user in call.store.find(USERS, "1")]}


def _require_user(call: Call) -> Document:
    return found(call.store.get(USERS, call.path["id"]), "User")


def _get(call: Call) -> Document:
    return _view(_require_user(call))


def _change_user(call: Call) -> Document:
    user = _require_user(call)
    if not call.body:
        raise Refusal(400, "At least one field must be provided")
    changes = {**call.body, "lastUpdatedAt": call.store.now()}
    return _view(call.store.update(USERS, user["id"], **changes))


ROUTES = (
    Route("GET", "/api/keys/available", _available, query=AVAILABLE),
    Route("GET", "/api/keys/status", _status, query=STATUS),
    Route("POST", "/api/keys/report-usage", _usage, body=USAGE),
    Route("POST", "/api/keys/report-rate-limit", _rate_limit, body=RATE_LIMIT),
    Route("POST", "/api/keys/report-rate-limit-windows", _windows, body=WINDOWS),
    Route("POST", "/api/keys/clear-rate-limit", _clear, body=Shape(**KEY)),
    Route("POST", "/api/users", _create, body=CREATE),
    Route("GET", "/api/users", _list),
    Route("GET", "/api/users/{id}", _get),
    Route("PATCH", "/api/users/{id}", _change_user, body=CHANGE),
)
