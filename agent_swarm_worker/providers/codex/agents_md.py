"""Insert the system prompt as a block into a directory's ``AGENTS.md``, and remove it again.

For a CLI without developer instructions (``CODEX_SYSTEM_PROMPT=agents-md``). The last session in
the directory to end removes the block and keeps the agent's edits. The original state of the file
is in a registry outside the repository, with a locked file per session. The kernel unlocks it when
the process dies, so that the next session removes the block of a crashed one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from contextlib import asynccontextmanager, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.kit.native import mapping, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import PurePath

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import AppendFile, Guest

NAME = "AGENTS.md"
OTHER_NAME = "CLAUDE.md"
MAX_FILE_BYTES = 64 << 20
MAX_SESSIONS = 10_000
_LOCK_RETRY_S = 0.05
"""Pause between two attempts at a lock; sessions hold it for milliseconds."""
_BLOCK = re.compile(rb"<swarm_system_prompt>\n.*?\n</swarm_system_prompt>\n?\n?", re.DOTALL)


class AgentsMd:
    """One session's use of the block in its working directory.

    `session` is its unique name. The registry is below `home`, the operator's ``CODEX_HOME``.
    """

    def __init__(
        self, guest: Guest, folder: PurePath, session: str, home: PurePath | None, *, clock: Clock
    ) -> None:
        self._guest, self._files, self._clock = guest, guest.files, clock
        self._folder = folder
        self._path = ""
        self._home = str(home or "/tmp")  # noqa: S108 - a folder below it is ours alone
        self._registry = ""
        self._session = session
        self._session_lock: AppendFile | None = None

    async def insert(self, system_prompt: str) -> None:
        """Insert the block at the top of the file. Raises `ProviderError`."""
        prompt = system_prompt.encode("utf-8", "replace")
        block = b"<swarm_system_prompt>\n" + prompt + b"\n</swarm_system_prompt>"
        try:
            # The file may be a link, often to CLAUDE.md; its target is written.
            self._path = await self._files.real_path(str(self._folder / NAME))
            key = hashlib.sha256(os.fsencode(self._path)).hexdigest()[:24]
            self._registry = f"{self._home}/swarm-agents-md/{key}"
            await self._files.make_dir(self._registry)
            async with self._locked():
                is_first = not await self._has_others()
                state = await self._without_block(await self._state(), is_last=is_first)
                content = await self._content(self._path)
                state = state or {"was_there": content is not None, "filled": ""}
                if content is None:
                    with suppress(OSError):
                        content = await self._content(str(self._folder / OTHER_NAME))
                    if content is not None:
                        state["filled"] = hashlib.sha256(content).hexdigest()
                prefix = block + (b"\n\n" if content else b"\n")
                state["prefix"] = prefix.decode("latin-1")
                await self._files.write(f"{self._registry}/state.json", orjson.dumps(state))
                await self._write(prefix + (content or b""))
                self._session_lock = await self._files.append_to(
                    self._session_lock_path, create=True
                )
        except OSError as error:
            where = self._path or self._folder
            msg = f"cannot put the system prompt into {where}: {error.strerror or error}"
            raise ProviderError(msg) from error

    async def remove(self) -> None:
        """End the use of the block. Never raises ``OSError``."""
        if self._session_lock is None:
            return
        with suppress(OSError):
            async with self._locked():
                await self._session_lock.aclose()
                await self._files.remove(self._session_lock_path)
                if not await self._has_others():
                    await self._without_block(await self._state(), is_last=True)
        self._session_lock = None

    @property
    def _session_lock_path(self) -> str:
        return f"{self._registry}/{self._session}.held"

    async def _without_block(self, state: dict[str, Any], *, is_last: bool) -> dict[str, Any]:
        """Remove the block; return the recorded state of the file before it.

        The file is deleted if it did not exist before and holds nothing that the agent wrote.
        """
        content = await self._content(self._path)
        prefix = text(state.get("prefix")).encode("latin-1")
        if content is not None:
            if prefix and prefix in content:
                rest = content.replace(prefix, b"", 1)
            else:  # edited, or the block of a lost record
                rest = _BLOCK.sub(b"", content, count=1)
            was_there = state.get("was_there", bool(rest) or rest == content)
            is_filling = hashlib.sha256(rest).hexdigest() == state.get("filled")
            if not was_there and (not rest or is_filling):
                await self._files.remove(self._path)
            elif rest != content:
                await self._write(rest)
        if is_last:
            await self._files.remove(f"{self._registry}/state.json")
            return {}
        return state

    async def _has_others(self) -> bool:
        """Return whether another live session uses the block; remove the files of dead ones."""
        has_others = False
        listing = await self._files.list(self._registry, limit=MAX_SESSIONS)
        for name, _ in listing.entries:
            if not name.endswith(".held"):
                continue
            path = f"{self._registry}/{name}"
            try:
                file = await self._files.append_to(path, create=False)
            except BlockingIOError:
                has_others = True
            else:
                await self._files.remove(path)
                await file.aclose()
        return has_others

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        file = await self._lock()
        try:
            yield
        finally:
            await file.aclose()

    async def _lock(self) -> AppendFile:
        path = f"{self._registry}/lock"
        while True:
            is_new = not await self._guest.exists(path)
            with suppress(BlockingIOError, FileExistsError):
                return await self._files.append_to(path, create=is_new)
            await self._clock.sleep(_LOCK_RETRY_S)

    async def _state(self) -> dict[str, Any]:
        content = await self._content(f"{self._registry}/state.json")
        with suppress(orjson.JSONDecodeError):
            return mapping(orjson.loads(content or b""))
        return {}

    async def _content(self, path: str) -> bytes | None:
        try:
            return await self._guest.read(path, max_bytes=MAX_FILE_BYTES)
        except FileNotFoundError:
            return None

    async def _write(self, content: bytes) -> None:
        parent = str(PurePosixPath(self._path).parent)
        if await self._files.info(parent) is None:  # the guest would create it
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), parent)
        await self._files.write(self._path, content)
