"""The private directory of a session: mode 0700, gone when the session is.

It lies in the state directory, or with the system's temporary files if that takes nothing now: a
full disk must not keep a session from its own few files.

The tool servers of a session: the swarm's own, and those installed for this agent.
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

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.errors import ApiError, StateUnwritable
from agent_swarm_worker.files import make_private_dir
from agent_swarm_worker.guards.scrubbing.needles import is_secret_name
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.providers.kit.mcp_config import SWARM_SERVER, swarm_server
from agent_swarm_worker.providers.registry import adapter_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.api.wire import InstalledMcpServer, Task
    from agent_swarm_worker.contract import ProviderAdapter, Redactor
    from agent_swarm_worker.worker.boot.parts import Core
    from agent_swarm_worker.worker.run.running_task import RunningTask

PROBE_BYTES = 256 * 1024
"""What there must be room for: configuration, prompts, tool servers."""


@contextmanager
def private_dir(folder: Path, name: str, *, log: Log) -> Iterator[Path]:
    """Make a directory that is gone afterwards.

    Args:
        folder: of such directories, this worker's alone.
        name: that nobody else uses or could guess.
        log: where it is told that another place had to do.

    Raises:
        StateUnwritable: it can be made nowhere.
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


def remove_fallback_dirs(folder: Path) -> None:
    """Remove what a killed process left of the directories that could not be made in `folder`."""
    spare = _fallback_path(folder, "*")
    with contextlib.suppress(OSError):
        for path in spare.parent.glob(spare.name):
            if path.lstat().st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)


def _make(path: Path) -> None:
    """Make the directory if there is room for files in it.

    Raises:
        OSError: it cannot be made, or nothing can be written in it.
    """
    make_private_dir(path.parent)
    path.mkdir(mode=0o700)  # one that is there is somebody else's
    with tempfile.TemporaryFile(dir=path) as probe:  # 0600 whatever the umask
        probe.write(bytes(PROBE_BYTES))
        probe.flush()


def _fallback_path(folder: Path, name: str) -> Path:
    """Return the place instead; its name says which worker's it is, for `remove_fallback_dirs`."""
    whose = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"swarm-worker-{whose}-{name}"


LONG_ENOUGH_TO_BE_SECRET = 16
"""Of a value whose name says nothing; a shorter one, such as ``production``, is a word."""
TRANSPORTS = frozenset({"http", "sse", "stdio"})


@dataclass(frozen=True, slots=True)
class ToolServers:
    """What a session is given, and what its prompt names."""

    servers: tuple[McpServer, ...]
    """The swarm's own first."""
    installed: tuple[str, ...]
    """Names of the installed ones that work."""


async def session_tool_servers(
    worker: Core,
    adapter: ProviderAdapter,
    task: RunningTask,
    row: Task | None,
    redactor: Redactor,
) -> ToolServers:
    """Return the swarm's server and the installed ones with their secrets resolved.

    Fetched for each session, so a rotated header is in force with the next one. Every secret is
    registered before anything can print it. If the list cannot be had, the session goes without.
    """
    own = swarm_server(
        api_url=worker.settings.api_url,
        api_key=worker.settings.api_key,
        agent_id=worker.agent_id,
        task_id=task.task_id,
        context_key=row.context_key if row else None,
        runtime_id=worker.runtime_id,
    )
    can = adapter_spec(adapter).capabilities
    if not (can.has_local_environment or can.mcp_transports):
        return ToolServers((own,), ())
    try:
        installed = await worker.client.resources.mcp_servers(
            worker.agent_id, resolve_secrets=can.has_local_environment
        )
    except ApiError as error:
        worker.log.warning(Event.MCP_CONFIG, why=str(error))
        return ToolServers((own,), ())
    names = tuple(server.name for server in installed if server.is_usable)
    if not can.has_local_environment:
        return ToolServers((own,), names)
    usable = [_server(worker, server, redactor) for server in installed]
    return ToolServers((own, *(server for server in usable if server is not None)), names)


def _server(worker: Core, server: InstalledMcpServer, redactor: Redactor) -> McpServer | None:
    for name, value in (*server.env.items(), *server.headers.items()):
        if is_secret_name(name) or len(value) >= LONG_ENOUGH_TO_BE_SECRET:
            redactor.add(name, value.removeprefix("Bearer "))
    why = server.auth_error
    if server.name == SWARM_SERVER:
        why = "its name is the swarm's own"
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
