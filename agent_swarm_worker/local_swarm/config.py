"""Store configuration rows (docs/api.md 13) and repositories of tasks (docs/api.md 15.1)."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import orjson

from agent_swarm_worker.local_swarm.agents import PROVIDERS
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route, found
from agent_swarm_worker.local_swarm.tables import CONFIG, REPOS
from agent_swarm_worker.local_swarm.validation import (
    Anything,
    Choice,
    Flag,
    Items,
    Shape,
    Text,
    optional,
)

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

# --- configuration rows
MASK = "********"
RESERVED = frozenset({"API_KEY", "SECRETS_ENCRYPTION_KEY"})
"""Keys that belong in the server's environment: they protect this table."""
HIDDEN_KEY = "API_AGENT_FS_API_KEY"

_FLAG = ("true", "false", "1", "0")
_ALLOWED = {
    "HARNESS_PROVIDER": PROVIDERS,
    "BEDROCK_AUTH_MODE": ("sdk", "bearer"),
    "SWARM_USE_CLAUDE_BRIDGE": _FLAG,
    "STEERING_ENABLED": _FLAG,
    "SCRIPTS_ONLY_MCP": _FLAG,
    "SLACK_DISABLE": _FLAG,
}
_POSITIVE = frozenset({"CODEX_CREDITS_EXHAUSTED_COOLDOWN_MS", "AGENT_MAX_TASKS"})

ROW = Shape(
    scope=Choice("global", "agent", "repo"),
    scopeId=Text().optional().nullable(),
    key=Text(1, 255),
    value=Anything(),
    isSecret=Flag().optional(False),
    envPath=Text().optional().nullable(),
    description=Text().optional().nullable(),
)
SECRETS = Choice("true", "false").optional("false")
LIST = Shape(**optional(Text(), "scope scopeId"), includeSecrets=SECRETS)
RESOLVED = Shape(**optional(Text(), "agentId repoId"), includeSecrets=SECRETS)


def resolved(
    store: Store, agent_id: str | None = None, repo_id: str | None = None
) -> list[Document]:
    """Return one row per key, sorted; repo rows override agent rows, which override global ones."""
    by_key: dict[str, Document] = {}
    for scope, scope_id in (("global", ""), ("agent", agent_id), ("repo", repo_id)):
        if scope == "global" or scope_id:
            where = "scope = ? AND IFNULL(scopeId, '') = ?"
            rows = store.find(CONFIG, where, scope, scope_id)
            by_key |= {row["key"]: row for row in rows}
    return [by_key[key] for key in sorted(by_key)]


def put(store: Store, row: Document) -> Document:
    """Create or replace a row.

    Raises:
        Refusal: the scope, the key or the value is not allowed (400).
    """
    scope, scope_id, key = row["scope"], row.get("scopeId") or None, row["key"]
    if scope == "global" and scope_id:
        raise Refusal(400, "Global scope must not have scopeId")
    if scope != "global" and not scope_id:
        raise Refusal(400, "Agent/repo scope requires scopeId")
    if key.upper() in RESERVED:
        raise Refusal(400, f"Key '{key}' is reserved; set it in the server's environment instead")
    value = row["value"] if isinstance(row["value"], str) else orjson.dumps(row["value"]).decode()
    _require_valid(key, value)
    now = store.now()
    columns = {
        "value": value,
        "isSecret": row.get("isSecret", False),
        "envPath": row.get("envPath") or None,
        "description": row.get("description") or None,
        "lastUpdatedAt": now,
    }
    where = "scope = ? AND IFNULL(scopeId, '') = ? AND key = ?"
    older = store.first(CONFIG, where, scope, scope_id or "", key)
    if older is not None:
        return store.update(CONFIG, older["id"], **columns)
    identity = {"scope": scope, "scopeId": scope_id, "key": key, "createdAt": now}
    return store.insert(CONFIG, identity | columns)


def _require_valid(key: str, value: str) -> None:
    allowed = _ALLOWED.get(key)
    if allowed and value.strip() not in allowed:
        raise Refusal(400, f"Invalid {key} value (must be one of: {', '.join(allowed)})")
    if key in _POSITIVE and not re.fullmatch(r"0*[1-9][0-9]*", value.strip()):
        raise Refusal(400, f"Invalid {key} (must be a positive integer)")


def _view(row: Document, secrets: str) -> Document:
    hidden = row["isSecret"] and secrets != "true"
    return {**row, "value": MASK} if hidden else row


def _list(call: Call) -> Document:
    query = call.query
    where = "scope = IFNULL(?, scope) AND IFNULL(scopeId, '') = IFNULL(?, IFNULL(scopeId, ''))"
    values = (query.get("scope") or None, query.get("scopeId") or None)
    rows = call.store.find(CONFIG, f"{where} ORDER BY key, scope", *values)
    return _configs(rows, query["includeSecrets"])


def _resolved(call: Call) -> Document:
    query = call.query
    rows = resolved(call.store, query.get("agentId"), query.get("repoId"))
    return _configs(rows, query["includeSecrets"])


def _configs(rows: list[Document], secrets: str) -> Document:
    return {"configs": [_view(row, secrets) for row in rows if row["key"] != HIDDEN_KEY]}


def _put(call: Call) -> Document:
    return _view(put(call.store, call.body), call.query["includeSecrets"])


def _get(call: Call) -> Document:
    row = found(call.store.get(CONFIG, call.path["id"]), "Config")
    return _view(row, call.query["includeSecrets"])


def _delete(call: Call) -> Document:
    if not call.store.delete(CONFIG, "id = ?", call.path["id"]):
        raise Refusal(404, "Config not found")
    return {"success": True}


# --- repositories
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


def _list_repos(call: Call) -> Document:
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


def _require_repo(call: Call) -> Document:
    return found(call.store.get(REPOS, call.path["id"]), "Repo")


def _change(call: Call) -> Document:
    repo = _require_repo(call)
    try:
        return call.store.update(REPOS, repo["id"], **call.body, lastUpdatedAt=call.store.now())
    except sqlite3.IntegrityError as error:
        raise Refusal(409, _DUPLICATE) from error


def _delete_repo(call: Call) -> Document:
    return {"success": bool(call.store.delete(REPOS, "id = ?", _require_repo(call)["id"]))}


ROUTES = (
    Route("GET", "/api/config/resolved", _resolved, query=RESOLVED),
    Route("GET", "/api/config", _list, query=LIST),
    Route("PUT", "/api/config", _put, query=Shape(includeSecrets=SECRETS), body=ROW),
    Route("GET", "/api/config/{id}", _get, query=Shape(includeSecrets=SECRETS)),
    Route("DELETE", "/api/config/{id}", _delete),
    Route("GET", "/api/repos", _list_repos, query=FILTER),
    Route("POST", "/api/repos", _create, body=CREATE),
    Route("GET", "/api/repos/{id}", _require_repo),
    Route("PUT", "/api/repos/{id}", _change, body=CHANGE),
    Route("DELETE", "/api/repos/{id}", _delete_repo),
)
