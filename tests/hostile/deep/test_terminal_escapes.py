"""Checks that text of a task reaches a terminal without escape sequences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from local_swarm_api import KEY, Api, client
from patience import BYTECODE

from agent_swarm_worker.local_swarm.serve import LocalSwarm

pytestmark = pytest.mark.anyio
EVIL = "a\x1b[2J\x1b]0;owned\x07\x1b]52;c;cm0=\x07b\x9b31m\u202ec\u2066\x7f\x08\x00\rd\u2028e"
COMMANDS = (
    ("task", "show", "{id}"),
    ("task", "show", "--json", "{id}"),
    ("task", "list"),
    ("task", "list", "--json"),
    ("task", "follow", "{id}"),
    ("task", "follow", "--json", "{id}"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
async def test_a_terminal_is_not_driven_by_a_task(tmp_path: Path, words: tuple[str, ...]) -> None:
    async with LocalSwarm(api_key=KEY) as swarm, client(swarm.url, KEY) as http:
        agent = await Api(http).agent()
        task = await agent.started(EVIL)
        line = {"type": "assistant", "message": {"content": [{"type": "text", "text": EVIL}]}}
        logs = {"sessionId": EVIL, "iteration": 1, "taskId": task["id"], "lines": [str(line), EVIL]}
        await agent.post("/api/session-logs", logs, 201)
        cost = {"sessionId": "s", "taskId": task["id"], "agentId": agent.id, "model": EVIL}
        cost |= {"totalCostUsd": 1, "durationMs": 1, "numTurns": 1}
        await agent.post("/api/session-costs", cost, 201)
        await agent.finish(task, status="failed", failureReason=EVIL)
        env = {"MCP_BASE_URL": swarm.url, "API_KEY": KEY, "HOME": str(tmp_path), "PATH": ""}
        done = await anyio.run_process(
            [sys.executable, "-m", "agent_swarm_worker", *(word.format(**task) for word in words)],
            env={**env, **BYTECODE, "PYTHONUTF8": "1"},
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = done.stdout.decode()
        assert task["id"] in said
        driving = {c for c in said if not c.isprintable() and c not in "\n\t"}
        assert not driving, said
