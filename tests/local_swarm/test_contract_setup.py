"""Config, keys, repositories, tool servers, skills, budgets: written and read."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_swarm_api import Agent, Api, Local

pytestmark = pytest.mark.anyio


async def _config(agent: Agent, key: str, value: Any, scope: str, **more: Any) -> Any:
    return await agent.put("/api/config", {"scope": scope, "key": key, "value": value, **more})


async def _resolved(agent: Agent, prefix: str, query: str = "") -> dict[str, str]:
    rows = (await agent.get(f"/api/config/resolved?agentId={agent.id}{query}"))["configs"]
    return {row["key"]: row["value"] for row in rows if row["key"].startswith(prefix)}


# --- configuration
async def test_scopes_are_laid_over_each_other(api: Api) -> None:
    agent = await api.agent()
    prefix = f"T_{uuid.uuid4().hex}_"
    repo_id = str(uuid.uuid4())
    for scope, scope_id, keys in (
        ("global", {}, "ABC"),
        ("agent", {"scopeId": agent.id}, "BC"),
        ("repo", {"scopeId": repo_id}, "C"),
    ):
        for key in keys:
            await _config(agent, prefix + key, scope, scope, **scope_id)
    expected = {prefix + "A": "global", prefix + "B": "agent", prefix + "C": "agent"}
    assert await _resolved(agent, prefix) == expected
    # A filter by key is ignored.
    assert await _resolved(agent, prefix, f"&key={prefix}A") == expected
    with_repo = await _resolved(agent, prefix, f"&repoId={repo_id}")
    assert with_repo[prefix + "C"] == "repo"
    assert list(with_repo) == sorted(with_repo)


async def test_secrets_are_masked_unless_asked_for(api: Api) -> None:
    agent = await api.agent()
    key = f"T_{uuid.uuid4().hex}"
    row = await _config(agent, key, "hush-hush", "agent", scopeId=agent.id, isSecret=True)
    assert row["value"] == "********"
    assert await _resolved(agent, key) == {key: "********"}
    assert await _resolved(agent, key, "&includeSecrets=true") == {key: "hush-hush"}
    again = await _config(agent, key, "other", "agent", scopeId=agent.id)
    assert (again["id"], again["value"]) == (row["id"], "other")
    assert (await agent.call("DELETE", f"/api/config/{row['id']}")).json() == {"success": True}
    assert await _resolved(agent, key) == {}


async def test_values_become_text(api: Api) -> None:
    agent = await api.agent()
    key = f"T_{uuid.uuid4().hex}"
    for value, text in ((True, "true"), (5, "5"), ("", "")):
        row = await _config(agent, key, value, "agent", scopeId=agent.id)
        assert row["value"] == text


async def test_refresh_locks_have_one_owner(api: Api) -> None:
    agent = await api.agent()
    path = f"/api/oauth/refresh-locks/codex_oauth_{uuid.uuid4().hex}"
    owner = (await agent.post(path, {"ttlMs": 120_000}))["owner"]
    await agent.post(path, {"ttlMs": 120_000}, 409)

    async def release(by: str) -> int:
        return (await agent.call("DELETE", path, json={"owner": by})).status_code

    assert await release("somebody else") == 204
    await agent.post(path, {"ttlMs": 1000}, 409)
    assert await release(owner) == 204
    assert (await agent.post(path, {"ttlMs": 1000}))["owner"] != owner


async def test_a_lock_runs_out(local: Local) -> None:
    agent = await local.agent()
    path = "/api/oauth/refresh-locks/k"
    await agent.post(path, {"ttlMs": 1000})
    local.clock.move(1)
    await agent.post(path, {"ttlMs": 1000})


# --- credential pools
async def test_limited_keys_are_left_out(api: Api) -> None:
    agent = await api.agent()
    kind = f"K_{uuid.uuid4().hex}"
    key = {"keyType": kind, "keySuffix": "abcde", "keyIndex": 1}

    async def available() -> list[int]:
        path = f"/api/keys/available?keyType={kind}&totalKeys=3"
        return list((await agent.get(path))["availableIndices"])

    assert await available() == [0, 1, 2]
    limit = {**key, "rateLimitedUntil": "2999-01-01T00:00:00Z"}
    await agent.post("/api/keys/report-rate-limit", limit)
    assert await available() == [0, 2]
    named = {"keyType": kind, "keySuffix": "abcde"}
    cleared = await agent.post("/api/keys/clear-rate-limit", named)
    assert (cleared["success"], cleared["cleared"]) == (True, True)
    assert await available() == [0, 1, 2]
    assert (await agent.post("/api/keys/clear-rate-limit", named))["cleared"] is False
    past = {**key, "rateLimitedUntil": "2001-01-01T00:00:00Z"}
    await agent.post("/api/keys/report-rate-limit", past)
    assert await available() == [0, 1, 2]


async def test_usage_is_counted_and_stamped_on_the_task(api: Api) -> None:
    agent = await api.agent()
    kind = f"K_{uuid.uuid4().hex}"
    task = await agent.started()
    use = {"keyType": kind, "keySuffix": "abcde", "keyIndex": 0, "taskId": task["id"]}
    for _ in range(2):
        await agent.post("/api/keys/report-usage", use)
    windows = {"five_hour": {"status": "allowed", "lastSeenAt": "2026-01-01T00:00:00Z"}}
    placed = {name: use[name] for name in ("keyType", "keySuffix", "keyIndex")}
    await agent.post("/api/keys/report-rate-limit-windows", {**placed, "windows": windows})
    (row,) = (await agent.get(f"/api/keys/status?keyType={kind}"))["keys"]
    assert (row["totalUsageCount"], row["rateLimitWindows"]) == (2, windows)
    shown = await agent.read(task["id"])
    assert (shown["credentialKeySuffix"], shown["credentialKeyType"]) == ("abcde", kind)


# --- budgets
async def test_a_used_up_budget_refuses_work(api: Api) -> None:
    agent = await api.agent()
    path = f"/api/budgets/agent/{agent.id}"
    await agent.put(path, {"dailyBudgetUsd": 1})
    task = await agent.task()
    cost = {"sessionId": "s", "agentId": agent.id, "totalCostUsd": 1.5}
    await agent.post("/api/session-costs", cost, 201)
    trigger = await agent.poll()
    assert (trigger["type"], trigger["cause"]) == ("budget_refused", "agent")
    assert (trigger["agentSpend"], trigger["agentBudget"]) == (1.5, 1)
    assert trigger["resetAt"].endswith("T00:00:00.000Z")
    assert (await agent.read(task["id"]))["status"] == "pending"
    assert (await agent.call("DELETE", path)).status_code == 204
    await agent.get(path, 404)
    assert (await agent.poll())["taskId"] == task["id"]


async def test_a_budget_of_nothing_refuses_at_once_until_midnight(local: Local) -> None:
    agent, lead = await local.agent(), await local.agent(isLead=True)
    await agent.put("/api/budgets/global/_global", {"dailyBudgetUsd": 0.5})
    cost = {"sessionId": "s", "agentId": "anybody", "totalCostUsd": 0.5}
    await agent.post("/api/session-costs", cost, 201)
    await agent.task()
    assert (await agent.poll())["globalSpend"] == 0.5
    assert (await agent.poll())["cause"] == "global"
    told = (await lead.get(f"/api/tasks?agentId={lead.id}"))["tasks"]
    assert len(told) == 1
    local.clock.move(12 * 3600)
    assert (await agent.poll())["type"] == "task_assigned"


# --- what sessions are given
async def test_repos_are_found_by_exact_name(api: Api) -> None:
    agent = await api.agent()
    name = f"repo-{uuid.uuid4().hex}"
    created = await agent.post(
        "/api/repos", {"url": f"https://github.com/a/{name}", "name": name}, 201
    )
    assert created["clonePath"] == f"/workspace/personal/repos/{name}"
    assert created["defaultBranch"] == "main"
    assert (await agent.get(f"/api/repos?name={name}"))["repos"] == [created]
    assert (await agent.get(f"/api/repos?name={name[:-1]}"))["repos"] == []
    await agent.post("/api/repos", {"url": f"https://github.com/b/{name}", "name": name}, 409)


async def test_tool_servers_are_installed_with_their_secrets_resolved(api: Api) -> None:
    agent = await api.agent()
    key = f"T_{uuid.uuid4().hex}"
    await _config(agent, key, "the-secret", "agent", scopeId=agent.id, isSecret=True)
    refused = await api.http.post("/api/mcp-servers", json={"name": "x", "transport": "http"})
    assert refused.status_code == 400
    body = {
        "name": f"s{uuid.uuid4().hex[:8]}",
        "transport": "http",
        "url": "https://tools.example.com/mcp",
        "headerConfigKeys": f'{{"X-Token": "{key}"}}',
        "envConfigKeys": f'["{key}", "UNSET"]',
    }
    # An operator's call: the public server lets no agent but a lead do this.
    created = await api.http.post("/api/mcp-servers", json=body)
    assert created.status_code == 201
    server = created.json()["server"]
    path = f"/api/agents/{agent.id}/mcp-servers"
    assert (await agent.get(path))["total"] == 0
    await agent.post(f"/api/mcp-servers/{server['id']}/install", {"agentId": agent.id})
    (plain,) = (await agent.get(path))["servers"]
    assert (plain["name"], plain["isActive"]) == (body["name"], True)
    assert "resolvedHeaders" not in plain
    (full,) = (await agent.get(f"{path}?resolveSecrets=true"))["servers"]
    assert full["resolvedHeaders"] == {"X-Token": "the-secret"}
    assert full["resolvedEnv"] == {key: "the-secret"}


async def test_nonsense_in_a_tool_server_resolves_to_nothing(local: Local) -> None:
    agent = await local.agent()
    for number, text in enumerate(("5", "[[]]", '{"A": {}}', "{", "null", '"x"')):
        body = {"name": f"s{number}", "transport": "stdio", "command": "c", "envConfigKeys": text}
        server = (await agent.post("/api/mcp-servers", body, 201))["server"]
        await agent.post(f"/api/mcp-servers/{server['id']}/install", {"agentId": agent.id})
    listed = await agent.get(f"/api/agents/{agent.id}/mcp-servers?resolveSecrets=true")
    assert [server["resolvedEnv"] for server in listed["servers"]] == [{}] * 6


async def test_skills_change_their_signature(api: Api) -> None:
    agent = await api.agent()
    base = f"/api/agents/{agent.id}/skills"
    name = f"skill-{uuid.uuid4().hex[:8]}"
    empty = (await agent.get(f"{base}/signature"))["hash"]
    content = f"---\nname: {name}\ndescription: Say hello.\n---\n# Hello\n"
    skill = (await agent.post("/api/skills", {"content": content}, 201))["skill"]
    assert (skill["name"], skill["description"]) == (name, "Say hello.")
    await agent.post(f"/api/skills/{skill['id']}/install", {"agentId": agent.id})
    listed = await agent.get(base)
    mine = next(entry for entry in listed["skills"] if entry["id"] == skill["id"])
    assert (mine["content"], mine["isActive"], mine["isEnabled"]) == (content, True, True)
    signature = await agent.get(f"{base}/signature")
    assert signature["hash"] == listed["signature"] != empty
    assert signature["count"] == listed["total"]
    file = {"path": "scripts/a b.sh", "content": "echo hi"}
    await agent.post(f"/api/skills/{skill['id']}/files", {"files": [file]})
    (entry,) = (await agent.get(f"/api/skills/{skill['id']}/files"))["files"]
    assert (entry["path"], entry["isBinary"], "content" in entry) == (file["path"], False, False)
    read = await agent.get(f"/api/skills/{skill['id']}/files/scripts/a%20b.sh")
    assert read["file"]["content"] == "echo hi"
    assert (await agent.get(f"{base}/signature"))["hash"] != signature["hash"]
    for path in ("../x", "/etc/x", "a/../../x"):
        await agent.post(
            f"/api/skills/{skill['id']}/files", {"files": [{"path": path, "content": ""}]}, 400
        )


async def test_the_requester_is_named_in_the_trigger(api: Api) -> None:
    agent = await api.agent()
    person = {"name": "Ada", "email": f"{uuid.uuid4().hex}@x.org", "role": "engineer"}
    user = (await agent.post("/api/users", person))["user"]
    change = {"comms": {"tone": "brief"}, "notes": "likes tests"}
    await agent.call("PATCH", f"/api/users/{user['id']}", json=change)
    await agent.task(requestedByUserId=user["id"])
    trigger = await agent.poll()
    assert trigger["requestedBy"] == {**person, **change}
    await agent.finish(trigger["task"])
    nameless = (await agent.post("/api/users", {"name": "Only a name"}))["user"]
    await agent.task(requestedByUserId=nameless["id"])
    assert (await agent.poll())["requestedBy"] == {"name": "Only a name"}


# --- small things a worker calls
async def test_small_routes(api: Api) -> None:
    agent = await api.agent()
    assert "enabled" in await agent.post("/api/fs/agent-credentials", {})
    swept = await agent.post("/api/heartbeat/sweep")
    assert swept["success"] is True
    cursors = {"cursorUpdates": [{"channelId": "C1", "ts": "1.0"}]}
    committed = await agent.post("/api/channel-activity/commit-cursors", cursors)
    assert committed == {"success": True, "committed": 1}
    await agent.started("visible")
    active = (await agent.get("/api/concurrent-context"))["activeSwarmTasks"]
    assert any(task["agentId"] == agent.id for task in active)
    unknown = {"eventType": f"no.such.{uuid.uuid4().hex}", "variables": {"a": "b"}}
    rendered = await agent.post("/api/prompt-templates/render", unknown)
    assert (rendered["text"], rendered["skipped"]) == ("", False)


async def test_the_local_swarm_leaves_prompts_to_the_worker(local: Local) -> None:
    agent = await local.agent()
    body = {"eventType": "task.trigger.assigned", "variables": {"task_id": "t"}}
    rendered = await agent.post("/api/prompt-templates/render", body)
    assert rendered == {"text": "", "skipped": False, "unresolved": []}
