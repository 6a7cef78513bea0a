"""Logs, events, costs, context: stored and read back (docs/api.md 8 to 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_swarm_api import Api, Local

pytestmark = pytest.mark.anyio

EVENT = {"category": "tool", "event": "tool.start", "source": "worker"}


async def test_line_numbers_restart_so_batches_interleave(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    same = {"sessionId": "s", "taskId": task["id"], "cli": "claude"}
    for lines in (["a1", "a2"], ["b1", "b2", "b3"]):
        sent = {**same, "iteration": 1, "lines": lines}
        answer = await agent.post("/api/session-logs", sent, 201)
        assert answer == {"success": True, "count": len(lines)}
    await agent.post("/api/session-logs", {**same, "iteration": 2, "lines": ["c1"]}, 201)
    path = f"/api/tasks/{task['id']}/session-logs"
    logs = (await agent.get(path))["logs"]
    assert [log["content"] for log in logs] == ["a1", "b1", "a2", "b2", "b3", "c1"]
    assert [log["lineNumber"] for log in logs] == [0, 0, 1, 1, 2, 0]
    tail = (await agent.get(f"{path}?limit=2"))["logs"]
    assert [log["content"] for log in tail] == ["b3", "c1"]


async def test_logs_need_no_task_and_lose_their_secrets(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    secret = "ghp_" + "a1B2" * 9
    lines = [f"token {secret} here", "nothing: \u2028 \x00 \U0001f41d"]
    await agent.post("/api/session-logs", {"sessionId": "s", "iteration": 1, "lines": lines}, 201)
    sent = {"sessionId": "s", "iteration": 1, "lines": lines, "taskId": task["id"]}
    await agent.post("/api/session-logs", sent, 201)
    logs = (await agent.get(f"/api/tasks/{task['id']}/session-logs"))["logs"]
    assert secret not in logs[0]["content"]
    assert "[REDACTED:" in logs[0]["content"]
    assert logs[1]["content"] == lines[1]


async def test_secrets_are_taken_out_of_results_too(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    secret = "sk-ant-" + "x9Y8" * 8
    await agent.post(f"/api/tasks/{task['id']}/progress", {"progress": f"got {secret}"})
    await agent.finish(task, status="failed", failureReason=f"because {secret}")
    shown = await agent.read(task["id"])
    assert secret not in str(shown)
    # The same body again is still the same result.
    again = await agent.finish(task, status="failed", failureReason=f"because {secret}")
    assert again["wasNoOp"] is True


async def test_a_cost_row_reads_back_and_counts_for_its_task(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    row: dict[str, Any] = {
        "sessionId": "runner-1",
        "agentId": agent.id,
        "taskId": task["id"],
        "totalCostUsd": 0.25,
        "inputTokens": 10,
        "cacheWriteTokens": None,
        "numTurns": None,
        "durationMs": 1200.0,
        "model": "some-model-without-a-price",
        "provider": "claude",
    }
    stored = (await agent.post("/api/session-costs", row, 201))["cost"]
    assert (stored["totalCostUsd"], stored["costSource"]) == (0.25, "unpriced")
    assert (stored["inputTokens"], stored["cacheWriteTokens"]) == (10, 0)
    assert (stored["numTurns"], stored["durationMs"]) == (None, 1200)
    (read,) = (await agent.get(f"/api/session-costs?taskId={task['id']}"))["costs"]
    assert read["sessionId"] == "runner-1"
    listed = (await agent.get(f"/api/tasks?agentId={agent.id}"))["tasks"]
    assert listed[0]["totalCostUsd"] == 0.25


async def test_shares_of_models_replace_the_totals_and_no_provider_keeps_the_number(
    api: Api,
) -> None:
    agent = await api.agent()
    share = {
        "inputTokens": 7,
        "outputTokens": 3,
        "cacheReadTokens": 1,
        "cacheWriteTokens": 2,
    }
    row = {
        "sessionId": "s",
        "agentId": agent.id,
        "totalCostUsd": 1,
        "inputTokens": 99,
        "models": [{"model": "a", **share}, {"model": "b", **share}],
    }
    stored = (await agent.post("/api/session-costs", row, 201))["cost"]
    assert stored["costSource"] == "harness"
    assert (stored["inputTokens"], stored["cacheWriteTokens"]) == (14, 4)


async def test_a_batch_of_events_is_all_or_nothing(api: Api) -> None:
    agent = await api.agent()
    good = {**EVENT, "agentId": agent.id, "data": {"toolName": "Read", "field": "f"}}
    bad = {**good, "durationMs": 0.5}
    await agent.post("/api/events/batch", {"events": [good, bad]}, 400)
    query = f"/api/events?agentId={agent.id}"
    assert await agent.get(query) == {"events": []}
    second = {**good, "event": "tool.end"}
    answer = await agent.post("/api/events/batch", {"events": [good, second]}, 201)
    assert answer == {"success": True, "count": 2}
    events = {event["event"]: event for event in (await agent.get(query))["events"]}
    assert set(events) == {"tool.start", "tool.end"}
    assert events["tool.end"]["status"] == "ok"
    started = (await agent.get(f"{query}&event=tool.start&limit=5"))["events"]
    assert started == [events["tool.start"]]
    assert len((await agent.get(f"{query}&dataField=f"))["events"]) == 2
    assert (await agent.get(f"{query}&dataField=g"))["events"] == []


async def test_context_peaks_and_compactions(api: Api) -> None:
    agent = await api.agent()
    task = await agent.started()
    before = (await agent.read(task["id"]))["lastUpdatedAt"]
    path = f"/api/tasks/{task['id']}/context"
    reports: list[dict[str, Any]] = [
        {"eventType": "progress", "contextUsedTokens": 90, "contextPercent": 45.5},
        {"eventType": "compaction", "compactTrigger": "auto", "preCompactTokens": 90},
        {"eventType": "progress", "contextUsedTokens": 10, "contextPercent": 5},
        {"eventType": "completion", "contextTotalTokens": 200, "cumulativeInputTokens": 5},
        {"eventType": "completion", "contextTotalTokens": 999},
    ]
    for report in reports:
        answer = await agent.post(path, {"sessionId": "s", **report})
        assert answer["ok"] is True
    read = await agent.get(path)
    assert read["summary"] == {
        "compactionCount": 1,
        "peakContextPercent": 45.5,
        "peakContextTokens": 90,
        "contextWindowSize": 200,
        "snapshotCount": 5,
    }
    assert len(read["snapshots"]) == 5
    shown = await agent.read(task["id"])
    assert (shown["peakContextPercent"], shown["compactionCount"]) == (45.5, 1)
    assert shown["lastUpdatedAt"] == before


@pytest.mark.parametrize(
    "secret",
    [
        "ghp_" + "a1" * 18,
        "github_pat_" + "a1" * 20,
        "glpat-" + "a1" * 10,
        "sk-ant-" + "a1" * 10,
        "sk-or-" + "a1" * 10,
        "sk-proj-" + "a1" * 16,
        "xoxb-" + "1" * 10,
        "AKIA" + "A1" * 8,
        "AIza" + "a" * 35,
        "eyJ" + "a" * 10 + ".eyJ" + "b" * 10 + "." + "c" * 10,
        "lin_api_" + "a" * 32,
        "npm_" + "a" * 36,
        "aswt_" + "a" * 16,
        "a value kept as a secret in configuration",
    ],
)
async def test_shapes_of_secrets(local: Local, secret: str) -> None:
    agent = await local.agent()
    row = {"scope": "global", "key": "HIDDEN", "isSecret": True}
    await agent.put("/api/config", {**row, "value": "a value kept as a secret in configuration"})
    task = await agent.started()
    await agent.post(f"/api/tasks/{task['id']}/progress", {"progress": f"x={secret};"})
    progress = (await agent.read(task["id"]))["progress"]
    assert progress.startswith("x=[REDACTED:")
    assert progress.endswith("];")
