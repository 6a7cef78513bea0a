"""The server inside a program: binding, stopping, persistence, access."""

from __future__ import annotations

import signal
import socket
import sqlite3
import stat
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from local_swarm_api import KEY, Api, client
from patience import HANG_S

from agent_swarm_worker.errors import BadSetting, StateLocked, StateUnwritable
from agent_swarm_worker.local_swarm.serve import LocalSwarm

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

SERVER = """
import sys, anyio
from agent_swarm_worker import logs
from agent_swarm_worker.local_swarm.serve import LocalSwarm
logs.configure(human=False, stream=sys.stdout)
async def serve():
    async with LocalSwarm(sys.argv[1], sys.argv[2]) as swarm:
        logs.Log().info(logs.Event.LOCAL_READY, url=swarm.url)
        await anyio.sleep_forever()
anyio.run(serve)
"""


# --- who gets in
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_a_key_only_loopback(host: str) -> None:
    with pytest.raises(BadSetting, match="loopback"):
        LocalSwarm(host=host)
    LocalSwarm(host=host, api_key="k")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example:3013"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://["},
    ],
)
async def test_a_web_page_cannot_use_a_server_without_a_key(headers: dict[str, str]) -> None:
    async with LocalSwarm() as swarm, client(swarm.url, "") as http:
        body = {"task": "rm -rf"}
        answer = await http.post("/api/tasks", json=body, headers=headers)
        assert answer.status_code == 403
        assert (await http.get("/api/tasks")).json()["total"] == 0
        local = {"Origin": "http://localhost:5173", "Host": "localhost:1"}
        assert (await http.post("/api/tasks", json=body, headers=local)).status_code == 201


async def test_a_key_of_any_characters_works() -> None:
    key = "schlüssel-🔑"
    async with LocalSwarm(api_key=key) as swarm, client(swarm.url, "") as http:
        header = {b"Authorization": b"Bearer " + key.encode()}
        assert (await http.get("/api/agents", headers=header)).status_code == 200
        assert (await http.get("/api/agents")).status_code == 401


# --- binding
async def test_two_servers_side_by_side() -> None:
    async with LocalSwarm() as one, LocalSwarm(host="localhost") as two:
        assert one.url != two.url
        for swarm in (one, two):
            async with client(swarm.url, "") as http:
                assert (await http.get("/health")).json()["status"] == "ok"


async def test_a_taken_port_is_a_bad_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSetting, match=str(port)):
            async with LocalSwarm(port=port):
                pass


async def test_answers_do_not_wait_for_acknowledgements() -> None:
    async with LocalSwarm() as swarm, client(swarm.url, "") as http:
        agent = await Api(http).agent()
        took_s = []
        for _ in range(50):
            began = time.perf_counter()
            await agent.poll()
            took_s.append(time.perf_counter() - began)
        # With Nagle's algorithm on, each takes 40 ms, even the quickest.
        assert min(took_s) < 0.035


async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with LocalSwarm():
            raise KeyError


# --- stopping
async def test_it_stops_at_once_with_connections_open(caplog: pytest.LogCaptureFixture) -> None:
    async with LocalSwarm(api_key=KEY) as swarm, client(swarm.url, KEY) as http:
        agent = await Api(http).agent()
        host, port = swarm.url.removeprefix("http://").split(":")
        half = b"POST /api/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
        half += f"Authorization: Bearer {KEY}\r\n\r\n".encode() + b"{"
        streams = [await anyio.connect_tcp(host, int(port)) for _ in range(3)]
        for stream, sent in zip(streams, (b"\r\n", b"GET /hea", half), strict=True):
            await stream.send(sent)
        await agent.poll()
        began = time.perf_counter()
    assert time.perf_counter() - began < HANG_S
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    with anyio.fail_after(HANG_S):
        for stream in streams:
            with suppress(anyio.BrokenResourceError):
                async for _ in stream:  # to its end
                    continue
            await anyio.aclose_forcefully(stream)
    with pytest.raises(httpx2.ConnectError):
        async with client(swarm.url, KEY) as http:
            await http.get("/health")


async def test_it_stops_when_cancelled_and_leaves_signals_alone() -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before, began = handlers(), time.perf_counter()
    with anyio.move_on_after(0.05) as scope:
        async with LocalSwarm(":memory:"):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert time.perf_counter() - began < HANG_S
    async with LocalSwarm() as swarm, client(swarm.url, "") as http:
        await http.get("/health")
        assert handlers() == before


