"""The key with which an agent that may be any program uses the swarm's tools."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from fake_api import Answer, Reply, Request, Server, connected, serving

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.logs import Log
from agent_swarm_worker.providers.acp.adapter import GenericAdapter
from agent_swarm_worker.providers.qwen.adapter import QwenAdapter
from agent_swarm_worker.worker.run.launch_files import session_mcp_servers

pytestmark = pytest.mark.anyio

CREATE, REVOKE = "POST /api/sessions/tokens", "DELETE /api/sessions/tokens/tok-1"
ISSUED = Reply(201, {"tokenId": "tok-1", "plaintext": "aseph_0123456789"})
KEY = "the-key-of-the-worker"


def routes(table: dict[str, Answer]) -> Callable[[Request], Answer]:
    return lambda request: table.get(request.call, Reply(404, "Not Found"))


async def key_of(adapter: Any, table: dict[str, Answer]) -> tuple[str, Server, str]:
    """Return the key of the swarm's tool server, the API, and the key as the log shows it."""
    redactor = Scrubber()
    async with serving(routes(table)) as server, connected(server.url) as client:
        worker: Any = SimpleNamespace(
            settings=SimpleNamespace(api_url=server.url, api_key=KEY),
            agent_id="agent-1",
            runtime_id="run-1",
            client=client,
            log=Log(),
        )
        task: Any = SimpleNamespace(task_id="task-1")
        async with AsyncExitStack() as stack:
            try:
                found = await session_mcp_servers(
                    worker, adapter, task, None, redactor, stack=stack
                )
            except ApiError as error:
                return repr(error), server, ""
            assert REVOKE not in server.calls
        key = found.servers[0].headers["Authorization"].removeprefix("Bearer ")
        return key, server, redactor.text(key)


async def test_the_agent_gets_a_token_of_its_session_which_is_revoked():
    key, server, shown = await key_of(GenericAdapter(), {CREATE: ISSUED, REVOKE: Reply()})
    assert key == "aseph_0123456789"
    (body,) = server.bodies(CREATE)
    assert (body["agentId"], body["taskId"], body["ttlMs"]) == ("agent-1", "task-1", 86_400_000)
    assert REVOKE in server.calls
    assert key not in shown


async def test_a_server_without_tokens_gets_the_key():
    key, _, _ = await key_of(GenericAdapter(), {})
    assert key == KEY


async def test_a_refused_token_is_not_replaced_by_the_key():
    refused, _, _ = await key_of(GenericAdapter(), {CREATE: Reply(403, {"error": "no"})})
    assert refused.startswith("ApiRefused(")


async def test_a_revocation_that_fails_changes_nothing():
    table: dict[str, Answer] = {CREATE: ISSUED, REVOKE: Reply(500, {"error": "broken"})}
    key, server, _ = await key_of(GenericAdapter(), table)
    assert key == "aseph_0123456789"
    assert REVOKE in server.calls


async def test_a_harness_that_is_known_has_the_key():
    key, server, _ = await key_of(QwenAdapter(), {CREATE: ISSUED})
    assert key == KEY
    assert CREATE not in server.calls
