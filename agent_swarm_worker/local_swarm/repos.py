"""Repositories that tasks may name (docs/api.md 15.1)."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route
from agent_swarm_worker.local_swarm.fields import Choice, Flag, Text
from agent_swarm_worker.local_swarm.tables import REPOS
from agent_swarm_worker.local_swarm.validation import Items, Shape

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

CLONE_ROOT = "/workspace/personal/repos"

HOOKS = Shape(enabled=Flag().optional(False))
GUIDELINES = Shape(
    prChecks=Items(Text()),
    mergeChecks=Items(Text()),
    allowMerge=Flag().optional(False),
    review=Items(Text()),
)
CREATE = Shape(
    url=Text(1),
    name=Text(1, 100),
    clonePath=Text().optional(),
    defaultBranch=Text().optional("main"),
    autoClone=Flag().optional(True),
    hooks=HOOKS.optional({"enabled": False}),
    guidelines=GUIDELINES.optional(),
)
CHANGE = Shape(
    url=Text(1).optional(),
    name=Text(1, 100).optional(),
    clonePath=Text(1).optional(),
    defaultBranch=Text(1).optional(),
    autoClone=Flag().optional(),
    hooks=HOOKS.optional().nullable(),
    guidelines=GUIDELINES.optional().nullable(),
)
FILTER = Shape(autoClone=Choice("true", "false").optional(), name=Text().optional())

_DUPLICATE = "Repo with that url, name, or clonePath already exists"


def _list(call: Call) -> Document:
    wanted = {"true": 1, "false": 0}.get(call.query.get("autoClone", ""))
    where = "name = IFNULL(?, name) AND autoClone = IFNULL(?, autoClone) ORDER BY name"
    return {"repos": call.store.find(REPOS, where, call.query.get("name"), wanted)}


def _create(call: Call) -> Reply:
    now = call.store.now()
    row = {**call.body, "createdAt": now, "lastUpdatedAt": now}
    row["clonePath"] = row.get("clonePath") or f"{CLONE_ROOT}/{row['name']}"
    try:
        return Reply(201, call.store.insert(REPOS, row))
    except sqlite3.IntegrityError as error:
        raise Refusal(409, _DUPLICATE) from error


def _get(call: Call) -> Document:
    repo = call.store.get(REPOS, call.path["id"])
    if repo is None:
        raise Refusal(404, "Repo not found")
    return repo


def _change(call: Call) -> Document:
    repo = _get(call)
    try:
        return call.store.update(REPOS, repo["id"], **call.body, lastUpdatedAt=call.store.now())
    except sqlite3.IntegrityError as error:
        raise Refusal(409, _DUPLICATE) from error


def _delete(call: Call) -> Document:
    return {"success": bool(call.store.delete(REPOS, "id = ?", _get(call)["id"]))}


ROUTES = (
    Route("GET", "/api/repos", _list, query=FILTER),
    Route("POST", "/api/repos", _create, body=CREATE),
    Route("GET", "/api/repos/{id}", _get),
    Route("PUT", "/api/repos/{id}", _change, body=CHANGE),
    Route("DELETE", "/api/repos/{id}", _delete),
)
