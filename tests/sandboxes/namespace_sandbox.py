"""A second sandbox for the tests: a mount namespace whose paths exist nowhere else.

The session's directories are mounted below ``/mnt/guest-…`` inside, and cannot be seen under their
own names there. Processes are started by ``nsenter``; files are read and written by `file_server`,
which runs inside. So whatever an adapter does past its guest does not work.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import anyio
from audit import watched
from file_server import decoded, encoded

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract import (
    AppendFile,
    Command,
    Completed,
    EndReport,
    FileInfo,
    Grace,
    GuestCapabilities,
    GuestFiles,
    Listing,
    OpenFile,
    PrivateFile,
    Process,
)
from agent_swarm_worker.contract.guest import DEFAULT_GRACE, OnStep, Unread
from agent_swarm_worker.errors import BinaryMissing, ProviderError
from agent_swarm_worker.sandboxes.local import LocalGuest, LocalSandbox, run_to_end
from agent_swarm_worker.sandboxes.port import GuestSpec, guest_environment

SCHEME = "namespace:"
_SERVER = Path(__file__).with_name("file_server.py")
_ENTER = ("/usr/bin/nsenter", "--user", "--mount", "--preserve-credentials", "--target")
_NEW = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private")
_SETUP = """
set -e
root=$1; shift
mount -t tmpfs tmpfs /mnt
while [ "$1" != -- ]; do
    mkdir -p "$root/$1"
    mount --rbind "$2" "$root/$1"
    mount -t tmpfs tmpfs "$2"
    shift 2
done
shift
exec "$@"
"""


@cache
def why_impossible() -> str:
    """Say why there can be no such sandbox here; empty if there can."""
    if sys.platform != "linux" or not Path(_ENTER[0]).exists():
        return "needs Linux and nsenter"
    tried = subprocess.run(
        [*_NEW, "mount", "-t", "tmpfs", "t", "/mnt"], check=False, capture_output=True
    )
    return tried.stderr.decode("utf-8", "replace").strip() if tried.returncode else ""


class NamespaceSandbox:
    """Implements `Sandbox`; guests do not outlive the worker, but the output of processes does."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._local = LocalSandbox(clock=self._clock)

    @asynccontextmanager
    async def open(self, spec: GuestSpec) -> AsyncIterator[NamespaceGuest]:
        if spec.handle:
            msg = "the guest is gone"
            raise ProviderError(msg)
        root = f"/mnt/guest-{secrets.token_hex(6)}"
        async with _server(root, spec.mounts) as server:
            guest = NamespaceGuest(spec, root, server, self._clock)
            prefixes = (root, *map(str, spec.mounts.values()))
            try:
                with watched(prefixes):
                    yield guest
            finally:
                with anyio.CancelScope(shield=True):
                    await guest.end_all()

    async def sweep(self, handle: str) -> EndReport:
        return await self._local.sweep(handle.removeprefix(SCHEME))

    def recover_output(self, handle: str) -> AbstractAsyncContextManager[Unread]:
        return self._local.recover_output(handle.removeprefix(SCHEME))

    def kill(self, handle: str) -> None:
        self._local.kill(handle.removeprefix(SCHEME))


class NamespaceGuest:
    """Implements `Guest`."""

    def __init__(self, spec: GuestSpec, root: str, server: Server, clock: Clock) -> None:
        self._root, self._mounts = root, spec.mounts
        self._server, self._clock = server, clock
        self._processes = LocalGuest(spec.name, clock=clock)
        self.handle = f"{SCHEME}{spec.name}"
        self.files: GuestFiles = ServedFiles(server)
        self.capabilities = GuestCapabilities(
            durable_output=self._processes.capabilities.durable_output,
            is_root=True,
            python=sys.executable,
        )

    def path(self, host_path: PurePath) -> str:
        for name, place in self._mounts.items():
            if host_path.is_relative_to(place):
                return str(PurePosixPath(self._root, name) / host_path.relative_to(place))
        msg = f"{host_path} is not inside"
        raise ProviderError(msg)

    def environment(self, env: Mapping[str, str], needed: Iterable[str] = ()) -> dict[str, str]:
        own = {name: env[name] for name in ("PATH", "HOME") if name in env}
        return guest_environment(env, needed, own=own)

    async def put(self, files: Iterable[PrivateFile]) -> None:
        for file in files:
            await self._server.ask("put", str(file.path), file.content)

    async def read(self, path: PurePath | str, *, max_bytes: int) -> bytes:
        data: bytes = await self._server.ask("read", os.fspath(path), max_bytes)
        return data

    async def exists(self, path: PurePath | str) -> bool:
        return await self.files.info(os.fspath(path)) is not None

    async def run(
        self,
        argv: tuple[str, ...],
        *,
        env: Mapping[str, str],
        cwd: PurePath,
        timeout_s: float,
        max_output: int,
        name: str = "run",
        stdin: bytes = b"",
        keep_end: bool = False,
    ) -> Completed:
        command = Command(argv=argv, env=env, cwd=cwd, name=name, stdin=bool(stdin))
        return await run_to_end(
            self,
            command,
            stdin=stdin,
            timeout_s=timeout_s,
            max_output=max_output,
            clock=self._clock,
            keep_end=keep_end,
        )

    async def start(self, command: Command) -> Process:
        program = await self.files.which(command.argv[0], command.env)
        if program is None:
            raise BinaryMissing(command.argv[0])
        enter = (*_ENTER, str(self._server.pid), "--", "/bin/sh", "-c", 'cd "$0" && exec "$@"')
        argv = (*enter, str(command.cwd), *command.argv)
        return await self._processes.start(replace(command, argv=argv, cwd=PurePath("/")))

    async def end(
        self, process: Process, grace: Grace = DEFAULT_GRACE, *, on_step: OnStep | None = None
    ) -> EndReport:
        return await self._processes.end(process, grace, on_step=on_step)

    async def end_all(self) -> EndReport:
        return await self._processes.end_all()


