"""The whole way to the wire: the reporter, the real outbox, real HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    CostData,
    Message,
    ProviderResult,
    RawLog,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.outbox.outbox import Outbox
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.reporting.finish import decide_finish
from agent_swarm_worker.state.directory import StateDir
from agent_swarm_worker.worker.recovery.upload_cursor import UploadCursor


@pytest.fixture
def server():
    """A swarm that says yes to everything and remembers what it was told."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
            told.append((self.command, self.path, body))
            reply = b'{"success":true,"ok":true,"updated":true,"alreadyFinished":false}'
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def do_PUT(self):
            self.do_POST()

        def log_message(self, *args): ...

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.told = told
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.mark.anyio
@pytest.mark.parametrize("task_id", ["task-1", None])
async def test_what_a_session_reports_reaches_the_api_in_order(
    make_reporter, journal, redactor, server, tmp_path, task_id
):
    clock = SystemClock()
    state = StateDir.open(tmp_path / "state", "agent-1", clock=clock)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    async with Http(url, health=ApiHealth(clock), agent_id="agent-1") as http:
        outbox = Outbox(state.database, SwarmClient(http, ServerCapabilities(clock)), clock=clock)
        writes = UploadCursor(outbox, state, "task-1")
        reporter = make_reporter(writes=writes, task_id=task_id, effective_id="task-1")
        reporter.on_event(SessionInit("native-1", harness_variant="cli"))
        journal.append([b'{"type":"system"}'])
        reporter.on_event(RawLog('{"type":"system"}'))
        reporter.on_event(ToolStart("c1", "Read", {"file_path": "/a/b"}))
        reporter.on_event(ToolEnd("c1", "Read", ""))
        reporter.on_event(ContextUsage(10, 1000, 1.0, output_tokens=3))
        reporter.on_event(Compaction(900))
        reporter.on_event(Message("assistant", "Done."))
        reporter.on_event(Result(CostData(total_cost_usd=0.1, input_tokens=5, model="opus")))
        result = ProviderResult(exit_code=0, is_error=False)
        reporter.close(result)
        if task_id:
            finish = await decide_finish(
                result, harness="claude", redactor=redactor, last_text=reporter.last_text
            )
            outbox.put("task-1", WriteKind.FINISH, finish.args(task_id))
        async with anyio.create_task_group() as group:
            group.start_soon(outbox.run)
            assert await outbox.flush_all(timeout_s=10)
            group.cancel_scope.cancel()
    state.close()

    unordered = {
        "/api/session-logs",
        "/api/events/batch",
        "/api/agents/agent-1/credential-status",
    }
    calls = [(path, body) for _, path, body in server.told]
    on_task = [path for path, _ in calls if path not in unordered]
    assert {path for path, _ in calls if path in unordered} == unordered
    if task_id is None:
        assert on_task == [
            "/api/active-sessions/provider-session/task-1",
            "/api/session-costs",
        ]
        assert not any("taskId" in body for _, body in calls)
        return
    # Writes of one kind keep their order; a cost may pass the contexts. The finish is the last.
    assert sorted(on_task[:-1]) == sorted(
        [
            "/api/tasks/task-1/session",
            "/api/tasks/task-1/progress",
            *["/api/tasks/task-1/context"] * 3,
            "/api/session-costs",
        ]
    )
    assert calls[-1][0] == on_task[-1] == "/api/tasks/task-1/finish"
    contexts = [body["eventType"] for path, body in calls if path.endswith("/context")]
    assert contexts == ["progress", "compaction", "completion"]
    told = dict(calls)
    assert told["/api/tasks/task-1/session"]["claudeSessionId"] == "native-1"
    assert told["/api/tasks/task-1/progress"] == {"progress": "📖 Reading a/b"}
    assert told["/api/session-logs"]["lines"] == ['{"type":"system"}']
    assert told["/api/tasks/task-1/finish"] == {"status": "completed", "output": "Done."}
