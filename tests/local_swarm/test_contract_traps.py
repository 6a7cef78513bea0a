"""Responses to requests that a worker should not send, as a table."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_swarm_api import Api

pytestmark = pytest.mark.anyio

REGISTER = {"name": "x"}
COST = {"sessionId": "s", "agentId": "{agent}", "totalCostUsd": 0.1}
CONTEXT = {"eventType": "progress", "sessionId": "s"}
EVENT = {"category": "tool", "event": "tool.start", "source": "worker"}
KEY_USE = {"keyType": "ANTHROPIC_API_KEY", "keySuffix": "abcde", "keyIndex": 0}
LOGS = {"sessionId": "s", "iteration": 1, "lines": ["a"]}
UNKNOWN = str(uuid.UUID(int=7))

# what, method, path, body (str = sent as it is), status, pattern in the answer
TRAPS: list[tuple[str, str, str, Any, int, str]] = [
    ("unknown route is plain text", "GET", "/api/nonesuch", None, 404, r"^Not Found$"),
    ("known path, other method", "PATCH", "/api/poll", None, 404, r"^Not Found$"),
    ("old session route is gone", "PUT", "/api/tasks/{task}/claude-session",
     {}, 404, "^Not Found$"),
    ("human-input never existed", "POST", "/api/tasks/{task}/human-input", {}, 404, "^Not Found$"),
    ("unknown task is JSON", "GET", f"/api/tasks/{UNKNOWN}", None, 404, '"error":"Task not found"'),
    ("unknown agent is JSON", "GET", f"/api/agents/{UNKNOWN}", None, 404, '"Agent not found"'),
    ("malformed JSON is 500", "POST", "/api/session-logs", "{oops", 500, "JSON Parse error: "),
    ("empty body is {}", "POST", "/api/session-logs", "", 400, "Validation error: sessionId: "),
    ("missing key is named", "POST", "/api/agents", {}, 400, "Validation error: name: .*undefined"),
    ("empty name", "POST", "/api/agents", {"name": ""}, 400, "name: Too small.*>=1 characters"),
    ("unknown provider", "POST", "/api/agents",
     {**REGISTER, "provider": "gemini"}, 400, "provider: "),
    ("null is not absent", "POST", "/api/agents", {**REGISTER, "role": None}, 400, "role: .*null"),
    ("a body has to be an object", "POST", "/api/agents", [], 400, "Validation error: : .*array"),
    ("progress wants text", "POST", "/api/tasks/{task}/progress",
     {"progress": ""}, 400, "progress"),
    ("progress of nothing", "POST", f"/api/tasks/{UNKNOWN}/progress",
     {"progress": "x"}, 404, "Task"),
    ("finish knows two words", "POST", "/api/tasks/{task}/finish",
     {"status": "done"}, 400, "status"),
    ("session union", "PUT", "/api/tasks/{task}/session",
     {"provider": "x"}, 400, ": Invalid input"),
    ("devin needs its meta", "PUT", "/api/tasks/{task}/session",
     {"claudeSessionId": "s", "provider": "devin"}, 400, ": Invalid input"),
    ("vcs number", "PATCH", "/api/tasks/{task}/vcs",
     {"vcsProvider": "github", "vcsRepo": "a/b", "vcsNumber": 0, "vcsUrl": "https://x"}, 400, ">0"),
    ("vcs url", "PATCH", "/api/tasks/{task}/vcs",
     {"vcsProvider": "github", "vcsRepo": "a/b", "vcsNumber": 1, "vcsUrl": "no url"},
     400, "vcsUrl"),
    ("context percent above 100", "POST", "/api/tasks/{task}/context",
     {**CONTEXT, "contextPercent": 101}, 400, "contextPercent: Too big"),
    ("context null", "POST", "/api/tasks/{task}/context",
     {**CONTEXT, "contextTotalTokens": None}, 400, "contextTotalTokens: .*null"),
    ("context fraction of a token", "POST", "/api/tasks/{task}/context",
     {**CONTEXT, "contextUsedTokens": 10.5}, 400, "contextUsedTokens: .*expected int"),
    ("cost with fraction of a ms", "POST", "/api/session-costs",
     {**COST, "durationMs": 1.5}, 400, "durationMs: .*expected int"),
    ("cost with null tokens", "POST", "/api/session-costs",
     {**COST, "inputTokens": None}, 400, "inputTokens: .*null"),
    ("cost share needs all four", "POST", "/api/session-costs",
     {**COST, "models": [{"model": "m"}]}, 400, r"models\.0\.inputTokens: "),
    ("one bad event rejects all", "POST", "/api/events/batch",
     {"events": [EVENT, {**EVENT, "event": "tool.begin"}]}, 400, r"events\.1\.event: "),
    ("no events", "POST", "/api/events/batch", {"events": []}, 400, "events: Too small"),
    ("too many events", "POST", "/api/events/batch", {"events": [EVENT] * 501}, 400, "<=500"),
    ("no lines", "POST", "/api/session-logs", {**LOGS, "lines": []}, 400, "lines: Too small"),
    ("iteration from 1", "POST", "/api/session-logs", {**LOGS, "iteration": 0}, 400, "iteration"),
    ("usage wants a UUID", "POST", "/api/keys/report-usage",
     {**KEY_USE, "taskId": "t-1"}, 400, "UUID"),
    ("suffix of 11", "POST", "/api/keys/report-usage",
     {**KEY_USE, "keySuffix": "x" * 11}, 400, "<=10"),
    ("time with an offset", "POST", "/api/keys/report-rate-limit",
     {**KEY_USE, "rateLimitedUntil": "2030-01-01T00:00:00+00:00"},
     400, "rateLimitedUntil: .*datetime"),
    ("impossible time", "POST", "/api/keys/report-rate-limit",
     {**KEY_USE, "rateLimitedUntil": "2030-13-01T00:00:00Z"}, 400, "rateLimitedUntil: "),
    ("pool of none", "GET", "/api/keys/available?keyType=X&totalKeys=0", None, 400, "totalKeys"),
    ("pool of many words", "GET", "/api/keys/available?keyType=X&totalKeys=two", None, 400, "NaN"),
    ("supersede reason", "POST", "/api/tasks/{task}/supersede",
     {"reason": "bored"}, 400, "reason: "),
    ("search for nothing", "POST", "/api/memory/search", {"query": ""}, 400, "query: Too small"),
    ("search for 21", "POST", "/api/memory/search",
     {"query": "x", "limit": 21}, 400, "limit: Too big"),
    ("reserved key", "PUT", "/api/config",
     {"scope": "global", "key": "api_key", "value": "x"}, 400, "reserved"),
    ("agent scope without id", "PUT", "/api/config",
     {"scope": "agent", "key": "A", "value": "x"}, 400, "requires scopeId"),
    ("unknown harness in config", "PUT", "/api/config",
     {"scope": "global", "key": "HARNESS_PROVIDER", "value": "gemini"},
     400, "Invalid HARNESS_PROVIDER"),
    ("lock for too long", "POST", "/api/oauth/refresh-locks/k", {"ttlMs": 300_001}, 400, "ttlMs"),
    ("status nobody knows", "GET", "/api/tasks?status=doing",
     None, 400, "Invalid status token: doing"),
    ("session of a stranger", "POST", "/api/active-sessions",
     {"agentId": UNKNOWN, "triggerType": "task_assigned"}, 500, "FOREIGN KEY constraint failed"),
    ("activity of a stranger", "PUT", f"/api/agents/{UNKNOWN}/activity", None, 204, "^$"),
    ("heartbeat of no session", "PUT", f"/api/active-sessions/heartbeat/{UNKNOWN}", None, 200,
     '"updated":false'),
    ("profile without a field", "PUT", "/api/agents/{agent}/profile", {}, 400, "At least one"),
    ("profile icon", "PUT", "/api/agents/{agent}/profile",
     {"avatar": {"type": "lucide", "icon": "BUG!"}}, 400, r"avatar\.icon: Invalid string"),
    ("lock with a blank", "POST", "/api/oauth/refresh-locks/a%20b", {"ttlMs": 1}, 400, "key: "),
    ("credential report of a stranger", "PUT", f"/api/agents/{UNKNOWN}/credential-status",
     {"ready": True}, 404, "Agent not found"),
    ("credential status needs its time", "PUT", "/api/agents/{agent}/credential-status",
     {"cred_status": {"ready": True}}, 400, r"cred_status\.reportedAt: "),
    ("sessions of others", "POST", "/api/active-sessions/recover-orphaned-tasks",
     {"agentId": "somebody else"}, 403, "calling agent"),
]  # fmt: skip


def _filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{(task|agent)\}", lambda match: names[match.group(1)], value)
    if isinstance(value, dict):
        return {key: _filled(item, names) for key, item in value.items()}
    return value


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "pattern"),
    [trap[1:] for trap in TRAPS],
    ids=[trap[0] for trap in TRAPS],
)
async def test_trap(api: Api, method: str, path: str, body: Any, status: int, pattern: str) -> None:
    agent = await api.agent()
    task = await agent.started()
    names = {"task": task["id"], "agent": agent.id}
    sent: dict[str, Any] = (
        {"content": body} if isinstance(body, str) else {"json": _filled(body, names)}
    )
    if body is None:
        sent = {}
    answer = await agent.call(method, _filled(path, names), **sent)
    assert (answer.status_code, bool(re.search(pattern, answer.text))) == (status, True), (
        answer.text
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/poll"),
        ("GET", "/me"),
        ("GET", "/cancelled-tasks"),
        ("GET", "/api/paused-tasks"),
        ("GET", "/api/steering-messages"),
        ("POST", "/ping"),
        ("POST", "/close"),
        ("POST", f"/api/tasks/{UNKNOWN}/finish"),
        ("POST", f"/api/tasks/{UNKNOWN}/context"),
        ("POST", "/api/fs/agent-credentials"),
    ],
)
async def test_without_an_agent_header_it_is_400(api: Api, method: str, path: str) -> None:
    answer = await api.http.request(method, path)
    assert answer.status_code == 400
    assert "X-Agent-ID" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/poll"), ("GET", "/me"), ("POST", "/ping"), ("POST", "/close")],
)
async def test_an_unknown_agent_is_404(api: Api, method: str, path: str) -> None:
    answer = await api.http.request(method, path, headers={"X-Agent-ID": UNKNOWN})
    assert (answer.status_code, answer.json()) == (404, {"error": "Agent not found"})


async def test_unknown_keys_are_dropped_and_whole_floats_are_integers(api: Api) -> None:
    agent = await api.agent(maxTasks=3.0, surprise={"a": [1]})
    assert agent.registered["maxTasks"] == 3
    assert "surprise" not in agent.registered


async def test_fractions_of_a_second_may_have_any_length(api: Api) -> None:
    agent = await api.agent()
    body = {**KEY_USE, "keyType": agent.id, "rateLimitedUntil": "2030-01-01T00:00:00.123456789Z"}
    await agent.post("/api/keys/report-rate-limit", body)


async def test_undefined_keys_are_left_out_and_a_few_are_null(api: Api) -> None:
    agent = await api.agent()
    assert agent.registered["credentialMissing"] is None
    assert agent.registered["avatar"] is None
    assert not {"role", "description", "claudeMd"} & set(agent.registered)
    task = await agent.task()
    assert not {"output", "finishedAt", "model", "progress"} & set(task)
    assert task["wasPaused"] is False
    assert task["tags"] == []


async def test_health_needs_no_key_and_times_end_in_z(api: Api) -> None:
    answer = await api.http.get("/health", headers={"Authorization": ""})
    assert answer.json()["status"] == "ok"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", answer.json()["version"])
    agent = await api.agent()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", agent.registered["createdAt"])


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic {key}", "{key}"])
async def test_a_wrong_key_is_401(api: Api, server: tuple[str, str], header: str) -> None:
    if not server[1]:
        pytest.skip("this server has no key")
    headers = {"Authorization": header.replace("{key}", server[1])}
    for path in ("/api/agents", "/api/nonesuch"):
        answer = await api.http.get(path, headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
