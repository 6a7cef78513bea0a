"""The operator's tools, a command and an HTTP endpoint, called by real harnesses over a worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_table import OTHERS, PINNED
from clis import Cli
from fake_api import Reply, serving

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(300)]
CLIS = [
    cli for cli in (*PINNED, *OTHERS) if cli.name in {"claude", "codex", "opencode", "pi", "qwen"}
]
TOOLS = """
[tools.stamp]
description = "Stamps a name."
command = ["sh", "-c", "cat > stamped; echo stamped by $STAMP_TOKEN"]
env = {{ STAMP_TOKEN = "${{STAMP_TOKEN}}" }}
input = {{ type = "object", properties = {{ name = {{ type = "string" }} }}, required = ["name"] }}
[tools.lookup]
description = "Looks a name up."
url = "{url}/names/{{name}}"
method = "GET"
headers = {{ Authorization = "Bearer ${{STAMP_TOKEN}}" }}
input = {{ type = "object", properties = {{ name = {{ type = "string" }} }}, required = ["name"] }}
"""
SECRET = "stamp-token-0123456789"


@pytest.mark.parametrize("harness", CLIS, ids=[cli.name for cli in CLIS])
async def test_a_tool_of_each_kind(tmp_path: Path, harness: Cli):
    def call(tool: str, name: str) -> str:
        return (
            harness.swarm_tool(tool, name=name)
            .replace("agent-swarm", "swarm-tools")
            .replace("agent_swarm", "swarm_tools")
        )

    file = tmp_path / "tools.toml"
    async with serving(lambda _: Reply(200, {"found": "a heron"})) as server:
        file.write_text(TOOLS.format(url=server.url))
        env = {"SWARM_TOOLS_FILE": str(file), "STAMP_TOKEN": SECRET}
        async with harness.worker(tmp_path, **env) as on:
            tags = call("stamp", "Ada") + call("lookup", "Bob") + "[[say:Both done]]"
            task = await on.run(f"Use both. {tags}")
            assert (task["status"], task["output"]) == ("completed", "Both done")
            assert json.loads((on.work / "stamped").read_text()) == {"name": "Ada"}
            (asked,) = server.requests
            assert (asked.method, asked.path) == ("GET", "/names/Bob")
            assert asked.headers["authorization"] == f"Bearer {SECRET}"
            told = json.dumps([request.body for request in on.requests])
            assert "stamped by [REDACTED:STAMP_TOKEN]" in told
            assert "a heron" in told
            lines = json.dumps(await on.rig.lines(task["id"]))
            assert SECRET not in lines + told
