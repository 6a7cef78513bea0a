"""Secret rows are shown only with ``includeSecrets=true``."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from local_swarm_api import Api, client

from agent_swarm_worker.local_swarm.app import ROUTE_MODULES
from agent_swarm_worker.local_swarm.serve import LocalSwarm

pytestmark = pytest.mark.anyio
SECRET = "the-value-nobody-may-see-0123456789"


async def test_no_answer_shows_a_secret_unasked(tmp_path: Path) -> None:
    async with LocalSwarm(tmp_path / "s.sqlite") as swarm, client(swarm.url, "") as http:
        agent = await Api(http).agent()
        row = {"scope": "global", "key": "SOME_KEY", "value": SECRET, "isSecret": True}
        stored = (await agent.call("PUT", "/api/config", json=row)).json()
        assert SECRET not in str(stored)
        task = await agent.started(f"do it with {SECRET}")
        await agent.finish(task, status="failed", failureReason=f"{SECRET} did not work")
        ids = {"id": stored["id"], "taskId": task["id"], "agentId": agent.id}
        paths = {
            route.path
            for module in ROUTE_MODULES
            for route in module.ROUTES
            if route.method == "GET"
        }
        asked = 0
        for path in paths:
            named = re.sub(r"\{(\w+).*?\}", lambda m: ids.get(m[1], stored["id"]), path)
            answer = await agent.call("GET", named)
            asked += answer.status_code == 200
            told = answer.text.replace(task["task"], "")
            assert SECRET not in told, path
        assert asked > 20
        for path in ("/api/config", "/api/config/resolved", f"/api/config/{stored['id']}"):
            assert SECRET in (await agent.call("GET", f"{path}?includeSecrets=true")).text
            assert (await agent.call("GET", f"{path}?includeSecrets=yes")).status_code == 400


@pytest.mark.parametrize(
    "words", ["'; DROP TABLE tasks; --", '" OR ""="', "%", "_", "a\0b", "*", "NEAR(", "x' --"]
)
async def test_words_are_never_a_part_of_a_query(tmp_path: Path, words: str) -> None:
    async with LocalSwarm(tmp_path / "s.sqlite") as swarm, client(swarm.url, "") as http:
        agent = await Api(http).agent()
        await agent.task("the only one")
        for query in ("status", "agentId", "search", "tags", "limit", "offset"):
            answer = await agent.call("GET", "/api/tasks", params={query: words})
            assert answer.status_code in {200, 400}, answer.text
        memory = {"content": "quite secret", "name": "m", "scope": "agent", "source": "manual"}
        await agent.post("/api/memory/index", memory, 202)
        found = await agent.post("/api/memory/search", {"query": words + " zz"})
        assert found["results"] == []
        stranger = await Api(http).agent()
        assert (await stranger.post("/api/memory/search", {"query": "quite"}))["results"] == []
        assert (await agent.call("GET", f"/api/tasks/{'%25'}")).status_code == 404
        assert (await agent.get("/api/tasks"))["total"] == 1
    with sqlite3.connect(tmp_path / "s.sqlite") as file:
        assert file.execute("SELECT COUNT(*) FROM tasks").fetchone() == (1,)


@pytest.mark.parametrize(
    "path",
    [
        *("..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "%252e%252e%252fpasswd"),
        *("..%5c..%5cpasswd", "%2fetc%2fpasswd", "a%00b", "....//x", "..%c0%afx", "a/../../x"),
    ],
)
async def test_no_path_leads_out_of_a_skill_or_a_task(path: str) -> None:
    """The bytes lie in the database: there is nothing for a path to lead to."""
    async with LocalSwarm() as swarm, client(swarm.url, "") as http:
        agent = await Api(http).agent()
        content = {"content": "---\nname: n\ndescription: d\n---\n"}
        skill = (await agent.post("/api/skills", content, 201))["skill"]
        files = f"{swarm.url}/api/skills/{skill['id']}/files/"
        stored = await agent.call("PUT", files + path, json={"content": "x"})
        for file in (await agent.get(f"/api/skills/{skill['id']}/files"))["files"]:
            assert ".." not in file["path"].split("/"), stored.text
            assert not file["path"].startswith(("/", "\\"))
            assert "\0" not in file["path"]
        assert "root:" not in (await agent.call("GET", files + path)).text
        task = await agent.started()
        base = f"{swarm.url}/api/fs/tasks/{task['id']}/files"
        upload = await agent.call("POST", f"{base}?name={path}", content=b"x")
        assert upload.status_code == 201
        got = await agent.call("GET", f"{base}/{upload.json()['id']}/raw")
        assert got.content == b"x"
        assert "\n" not in got.headers["content-disposition"]
        assert (await agent.call("GET", f"{base}/{path}/raw")).status_code == 404
