"""A tool server that is a process of ours: started, framed and ended like every other.

Not with the library's own client: that one ends the group only, and what a server starts may have
left it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from agent_swarm_worker.contract import NO_GRACE, Command, Grace
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.processes.drain import pump
from agent_swarm_worker.processes.framing import LineFramer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import PurePath

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from agent_swarm_worker.contract import Guest, McpServer, Process, Redactor

INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
"""What a server needs to run at all; secrets it gets only by its own configuration."""
MAX_LINE_BYTES = 16 * 1024 * 1024
GOODBYE_S = 1.0
"""How long a server may take to go once its input has ended."""
_STDERR_TAIL_BYTES = 2048

GRACE = Grace(interrupt_s=0, terminate_s=1.0)


class ServerGone(ProviderError):
    """A tool server's process ended by itself."""


@asynccontextmanager
async def stdio_server(
    server: McpServer,
    *,
    guest: Guest,
    cwd: PurePath,
    env: Mapping[str, str],
    name: str,
    redactor: Redactor,
) -> AsyncIterator[tuple[Any, Any]]:
    """Run a server and give the streams that the MCP library wants; leaving it ends the process.

    Raises:
        ProviderError: it cannot be started.
        ServerGone: it ended by itself; the text has what it wrote last.
    """
    inherited = {key: value for key, value in env.items() if key in INHERITED}
    command = Command(
        argv=(server.command, *server.args),
        cwd=cwd,
        env={**inherited, **server.env},
        name=name,
        stdin=True,
    )
    async with await guest.start(command) as child:
        to_us, from_server = anyio.create_memory_object_stream[Any](0)
        to_server, from_us = anyio.create_memory_object_stream[SessionMessage](0)
        try:
            with to_us, from_server, to_server, from_us:
                async with anyio.create_task_group() as tasks:
                    said = bytearray()
                    tasks.start_soon(pump, child.stderr, _tail(said))
                    tasks.start_soon(_write, child, from_us)
                    tasks.start_soon(_read, child, to_us, said, redactor)
                    yield from_server, to_server
                    tasks.cancel_scope.cancel()
            await child.close_stdin()
            with anyio.move_on_after(GOODBYE_S):
                await child.wait()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await guest.end(child, NO_GRACE)
            raise
        with anyio.CancelScope(shield=True):
            await guest.end(child, GRACE)


async def _read(
    child: Process,
    to_us: MemoryObjectSendStream[Any],
    stderr: bytearray,
    redactor: Redactor,
) -> None:
    framer = LineFramer(MAX_LINE_BYTES)
    while True:
        try:
            chunk = await child.stdout.receive()
        except anyio.EndOfStream:
            break
        for line in framer.feed(chunk):
            if not line.strip():
                continue
            try:
                message: Any = SessionMessage(
                    jsonrpc_message_adapter.validate_json(line, by_name=False)
                )
            except (ValueError, RecursionError) as error:  # some print words there
                message = error
            await to_us.send(message)
    with anyio.move_on_after(GOODBYE_S):
        await child.wait()
    # What it wrote last often says why; it may still be on its way.
    await anyio.sleep(0.05)
    words = redactor.data(bytes(stderr[-_STDERR_TAIL_BYTES:])).decode("utf-8", "replace")
    last = next((line for line in reversed(words.splitlines()) if line.strip()), "")
    code = child.returncode
    how = "it closed its output" if code is None else f"it ended with exit code {code}"
    raise ServerGone(f"{how}: {last}" if last else how)


async def _write(child: Process, from_us: MemoryObjectReceiveStream[SessionMessage]) -> None:
    async for message in from_us:
        line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
        if not await child.send(line.encode("utf-8", "replace") + b"\n"):
            return


def _tail(said: bytearray) -> Any:
    def take(chunk: bytes) -> None:
        said.extend(chunk)
        del said[: -2 * _STDERR_TAIL_BYTES]

    return take
