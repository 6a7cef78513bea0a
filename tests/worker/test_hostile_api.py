"""A worker survives nonsense answers of the API, and does the next task."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from recording_proxy import proxy_rig
from rig import harness, running_worker, swarm_rig

pytestmark = pytest.mark.anyio

ROUTES = {
    "the configuration": "GET /api/config/resolved",
    "the task": r"GET /api/tasks/[^/?]+(\?|$)",
    "tool servers": "GET /api/agents/[^/]+/mcp-servers",
    "memories": "POST /api/memory/search",
    "rendered prompts": "POST /api/prompt-templates/render",
    "the announcement": "POST /api/active-sessions$",
    "the heartbeat": "PUT /api/active-sessions/heartbeat",
    "cancellations": "GET /cancelled-tasks",
    "credentials": "GET /api/keys",
    "who I am": "GET /me",
    "messages": "GET /api/steering-messages",
    "resuming": "POST /api/active-sessions/recover",
    "paused tasks": "GET /api/paused-tasks",
    "skills": "GET /api/agents/[^/]+/skills",
    "repositories": "GET /api/repos",
}
DEEP = "[" * 50_000 + "]" * 50_000
VALUES = [None, -1e308, "x" * 300_000, [None, 7, "x", [[]]], {"id": {}}]
KEYS = (
    *("configs", "servers", "task", "tasks", "cancelled", "messages", "memories", "results"),
    *("text", "skills", "repos", "updated", "trigger", "availableIndices", "hash", "error"),
)
BODIES = {
    "deep": DEEP,
    "deep inside": f'{{"configs": {DEEP}, "servers": {DEEP}, "tasks": {DEEP}}}',
    "not JSON": "<html>\0</html>",
    "cut": '{"configs": [{"key": "A", "val',
    "empty": "",
    **{f"value {n}": orjson.dumps(value).decode() for n, value in enumerate(VALUES)},
    **{
        f"members {n}": orjson.dumps(dict.fromkeys(KEYS, value)).decode()
        for n, value in enumerate(VALUES)
    },
}


@pytest.mark.parametrize("route", ROUTES)
async def test_nonsense_from_a_route_costs_no_task(tmp_path: Path, route: str):
    env = harness("says_hi", STEERING_ENABLED="true", MAX_CONCURRENT_TASKS="4")
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, env):
        ids = []
        for body in BODIES.values():
            proxy.refuse(ROUTES[route], 200, body, times=2)
            ids.append(await rig.submit())
        for task_id in ids:
            task = await rig.until_ended(task_id, within_s=30)
            assert (task["status"], task["output"]) == ("completed", "hi there")
        proxy.be_open()
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id))["output"] == "hi there"


async def test_nonsense_from_a_poll_is_asked_again(tmp_path: Path):
    triggers = [*VALUES, {"type": "task_assigned"}, {"type": ["task_assigned"], "task": 3}]
    triggers += [{"type": "task_assigned", "task": {"id": "../..", "task": 5}, "taskId": None}]
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, harness("says_hi")):
        for trigger in triggers:
            proxy.say("GET /api/poll", {"trigger": trigger}, times=1)
        for body in BODIES.values():
            proxy.refuse("GET /api/poll", 200, body, times=1)
        task_id = await rig.submit()
        assert (await rig.until_ended(task_id, within_s=40))["output"] == "hi there"


HOSTILE_MODELS = {
    "an option": "--help",
    "two lines": "a\nb",
    "a null byte": "a\0b",
    "too long for a variable": "m" * 200_000,
}


@pytest.mark.parametrize("words", HOSTILE_MODELS)
@pytest.mark.parametrize("kind", ["subprocess", "claude"])
async def test_a_model_nobody_knows_fails_its_task_at_most(tmp_path: Path, kind: str, words: str):
    env = harness("says_hi")
    if kind == "claude":
        program = {"CLAUDE_BINARY": env.pop("HARNESS_COMMAND"), "ANTHROPIC_API_KEY": "sk-ant-test"}
        env |= {"HARNESS_PROVIDER": "claude", **program}
    async with swarm_rig(tmp_path) as rig, running_worker(rig, env):
        await rig.set_row("MODEL_OVERRIDE", HOSTILE_MODELS[words])
        task = await rig.until_ended(await rig.submit())
        assert task["status"] == "completed" or task["failureReason"]
        await rig.drop_row("MODEL_OVERRIDE")

        async def works() -> bool:
            task = await rig.until_ended(await rig.submit())
            return bool(task["status"] == "completed")

        await rig.until(works)
