"""Memories over HTTP, and their similarity (docs/api.md 15.5)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.local_swarm import memory
from agent_swarm_worker.local_swarm.store import Store

if TYPE_CHECKING:
    from local_swarm_api import Agent, Api, Local

STAGING = "The staging database password is rotated weekly; run make rotate before deploying."


async def _remember(agent: Agent, content: str, **more: Any) -> str:
    body = {"content": content, "name": "note", "scope": "agent", "source": "manual", **more}
    return str((await agent.post("/api/memory/index", body, 202))["memoryIds"][0])


async def _search(agent: Agent, query: str, **more: Any) -> list[Any]:
    return list((await agent.post("/api/memory/search", {"query": query, **more}))["results"])


@pytest.mark.anyio
async def test_agents_see_their_own_and_shared_memories(api: Api) -> None:
    agent, other = await api.agent(), await api.agent()
    word = f"quokka{uuid.uuid4().hex[:8]}"
    mine = await _remember(agent, f"my {word}", agentId=agent.id)
    shared = await _remember(other, f"shared {word}", scope="swarm", agentId=other.id)
    await _remember(other, f"private {word}", agentId=other.id)

    async def found(**more: Any) -> set[str]:
        rows = await _search(agent, word, limit=20, **more)
        return {row["id"] for row in rows if word in row["content"]}

    assert await found() == {mine, shared}
    assert await found(scope="agent") == {mine}
    assert await found(scope="swarm") == {shared}
    assert await found(source="session_summary") == set()
    assert (await agent.call("DELETE", f"/api/memory/{mine}")).status_code == 200
    assert await found() == {shared}


@pytest.mark.anyio
async def test_memories_are_listed_by_where_they_come_from(api: Api) -> None:
    agent, other = await api.agent(), await api.agent()
    path = f"session-summary/{uuid.uuid4()}"
    source = {"source": "session_summary", "agentId": agent.id}
    older = await _remember(agent, "an older one", **source, sourcePath=f"{path}-older")
    mine = await _remember(agent, "said first", **source, sourcePath=path)
    assert await _remember(agent, "said again", **source, sourcePath=path) == mine
    await _remember(other, "of another", source="session_summary", agentId=other.id)

    async def listed(**wanted: Any) -> list[str]:
        answer = await agent.post("/api/memory/list", {"agentId": agent.id, **wanted})
        assert answer["mode"] == "list"
        return [row["id"] for row in answer["results"]]

    assert await listed(sourcePath=path.upper()) == [mine, older]
    assert await listed(source="session_summary", limit=1) == [mine]
    assert await listed(source="session_summary", offset=1) == [older]
    assert await listed(source="manual") == []
    (row,) = (await agent.post("/api/memory/list", {"sourcePath": path, "limit": 1}))["results"]
    assert (row["content"], row["sourcePath"], row["scope"]) == ("said again", path, "agent")


@pytest.mark.anyio
async def test_a_long_task_finds_the_short_memory_that_matters(local: Local) -> None:
    agent = await local.agent()
    wanted = await _remember(agent, STAGING)
    for number in range(30):
        await _remember(agent, f"Note {number}: the build of module {number} takes long.")
    task = (
        "Please deploy the release candidate to staging. Before that, rotate the database"
        " password as usual and check that the migration of the orders table went through."
        " Then write to the channel what you did, with links, and how long each step took."
    )
    results = await _search(agent, task)
    assert results[0]["id"] == wanted
    assert results[0]["similarity"] > 0.4
    assert len(results) <= 5


@pytest.mark.anyio
async def test_unrelated_tasks_find_nothing_worth_telling(local: Local) -> None:
    agent = await local.agent()
    await _remember(agent, STAGING)
    results = await _search(agent, "Translate the user manual of the toaster into Finnish")
    assert all(result["similarity"] < 0.4 for result in results)
    assert await _search(agent, "the of and to") == []


@pytest.mark.anyio
async def test_a_file_is_remembered_once(local: Local) -> None:
    agent = await local.agent()
    same = {"source": "file_index", "sourcePath": "/notes/a.md"}
    first = await _remember(agent, "old wombat text", **same)
    assert await _remember(agent, "new platypus text", **same) == first
    assert await _search(agent, "wombat") == []
    assert [row["id"] for row in await _search(agent, "platypus")] == [first]


@pytest.mark.anyio
async def test_others_memories_do_not_crowd_out_ones_own(local: Local) -> None:
    agent, other = await local.agent(), await local.agent()
    for number in range(80):
        await _remember(other, f"axolotl axolotl {number}")
    mine = await _remember(agent, "one axolotl among many other words that rank it lower")
    assert [row["id"] for row in await _search(agent, "axolotl")] == [mine]


@given(query=st.text(min_size=1))
def test_no_query_breaks_the_index(query: str) -> None:
    store = Store(":memory:", SystemClock(), random_ids)
    try:
        note = {"name": "n", "scope": "swarm", "source": "manual"}
        memory.put(store, {**note, "content": f"{query} and more"})
        for row in memory.search(store, "a", {"query": query, "limit": 5, "scope": "all"}):
            assert 0 <= row["similarity"] <= 1
    finally:
        store.close()
