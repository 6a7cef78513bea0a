"""Do what an agent asks of its client: read and write files, run commands. All inside the guest.

Paths are confined to the working directory: a link is followed if it leads to a place inside. Of a
command's output the end is kept in memory; its processes end with the session at the latest.
"""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import anyio

from agent_swarm_worker.contract import NO_GRACE, Command
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.kit.jsonrpc import RequestRefused
from agent_swarm_worker.providers.kit.native import count, items, mapping, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from anyio.abc import TaskGroup

    from agent_swarm_worker.contract import Process, ProviderSessionConfig
    from agent_swarm_worker.providers.kit.jsonrpc import Handler

INVALID_PARAMS = -32602
NOT_FOUND = -32002
MAX_FILE_BYTES = 16 << 20
MAX_OUTPUT_BYTES = 1 << 20
"""Kept of a terminal's output, its end."""
MAX_SESSION_OUTPUT_BYTES = 16 << 20
"""Kept of all terminals; those that are opened later share what is left."""
MIN_OUTPUT_BYTES = 64 << 10
"""Kept of each terminal in any case."""
FLOOD_BYTES = 64 << 20
FLOOD_PAUSE_S = 0.001
"""Pause before each read of a command that has printed more than `FLOOD_BYTES`."""
LAST_OUTPUT_S = 0.5
"""Wait for a command's last output, which another process may hold open, after its end."""
MAX_TERMINALS = 50
"""Terminals at a time; an agent releases those that it does not need."""
_RUN = 'exec "$@" 2>&1'


@dataclass(slots=True)
class _Terminal:
    process: Process
    limit: int
    output: bytearray = field(default_factory=bytearray)
    """Its end."""
    total: int = 0
    """Bytes it has printed."""
    is_read: anyio.Event = field(default_factory=anyio.Event)
    """Set at the end of its output."""
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    is_ended: bool = False

    async def read(self) -> None:
        """Keep the end of its output until it has none left."""
        try:
            while True:
                chunk = await self.process.stdout.receive()
                self.total += len(chunk)
                self.output += chunk
                del self.output[: max(0, len(self.output) - self.limit)]
                if self.total > FLOOD_BYTES:
                    await anyio.sleep(FLOOD_PAUSE_S)
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            pass
        finally:
            self.is_read.set()


