"""Store the files attached to tasks, unchanged and not scrubbed.

The bytes are in the database, not in a directory, so that no file name can lead elsewhere.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response

from agent_swarm_worker.local_swarm import tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route, found
from agent_swarm_worker.local_swarm.tables import ATTACHMENTS
from agent_swarm_worker.local_swarm.validation import Choice, Shape, Text

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

MAX_UPLOAD_BYTES = 50 * 1024 * 1024
PROVIDER = "local-fs"
"""The public server's name for files that it stores itself."""
DEFAULT_TYPE = "application/octet-stream"

UPLOAD = Shape(
    name=Text(1),
    intent=Text().optional(),
    description=Text().optional(),
    isPrimary=Choice("true", "false").optional("false"),
)


def attach(store: Store, task_id: str, agent_id: str, pointer: Document) -> Document:
    """Add an attachment to a task; `pointer` says where its content is."""
    row = {**pointer, "taskId": task_id, "agentId": agent_id or None, "createdAt": store.now()}
    return store.insert(ATTACHMENTS, row)


# --- routes
def _require(call: Call) -> Document:
    task = tasks.require(call.store, call.path["taskId"])
    ids = (call.path["attachmentId"], task["id"])
    return found(call.store.first(ATTACHMENTS, "id = ? AND taskId = ?", *ids), "Attachment")


def _upload(call: Call) -> Reply:
    store, query = call.store, call.query
    task = tasks.require(store, call.path["taskId"])
    path = f"tasks/{task['id']}/{query['name']}"
    pointer = {
        "name": query["name"],
        "kind": "shared-fs",
        "path": path,
        "providerId": PROVIDER,
        "providerKey": path,
        "mimeType": call.headers.get("content-type") or DEFAULT_TYPE,
        "sizeBytes": len(call.content),
        "sha256": hashlib.sha256(call.content).hexdigest(),
        "intent": query.get("intent"),
        "description": query.get("description"),
        "isPrimary": query["isPrimary"] == "true",
    }
    attachment = attach(store, task["id"], call.agent_id, pointer)
    sql = "INSERT INTO attachment_bytes (id, content) VALUES (?, ?)"
    store.run(sql, attachment["id"], call.content)
    return Reply(201, attachment)


def _list(call: Call) -> Document:
    task = tasks.require(call.store, call.path["taskId"])
    return {"attachments": call.store.find(ATTACHMENTS, "taskId = ? ORDER BY rowid", task["id"])}


def _download(call: Call) -> Response:
    attachment = _require(call)
    content = call.store.value(
        "SELECT content FROM attachment_bytes WHERE id = ?", attachment["id"]
    )
    if content is None:
        raise Refusal(404, "Attachment is not kept by this server")
    # Percent-encoded, so that no name can add a header line (RFC 6266).
    disposition = f"attachment; filename*=UTF-8''{quote(attachment['name'], safe='')}"
    headers = {"content-disposition": disposition, "x-content-type-options": "nosniff"}
    return Response(content, headers=headers, media_type=attachment["mimeType"])


def _delete(call: Call) -> None:
    call.store.delete(ATTACHMENTS, "id = ?", _require(call)["id"])


BASE = "/api/fs/tasks/{taskId}/files"
ROUTES = (
    Route("GET", BASE, _list),
    Route("POST", BASE, _upload, query=UPLOAD, max_bytes=MAX_UPLOAD_BYTES),
    Route("GET", f"{BASE}/{{attachmentId}}", _require),
    Route("GET", f"{BASE}/{{attachmentId}}/raw", _download),
    Route("DELETE", f"{BASE}/{{attachmentId}}", _delete),
)