@dataclass
class Server:
    """The file server of one namespace, and our end of it."""

    process: Any
    lock: anyio.Lock
    pending: bytes = b""
    count: int = 0

    @property
    def pid(self) -> int:
        number: int = self.process.pid
        return number

    async def ask(self, op: str, *args: Any, **named: Any) -> Any:
        # Shielded: an answer that nobody takes would be taken for the next one.
        async with self.lock:
            with anyio.CancelScope(shield=True):
                self.count += 1
                request = {
                    "id": self.count,
                    "op": op,
                    "args": [encoded(arg) for arg in args],
                    "named": named,
                }
                await self.process.stdin.send(json.dumps(request).encode() + b"\n")
                answer = await self.answer()
        assert answer["id"] == self.count, answer
        if "value" in answer:
            return decoded(answer["value"])
        if answer["errno"] is None:
            raise ValueError(answer["why"])
        raise OSError(answer["errno"], answer["why"], answer["path"])

    async def answer(self) -> Any:
        while b"\n" not in self.pending:
            self.pending += await self.process.stdout.receive()
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)


@asynccontextmanager
async def _server(root: str, mounts: Mapping[str, Path]) -> AsyncIterator[Server]:
    places = [word for name, place in mounts.items() for word in (name, str(place))]
    argv = [*_NEW, "sh", "-c", _SETUP, "sh", root, *places, "--", sys.executable, str(_SERVER)]
    env = {"PATH": os.defpath + ":/usr/sbin:/sbin", "PYTHONPATH": os.pathsep.join(sys.path)}
    async with await anyio.open_process(argv, env=env, stderr=None) as process:
        server = Server(process, anyio.Lock())
        assert await server.answer() == {"id": 0, "value": "ready"}
        try:
            yield server
        finally:
            process.kill()


class ServedFiles:
    """Implements `GuestFiles`."""

    def __init__(self, server: Server) -> None:
        self._ask = server.ask

    async def which(self, program: str, env: Mapping[str, str]) -> str | None:
        found: str | None = await self._ask("which", program, dict(env))
        return found

    async def info(self, path: str) -> FileInfo | None:
        found = await self._ask("info", path)
        return FileInfo(**found) if found is not None else None

    async def real_path(self, path: str) -> str:
        found: str = await self._ask("real_path", path)
        return found

    async def glob(self, folder: str, pattern: str) -> tuple[str, ...]:
        return tuple(await self._ask("glob", folder, pattern))

    async def list(self, path: str, *, within: str | None = None, limit: int) -> Listing:
        found = await self._ask("list", path, within=within, limit=limit)
        return Listing(tuple((name, kind) for name, kind in found["entries"]), found["is_complete"])

    @asynccontextmanager
    async def open(self, path: str, *, within: str | None = None) -> AsyncIterator[OpenFile]:
        opened = await self._ask("open", path, within=within)
        try:
            yield Served(self._ask, opened["number"], opened["size"])
        finally:
            await self._ask("close", opened["number"])

    async def write(self, path: str, content: bytes, *, within: str | None = None) -> bool:
        existed: bool = await self._ask("write", path, content, within=within)
        return existed

    async def make_dir(self, path: str) -> None:
        await self._ask("make_dir", path)

    async def link(self, path: str, target: str) -> None:
        await self._ask("link", path, target)

    async def remove(self, path: str) -> None:
        await self._ask("remove", path)

    async def append_to(self, path: str, *, create: bool) -> AppendFile:
        return ServedAppend(self._ask, await self._ask("append_to", path, create=create))


@dataclass
class Served:
    _ask: Any
    number: int
    size: int

    async def read(self, size: int, offset: int) -> bytes:
        data: bytes = await self._ask("pread", self.number, size, offset)
        return data


@dataclass
class ServedAppend:
    _ask: Any
    number: int

    async def read(self) -> bytes:
        data: bytes = await self._ask("all", self.number)
        return data

    async def append(self, data: bytes) -> None:
        await self._ask("append", self.number, data)

    async def aclose(self) -> None:
        await self._ask("close", self.number)
