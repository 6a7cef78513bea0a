"""Agents: registration, liveness, credentials, profile (docs/api.md 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_swarm_api import Api

pytestmark = pytest.mark.anyio


async def test_registration_drops_role_and_capabilities(api: Api) -> None:
    agent = await api.agent(role="reviewer", capabilities=["css"], description="d", isLead=False)
    assert agent.registered["capabilities"] == []
    assert not {"role", "description"} & set(agent.registered)
    assert "core" in agent.registered["enabledCapabilities"]


async def test_registering_again_changes_capacity_and_harness_only(api: Api) -> None:
    agent = await api.agent(name="first", maxTasks=1)
    await agent.put(f"/api/agents/{agent.id}/profile", {"role": "mine"})
    await agent.post("/close", status=204)
    assert await agent.status() == "offline"
    again = await api.agent(
        agent.id,
        200,
        name="second",
        isLead=True,
        role="theirs",
        maxTasks=4,
        provider="codex",
        harness_provider="codex",
    )
    shown = again.registered
    assert (shown["name"], shown["isLead"], shown["role"]) == ("first", False, "mine")
    assert (shown["maxTasks"], shown["harnessProvider"], shown["provider"]) == (4, "codex", "codex")
    assert shown["status"] == "idle"


async def test_without_a_header_an_id_is_made_up(api: Api) -> None:
    answer = await api.http.post("/api/agents", json={"name": "nameless"})
    assert answer.status_code == 201
    assert len(answer.json()["id"]) == 36


async def test_me_shows_the_load(api: Api) -> None:
    agent = await api.agent(maxTasks=3)
    await agent.started()
    me = await agent.get("/me")
    assert me["capacity"] == {"current": 1, "max": 3, "available": 2}
    assert me["shouldBlockPolling"] is False
    assert (await agent.get(f"/api/agents/{agent.id}"))["capacity"] == me["capacity"]
    await agent.task("offer", mine=False, offeredTo=agent.id)
    inbox = (await agent.get("/me?include=inbox"))["inbox"]
    assert (inbox["inProgressCount"], inbox["offeredTasksCount"]) == (1, 1)
    assert (inbox["unreadCount"], inbox["recentMentions"]) == (0, [])


async def test_ping_revives_but_keeps_busy(api: Api) -> None:
    agent = await api.agent()
    await agent.started()
    await agent.post("/ping", status=204)
    assert await agent.status() == "busy"
    await agent.post("/close", status=204)
    await agent.post("/ping", status=204)
    # Idle though a task runs, which is what the public server says too (docs/api.md 3.2).
    assert await agent.status() == "idle"


async def test_credential_reports_set_the_status_and_never_stop_work(api: Api) -> None:
    agent = await api.agent()
    path = f"/api/agents/{agent.id}/credential-status"
    await agent.started()
    shown = await agent.put(path, {"ready": True})
    assert (shown["status"], shown["credentialMissing"]) == ("idle", None)
    shown = await agent.put(path, {"ready": False, "missing": ["ANTHROPIC_API_KEY"]})
    assert shown["status"] == "waiting_for_credentials"
    assert shown["credentialMissing"] == ["ANTHROPIC_API_KEY"]
    await agent.post("/ping", status=204)
    assert await agent.status() == "waiting_for_credentials"

    other = await api.agent()
    await other.put(f"/api/agents/{other.id}/credential-status", {"ready": False, "missing": []})
    task = await other.task()
    assert (await other.poll())["type"] == "task_assigned"
    await other.finish(task)
    assert await other.status() == "waiting_for_credentials"


async def test_the_latest_model_is_merged_into_the_snapshot(api: Api) -> None:
    agent = await api.agent()
    path = f"/api/agents/{agent.id}/credential-status"
    latest = {"model": "m", "source": "task", "taskId": None, "reportedAt": 1700000000000}
    snapshot: dict[str, Any] = {
        "ready": True,
        "missing": [],
        "satisfiedBy": "env",
        "liveTest": {"ok": True, "error": None, "latency_ms": 12.5, "testedAt": 1},
        "reportedAt": 5,
        "reportKind": "boot",
    }
    await agent.put(path, {"cred_status": snapshot})
    shown = (await agent.put(path, {"latest_model": latest}))["credStatus"]
    assert (shown["satisfiedBy"], shown["reportedAt"]) == ("env", 5)
    assert shown["latestModel"]["model"] == "m"
    assert (await agent.put(path, {"cred_status": None}))["credStatus"] is None
    assert (await agent.put(path, {"latest_model": latest}))["credStatus"]["ready"] is True


async def test_profile_budgets(api: Api) -> None:
    agent = await api.agent()
    path = f"/api/agents/{agent.id}/profile"
    await agent.put(path, {"soulMd": "x" * 10_000, "claudeMd": "y" * 20_000})
    refused = await agent.put(path, {"soulMd": "x" * 10_001}, 400)
    assert refused["error"]
    rejection = refused["profileSyncRejection"]
    assert (rejection["field"], rejection["diskSize"]) == ("soulMd", 10_001)
    assert (rejection["dbSize"], rejection["budget"], rejection["delta"]) == (10_000, 10_000, 1)
    shown = await agent.put(path, {"setupScript": "z" * 262_144, "heartbeatMd": ""})
    assert len(shown["soulMd"]) == 10_000
    await agent.put(path, {"setupScript": "z" * 262_145}, 400)


async def test_one_bad_field_rejects_the_whole_profile(api: Api) -> None:
    agent = await api.agent()
    path = f"/api/agents/{agent.id}/profile"
    await agent.put(path, {"role": "new", "toolsMd": "x" * 20_001}, 400)
    assert "role" not in await agent.get("/me")


async def test_profile_sync_leaves_events(api: Api) -> None:
    agent = await api.agent()
    path = f"/api/agents/{agent.id}/profile"
    synced = {"changeSource": "session_sync"}
    await agent.put(path, {"soulMd": "short", **synced})
    await agent.put(path, {"claudeMd": "short", "changeSource": "api"})
    await agent.put(path, {"identityMd": "x" * 10_001, **synced}, 400)
    await agent.put(path, {"toolsMd": "x" * 20_001, "changeSource": "api"}, 400)
    query = f"/api/events?agentId={agent.id}&event=system.profile_sync_"
    accepted = (await agent.get(f"{query}reconciled&dataField=soulMd&limit=1"))["events"]
    assert accepted[0]["data"]["changeSource"] == "session_sync"
    assert len(accepted[0]["data"]["dbHash"]) == 64
    assert len((await agent.get(f"{query}reconciled"))["events"]) == 1
    rejected = (await agent.get(f"{query}rejected"))["events"]
    assert [event["data"]["field"] for event in rejected] == ["identityMd"]
    assert (rejected[0]["status"], rejected[0]["source"]) == ("error", "api")


async def test_lists_leave_out_the_long_texts(api: Api) -> None:
    agent = await api.agent()
    await agent.put(f"/api/agents/{agent.id}/profile", {"soulMd": "long", "role": "r"})
    for query, expected in (("", False), ("?fields=full", True)):
        listed = (await agent.get(f"/api/agents{query}"))["agents"]
        mine = next(entry for entry in listed if entry["id"] == agent.id)
        assert (mine["role"], "soulMd" in mine) == ("r", expected)
