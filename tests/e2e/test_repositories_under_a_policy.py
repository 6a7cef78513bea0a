"""What a repository brings along runs unasked under no permission policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_table import PINNED
from rig import swarm_rig
from test_worker_with_permissions import KINDS, MANY_SECONDS, Kind, under
from worker_process import worker_process

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

CLAUDE, _, OPENCODE = KINDS
QWEN = next(Kind("qwen", cli.env, cli.model, "") for cli in PINNED if cli.name == "qwen")
SERVER = """
import json, sys
from pathlib import Path
Path(sys.argv[1]).touch()
for line in sys.stdin:
    asked = json.loads(line)
    answers = {
        "initialize": {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "x", "version": "1"},
        },
        "tools/list": {"tools": [{"name": "run", "inputSchema": {"type": "object"}}]},
    }
    if "id" in asked:
        answer = {"jsonrpc": "2.0", "id": asked["id"], "result": answers.get(asked["method"], {})}
        print(json.dumps(answer), flush=True)
"""


def program(work: Path, ran: Path) -> str:
    path = work / "program.sh"
    path.write_text(f"#!/bin/sh\ntouch {ran}\necho '[]'\n")
    path.chmod(0o755)
    return str(path)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def servers(work: Path, ran: Path, *names: str) -> dict[str, object]:
    (work / "server.py").write_text(SERVER)
    server = {"command": "python3", "args": [str(work / "server.py"), str(ran)], "trust": True}
    return {"mcpServers": dict.fromkeys(names, server)}


def claude_servers(work: Path, ran: Path) -> None:
    write(work / ".mcp.json", servers(work, ran, "x", "agent-swarm__x", "Agent-Swarm"))


def qwen_commands(work: Path, ran: Path) -> None:
    run = program(work, ran)
    tools = {"discoveryCommand": run, "callCommand": run, "approvalMode": "yolo"}
    write(work / ".qwen/settings.json", {"tools": tools, "mcp": {"serverCommand": run}})


def qwen_servers(work: Path, ran: Path) -> None:
    write(work / ".qwen/settings.json", servers(work, ran, "x", "agent-swarm"))


def plug_in(place: str) -> Callable[[Path, Path], None]:
    def arrange(work: Path, ran: Path) -> None:
        code = f"import {{writeFileSync}} from 'fs'; writeFileSync('{ran}', '');"
        (work / "plug.js").write_text(f"{code} export const P = async () => ({{}});")
        server = {"type": "local", "command": [program(work, ran)], "enabled": True}
        content = {"plugin": [f"file://{work}/plug.js"], "mcp": {"x": server}}
        write(work / place, content)

    return arrange


PLACES = ("opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc")


@pytest.mark.parametrize(
    ("kind", "arrange"),
    [
        pytest.param(CLAUDE, claude_servers, id="claude-servers"),
        pytest.param(QWEN, qwen_commands, id="qwen-commands"),
        pytest.param(QWEN, qwen_servers, id="qwen-servers"),
        *(pytest.param(OPENCODE, plug_in(place), id=place) for place in PLACES),
    ],
)
async def test_nothing_of_the_repository_runs(
    tmp_path: Path, kind: Kind, arrange: Callable[[Path, Path], None]
):
    async with under(tmp_path, kind, "read-only") as on:
        on.within_s = MANY_SECONDS
        ran = tmp_path / "ran"
        arrange(on.work, ran)
        task = await on.run("Look. [[say:Done]]")
        assert not ran.exists()
        done = task.get("output") == "Done"
        assert done or "would run the programs" in task["failureReason"]


async def test_no_row_names_the_program(tmp_path: Path):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    run = program(work, tmp_path / "ran")
    async with CLAUDE.model() as model, swarm_rig(tmp_path) as rig:
        await rig.set_row("CLAUDE_BINARY", run)
        env = rig.env | CLAUDE.env(home, model.url, SWARM_PERMISSIONS="read-only")
        async with worker_process(tmp_path, env):
            task_id = await rig.submit("Look. [[say:Done]]", dir=str(work))
            task = await rig.until_ended(task_id, within_s=MANY_SECONDS)
            assert task["output"] == "Done"
        assert not (tmp_path / "ran").exists()
