"""Store skills, their files, and their installation for agents (docs/api.md 15.4)."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from agent_swarm_worker.front_matter import front_matter
from agent_swarm_worker.local_swarm import agents
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route, found
from agent_swarm_worker.local_swarm.store import document_of
from agent_swarm_worker.local_swarm.tables import SKILL_FILES, SKILLS
from agent_swarm_worker.local_swarm.validation import Choice, Flag, Items, Number, Shape, Text

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store
    from agent_swarm_worker.local_swarm.validation import Check

MAX_FILES = 100

CREATE = Shape(
    content=Text(1),
    type=Choice("remote", "personal").optional("personal"),
    scope=Choice("global", "swarm", "agent").optional("agent"),
    ownerAgentId=Text().optional(),
    systemDefault=Flag().optional(False),
)
CHANGE = Shape(content=Text(1).optional(), isEnabled=Flag().optional())
INSTALL = Shape(agentId=Text())
_FILE: dict[str, Check] = {
    "content": Text(),
    "mimeType": Text().optional("text/plain"),
    "isBinary": Flag().optional(False),
    "size": Number(0, integer=True).optional(),
}
FILE = Shape(**_FILE)
FILES = Shape(files=Items(Shape(path=Text(1), **_FILE), max_items=MAX_FILES))


def _header(content: str) -> Document:
    """Return name and description from the front matter of a SKILL.md."""
    entries = front_matter(content)
    if not entries.keys() >= {"name", "description"}:
        raise Refusal(400, "A skill needs front matter with name and description")
    return {key: entries[key] for key in ("name", "description")}


def _path(path: str) -> str:
    """Return the normalized path, or refuse one that leaves the skill's directory."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or "\0" in path:
        raise Refusal(400, f"Invalid file path: {path!r}")
    return str(parts)


def _of_agent(store: Store, agent_id: str) -> list[Document]:
    rows = store.rows(
        "SELECT skills.*, 1 AS isActive, skill_installs.installedAt FROM skills"
        " JOIN skill_installs ON skillId = skills.id"
        " WHERE agentId = ? AND isEnabled = 1 ORDER BY name, skills.id",
        agent_id,
    )
    return [document_of(SKILLS, row) for row in rows]


def _signature(skills: list[Document]) -> str:
    marks = (f"{skill['id']}:{skill['version']}:{skill['lastUpdatedAt']}" for skill in skills)
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()


def _put_file(store: Store, skill: Document, path: str, file: Document) -> Document:
    path, now = _path(path), store.now()
    size = file.get("size", len(file["content"].encode()))
    columns = {**file, "path": path, "size": size, "lastUpdatedAt": now}
    older = store.first(SKILL_FILES, "skillId = ? AND path = ?", skill["id"], path)
    if older is not None:
        return store.update(SKILL_FILES, older["id"], **columns)
    return store.insert(SKILL_FILES, {"skillId": skill["id"], "createdAt": now, **columns})


def _changed(store: Store, skill: Document, **changes: object) -> Document:
    """Update a skill with a new version, which changes the signature that workers compare."""
    files = store.value("SELECT COUNT(*) FROM skill_files WHERE skillId = ?", skill["id"])
    return store.update(
        SKILLS,
        skill["id"],
        **changes,
        isComplex=files > 0,
        version=skill["version"] + 1,
        lastUpdatedAt=store.now(),
    )


# --- routes: skills
def _require(call: Call) -> Document:
    return found(call.store.get(SKILLS, call.path["id"]), "Skill")


def _list(call: Call) -> Document:
    skills = call.store.find(SKILLS, "1 ORDER BY name")
    return {"skills": skills, "total": len(skills)}


def _create(call: Call) -> Reply:
    now = call.store.now()
    row = {**call.body, **_header(call.body["content"]), "sourceBranch": "main"}
    row |= {"createdAt": now, "lastUpdatedAt": now}
    return Reply(201, {"skill": call.store.insert(SKILLS, row)})


def _change(call: Call) -> Document:
    header = _header(call.body["content"]) if "content" in call.body else {}
    return {"skill": _changed(call.store, _require(call), **call.body, **header)}


def _delete(call: Call) -> Document:
    return {"success": bool(call.store.delete(SKILLS, "id = ?", _require(call)["id"]))}


def _install(call: Call) -> Document:
    row = ("skill_installs", "skillId", _require(call)["id"], call.body["agentId"])
    return {"agentSkill": agents.install(call.store, *row)}


def _uninstall(call: Call) -> Document:
    sql = "DELETE FROM skill_installs WHERE skillId = ? AND agentId = ?"
    return {"success": bool(call.store.run(sql, call.path["id"], call.path["agentId"]))}


def _installed(call: Call) -> Document:
    skills = _of_agent(call.store, call.path["id"])
    return {"skills": skills, "total": len(skills), "signature": _signature(skills)}


def _installed_signature(call: Call) -> Document:
    skills = _of_agent(call.store, call.path["id"])
    return {"hash": _signature(skills), "count": len(skills), "generatedAt": call.store.now()}


# --- routes: files
def _files(call: Call) -> Document:
    files = call.store.find(SKILL_FILES, "skillId = ? ORDER BY path", _require(call)["id"])
    for file in files:
        del file["content"]
    return {"files": files, "total": len(files)}


def _put_files(call: Call) -> Document:
    skill = _require(call)
    stored = [_put_file(call.store, skill, file["path"], file) for file in call.body["files"]]
    return {"files": stored, "total": len(stored), "skill": _changed(call.store, skill)}


def _put_one(call: Call) -> Document:
    skill = _require(call)
    file = _put_file(call.store, skill, call.path["path"], call.body)
    return {"file": file, "skill": _changed(call.store, skill)}


def _file(call: Call) -> Document:
    key = (_require(call)["id"], call.path["path"])
    file = call.store.first(SKILL_FILES, "skillId = ? AND path = ?", *key)
    return {"file": found(file, "Skill file")}


def _delete_file(call: Call) -> Document:
    skill, file = _require(call), _file(call)["file"]
    call.store.delete(SKILL_FILES, "id = ?", file["id"])
    return {"success": True, "skill": _changed(call.store, skill)}


ROUTES = (
    Route("GET", "/api/skills", _list),
    Route("POST", "/api/skills", _create, body=CREATE),
    Route("GET", "/api/skills/{id}", _require),
    Route("PUT", "/api/skills/{id}", _change, body=CHANGE),
    Route("DELETE", "/api/skills/{id}", _delete),
    Route("POST", "/api/skills/{id}/install", _install, body=INSTALL),
    Route("DELETE", "/api/skills/{id}/install/{agentId}", _uninstall),
    Route("GET", "/api/skills/{id}/files", _files),
    Route("POST", "/api/skills/{id}/files", _put_files, body=FILES),
    Route("GET", "/api/skills/{id}/files/{path:path}", _file),
    Route("PUT", "/api/skills/{id}/files/{path:path}", _put_one, body=FILE),
    Route("DELETE", "/api/skills/{id}/files/{path:path}", _delete_file),
    Route("GET", "/api/agents/{id}/skills", _installed),
    Route("GET", "/api/agents/{id}/skills/signature", _installed_signature),
)
