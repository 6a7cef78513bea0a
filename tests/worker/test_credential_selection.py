"""One credential per session out of a pool, and the reports on it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from recording_proxy import RecordingProxy, proxy_rig
from rig import AGENT, AGENTS, Rig, running_worker

from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

TOKENS = ("oauth-token-number-0-aaaaa", "oauth-token-number-1-bbbbb")
API_KEY = "api-key-that-is-alone-ccccc"


def claude(place: Path, *args: str, **env: str) -> dict[str, str]:
    """Return the settings that make ``claude_like.py`` the claude command line."""
    words = [sys.executable, "-S", "-B", str(AGENTS / "claude_like.py"), str(place), *args]
    pool = {"CLAUDE_CODE_OAUTH_TOKEN": " , ".join(TOKENS)}
    return {"HARNESS_PROVIDER": "claude", "CLAUDE_BINARY": shlex.join(words), **pool, **env}


async def ran(rig: Rig) -> tuple[dict[str, Any], dict[str, str]]:
    """Run a task; return its row and the credentials its session was given."""
    row = await rig.until_ended(await rig.submit())
    await rig.settled(row["id"])
    note = json.loads((rig.place / f"{row['id']}.json").read_text())
    return row, note["given"]


async def keys(rig: Rig) -> dict[str, dict[str, Any]]:
    """Return what the server knows of each key, by its last characters."""
    rows = (await rig.get("/api/keys/status"))["keys"]
    return {row["keySuffix"]: row for row in rows}


async def reported(rig: Rig, proxy: RecordingProxy, action: str) -> list[Any]:
    async def look() -> list[Any]:
        return [visit.json() for visit in proxy.seen(f"POST /api/keys/{action}") if visit.status]

    return list(await rig.until(look))


async def test_a_session_gets_one_key_and_its_use_is_counted(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, claude(tmp_path)):
        row, given = await ran(rig)
        assert row["status"] == "completed", row
        (token,) = given.values()
        assert token in TOKENS
        (use,) = await reported(rig, proxy, "report-usage")
        assert use == {
            "keyType": "CLAUDE_CODE_OAUTH_TOKEN",
            "keySuffix": token[-5:],
            "keyIndex": TOKENS.index(token),
            "taskId": row["id"],
        }
        await reported(rig, proxy, "clear-rate-limit")
        assert (await rig.task(row["id"]))["credentialKeySuffix"] == token[-5:]


@pytest.mark.long
async def test_a_key_that_hit_its_limit_rests_and_the_others_work(tmp_path: Path):
    env = claude(tmp_path, "--limited", TOKENS[1], ANTHROPIC_API_KEY=API_KEY)
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, env):
        token = ""
        while token != TOKENS[1]:
            row, given = await ran(rig)
            # With a token set, the CLI is not given the key that it would use instead.
            (token,) = given.values()
        assert row["status"] == "failed"
        assert "limit" in row["failureReason"]
        (limit,) = await reported(rig, proxy, "report-rate-limit$")
        assert limit["keySuffix"] == TOKENS[1][-5:]
        assert limit["rateLimitedUntil"].endswith("Z")
        (windows,) = await reported(rig, proxy, "report-rate-limit-windows")
        assert windows["windows"]["five_hour"]["status"] == "rejected"
        assert (await keys(rig))[TOKENS[1][-5:]]["status"] == "rate_limited"
        for _ in range(5):
            row, given = await ran(rig)
            assert given == {"CLAUDE_CODE_OAUTH_TOKEN": TOKENS[0]}
            assert row["status"] == "completed"


async def test_when_every_key_is_limited_one_is_tried_all_the_same(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        for index, token in enumerate(TOKENS):
            body = {
                "keyType": "CLAUDE_CODE_OAUTH_TOKEN",
                "keySuffix": token[-5:],
                "keyIndex": index,
                "rateLimitedUntil": "2999-01-01T00:00:00.000Z",
            }
            await rig.post("/api/keys/report-rate-limit", body, **{"X-Agent-ID": AGENT})
        async with running_worker(rig, claude(tmp_path)):
            row, given = await ran(rig)
        assert row["status"] == "completed"
        assert [line["all_limited"] for line in rig.logged(Event.CREDENTIAL_SELECTED)] == [True]
        (token,) = given.values()
        await reported(rig, proxy, "clear-rate-limit")
        assert (await keys(rig))[token[-5:]]["status"] == "available"


async def test_a_server_without_pools_changes_nothing(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.lack("/api/keys/")
        async with running_worker(rig, claude(tmp_path)):
            row, given = await ran(rig)
            assert row["status"] == "completed"
            assert set(given.values()) < set(TOKENS)
