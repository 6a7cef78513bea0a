"""A swarm API that says yes to everything, in a process of its own so that its cost is its own."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWERS = {
    "/api/poll": {"trigger": None},
    "/api/agents": {"id": "bench-agent", "name": "bench", "status": "idle", "maxTasks": 1},
    "/me": {"id": "bench-agent", "name": "bench", "status": "idle", "maxTasks": 1},
    "/api/config/resolved": {"configs": []},
    "/api/paused-tasks": {"tasks": []},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    polled = False

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        while size > 0:
            size -= len(self.rfile.read(min(size, 1 << 20)))
        path = self.path.partition("?")[0]
        if path == "/api/poll" and not Handler.polled:
            Handler.polled = True
            print("polled", flush=True)
        body = json.dumps(ANSWERS.get(path, {"success": True, "count": 1})).encode()
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
        # In one piece: two small writes would wait for each other (Nagle, delayed ACK).
        self.wfile.write(f"{head}{len(body)}\r\n\r\n".encode() + body)

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


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
