"""What a start imports before the first request, and before the first poll."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rig import KEY, harness, worker_env

from agent_swarm_worker.local_swarm.serve import LocalSwarm

HEAVY = {
    "anthropic", "genai_prices", "jsonschema", "mcp", "openai", "pydantic_ai",
    "referencing", "starlette", "tenacity", "tiktoken", "uvicorn",
}  # fmt: skip
FOR_SESSIONS = {
    "agent_swarm_worker.reporting.finish",
    "agent_swarm_worker.reporting.reporter",
    "agent_swarm_worker.worker.run.preparation",
    "agent_swarm_worker.worker.recovery.orphaned_session",
    "agent_swarm_worker.worker.run.task_run",
}
AFTER_THE_FIRST_REQUEST = {
    "agent_swarm_worker.api.wire.tasks",
    "agent_swarm_worker.contract",
    "agent_swarm_worker.outbox.outbox",
    "agent_swarm_worker.worker.boot.sequence",
    "agent_swarm_worker.worker.daemon",
}
ADAPTERS = {"claude", "codex", "pi", "subprocess"}
WATCHED = """
import gc, json, sys
from agent_swarm_worker.cli.app import main
from agent_swarm_worker.api.http import Http

asked = Http.request

async def request(self, method, path, **options):
    name = f"{method} {path}"
    if name in ("GET /api/config/resolved", "GET /api/poll"):
        print(json.dumps([name, sorted(sys.modules), gc.isenabled()]), flush=True)
    if path == "/api/poll":
        sys.exit()
    return await asked(self, method, path, **options)

Http.request = request
main(["worker"])
"""
pytestmark = pytest.mark.anyio


async def modules_of_a_start(place: Path, **env: str) -> dict[str, set[str]]:
    """Return what is imported when a worker makes each of two requests."""
    from anyio import to_thread

    async with LocalSwarm(place / "swarm.sqlite", KEY) as swarm:
        own = {"PATH": os.environ["PATH"], **worker_env(swarm.url, place), **env}
        done = await to_thread.run_sync(
            lambda: subprocess.run(
                [sys.executable, "-c", WATCHED], env=own, capture_output=True, check=False
            )
        )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [collects for *_, collects in said][-1:] == [True], done.stderr
    return {name: set(modules) for name, modules, _ in said}


async def test_the_first_request_is_sent_before_the_daemon_is_imported(tmp_path: Path):
    found = await modules_of_a_start(tmp_path, **harness("says_hi"))
    own = {name for name in found["GET /api/config/resolved"] if name in AFTER_THE_FIRST_REQUEST}
    assert own == set()
    assert found["GET /api/poll"] >= AFTER_THE_FIRST_REQUEST


@pytest.mark.long
async def test_a_start_imports_nothing_for_sessions_before_it_polls(tmp_path: Path):
    found = await modules_of_a_start(tmp_path, **harness("says_hi"))
    assert sorted((HEAVY | FOR_SESSIONS) & found["GET /api/poll"]) == []


@pytest.mark.long
async def test_a_start_imports_the_adapter_of_its_own_harness_alone(tmp_path: Path):
    found = await modules_of_a_start(tmp_path, **harness("says_hi"))
    adapters = {
        name
        for name in ADAPTERS
        if f"agent_swarm_worker.providers.{name}.adapter" in found["GET /api/poll"]
    }
    assert adapters == {"subprocess"}
