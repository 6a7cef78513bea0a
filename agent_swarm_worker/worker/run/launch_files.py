"""Makes the private directory of a session, and lists its MCP servers.

The directory is in the state directory, or in the system's temporary directory if nothing can be
written there: a full disk must not fail a session for its few private files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import anyio

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.errors import ApiError, StateUnwritable
from agent_swarm_worker.files import make_private_dir
from agent_swarm_worker.guards.scrubbing.secret_names import is_secret_name
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.kit.mcp_config import is_like_swarms, swarm_server
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.tool_bridge.serving import SERVER as TOOLS_SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AsyncExitStack

    from agent_swarm_worker.api.wire.resources import InstalledMcpServer
    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.contract import ProviderAdapter, Redactor
    from agent_swarm_worker.worker.boot.parts import Core
    from agent_swarm_worker.worker.run.running_task import RunningTask

SESSIONS_DIR = "sessions"
"""Folder of the private directories, in the state directory."""
PROBE_BYTES = 256 * 1024
MIN_SECRET_CHARS = 16
"""From this length on any value counts as a secret; words such as ``production`` are shorter."""
TRANSPORTS = frozenset({"http", "sse", "stdio"})


@contextmanager
def private_dir(folder: Path, name: str, *, log: Log) -> Iterator[Path]:
    """Make a private directory of mode 0700, and remove it afterwards.

    Raises:
        StateUnwritable: it can neither be made in `folder` nor in the temporary directory.
    """
    path = folder / name
    try:
        try:
            _make(path)
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)
            path = _fallback_path(folder, name)
            log.warning(Event.STATE_DEGRADED, error=error.strerror, instead=str(path))
            _make(path)
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise StateUnwritable(folder / name, error.strerror or str(error)) from None
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_private_dirs(folder: Path) -> None:
    """Remove the private directories of a killed process: `folder`, and the fallbacks."""
    shutil.rmtree(folder, ignore_errors=True)
    spare = _fallback_path(folder, "*")
    with contextlib.suppress(OSError):
        for path in spare.parent.glob(spare.name):
            if path.lstat().st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)


def _make(path: Path) -> None:
    """Make the directory, and check that the disk has space for its files."""
    make_private_dir(path.parent)
    path.mkdir(mode=0o700)  # an existing one is not ours
    with tempfile.TemporaryFile(dir=path) as probe:  # 0600 whatever the umask
        probe.write(bytes(PROBE_BYTES))
        probe.flush()


def _fallback_path(folder: Path, name: str) -> Path:
    """Return the fallback; its name has a digest of `folder`, for `remove_private_dirs`."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"swarm-worker-{digest}-{name}"


@dataclass(frozen=True, slots=True)
class SessionMcpServers:
    """The MCP servers of a session."""

    servers: tuple[McpServer, ...]
    installed: tuple[str, ...]
    """Names of the usable installed ones, for the prompt."""


REVOKE_S = 5.0
"""Limit of the request that ends the validity of a session's token."""


async def swarm_key(
    worker: Core,
    adapter: ProviderAdapter,
    task: RunningTask,
    redactor: Redactor,
    stack: AsyncExitStack,
) -> str:
    """Return the key with which the agent uses the swarm's tools; `stack` revokes a token.

    Raises `ApiError` if the server issues tokens and refuses one: the key is no substitute.
    """
    if not adapter_spec(adapter).capabilities.has_session_token:
        return worker.settings.api_key
    sessions = worker.client.sessions
    token = await sessions.create_token(worker.agent_id, task.task_id)
    if token is None:
        return worker.settings.api_key
    redactor.add("SESSION_TOKEN", token.secret)

    async def revoke() -> None:
        with anyio.move_on_after(REVOKE_S, shield=True) as limit:
            try:
                await sessions.revoke_token(token.id)
            except ApiError as error:
                worker.log.warning(Event.API_REFUSED, call="session token", why=str(error))
        if limit.cancelled_caught:
            worker.log.warning(Event.API_REFUSED, call="session token", why="no answer")

    stack.push_async_callback(revoke)
    return token.secret


async def session_mcp_servers(
    worker: Core,
    adapter: ProviderAdapter,
    task: RunningTask,
    row: Task | None,
    redactor: Redactor,
    *,
    stack: AsyncExitStack,
) -> SessionMcpServers:
    """Return the swarm's MCP server and the installed ones, with resolved secrets.

    Fetched for each session, so that a rotated secret applies to the next one. Secrets are
    registered with the scrubber first. Without an answer the session has only the swarm's server.
    `stack` ends the validity of the session's token.
    """
    own = swarm_server(
        api_url=worker.settings.api_url,
        api_key=await swarm_key(worker, adapter, task, redactor, stack),
        agent_id=worker.agent_id,
        task_id=task.task_id,
        context_key=row.context_key if row else None,
        runtime_id=worker.runtime_id,
    )
    can = adapter_spec(adapter).capabilities
    if not (can.has_local_environment or can.mcp_transports):
        return SessionMcpServers((own,), ())
    try:
        installed = await worker.client.resources.mcp_servers(
            worker.agent_id, resolve_secrets=can.has_local_environment
        )
    except ApiError as error:
        worker.log.warning(Event.MCP_CONFIG, why=str(error))
        return SessionMcpServers((own,), ())
    names = tuple(server.name for server in installed if server.is_usable)
    if not can.has_local_environment:
        return SessionMcpServers((own,), names)
    usable = [_server(worker, server, redactor) for server in installed]
    return SessionMcpServers((own, *(server for server in usable if server is not None)), names)


def _server(worker: Core, server: InstalledMcpServer, redactor: Redactor) -> McpServer | None:
    for name, value in (*server.env.items(), *server.headers.items()):
        if is_secret_name(name) or len(value) >= MIN_SECRET_CHARS:
            redactor.add(name, value.removeprefix("Bearer "))
    why = server.auth_error
    if is_like_swarms(server.name) or server.name == TOOLS_SERVER:
        why = "its name is that of a server of the worker's own"
    elif server.transport not in TRANSPORTS:
        why = f"unknown transport {server.transport!r}"
    elif not (server.command if server.transport == "stdio" else server.url):
        why = "it has neither command nor address"
    if why or not server.is_usable:
        if why:
            worker.log.warning(Event.MCP_CONFIG, server=server.name, why=why)
        return None
    return McpServer(
        name=server.name,
        transport=cast('Literal["http", "sse", "stdio"]', server.transport),
        url=server.url,
        headers=server.headers,
        command=server.command,
        args=server.args,
        env=server.env,
    )
