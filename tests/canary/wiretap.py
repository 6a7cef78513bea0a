"""Record what a worker sends, and what other users can see of its processes in ``/proc``."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import SocketStream

_CREDENTIAL = re.compile(rb"(?im)^authorization:[^\r\n]*\r\n")
_SENT_BACK = re.compile(rb"POST /api/prompt-templates/render[ ?]")
"""What the server has said itself, a task or a message, it gets back to put it into a text."""
_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)\r\n")


@dataclass
class Tap:
    """A port in front of another one."""

    port: int = 0
    streams: list[bytearray] = field(default_factory=list)

    def said(self) -> bytes:
        """All bytes that went to the server but for the header that is to hold the key."""
        return b"\n".join(b"".join(_requests(bytes(stream))) for stream in self.streams)


def _requests(stream: bytes) -> Iterator[bytes]:
    """Heads without their credential, and bodies as they are: a header in a body is none."""
    while stream:
        head, found, rest = stream.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        size = int(length[1]) if length else 0
        if not _SENT_BACK.match(head):
            yield _CREDENTIAL.sub(b"", head + b"\r\n") + found + rest[:size]
        stream = rest[size:]


@asynccontextmanager
async def tapped(port: int) -> AsyncIterator[Tap]:
    """Put a tap in front of a port of this machine."""
    tap = Tap()

    async def serve(client: SocketStream) -> None:
        seen = bytearray()
        tap.streams.append(seen)
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", port) as server,
            anyio.create_task_group() as group,
        ):
            group.start_soon(_pump, client, server, seen)
            await _pump(server, client, None)
            group.cancel_scope.cancel()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        tap.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, serve)
            yield tap
            group.cancel_scope.cancel()


async def _pump(source: SocketStream, target: SocketStream, seen: bytearray | None) -> None:
    try:
        async for data in source:
            if seen is not None:
                seen += data
            await target.send(data)
        await target.send_eof()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        pass


@dataclass
class Sight:
    """What was seen of the processes and files of a worker."""

    arguments: set[bytes] = field(default_factory=set)
    environments: dict[bytes, bytes] = field(default_factory=dict)
    """By the command line of the process."""
    open_files: set[str] = field(default_factory=set)
    """Files and folders of its state that others could read."""
    files: set[str] = field(default_factory=set)


@contextmanager
def watching(state: Path, workers: list[int]) -> Iterator[Sight]:
    """Look as often as possible at all processes with this state directory, and at its files."""
    sight, over = Sight(), threading.Event()
    others: set[str] = set()
    mark = os.fsencode(f"SWARM_STATE_DIR={state}")

    def look() -> None:
        while not over.wait(0.005):
            for pid in {path.name for path in Path("/proc").glob("[0-9]*")} - others:
                if not _look_at(int(pid), mark, workers, sight):
                    others.add(pid)
            for folder, _, names in os.walk(state):
                for name in (".", *names):
                    _check(Path(folder, name), state, sight)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield sight
    finally:
        over.set()
        thread.join()


def _look_at(pid: int, mark: bytes, workers: list[int], sight: Sight) -> bool:
    """Note what is to be seen of a process; false if it is not one of ours."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        if mark not in environment:
            return False
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    sight.arguments.add(arguments)
    # Between fork and exec a child still is the worker.
    if pid not in workers and b"agent_swarm_worker\0worker" not in arguments:
        sight.environments[arguments] = environment
    return True


def _check(path: Path, state: Path, sight: Sight) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    name = str(path.relative_to(state))
    sight.files.add(name)
    if mode & 0o077 and not path.is_symlink():
        sight.open_files.add(f"{name} {mode & 0o777:o}")
