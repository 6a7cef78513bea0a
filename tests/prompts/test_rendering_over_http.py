"""Rendering with the real client over HTTP."""

from __future__ import annotations

import http.server
import json
import socket
import threading

import anyio
import pytest

from agent_swarm_worker.api.capabilities import ServerCapabilities
from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.http import Http
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.prompts.render import Part, Renderer

pytestmark = pytest.mark.anyio

PARTS = [Part("system.agent.memory"), Part("system.agent.secrets"), Part("system.agent.slack")]


class Handler(http.server.BaseHTTPRequestHandler):
    """Customised memory, switched-off secrets, no idea of Slack; may hang or be an old server."""

    mode = "well"
    bodies: list
    released: threading.Event

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append(body)
        if self.mode == "hangs":
            self.released.wait(10)
        known = {"system.agent.memory": "customised"}
        skipped = body["eventType"] == "system.agent.secrets"
        answer = {"text": known.get(body["eventType"], ""), "skipped": skipped, "unresolved": []}
        content = b"Not Found" if self.mode == "old" else json.dumps(answer).encode()
        self.send_response(404 if self.mode == "old" else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        """Somebody hung up, which is what these tests are about."""


@pytest.fixture
def serve():
    """Start a server in a mode; return its URL and the bodies it got."""
    servers = []

    def start(mode):
        state = {"mode": mode, "bodies": [], "released": threading.Event()}
        handler = type("Serving", (Handler,), state)
        server = Server(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread, handler))
        return f"http://127.0.0.1:{server.server_port}", handler.bodies

    yield start
    for server, thread, handler in servers:
        handler.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


async def render(library, url, **options):
    clock = SystemClock()
    async with Http(url, health=ApiHealth(clock), agent_id="agent-1") as connection:
        client = SwarmClient(connection, ServerCapabilities(clock))
        source = client.resources
        renderer = Renderer(library, clock=clock, server=source, agent_id="agent-1", **options)
        return await renderer.build().texts(PARTS)


async def test_customised_switched_off_and_unknown_parts(library, serve):
    url, bodies = serve("well")
    memory, secrets, slack = await render(library, url)
    assert memory == "customised"
    assert secrets == ""
    assert slack.startswith("## Slack")
    assert {body["agentId"] for body in bodies} == {"agent-1"}


async def test_an_older_server_means_our_own_texts(library, serve):
    texts = await render(library, serve("old")[0])
    assert [text.splitlines()[0] for text in texts] == ["## Memory", "## Secrets", "## Slack"]


async def test_a_server_that_accepts_and_never_answers(library, serve):
    with anyio.fail_after(5):
        texts = await render(library, serve("hangs")[0], timeout_s=0.2)
    assert all(texts)


async def test_nobody_listens(library):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with anyio.fail_after(5):
        assert all(await render(library, f"http://127.0.0.1:{port}"))
