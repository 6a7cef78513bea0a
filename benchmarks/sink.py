"""A swarm API that accepts all requests, in its own process so that its CPU is not counted.

Polls return the tasks that were added by ``POST /bench/task``; ``GET /bench/arrived`` returns the
numbers of log lines, events, finished tasks, and requests by route.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter, deque
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWERS: dict[str, dict[str, Any]] = {
    "/api/agents": {"id": "bench-agent", "name": "bench", "status": "idle", "maxTasks": 1},
    "/me": {"id": "bench-agent", "name": "bench", "status": "idle", "maxTasks": 1},
    "/api/config/resolved": {"configs": []},
    "/api/paused-tasks": {"tasks": []},
    "/cancelled-tasks": {"cancelled": []},
}
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    polled = False
    tasks: ClassVar[deque[dict[str, Any]]] = deque()
    finished: ClassVar[list[str]] = []
    requests: ClassVar[Counter[str]] = Counter()
    lines = events = line_bytes = 0
    secrets: tuple[str, ...] = ()
    leaks = 0

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else b""
        answer = json.dumps(self._act(self.path.partition("?")[0], body)).encode()
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
        # In one piece: two small writes would wait for each other (Nagle, delayed ACK).
        self.wfile.write(f"{head}{len(answer)}\r\n\r\n".encode() + answer)

    def _act(self, path: str, body: bytes) -> dict[str, Any]:
        if path.startswith("/bench/"):
            return self._bench(path, body)
        Handler.requests[f"{self.command} {_ID.sub('{id}', path)}"] += 1
        if any(secret in body.decode("utf-8", "replace") for secret in Handler.secrets):
            Handler.leaks += 1
        match path:
            case "/api/poll":
                if not Handler.polled:
                    Handler.polled = True
                    print("polled", flush=True)
                task = Handler.tasks.popleft() if Handler.tasks else None
                return {"trigger": task}
            case "/api/session-logs":
                lines = orjson.loads(body)["lines"]
                Handler.lines += len(lines)
                Handler.line_bytes += sum(map(len, lines))
            case "/api/events/batch":
                Handler.events += len(orjson.loads(body)["events"])
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "tasks"] and len(parts) > 2:
            if parts[-1] == "finish":
                Handler.finished.append(parts[2])
            return {"success": True, "id": parts[2], "status": "in_progress", "task": "as asked"}
        return dict(ANSWERS.get(path, {"success": True, "count": 1}))

    def _bench(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/bench/task":
            task = {**orjson.loads(body), "status": "in_progress", "agentId": "bench-agent"}
            Handler.tasks.append({"type": "task_assigned", "taskId": task["id"], "task": task})
        if path == "/bench/secrets":
            Handler.secrets = tuple(orjson.loads(body)["secrets"])
        return {
            "lines": Handler.lines,
            "line_bytes": Handler.line_bytes,
            "events": Handler.events,
            "finished": Handler.finished,
            "requests": dict(Handler.requests),
            "leaks": Handler.leaks,
        }

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


@contextmanager
def sink() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start it; yields its URL and the process, whose output says ``polled`` at the first poll."""
    argv = [sys.executable, "-m", "benchmarks.sink"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask a running sink, outside of what is counted."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, path, None if body is None else json.dumps(body))
        return dict(json.loads(connection.getresponse().read()))
    finally:
        connection.close()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
