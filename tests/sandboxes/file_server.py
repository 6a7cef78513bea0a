"""Serves the files of a mount namespace: runs inside, one JSON request a line, one answer a line.

    -> {"id": 1, "op": "info", "args": ["/x"], "named": {}}
    <- {"id": 1, "value": …}   or   {"id": 1, "errno": 2, "why": "…", "path": "/x"}

Bytes travel as ``{"b64": "…"}``, open files as numbers.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from agent_swarm_worker.contract import FileInfo, Listing
from agent_swarm_worker.sandboxes.local_files import LOCAL_FILES, open_regular, write_private


def encoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, FileInfo | Listing):
        return asdict(value)
    return value


def decoded(value: Any) -> Any:
    is_bytes = isinstance(value, dict) and value.keys() == {"b64"}
    return base64.b64decode(value["b64"]) if is_bytes else value


class Server:
    """Carries out requests, one after the other."""

    def __init__(self) -> None:
        self._files = LOCAL_FILES
        self._open: dict[int, Any] = {}
        self._held: dict[int, AsyncExitStack] = {}

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        args = [decoded(arg) for arg in request["args"]]
        named = {name: decoded(value) for name, value in request["named"].items()}
        own = getattr(self, f"do_{request['op']}", None)
        try:
            value = await (own or getattr(self._files, request["op"]))(*args, **named)
        except OSError as error:
            why = error.strerror or str(error)
            return {"id": request["id"], "errno": error.errno, "why": why, "path": error.filename}
        except ValueError as error:
            return {"id": request["id"], "errno": None, "why": str(error), "path": None}
        return {"id": request["id"], "value": encoded(value)}

    async def do_open(self, path: str, *, within: str | None) -> dict[str, int]:
        held = AsyncExitStack()
        file = await held.enter_async_context(self._files.open(path, within=within))
        number = self._number(file)
        self._held[number] = held
        return {"number": number, "size": file.size}

    async def do_pread(self, number: int, size: int, offset: int) -> bytes:
        data: bytes = await self._open[number].read(size, offset)
        return data

    async def do_append_to(self, path: str, *, create: bool) -> int:
        return self._number(await self._files.append_to(path, create=create))

    async def do_append(self, number: int, data: bytes) -> None:
        await self._open[number].append(data)

    async def do_all(self, number: int) -> bytes:
        data: bytes = await self._open[number].read()
        return data

    async def do_close(self, number: int) -> None:
        file = self._open.pop(number)
        held = self._held.pop(number, None)
        await (held or file).aclose()

    async def do_put(self, path: str, content: bytes) -> None:
        await anyio.to_thread.run_sync(write_private, Path(path), content)

    async def do_read(self, path: str, max_bytes: int) -> bytes:
        return await anyio.to_thread.run_sync(_read, path, max_bytes)

    def _number(self, file: Any) -> int:
        number = max(self._open, default=0) + 1
        self._open[number] = file
        return number


def _read(path: str, max_bytes: int) -> bytes:
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(max_bytes)


async def main() -> None:
    server = Server()
    print(json.dumps({"id": 0, "value": "ready"}), flush=True)
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        print(json.dumps(await server.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    anyio.run(main)
