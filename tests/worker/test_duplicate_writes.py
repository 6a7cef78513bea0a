"""A write that was carried out but not acknowledged is not repeated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from patience import HANG_S
from recording_proxy import QuickClock, RecordingProxy, proxy_rig
from rig import AGENT, KEY, Rig, harness, running_worker

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.outbox.outbox import Outbox
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.state.database import Database

pytestmark = pytest.mark.anyio
LONG = pytest.mark.long

POOL_KEY = {"key_type": "K", "suffix": "abcde", "index": 0}
UNTIL = "2099-01-01T00:00:00.000Z"
TASK = "TASK"


@asynccontextmanager
async def outbox_of(rig: Rig) -> AsyncIterator[Outbox]:
    """An outbox that delivers to the rig's swarm, with a clock that makes retries quick."""
    clock = QuickClock(50)
    database = Database(rig.place / "outbox.sqlite", clock=clock)
    http = Http(rig.url, health=ApiHealth(clock), api_key=KEY, agent_id=AGENT, timeout_s=5)
    async with http, anyio.create_task_group() as group:
        outbox = Outbox(database, SwarmClient(http, ServerCapabilities(clock)), clock=clock)
        group.start_soon(outbox.run)
        yield outbox
        group.cancel_scope.cancel()
    database.close()


def event(number: int, task_id: str) -> dict[str, Any]:
    data = {"toolName": "Bash", "toolCallId": f"c{number}", "clientTimestamp": UNTIL, "x": {"b": 1}}
    return {
        "event": "tool.start",
        "category": "tool",
        "source": "worker",
        "taskId": task_id,
        "data": data,
    }


def snapshot(kind: str, used: int) -> dict[str, Any]:
    return {
        "eventType": kind,
        "sessionId": "s",
        "contextUsedTokens": used,
        "contextTotalTokens": 1000,
        "contextPercent": used / 10,
    }


async def said(rig: Rig, task_id: str) -> list[str]:
    rows = (await rig.task(task_id))["logs"]
    return [row["newValue"] for row in reversed(rows) if row["eventType"] == "task_progress"]


async def snapshots(rig: Rig, task_id: str) -> list[int]:
    found = (await rig.get(f"/api/tasks/{task_id}/context"))["snapshots"]
    return [row["contextUsedTokens"] for row in found]


async def calls(rig: Rig, task_id: str) -> list[str]:
    return [row["data"]["toolCallId"] for row in reversed(await rig.events(task_id))]


async def costs(rig: Rig, task_id: str) -> list[str]:
    return [row["sessionId"] for row in await rig.costs(task_id)]


async def key_row(rig: Rig, name: str) -> list[int]:
    (row,) = (await rig.get("/api/keys/status", keyType="K"))["keys"]
    return [row[name]]


async def uses(rig: Rig, _: str) -> list[int]:
    return await key_row(rig, "totalUsageCount")


async def limits(rig: Rig, _: str) -> list[int]:
    return await key_row(rig, "rateLimitCount")


Look = Callable[[Rig, str], Awaitable[list[Any]]]


WRITES: dict[str, tuple[WriteKind, str, list[dict[str, Any]], Look, list[Any]]] = {
    "notes": (
        WriteKind.NOTE,
        "/progress",
        [{"task_id": TASK, "text": text} for text in ("one", "two")],
        said,
        ["one", "two"],
    ),
    "progress": (
        WriteKind.PROGRESS,
        "/progress",
        [{"task_id": TASK, "text": "Running Bash"}],
        said,
        ["Running Bash"],
    ),
    "snapshots": (
        WriteKind.CONTEXT,
        "/context",
        [{"task_id": TASK, "snapshot": snapshot("progress", used)} for used in (10, 25)],
        snapshots,
        [10, 25],
    ),
    "compactions": (
        WriteKind.CONTEXT,
        "/context",
        [{"task_id": TASK, "snapshot": snapshot("compaction", used)} for used in (500, 400)],
        snapshots,
        [500, 400],
    ),
    "events": (
        WriteKind.EVENTS,
        "/events/batch",
        [{"events": [event(1, TASK), event(2, TASK)]}, {"events": [event(3, TASK)]}],
        calls,
        ["c1", "c2", "c3"],
    ),
    "a cost": (
        WriteKind.COST,
        "/session-costs",
        [{"sessionId": "s", "agentId": AGENT, "taskId": TASK, "totalCostUsd": 0.5}],
        costs,
        ["s"],
    ),
    "the use of a key": (
        WriteKind.REPORT_USAGE,
        "/report-usage",
        [{"key": POOL_KEY, "task_id": TASK}],
        uses,
        [1],
    ),
    "a limit of a key": (
        WriteKind.REPORT_RATE_LIMIT,
        "/report-rate-limit",
        [{"key": POOL_KEY, "until": UNTIL}],
        limits,
        [1],
    ),
}


