"""No secret is stored, sent or logged, whatever the agent prints."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from recording_proxy import RecordingProxy, proxy_rig
from rig import AGENT, KEY, Rig, harness, running_worker

pytestmark = pytest.mark.anyio

ROW_SECRET = 'row "quoted" \\ back\\slash sécret'
FLAGGED_ROW = "flagged-value-without-a-telling-name"
KEY_FILE = "first line of a key file\nsecond line of a key file\n"
TOOL_SECRET = "tool-server-value-4711"
TOOL_HEADER = "header-value-of-a-tool-server"
POOL = ("pool-member-one-abcdef", "pool-member-two-ghijkl")
SECRETS = (KEY, ROW_SECRET, FLAGGED_ROW, *KEY_FILE.split("\n")[:2], TOOL_SECRET, TOOL_HEADER, *POOL)
TOLD = "API_KEY,DEPLOY_TOKEN,DEPLOY_PHRASE,DEPLOY_KEY_FILE,ANTHROPIC_API_KEY"


@pytest.mark.parametrize("ending", ["success", "error", "text", "crash"])
async def test_no_secret_gets_out(tmp_path: Path, ending: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await give_secrets(rig)
        env = harness("leaks", TOLD, ending, tmp_path, ANTHROPIC_API_KEY=",".join(POOL))
        async with running_worker(rig, env):
            task_id = await rig.submit(f"Keep {KEY} and {POOL[0]} to yourself")
            row = await rig.until_ended(task_id)
            await rig.settled(task_id)
    known = json.loads((tmp_path / "known.json").read_text())
    assert {*SECRETS, KEY_FILE} - set(KEY_FILE.split("\n")) <= set(known)
    assert row["status"] == ("completed" if ending in {"success", "text"} else "failed")
    assert "[REDACTED:" in json.dumps(row)
    found = {
        (where, secret)
        for where, data in everything(rig, proxy)
        for secret in SECRETS
        for form in forms(secret)
        if form in data
    }
    assert not found


async def give_secrets(rig: Rig) -> None:
    """Let the server know secrets that the worker has to learn from it."""
    await rig.post("/api/agents", {"name": "tested"}, **{"X-Agent-ID": AGENT})
    for key, value, is_secret in (
        ("DEPLOY_TOKEN", ROW_SECRET, True),
        ("DEPLOY_PHRASE", FLAGGED_ROW, True),
        ("DEPLOY_KEY_FILE", KEY_FILE, True),
        ("TOOL_VALUE", TOOL_SECRET, False),
        ("TOOL_HEADER", TOOL_HEADER, False),
    ):
        row = {"scope": "global", "key": key, "value": value, "isSecret": is_secret}
        (await rig.api.put("/api/config", json=row)).raise_for_status()
    server = {
        "name": "tools",
        "transport": "stdio",
        "command": "tools",
        "envConfigKeys": '{"VALUE": "TOOL_VALUE"}',
    }
    remote = {
        "name": "remote",
        "transport": "http",
        "url": "http://127.0.0.1:9/mcp",
        "headerConfigKeys": '{"X-Value": "TOOL_HEADER"}',
    }
    for wanted in (server, remote):
        made = await rig.post("/api/mcp-servers", wanted)
        await rig.post(f"/api/mcp-servers/{made['server']['id']}/install", {"agentId": AGENT})


def everything(rig: Rig, proxy: RecordingProxy) -> Iterator[tuple[str, bytes]]:
    """Yield what is on disk, what was sent, and what was logged."""
    database = sqlite3.connect(rig.place / "swarm.sqlite")
    tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        # The configuration is where these secrets come from.
        rows = [] if table == "config" else database.execute(f'SELECT * FROM "{table}"').fetchall()
        if table == "tasks":
            # What the task's author wrote is the author's.
            rows = [[cell for cell in row if "to yourself" not in str(cell)] for row in rows]
        cells = [c if isinstance(c, bytes) else str(c).encode() for row in rows for c in row]
        yield f"table {table}", b"\0".join(cells)
    database.close()
    state = [path for path in (rig.place / "state").rglob("*") if path.is_file()]
    assert any(path.suffix == ".jsonl" for path in state)
    yield from ((str(path), path.read_bytes()) for path in state)
    assert proxy.seen("POST /api/session-logs")
    for visit in proxy.visits:
        # The task's own words, sent back to where they came from.
        if not re.search("memory/search|prompt-templates/render", visit.path):
            yield visit.name, visit.name.encode() + b"\n" + visit.body
    yield "the worker's log", rig.worker_log.getvalue().encode()


def forms(secret: str) -> set[bytes]:
    """Return what would give a secret away."""
    raw = secret.encode()
    inside = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    twice = {json.dumps(form)[1:-1] for form in inside}
    return {
        raw,
        *(form.encode() for form in inside | twice),
        base64.b64encode(raw)[: len(raw) * 8 // 6],
        base64.b64encode(b"user:" + raw)[8 : (5 + len(raw)) * 8 // 6],
        raw.hex().encode(),
        quote(secret, safe="").encode(),
    }
