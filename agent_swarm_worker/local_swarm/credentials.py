"""Store the credential status that workers report (docs/api.md 3.6).

The status has no effect on polls: an agent that waits for credentials is still given tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_swarm_worker.local_swarm import agents
from agent_swarm_worker.local_swarm.endpoint import Call, Route
from agent_swarm_worker.local_swarm.tables import AGENTS
from agent_swarm_worker.local_swarm.tasks import EFFORTS
from agent_swarm_worker.local_swarm.validation import Choice, Flag, Items, Number, Shape, Text

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

LATEST_MODEL = Shape(
    model=Text(1),
    source=Choice("task", "agent_config", "adapter_default", "custom"),
    taskId=Text().optional(None).nullable(),
    harnessProvider=Choice(*agents.PROVIDERS).optional(None).nullable(),
    reportedAt=Number(),
    reasoningEffort=Choice(*EFFORTS).optional(),
)
LIVE_TEST = Shape(
    ok=Flag(),
    error=Text().optional(None).nullable(),
    latency_ms=Number(),
    testedAt=Number(),
)
BEDROCK = Shape(
    region=Text(),
    probedAt=Number(),
    ready=Flag(),
    models=Items(Shape(id=Text(), name=Text())).optional([]),
    error=Text().optional(),
)
CRED_STATUS = Shape(
    ready=Flag(),
    missing=Items(Text()).optional([]),
    satisfiedBy=Choice("env", "file", "side-effect-pending", "sdk-delegated")
    .optional(None)
    .nullable(),
    hint=Text().optional(None).nullable(),
    liveTest=LIVE_TEST.optional(None).nullable(),
    latestModel=LATEST_MODEL.optional(None).nullable(),
    reportedAt=Number(),
    reportKind=Choice("boot", "post_task").optional("boot"),
    bedrock=BEDROCK.optional(None).nullable(),
)
REPORT = Shape(
    ready=Flag().optional(),
    missing=Items(Text()).optional().nullable(),
    cred_status=CRED_STATUS.optional().nullable(),
    latest_model=LATEST_MODEL.optional(),
)


def _report(call: Call) -> Document:
    store, report = call.store, call.body
    agent = agents.require(store, call.path["id"])
    changes: Document = {}
    if "ready" in report:
        # Even a busy agent becomes idle here, as on the public server; the next sweep corrects it.
        changes["status"] = "idle" if report["ready"] else "waiting_for_credentials"
        changes["credentialMissing"] = None if report["ready"] else report.get("missing")
    if "cred_status" in report:
        changes["credStatus"] = report["cred_status"]
    if "latest_model" in report:
        snapshot = changes.get("credStatus", agent["credStatus"]) or _default_status(report)
        changes["credStatus"] = {**snapshot, "latestModel": report["latest_model"]}
    updated = store.update(AGENTS, agent["id"], **changes, lastUpdatedAt=store.now())
    return agents.with_capacity(store, updated)


def _default_status(report: Document) -> Document:
    return CRED_STATUS.parse(
        {
            "ready": report.get("ready", True),
            "missing": report.get("missing") or [],
            "reportedAt": report["latest_model"]["reportedAt"],
            "reportKind": "post_task",
        }
    )


def _show(call: Call) -> Document:
    agent = agents.require(call.store, call.path["id"])
    return {
        "agentId": agent["id"],
        "name": agent["name"],
        "status": agent["status"],
        "missing": agent["credentialMissing"] or [],
        "provider": agent.get("provider"),
        "harnessProvider": agent["harnessProvider"],
        "credStatus": agent["credStatus"],
        "lastCheckedAt": agent["lastUpdatedAt"],
    }


ROUTES = (
    Route("PUT", "/api/agents/{id}/credential-status", _report, body=REPORT),
    Route("GET", "/api/agents/{id}/credential-status", _show),
)
