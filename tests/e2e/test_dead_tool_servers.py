"""A session starts in time although its installed tool servers are dead."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from harnesses import HARNESSES, HarnessKind
from pi_env import load_libraries
from rig import AGENT, running_worker, swarm_rig

# Waiting for the silent takes all but the quickest of them too long for `make test`.
KINDS = [
    pytest.param(*kind.values, id=kind.id, marks=() if kind.id == "scripted" else pytest.mark.slow)
    for kind in HARNESSES
]
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", KINDS)]

IN_TIME_S = 40
SCRIPT = "[[bash:echo seen > seen.txt]][[say:Done looking]]"


@pytest.fixture
def silent_url() -> Iterator[str]:
    """An address that takes every connection and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"


@pytest.mark.parametrize("dead", ["silent address", "silent program", "refused", "no program"])
async def test_a_dead_server_does_not_keep_a_session_from_its_work(
    tmp_path: Path, kind: HarnessKind, dead: str, silent_url: str
):
    server = {
        "silent address": {"transport": "http", "url": silent_url},
        "silent program": {"transport": "stdio", "command": "sleep", "args": '["86400"]'},
        "refused": {"transport": "http", "url": "http://127.0.0.1:9/mcp"},
        "no program": {"transport": "stdio", "command": "/nowhere/at-all"},
    }[dead]
    if kind.name.startswith("pi-"):
        load_libraries()
    work, home = tmp_path / "work", tmp_path / "agent-home"
    work.mkdir()
    home.mkdir()
    async with (
        kind.model() as model,
        swarm_rig(tmp_path) as rig,
        running_worker(rig, kind.env(home, model.url)),
    ):
        created = await rig.post("/api/mcp-servers", {"name": "dead", **server})
        install = f"/api/mcp-servers/{created['server']['id']}/install"
        await rig.post(install, {"agentId": AGENT})
        with anyio.fail_after(IN_TIME_S):
            task_id = await rig.submit(SCRIPT, dir=str(work))
            task = await rig.until_ended(task_id, within_s=IN_TIME_S)
        assert (task["status"], task["output"]) == ("completed", "Done looking")
        assert (work / "seen.txt").read_text() == "seen\n"
        await rig.settled(task_id)
