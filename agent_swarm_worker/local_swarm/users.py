"""People who ask for work; a trigger says who it was (docs/api.md 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Route
from agent_swarm_worker.local_swarm.fields import Choice, Number, Text
from agent_swarm_worker.local_swarm.tables import USERS
from agent_swarm_worker.local_swarm.validation import Items, Record, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

COMMS = Shape(
    tone=Text().optional(), language=Text().optional(), verbosity=Text().optional()
).optional()
STATUS = Choice("invited", "active", "suspended")

CREATE = Shape(
    name=Text(1),
    email=Text().optional(),
    role=Text().optional(),
    notes=Text().optional(),
    emailAliases=Items(Text()).optional([]),
    preferredChannel=Text().optional("slack"),
    timezone=Text().optional(),
    metadata=Record().optional(),
    dailyBudgetUsd=Number().optional().nullable(),
    status=STATUS.optional("active"),
)
CHANGE = Shape(
    name=Text(1).optional(),
    email=Text().optional(),
    role=Text().optional(),
    notes=Text().optional(),
    emailAliases=Items(Text()).optional(),
    preferredChannel=Text().optional(),
    timezone=Text().optional(),
    metadata=Record().optional().nullable(),
    comms=COMMS,
    dailyBudgetUsd=Number().optional().nullable(),
    status=STATUS.optional(),
)


def requester(store: Store, task: Document) -> Document:
    """Return ``{"requestedBy": …}`` for a trigger, or nothing if nobody is known."""
    user = store.get(USERS, task.get("requestedByUserId", ""))
    if user is None:
        return {}
    shown = ("name", "email", "role", "notes", "comms")
    return {"requestedBy": {name: user[name] for name in shown if user.get(name)}}


def _shown(user: Document) -> Document:
    return {"user": {**user, "identities": [], "tokens": [], "recentEvents": []}}


def _create(call: Call) -> Document:
    now = call.store.now()
    return _shown(call.store.insert(USERS, {**call.body, "createdAt": now, "lastUpdatedAt": now}))


def _list(call: Call) -> Document:
    return {"users": [_shown(user)["user"] for user in call.store.find(USERS, "1")]}


def _known(call: Call) -> Document:
    user = call.store.get(USERS, call.path["id"])
    if user is None:
        raise Refusal(404, "User not found")
    return user


def _get(call: Call) -> Document:
    return _shown(_known(call))


def _change(call: Call) -> Document:
    user = _known(call)
    if not call.body:
        raise Refusal(400, "At least one field must be provided")
    changes = {**call.body, "lastUpdatedAt": call.store.now()}
    return _shown(call.store.update(USERS, user["id"], **changes))


ROUTES = (
    Route("POST", "/api/users", _create, body=CREATE),
    Route("GET", "/api/users", _list),
    Route("GET", "/api/users/{id}", _get),
    Route("PATCH", "/api/users/{id}", _change, body=CHANGE),
)
