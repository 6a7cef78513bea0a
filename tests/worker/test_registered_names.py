"""Which harness name each server is told: its own where it is known, else the nearest."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from patience import until
from recording_proxy import RecordingProxy, SkippingClock, proxy_rig
from rig import Rig, running_worker

from agent_swarm_worker.api.harness_names import REASK_S, HarnessNames
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.local_swarm import agents, budgets, credentials, steering, task_changes
from agent_swarm_worker.local_swarm.validation import Choice
from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

ACP_AGENT = Path(__file__).parents[1] / "providers" / "acp" / "scripted_agent.py"
SPENT = {"usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}}
QWEN = ("qwen", "acp", "opencode", "claude")
REGISTRATION = "POST /api/agents$"


def acp(place: Path) -> dict[str, str]:
    script = {"prompt": [["say", "Done."]], "result": SPENT}
    words = ["-S", str(ACP_AGENT), json.dumps(script), str(place / "agent.log")]
    return {
        "HARNESS_PROVIDER": "acp",
        "ACP_TARGET_COMMAND": sys.executable,
        "ACP_TARGET_ARGS": json.dumps(words),
    }


@contextmanager
def swarm_that_knows(name: str, *, in_costs: bool = True) -> Iterator[None]:
    """Make the local swarm a newer one, which knows another harness."""
    optional = Choice(*agents.PROVIDERS, "gemini", name).optional()
    shapes: list[tuple[Any, str]] = [
        (agents.REGISTER, "provider"),
        (agents.REGISTER, "harness_provider"),
        (task_changes.SESSION._checks[1], "provider"),
        (credentials.LATEST_MODEL, "harnessProvider"),
        *([(budgets.COST, "provider")] if in_costs else []),
    ]
    patches = [mock.patch.dict(shape._fields, {field: optional}) for shape, field in shapes]
    patches.append(mock.patch.dict(steering.STEER_MODES, {name: ()}))
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


async def names_told(rig: Rig, proxy: RecordingProxy) -> dict[str, Any]:
    """Run a task; return what the server has: of agent, session and cost."""
    task_id = await rig.submit()
    task = await rig.until_ended(task_id)
    assert task["status"] == "completed", task
    await rig.settled(task_id)
    costs = await until(lambda: proxy.seen("POST /api/session-costs"))
    assert len(await rig.costs(task_id)) == 1
    agent = await rig.agent_row() or {}
    await until(lambda: proxy.seen("PUT /api/tasks/.*/session"))
    task = await rig.task(task_id)
    meta = task.get("harnessVariantMeta") or {}
    assert not rig.logged(Event.WRITE_DROPPED)
    return {
        "agent": agent["harnessProvider"],
        "session": task["provider"],
        "true": meta.get("harness"),
        "cost": costs[-1].json()["provider"],
        "model": ((agent.get("latestModel") or {}).get("harnessProvider")),
    }


NEAREST = {"agent": "opencode", "session": "opencode", "cost": "opencode", "true": "acp"}
OWN = {"agent": "acp", "session": "acp", "cost": "acp", "true": None}


@pytest.mark.parametrize("serves_openapi", [True, False])
async def test_an_older_server_is_told_the_nearest_name(tmp_path: Path, serves_openapi: bool):
    async with proxy_rig(tmp_path) as (rig, proxy):
        if not serves_openapi:
            proxy.lack("GET /openapi.json")
        async with running_worker(rig, acp(tmp_path)):
            told = await names_told(rig, proxy)
        assert told | NEAREST == told
        tried = [visit.json()["harness_provider"] for visit in proxy.seen(REGISTRATION)]
        assert tried[:2] == (["opencode"] if serves_openapi else ["acp", "opencode"])[: len(tried)]
        assert "acp" not in tried[1:]
        (line,) = rig.logged(Event.HARNESS_NAME)
        assert (line["harness"], line["registered_as"]) == ("acp", "opencode")
        assert "does not accept acp" in line["why"]


@pytest.mark.parametrize("serves_openapi", [True, False])
async def test_a_newer_server_is_told_the_true_name(tmp_path: Path, serves_openapi: bool):
    with swarm_that_knows("acp"):
        async with proxy_rig(tmp_path) as (rig, proxy):
            if not serves_openapi:
                proxy.lack("GET /openapi.json")
            async with running_worker(rig, acp(tmp_path)):
                told = await names_told(rig, proxy)
            assert told | OWN == told
            (line,) = rig.logged(Event.HARNESS_NAME)
            assert line["registered_as"] == "acp"


@pytest.mark.parametrize("serves_openapi", [True, False])
async def test_a_cost_has_another_name_where_only_costs_do_not_know_it(
    tmp_path: Path, serves_openapi: bool
):
    with swarm_that_knows("acp", in_costs=False):
        async with proxy_rig(tmp_path) as (rig, proxy):
            if not serves_openapi:
                proxy.lack("GET /openapi.json")
            async with running_worker(rig, acp(tmp_path)):
                told = await names_told(rig, proxy)
        assert told | {**OWN, "cost": "opencode"} == told


async def test_a_document_that_promises_too_much_is_not_believed(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.say("GET /openapi.json", document("opencode", "acp"))
        async with running_worker(rig, acp(tmp_path)):
            told = await names_told(rig, proxy)
    assert told | NEAREST == told


@pytest.mark.parametrize(
    "body", ['"x"', "<html>", '{"paths": [1]}', '{"paths": {"/api/agents": 3}}']
)
async def test_a_document_that_is_none_is_as_good_as_missing(tmp_path: Path, body: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("GET /openapi.json", 200, body)
        async with running_worker(rig, acp(tmp_path)):
            told = await names_told(rig, proxy)
    assert told | NEAREST == told


async def test_a_server_is_asked_again_later(tmp_path: Path):
    clock = SkippingClock()
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, acp(tmp_path), clock=clock):
        looks = len(proxy.seen("config/resolved"))
        await until(lambda: len(proxy.seen("config/resolved")) > looks + 1)
        with swarm_that_knows("acp"):
            clock.skip(REASK_S)
            await until(lambda: len(rig.logged(Event.HARNESS_NAME)) == 2)
            assert (await rig.agent_row() or {})["harnessProvider"] == "acp"
        # And back: an older one refuses the name.
        clock.skip(REASK_S)
        await until(lambda: len(rig.logged(Event.HARNESS_NAME)) == 3)
        assert (await rig.agent_row() or {})["harnessProvider"] == "opencode"
        assert not proxy.seen("POST /api/agents$")[0].status >= 400


def document(*names: str, field: str = "harness_provider", path: str = "/api/agents") -> Any:
    schema = {"properties": {field: {"enum": list(names)}}}
    body = {"content": {"application/json": {"schema": schema}}}
    return {"paths": {path: {"post": {"requestBody": body}}}}


def by_reference() -> Any:
    found = document()
    body = found["paths"]["/api/agents"]["post"]["requestBody"]["content"]["application/json"]
    body["schema"] = {"$ref": "#/components/schemas/Registration"}
    named = {"anyOf": [{"$ref": "#/components/schemas/ProviderName"}, {"type": "null"}]}
    found["components"] = {
        "schemas": {
            "Registration": {"allOf": [{"properties": {"harness_provider": named}}]},
            "ProviderName": {"enum": ["opencode", "grok"]},
            "Loop": {"$ref": "#/components/schemas/Loop"},
        }
    }
    return found


@pytest.mark.parametrize(
    ("given", "tried"),
    [
        (document("opencode", "acp", "qwen"), "qwen"),
        (document("opencode", "acp"), "acp"),
        (document("opencode"), "opencode"),
        (by_reference(), "opencode"),
        (None, "qwen"),
    ],
)
async def test_what_is_tried_first(given: Any, tried: str):
    async def fetch() -> Any:
        return given

    names = HarnessNames(SystemClock())
    await names.learn(QWEN, fetch)
    assert next(names.to_try(QWEN)) == tried
    assert next(names.to_try(("grok", "opencode"))) == (
        "grok" if given in (None, by_reference()) else "opencode"
    )
