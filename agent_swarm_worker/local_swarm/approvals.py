"""Store approval requests of agents, and return people's answers to them as tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.local_swarm import tasks
from agent_swarm_worker.local_swarm.endpoint import Call, Refusal, Reply, Route, found
from agent_swarm_worker.local_swarm.tables import APPROVALS
from agent_swarm_worker.local_swarm.validation import (
    Anything,
    Choice,
    Either,
    Flag,
    Items,
    Number,
    Record,
    Shape,
    Text,
    optional,
)

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document, Store

OPTION = Shape(value=Text(), label=Text(), description=Text().optional())
QUESTION = Shape(
    id=Text(),
    type=Choice("approval", "text", "single-select", "multi-select", "boolean"),
    label=Text(),
    required=Flag().optional(),
    **optional(Text(), "description placeholder"),
    multiline=Flag().optional(),
    options=Items(OPTION).optional(),
    minSelections=Number(0, integer=True).optional(),
    maxSelections=Number(1, integer=True).optional(),
    defaultValue=Flag().optional(),
)
APPROVERS = Shape(
    **optional(Items(Text()), "users roles"),
    policy=Either(Choice("any"), Choice("all"), Shape(min=Number(1, integer=True))),
)
CREATE = Shape(
    title=Text(1),
    questions=Items(QUESTION, 1),
    approvers=APPROVERS,
    sourceTaskId=Text(form="uuid").optional(),
    timeoutSeconds=Number(1, integer=True).optional(),
)
ANSWERS = Shape(responses=Record(Anything()), respondedBy=Text().optional())
FILTER = Shape(
    status=Text().optional(), limit=Number(1, integer=True, from_text=True).optional(100)
)
ANY_APPROVER = {"policy": "any"}


def create(store: Store, request: Document) -> Document:
    """Store a pending request, to be listed and answered over HTTP."""
    now = store.now()
    row = {
        "approvers": ANY_APPROVER,
        **request,
        "status": "pending",
        "createdAt": now,
        "updatedAt": now,
    }
    if "timeoutSeconds" in request:
        row["expiresAt"] = store.ahead(request["timeoutSeconds"])
    return store.insert(APPROVALS, row)


def respond(store: Store, request: Document, responses: Document, by: str | None) -> Document:
    """Store the responses and create a follow-up task for the agent that asked."""
    missing = [q["id"] for q in request["questions"] if _is_missing(q, responses.get(q["id"]))]
    if missing:
        raise Refusal(400, f"Required responses missing or invalid: {', '.join(missing)}")
    refused = any(
        question["type"] == "approval" and _approval(responses.get(question["id"])) is False
        for question in request["questions"]
    )
    now = store.now()
    answered = store.update(
        APPROVALS,
        request["id"],
        status="rejected" if refused else "approved",
        responses=responses,
        resolvedBy=by,
        resolvedAt=now,
        updatedAt=now,
    )
    source = tasks.get(store, request["sourceTaskId"])
    if source is not None:
        tasks.create(
            store,
            _task_text(answered),
            agentId=source["agentId"],
            parentTaskId=source["id"],
            source="system",
            taskType="hitl-follow-up",
            tags=["hitl", "follow-up"],
        )
    return answered


def _expire(store: Store) -> None:
    """Close the requests that nobody answered in time."""
    now = store.now()
    where = "status = 'pending' AND expiresAt IS NOT NULL AND expiresAt <= ?"
    for request in store.find(APPROVALS, where, now):
        store.update(APPROVALS, request["id"], status="timeout", resolvedAt=now, updatedAt=now)


def _is_missing(question: Document, response: Any) -> bool:
    return bool(question.get("required")) and response in (None, "", [], {})


def _approval(response: Any) -> Any:
    return response.get("approved") if isinstance(response, dict) else response


def _task_text(request: Document) -> str:
    lines = [f'Your request "{request["title"]}" was {request["status"]}.', ""]
    for question in request["questions"]:
        response = request["responses"].get(question["id"])
        shown = response if isinstance(response, str) else orjson.dumps(response).decode()
        lines.append(f"- {question['label']}: {shown}")
    return "\n".join([*lines, "", "Go on from here."])


# --- routes
def _create(call: Call) -> Reply:
    return Reply(201, {"approvalRequest": create(call.store, call.body)})


def _list(call: Call) -> Document:
    _expire(call.store)
    where = "status = IFNULL(?, status) ORDER BY createdAt DESC, rowid DESC LIMIT ?"
    rows = call.store.find(APPROVALS, where, call.query.get("status") or None, call.query["limit"])
    return {"approvalRequests": rows}


def _require(call: Call) -> Document:
    _expire(call.store)
    return found(call.store.get(APPROVALS, call.path["id"]), "Approval request")


def _get(call: Call) -> Document:
    return {"approvalRequest": _require(call)}


def _respond(call: Call) -> Document:
    request = _require(call)
    if request["status"] != "pending":
        raise Refusal(409, f"Approval request already resolved with status: {request['status']}")
    given = call.body
    answered = respond(call.store, request, given["responses"], given.get("respondedBy"))
    return {"approvalRequest": answered}


ROUTES = (
    Route("POST", "/api/approval-requests", _create, body=CREATE),
    Route("GET", "/api/approval-requests", _list, query=FILTER),
    Route("GET", "/api/approval-requests/{id}", _get),
    Route("POST", "/api/approval-requests/{id}/respond", _respond, body=ANSWERS),
)