def of_task(value: Any, task_id: str) -> Any:
    """Put the real id in the place of the one in the table."""
    match value:
        case dict():
            return {name: of_task(item, task_id) for name, item in value.items()}
        case list():
            return [of_task(item, task_id) for item in value]
        case _:
            return task_id if value == TASK else value


def spoil(proxy: RecordingProxy, route: str, how: str, times: int) -> None:
    if how == "refused":
        proxy.refuse(f"POST .*{route}", 503, times=times)
    else:
        proxy.lose_answer(f"POST .*{route}", how, times=times)


@pytest.mark.parametrize(
    "how", ["cut", *(pytest.param(how, marks=LONG) for how in ("500", "refused"))]
)
async def test_a_write_whose_answer_was_lost_is_not_repeated(tmp_path: Path, how: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await rig.post("/api/agents", {"name": "a"}, **{"X-Agent-ID": AGENT})
        for name, (kind, route, writes, look, stored) in WRITES.items():
            async with outbox_of(rig) as outbox:
                task_id = await rig.submit()
                spoil(proxy, route, how, times=len(writes))
                for args in of_task(writes, task_id):
                    outbox.put(task_id, kind, args)
                assert await outbox.flushed(task_id, timeout_s=5), name
                assert await look(rig, task_id) == stored, name
            proxy.be_open()
            await rig.post("/api/keys/clear-rate-limit", {"keyType": "K", "keySuffix": "abcde"})
        compacted = await rig.get("/api/tasks", fields="full", limit=100)
        assert sorted(row["compactionCount"] for row in compacted["tasks"])[-2:] == [0, 2]


async def test_equal_writes_in_a_row_are_all_stored(tmp_path: Path):
    """What was acknowledged before does not pass for what comes after it."""
    async with proxy_rig(tmp_path) as (rig, proxy), outbox_of(rig) as outbox:
        task_id = await rig.submit()
        for number in (1, 2, 1, 2):
            outbox.put(task_id, WriteKind.EVENTS, {"events": [event(number, task_id)]})
            outbox.put(task_id, WriteKind.NOTE, {"task_id": task_id, "text": f"note {number}"})
        assert await outbox.flushed(task_id, timeout_s=5)
        assert await calls(rig, task_id) == ["c1", "c2", "c1", "c2"]
        assert await said(rig, task_id) == ["note 1", "note 2", "note 1", "note 2"]
        assert not proxy.seen("GET /api/(events|tasks)")


@LONG
async def test_a_use_without_a_task_may_be_counted_twice(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy), outbox_of(rig) as outbox:
        proxy.lose_answer("/report-usage")
        outbox.put("t", WriteKind.REPORT_USAGE, {"key": POOL_KEY, "task_id": None})
        assert await outbox.flushed("t", timeout_s=5)
        assert await uses(rig, "t") == [2]


@pytest.mark.parametrize("answer", ["missing", pytest.param("html", marks=LONG)])
async def test_a_server_that_cannot_be_read_still_gets_everything(tmp_path: Path, answer: str):
    async with proxy_rig(tmp_path) as (rig, proxy):
        await rig.post("/api/agents", {"name": "a"}, **{"X-Agent-ID": AGENT})
        for name, (kind, route, writes, look, _) in WRITES.items():
            spoil(proxy, route, "cut", times=1)
            if answer == "missing":
                proxy.lack("GET /api/")
            else:
                proxy.refuse("GET /api/", 200, "<html>", kind="text/html")
            async with outbox_of(rig) as outbox:
                task_id = await rig.submit()
                for args in of_task(writes, task_id):
                    outbox.put(task_id, kind, args)
                with anyio.fail_after(HANG_S):
                    while outbox.pending(task_id):
                        # Other answers come as always: it is not the API that is away.
                        outbox._client.http.health.record_answer(has_body=True)
                        await anyio.sleep(0.005)
            proxy.be_open()
            assert len(await look(rig, task_id)) >= 1, name


@pytest.mark.long
async def test_a_whole_session_is_told_once_although_every_first_answer_is_lost(tmp_path: Path):
    async with proxy_rig(tmp_path) as (rig, proxy):
        paths = ("session-logs", "events/batch", "session-costs", "progress", "context", "finish")
        for path in paths:
            proxy.lose_answer(f"POST .*/{path}$", times=3)
        env = harness("counts", 30)
        async with running_worker(rig, env, clock=QuickClock(10)):
            task_id = await rig.submit()
            task = await rig.until_ended(task_id)
            await rig.settled(task_id)
        assert task["output"] == f"result of {task_id}"
        contents = [row["content"] for row in await rig.logs(task_id)]
        assert len(contents) == len(set(contents)) == 32
        assert len(await rig.costs(task_id)) == 1
        events = [str(row["data"]) + row["event"] for row in await rig.events(task_id)]
        assert len(events) == len(set(events)) >= 2
        notes = await said(rig, task_id)
        assert all(first != second for first, second in pairwise(notes))
        lost = [visit for visit in proxy.visits if visit.status == 0]
        assert len(lost) >= 6
