"""What each endpoint sends, what it makes of the answer, and how older servers are served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_api import Answer, FakeClock, Hang, Reply, Request, connected, serving
from structlog.testing import capture_logs

from agent_swarm_worker.api.capabilities import REPROBE_PROVEN_S, REPROBE_S, ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.configuration import PoolKey
from agent_swarm_worker.api.tasks import Superseded
from agent_swarm_worker.api.wire.tasks import ChannelCursor, TaskAssigned
from agent_swarm_worker.errors import (
    ApiError,
    ApiGarbled,
    ApiRefused,
    ApiUnreachable,
    GatewayRefused,
    RouteMissing,
)

pytestmark = pytest.mark.anyio

KEY = PoolKey(key_type="ANTHROPIC_API_KEY", suffix="abcde", index=1)
WIRE_KEY = {"keyType": "ANTHROPIC_API_KEY", "keySuffix": "abcde", "keyIndex": 1}
MISSING = Reply(404, "Not Found")
TASK = {"id": "t-1", "task": "x", "status": "in_progress"}
UUID = "0b9e7c1a-5f7a-4f2c-8d33-0d7c7d1c2b3a"

Action = Callable[[SwarmClient], Awaitable[object]]


def routes(table: dict[str, Answer]) -> Callable[[Request], Answer]:
    return lambda request: table.get(request.call, MISSING)


WRITES: list[tuple[Action, str, Any]] = [
    (lambda c: c.agents.ping(), "POST /ping", None),
    (lambda c: c.agents.close(), "POST /close", None),
    (lambda c: c.agents.activity("a 1"), "PUT /api/agents/a%201/activity", None),
    (
        lambda c: c.agents.credential_status("a", ready=True, reported_at_ms=5),
        "PUT /api/agents/a/credential-status",
        {
            "ready": True,
            "missing": None,
            "cred_status": {
                "ready": True,
                "missing": [],
                "reportKind": "boot",
                "reportedAt": 5,
            },
        },
    ),
    (
        lambda c: c.agents.profile("a", {"role": "dev"}, change_source="session_sync"),
        "PUT /api/agents/a/profile",
        {"role": "dev", "changeSource": "session_sync"},
    ),
    (
        lambda c: c.polling.commit_cursors([ChannelCursor(channel_id="c", ts="1")]),
        "POST /api/channel-activity/commit-cursors",
        {"cursorUpdates": [{"channelId": "c", "ts": "1"}]},
    ),
    (lambda c: c.tasks.progress("t", "p"), "POST /api/tasks/t/progress", {"progress": "p"}),
    (lambda c: c.tasks.pause("t"), "POST /api/tasks/t/pause", None),
    (lambda c: c.tasks.link_vcs("t", {"vcsRepo": "r"}), "PATCH /api/tasks/t/vcs", {"vcsRepo": "r"}),
    (
        lambda c: c.tasks.context("t", {"sessionId": "s"}),
        "POST /api/tasks/t/context",
        {"sessionId": "s"},
    ),
    (lambda c: c.tasks.cancel("t"), "POST /api/tasks/t/cancel", {}),
    (lambda c: c.sessions.delete("t"), "DELETE /api/active-sessions/by-task/t", None),
    (lambda c: c.sessions.cleanup("a"), "POST /api/active-sessions/cleanup", {"agentId": "a"}),
    (
        lambda c: c.keys.report_usage(KEY, task_id="not-a-uuid"),
        "POST /api/keys/report-usage",
        WIRE_KEY,
    ),
    (
        lambda c: c.keys.report_usage(KEY, task_id=UUID),
        "POST /api/keys/report-usage",
        {**WIRE_KEY, "taskId": UUID},
    ),
    (
        lambda c: c.keys.report_rate_limit(KEY, until="2026-01-01T00:00:00Z"),
        "POST /api/keys/report-rate-limit",
        {**WIRE_KEY, "rateLimitedUntil": "2026-01-01T00:00:00Z"},
    ),
    (
        lambda c: c.keys.clear(KEY),
        "POST /api/keys/clear-rate-limit",
        {"keyType": KEY.key_type, "keySuffix": KEY.suffix},
    ),
    (
        lambda c: c.config.put("K", "v", is_secret=True),
        "PUT /api/config",
        {"scope": "global", "key": "K", "value": "v", "isSecret": True},
    ),
    (
        lambda c: c.records.session_logs(["l"], session_uuid="s", iteration=2, task_id="t"),
        "POST /api/session-logs",
        {"sessionId": "s", "iteration": 2, "lines": ["l"], "taskId": "t"},
    ),
    (lambda c: c.resources.sweep(), "POST /api/heartbeat/sweep", None),
    (
        lambda c: c.steering.delivered("m", "queue"),
        "POST /api/steering-messages/m/delivered",
        {"mode": "queue"},
    ),
    (
        lambda c: c.steering.undeliverable("m", ""),
        "POST /api/steering-messages/m/undeliverable",
        {"reason": "not deliverable"},
    ),
]


@pytest.mark.parametrize(("action", "call", "body"), WRITES, ids=[call for _, call, _ in WRITES])
async def test_writes(action: Action, call: str, body: Any) -> None:
    async with serving(lambda _: Reply()) as server, connected(server.url) as client:
        await action(client)
    assert [(request.call, request.body) for request in server.requests] == [(call, body)]


READS: list[tuple[Action, Any, Any]] = [
    (lambda c: c.tasks.is_cancelled("t"), {"cancelled": [{"id": "t"}]}, True),
    (lambda c: c.tasks.is_cancelled("t"), {"cancelled": [{"id": "other"}]}, False),
    (lambda c: c.polling.poll(), {"trigger": None}, None),
    (lambda c: c.keys.available("K", 3), {"availableIndices": [0, 2, 9, "x", True]}, (0, 2)),
    (lambda c: c.sessions.heartbeat("t"), {"updated": False}, False),
    (lambda c: c.sessions.provider_session("t", "s"), {"updated": True}, True),
    (lambda c: c.resources.health(), {"status": "ok", "version": "1.135.0"}, "1.135.0"),
    (lambda c: c.resources.agent_credentials(), {"enabled": True}, True),
    (lambda c: c.resources.skills_signature("a"), {"hash": "h"}, "h"),
    (lambda c: c.resources.render_template("e", {}), {"text": "", "skipped": False}, None),
]


@pytest.mark.parametrize(("action", "answer", "expected"), READS)
async def test_reads(action: Action, answer: Any, expected: Any) -> None:
    async with serving(lambda _: Reply(200, answer)) as server, connected(server.url) as client:
        assert await action(client) == expected


async def test_registration_names_the_process() -> None:
    answer = Reply(201, {"id": "agent-1", "enabledCapabilities": ["slack"]})
    async with serving(lambda _: answer) as server, connected(server.url) as client:
        agent = await client.agents.register(
            name="n", is_lead=False, role="worker", capabilities=["x"], max_tasks=2, provider="pi"
        )
    assert agent.enabled_capabilities == ("slack",)
    assert server.requests[0].body == {
        "name": "n",
        "isLead": False,
        "role": "worker",
        "capabilities": ["x"],
        "maxTasks": 2,
        "provider": "pi",
        "harness_provider": "pi",
        "runtimeInstanceId": "run-1",
    }


async def test_lists_and_rows() -> None:
    table: dict[str, Answer] = {
        "GET /api/paused-tasks": Reply(200, {"tasks": [TASK, {"id": "a/b"}]}),
        "GET /api/config/resolved": Reply(
            200, {"configs": [{"key": "K", "value": "v"}, {"key": "N"}]}
        ),
        "GET /api/tasks/t/session-logs": Reply(200, {"logs": [{"content": "l", "iteration": 1}]}),
        "POST /api/memory/search": Reply(200, {"results": [{"id": "m", "similarity": 0.5}]}),
        "GET /api/repos": Reply(200, {"repos": [{"url": "u"}]}),
        "GET /api/agents/a/mcp-servers": Reply(200, {"servers": [{"name": "s"}]}),
        "GET /api/steering-messages": Reply(200, {"messages": [{"id": "m", "body": "b"}]}),
        "GET /api/agents/a/skills": Reply(200, {"skills": [{"id": "s", "name": "n"}]}),
        "GET /api/skills/s/files/a%20b/c.md": Reply(200, {"file": {"path": "a b/c.md"}}),
        "GET /api/events": Reply(200, {"events": [{"event": "system.boot"}]}),
        "GET /api/tasks": Reply(200, {"tasks": [TASK]}),
    }
    async with serving(routes(table)) as server, connected(server.url) as client:
        assert [task.id for task in await client.tasks.paused()] == ["t-1"]
        assert [row.key for row in await client.config.resolved("a")] == ["K"]
        assert [entry.content for entry in await client.tasks.session_logs("t")] == ["l"]
        memories = await client.resources.memory_search("q", intent="i", task_id="t")
        assert [memory.id for memory in memories] == ["m"]
        assert len(await client.resources.repos("r")) == 1
        assert len(await client.resources.mcp_servers("a", resolve_secrets=True)) == 1
        assert [message.body for message in await client.steering.pending("t")] == ["b"]
        assert [skill.name for skill in await client.resources.skills("a") or ()] == ["n"]
        file = await client.resources.skill_file("s", "a b/c.md")
        assert file is not None
        assert len(await client.resources.events("system.boot", agent_id="a")) == 1
        assert len(await client.tasks.list(status="failed,cancelled", limit=2)) == 1
    by_call = {request.call: request for request in server.requests}
    assert by_call["GET /api/config/resolved"].query == {"agentId": "a", "includeSecrets": "true"}
    assert by_call["POST /api/memory/search"].headers["x-source-task-id"] == "t"
    assert by_call["GET /api/tasks"].query == {"status": "failed,cancelled", "limit": "2"}


async def test_creating_a_task_keeps_its_schema_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"const": None}}}
    async with serving(lambda _: Reply(201, TASK)) as server, connected(server.url) as client:
        task = await client.tasks.create("do", agent_id="a", output_schema=schema)
    assert task.id == "t-1"
    assert server.requests[0].body == {"task": "do", "agentId": "a", "outputSchema": schema}


async def test_a_poll_returns_a_trigger() -> None:
    trigger = {"type": "task_assigned", "taskId": "t-1", "task": TASK}
    reply = Reply(200, {"trigger": trigger})
    async with serving(lambda _: reply) as server, connected(server.url) as client:
        assert isinstance(await client.polling.poll(), TaskAssigned)


@pytest.mark.parametrize(
    "action",
    [
        lambda c: c.polling.poll(),
        lambda c: c.tasks.get("t"),
        lambda c: c.agents.me(),
        lambda c: c.tasks.resume("t"),
        lambda c: c.tasks.create("x"),
    ],
)
async def test_a_success_that_says_nothing_is_not_believed(action: Action) -> None:
    reply = Reply(200, {"hello": 1})
    async with serving(lambda _: reply) as server, connected(server.url) as client:
        with pytest.raises(ApiGarbled):
            await action(client)


async def test_a_left_over_session_is_replaced() -> None:
    answers = iter(
        [Reply(500, {"error": "UNIQUE constraint failed: x"}), Reply(), Reply(201, {"session": {}})]
    )
    async with serving(lambda _: next(answers)) as server, connected(server.url) as client:
        await client.sessions.create(
            agent_id="a", trigger_type="task_assigned", task_id="t", description="d" * 500
        )
    base = "/api/active-sessions"
    assert server.calls == [f"POST {base}", f"DELETE {base}/by-task/t", f"POST {base}"]
    assert len(server.requests[2].body["taskDescription"]) == 200


async def test_another_500_is_not_taken_for_a_left_over_session() -> None:
    answer = Reply(500, {"error": "FOREIGN KEY constraint failed"})
    async with serving(lambda _: answer) as server, connected(server.url) as client:
        with pytest.raises(ApiRefused):
            await client.sessions.create(agent_id="a", trigger_type="x", task_id="t")
    assert len(server.requests) == 1


async def test_sessions_on_an_older_server() -> None:
    table: dict[str, Answer] = {"PUT /api/tasks/t/claude-session": Reply(200, TASK)}
    session = {"claudeSessionId": "s", "provider": "claude"}
    async with serving(routes(table)) as server, connected(server.url) as client:
        await client.tasks.store_session("t", session)
        await client.tasks.store_session("t", session)
    old, new = "PUT /api/tasks/t/claude-session", "PUT /api/tasks/t/session"
    assert server.calls == [new, old, old]
    assert server.bodies(old) == [{"claudeSessionId": "s"}] * 2


async def test_a_session_is_stored_even_if_its_details_are_refused() -> None:
    def script(request: Request) -> Answer:
        return Reply(400, {"error": "Validation error"}) if "model" in request.body else Reply()

    async with serving(script) as server, connected(server.url) as client:
        await client.tasks.store_session("t", {"claudeSessionId": "s", "model": "m"})
    assert server.requests[1].body == {"claudeSessionId": "s"}


@pytest.mark.parametrize(
    ("table", "kind", "calls"),
    [
        ({"supersede": Reply(200, {"kind": "resumed", "resumeTaskId": "r"})}, "resumed", 1),
        ({"supersede": Reply(200, {"kind": "alreadyFinished"})}, "alreadyFinished", 1),
        ({"supersede": Reply(400, {"error": "not in_progress"})}, "refused", 1),
        ({"supersede": Reply(404, {"error": "Task not found"})}, "refused", 1),
        ({"pause": Reply()}, "paused", 2),
        ({"supersede": Reply(503, "x"), "pause": Reply()}, "paused", 3),
        ({"supersede": Hang(), "pause": Reply(400, {"error": "superseded"})}, "refused", 3),
        ({"finish": Reply()}, "failed", 3),
    ],
)
async def test_handing_a_task_back(table: dict[str, Answer], kind: str, calls: int) -> None:
    script = routes({f"POST /api/tasks/t/{name}": answer for name, answer in table.items()})
    async with serving(script) as server, connected(server.url, timeout_s=0.2) as client:
        outcome = await client.tasks.supersede("t", "graceful_shutdown")
    assert outcome.kind == kind
    assert outcome == Superseded(
        kind=outcome.kind, resume_task_id="r" if kind == "resumed" else None
    )
    assert len(server.requests) == calls


@pytest.mark.parametrize("outage", [Reply(502, "<html>"), Reply(500, {"error": "x"}), Hang()])
async def test_an_outage_fails_no_task_that_is_handed_back(outage: Answer) -> None:
    table = {"supersede": outage, "pause": outage, "finish": Reply()}
    script = routes({f"POST /api/tasks/t/{name}": answer for name, answer in table.items()})
    async with serving(script) as server, connected(server.url, timeout_s=0.1) as client:
        with pytest.raises(ApiError):
            await client.tasks.supersede("t", "crash_recovery")
    assert "POST /api/tasks/t/finish" not in server.calls


async def test_one_lost_answer_does_not_make_a_pause_of_a_handing_back() -> None:
    answers = iter([Reply(500, {"error": "x"}), Reply(200, {"kind": "alreadyFinished"})])
    async with serving(lambda _: next(answers)) as server, connected(server.url) as client:
        assert (await client.tasks.supersede("t", "crash_recovery")).kind == "alreadyFinished"
    assert server.calls == ["POST /api/tasks/t/supersede"] * 2


async def test_handing_back_fails_loudly_when_nothing_works() -> None:
    async with serving(lambda _: Hang()) as server, connected(server.url, timeout_s=0.05) as client:
        with pytest.raises(ApiUnreachable):
            await client.tasks.supersede("t", "crash_recovery")


OPTIONAL: list[tuple[Action, object]] = [
    (lambda c: c.sessions.heartbeat("t"), True),
    (lambda c: c.sessions.recover_orphaned("a"), ()),
    (lambda c: c.steering.pending("t"), ()),
    (lambda c: c.keys.available("K", 1), None),
    (lambda c: c.agents.activity("a"), None),
    (lambda c: c.agents.credential_status("a", ready=True, reported_at_ms=1), None),
    (lambda c: c.agents.latest_model("a", {}), None),
    (lambda c: c.resources.skills("a"), None),
    (lambda c: c.resources.agent_credentials(), False),
    (lambda c: c.resources.render_template("e", {}), None),
    (lambda c: c.resources.memory_search("q", intent="i"), ()),
    (lambda c: c.records.costs_of(task_id="t"), None),
    (lambda c: c.tasks.is_cancelled("t"), False),
]


@pytest.mark.parametrize("row", ["a", None, {"id": "s2"}, {"id": "../x", "name": "n"}, []])
async def test_a_list_of_skills_with_an_unreadable_row_is_no_list(row: object) -> None:
    answer = Reply(200, {"skills": [{"id": "s", "name": "n"}, row]})
    async with serving(lambda _: answer) as server, connected(server.url) as client:
        with pytest.raises(ApiGarbled):
            await client.resources.skills("a")


@pytest.mark.parametrize(("action", "nothing"), OPTIONAL)
async def test_what_a_server_lacks_is_asked_for_once(action: Action, nothing: object) -> None:
    clock = FakeClock()
    with capture_logs() as lines:
        async with (
            serving(lambda _: MISSING) as server,
            connected(server.url, clock=clock) as client,
        ):
            for _ in range(3):
                assert await action(client) == nothing
            assert len(server.requests) == 1
            clock.elapsed += REPROBE_S
            assert await action(client) == nothing
            assert len(server.requests) == 2
    assert [line["event"] for line in lines] == ["server.feature_off"]


async def test_an_upgraded_server_is_noticed() -> None:
    clock = FakeClock()
    answers = iter(
        [MISSING, Reply(200, {"updated": False}), MISSING, Reply(200, {"updated": False})]
    )
    async with serving(lambda _: next(answers)) as server, connected(server.url, clock=clock) as c:
        assert await c.sessions.heartbeat("t")
        clock.elapsed += REPROBE_S
        assert not await c.sessions.heartbeat("t")
        # Something answered in its place for a moment; nobody takes a route away.
        assert await c.sessions.heartbeat("t")
        assert await c.sessions.heartbeat("t")
        clock.elapsed += REPROBE_PROVEN_S
        assert not await c.sessions.heartbeat("t")
    assert len(server.requests) == 4


async def test_the_core_is_not_optional() -> None:
    async with serving(lambda _: MISSING) as server, connected(server.url) as client:
        with pytest.raises(RouteMissing):
            await client.polling.poll()
        with pytest.raises(GatewayRefused):  # every server has this route
            await client.tasks.finish("t", status="completed")


def test_generations_forget_in_time() -> None:
    clock = FakeClock()
    capabilities = ServerCapabilities(clock)
    assert capabilities.has("x")
    capabilities.mark_missing("x")
    assert not capabilities.has("x")
    clock.elapsed += REPROBE_S
    assert capabilities.has("x")