async def test_a_client_that_hangs_up_hurts_nobody() -> None:
    async with LocalSwarm() as swarm, client(swarm.url, "") as http:
        host, port = swarm.url.removeprefix("http://").split(":")
        for _ in range(5):
            stream = await anyio.connect_tcp(host, int(port))
            await stream.send(b"POST /api/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            await stream.send(b"Content-Length: 50\r\n\r\n{")
            await stream.aclose()
        assert (await http.get("/health")).status_code == 200


async def test_too_large_an_upload_is_refused() -> None:
    async with LocalSwarm() as swarm, client(swarm.url, "") as http:
        task = (await http.post("/api/tasks", json={"task": "t"})).json()
        path = f"/api/fs/tasks/{task['id']}/files?name=big"
        answer = await http.post(path, content=b"x" * (50 * 1024 * 1024 + 1))
        assert answer.status_code == 413


# --- lasting
async def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    db = tmp_path / "state" / "swarm.sqlite"
    command = [sys.executable, "-c", SERVER, str(db), KEY]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        line = (await process.stdout.receive()).decode()
        url = line.split('"url":"')[1].split('"')[0]
        async with client(url, KEY) as http:
            assert (await http.get("/health")).status_code == 200
            agent = await Api(http).agent("survivor")
            tasks = [await agent.task(f"task {number}") for number in range(20)]
            claimed = await agent.poll()
            process.kill()
        await process.wait()
    async with LocalSwarm(db, api_key=KEY) as swarm, client(swarm.url, KEY) as http:
        agent.http = http
        states = [(await agent.read(task["id"]))["status"] for task in tasks]
        assert states == ["in_progress"] + ["pending"] * 19
        assert claimed["taskId"] == tasks[0]["id"]
        assert (await agent.finish(tasks[0]))["alreadyFinished"] is False


async def test_the_database_is_the_owners_alone(tmp_path: Path) -> None:
    db = tmp_path / "swarm.sqlite"
    async with LocalSwarm(db) as swarm, client(swarm.url, "") as http:
        await Api(http).agent()
        names = set()
        async for file in anyio.Path(tmp_path).iterdir():
            assert stat.S_IMODE((await file.stat()).st_mode) == 0o600, file.name
            names.add(file.name)
        # The write-ahead log is what survives a kill in the middle of a write.
        assert names == {"swarm.sqlite", "swarm.sqlite-wal"}


async def test_one_database_one_server(tmp_path: Path) -> None:
    db = tmp_path / "swarm.sqlite"
    async with LocalSwarm(db):
        with pytest.raises(StateLocked):
            async with LocalSwarm(db):
                pass
    async with LocalSwarm(db):
        pass


async def test_a_database_of_the_future_or_of_nobody_is_refused(tmp_path: Path) -> None:
    newer, broken = tmp_path / "newer.sqlite", tmp_path / "broken.sqlite"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    broken.write_bytes(b"this is no database, whatever its name says" * 100)
    for path in (newer, broken, tmp_path, tmp_path / "broken.sqlite" / "below"):
        with pytest.raises(StateUnwritable):
            async with LocalSwarm(path):
                pass


async def test_a_failed_request_leaves_nothing_behind() -> None:
    async with LocalSwarm() as swarm, client(swarm.url, "") as http:
        agent = await Api(http).agent()
        task = await agent.started()
        files = [{"path": "good", "content": ""}, {"path": "../bad", "content": ""}]
        content = {"content": "---\nname: n\ndescription: d\n---\n"}
        skill = (await agent.post("/api/skills", content, 201))["skill"]
        await agent.post(f"/api/skills/{skill['id']}/files", {"files": files}, 400)
        assert (await agent.get(f"/api/skills/{skill['id']}/files"))["files"] == []
        # A number beyond what the wire allows is refused before it reaches the database.
        huge = {"sessionId": "s", "iteration": 2**70, "lines": ["x"]}
        await agent.post("/api/session-logs", huge, 400)
        assert (await agent.finish(task))["success"] is True


@pytest.mark.long
async def test_it_answers_while_the_tools_are_being_loaded(tmp_path: Path) -> None:
    script = """
import anyio, httpx2, time
from agent_swarm_worker.local_swarm.serve import LocalSwarm
async def main():
    async with LocalSwarm() as swarm, httpx2.AsyncClient(
        base_url=swarm.url, verify=False, timeout=60
    ) as http:
        head = {"X-Agent-ID": "a", "Accept": "application/json, text/event-stream"}
        await http.post("/api/agents", json={"name": "a"}, headers=head)
        import sys
        assert "mcp.server" not in sys.modules
        ping = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        answered = []
        async def open_door():
            answer = await http.post("/mcp", json=ping, headers=head)
            assert len(answer.json()["result"]["tools"]) > 20, answer.text
            answered.append("mcp")
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(open_door)
            while len(answered) < 3 or "mcp" not in answered:
                await http.get("/health")
                answered.append("health")
        assert answered.index("mcp") > 8, answered
anyio.run(main)
"""
    result = await anyio.run_process([sys.executable, "-c", script], check=False)
    assert result.returncode == 0, result.stderr.decode()