class ClientTools:
    """The methods ``fs/*`` and ``terminal/*`` of one session."""

    def __init__(self, config: ProviderSessionConfig, env: Mapping[str, str]) -> None:
        self._guest = config.guest
        self._root = PurePosixPath(str(config.cwd))
        self._env = dict(env)
        self._numbers = itertools.count(1)
        self._terminals: dict[str, _Terminal] = {}
        self._readers: TaskGroup | None = None
        self._reading = anyio.Lock()
        """One file at a time: whether its content may be sent is known when it was read."""

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method."""
        return {
            "fs/read_text_file": self._read,
            "fs/write_text_file": self._write,
            "terminal/create": self._create,
            "terminal/output": self._output,
            "terminal/wait_for_exit": self._wait,
            "terminal/kill": self._kill,
            "terminal/release": self._release,
        }

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take requests meanwhile, and end all commands at the end."""
        failure: Exception | None = None
        async with anyio.create_task_group() as self._readers:
            try:
                yield
            except Exception as error:  # without the group's wrapping
                failure = error
            finally:
                await self._aclose()
                self._readers.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            for terminal in self._terminals.values():
                await self._end(terminal)
                await terminal.process.aclose()
        self._terminals.clear()

    async def _inside(self, native: Any) -> tuple[str, str]:
        """Return a path below the working directory, and the latter, without links.

        An agent may know the directory by the name that it was given, or by its real one.

        Raises:
            RequestRefused: the path is not below it.
        """
        path, files = text(native), self._guest.files
        root, found = await files.real_path(str(self._root)), self._root / path
        is_named = ".." not in found.parts and (
            found.is_relative_to(self._root) or found.is_relative_to(root)
        )
        if path and "\0" not in path and is_named:
            real = await files.real_path(str(found))
            if PurePosixPath(real).is_relative_to(root):
                return real, root
            msg = f"{path[:200]!r} is a link that leads out of the session's directory"
        else:
            msg = f"{path[:200]!r} is not in the session's directory"
        raise RequestRefused(msg, code=INVALID_PARAMS)

    async def _read(self, native: Any) -> dict[str, str]:
        async with self._reading:
            return await self._content(native)

    async def _content(self, native: Any) -> dict[str, str]:
        params = mapping(native)
        path, root = await self._inside(params.get("path"))
        try:
            async with self._guest.files.open(path, within=root) as file:
                content = await file.read(MAX_FILE_BYTES + 1, 0)
        except OSError as error:
            raise _refused(path, error) from None
        if len(content) > MAX_FILE_BYTES:
            msg = f"{path} is larger than {MAX_FILE_BYTES} bytes"
            raise RequestRefused(msg, code=INVALID_PARAMS)
        shown = content.decode("utf-8", "replace")
        line, limit = count(params.get("line")), count(params.get("limit"))
        if line is not None or limit is not None:
            begin = max(0, (line or 1) - 1)
            lines = shown.splitlines(keepends=True)[begin:]
            shown = "".join(lines if limit is None else lines[:limit])
        return {"content": shown}

    async def _write(self, native: Any) -> dict[str, Any]:
        params = mapping(native)
        (path, root), content = await self._inside(params.get("path")), params.get("content")
        if not isinstance(content, str):
            raise RequestRefused("the content is no text", code=INVALID_PARAMS)
        try:
            encoded = content.encode("utf-8", "replace")
            await self._guest.files.write(path, encoded, within=root)
        except OSError as error:
            raise _refused(path, error) from None
        return {}

    async def _create(self, native: Any) -> dict[str, str]:
        params = mapping(native)
        command, args = (
            text(params.get("command")),
            [text(one) for one in items(params.get("args"))],
        )
        for key in ("args", "env"):
            if not isinstance(params.get(key), list | None):
                raise RequestRefused(f"{key} is no list", code=INVALID_PARAMS)
        cwd, _ = await self._inside(params.get("cwd") or str(self._root))
        if not command:
            raise RequestRefused("there is no command", code=INVALID_PARAMS)
        if len(self._terminals) >= MAX_TERMINALS:
            raise RequestRefused(f"{MAX_TERMINALS} terminals are open")
        # Some agents give a whole line for a shell as the command.
        argv = (command, *args) if args or " " not in command else ("sh", "-c", command)
        env = {
            text(one.get("name")): text(one.get("value"))
            for one in map(mapping, items(params.get("env")))
        }
        name = f"terminal-{next(self._numbers)}"
        try:
            process = await self._guest.start(
                Command(
                    argv=("sh", "-c", _RUN, "sh", *argv),
                    cwd=PurePosixPath(cwd),
                    env={**self._env, **{key: value for key, value in env.items() if key}},
                    name=name,
                )
            )
        except (OSError, ProviderError) as error:
            raise RequestRefused(f"{command[:200]} cannot be started: {error}") from None
        wanted = min(count(params.get("outputByteLimit")) or MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES)
        left = MAX_SESSION_OUTPUT_BYTES - sum(one.limit for one in self._terminals.values())
        terminal = _Terminal(process, min(wanted, max(left, MIN_OUTPUT_BYTES)))
        self._terminals[name] = terminal
        assert self._readers is not None  # the agent asks within `open`
        self._readers.start_soon(terminal.read)
        return {"terminalId": name}

    def _terminal(self, native: Any) -> _Terminal:
        name = text(mapping(native).get("terminalId"))
        if name not in self._terminals:
            raise RequestRefused(f"there is no terminal {name[:100]!r}", code=NOT_FOUND)
        return self._terminals[name]

    async def _output(self, native: Any) -> dict[str, Any]:
        terminal = self._terminal(native)
        with anyio.move_on_after(0.05):
            await self._ended(terminal)
        status = terminal.process.returncode
        shown = terminal.output.decode("utf-8", "ignore")
        answer: dict[str, Any] = {"output": shown, "truncated": terminal.total > terminal.limit}
        return answer | ({} if status is None else {"exitStatus": _exit_status(status)})

    async def _wait(self, native: Any) -> dict[str, Any]:
        return _exit_status(await self._ended(self._terminal(native)))

    async def _ended(self, terminal: _Terminal) -> int | None:
        status = await terminal.process.wait()
        with anyio.move_on_after(LAST_OUTPUT_S):
            await terminal.is_read.wait()
        return status

    async def _kill(self, native: Any) -> dict[str, Any]:
        await self._end(self._terminal(native))
        return {}

    async def _release(self, native: Any) -> dict[str, Any]:
        terminal = self._terminal(native)
        self._terminals.pop(text(mapping(native).get("terminalId")), None)
        with anyio.CancelScope(shield=True):
            await self._end(terminal)
            await terminal.process.aclose()
        return {}

    async def _end(self, terminal: _Terminal) -> None:
        async with terminal.lock:
            if not terminal.is_ended:
                await self._guest.end(terminal.process, NO_GRACE)
                terminal.is_ended = True


def _exit_status(code: int | None) -> dict[str, Any]:
    """Return the status of a process by its exit code as in a shell."""
    if code is not None and code > 128:
        return {"exitCode": None, "signal": str(code - 128)}
    return {"exitCode": code, "signal": None}


def _refused(path: str, error: OSError) -> RequestRefused:
    is_missing = isinstance(error, FileNotFoundError)
    code = NOT_FOUND if is_missing else INVALID_PARAMS
    return RequestRefused(f"{path}: {error.strerror or error}", code=code)
