"""The system prompt as a block in a directory's ``AGENTS.md``, and the file back as it was.

For a CLI that knows no better way (``CODEX_SYSTEM_PROMPT=agents-md``). The block stands at the top
while sessions run in the directory; whoever leaves last takes it away, and with it nothing that
the agent has written. What is in the file is remembered outside the repository, with a lock per
session that the kernel drops when the process dies: the next session mends what a crash left.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.atomic import make_private_dir, write_atomically
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.kit.native import mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "AGENTS.md"
OTHER_NAME = "CLAUDE.md"
_BLOCK = re.compile(rb"<swarm_system_prompt>\n.*?\n</swarm_system_prompt>\n?\n?", re.DOTALL)


class AgentsMd:
    """One session's share in the block of one directory.

    Args:
        folder: where the agent works.
        session: a name no other session has.
        home: where the operator's CLI keeps its things; the registry is below it.
    """

    def __init__(self, folder: Path, session: str, home: Path | None) -> None:
        # The file may be a link, often to CLAUDE.md; what it leads to is what is written.
        self._path = Path(os.path.realpath(folder / NAME))
        self._other = folder / OTHER_NAME
        key = hashlib.sha256(os.fsencode(self._path)).hexdigest()[:24]
        self._registry = (home or Path(tempfile.gettempdir())) / "swarm-agents-md" / key
        self._session = session
        self._hold: IO[bytes] | None = None

    def put(self, system_prompt: str) -> None:
        """Put the block at the top of the file.

        Raises:
            ProviderError: the file or the registry cannot be written.
        """
        prompt = system_prompt.encode("utf-8", "replace")
        block = b"<swarm_system_prompt>\n" + prompt + b"\n</swarm_system_prompt>"
        try:
            make_private_dir(self._registry)
            with self._locked():
                state = self._without_block(self._state(), is_last=not self._others())
                content = self._content()
                state = state or {"was_there": content is not None, "filled": ""}
                if content is None and self._other.is_file():
                    content = self._other.read_bytes()
                    state["filled"] = hashlib.sha256(content).hexdigest()
                prefix = block + (b"\n\n" if content else b"\n")
                state["prefix"] = prefix.decode("latin-1")
                self._remember(state)
                self._write(prefix + (content or b""))
                self._hold = (self._registry / f"{self._session}.held").open("wb")
                fcntl.flock(self._hold, fcntl.LOCK_EX)
        except OSError as error:
            msg = f"cannot put the system prompt into {self._path}: {error.strerror or error}"
            raise ProviderError(msg) from error

    def take_away(self) -> None:
        """Leave; the last one takes the block away. Never raises."""
        if self._hold is None:
            return
        with suppress(OSError), self._locked():
            self._hold.close()
            (self._registry / f"{self._session}.held").unlink(missing_ok=True)
            if not self._others():
                self._without_block(self._state(), is_last=True)
        self._hold = None

    def _without_block(self, state: dict[str, Any], *, is_last: bool) -> dict[str, Any]:
        """Take the block out of the file; return what is to be remembered of the time before it.

        The file goes as well if it would not be there without us, and nobody has written to it.
        """
        content = self._content()
        prefix = text(state.get("prefix")).encode("latin-1")
        if content is not None:
            if prefix and prefix in content:
                rest = content.replace(prefix, b"", 1)
            else:  # edited, or left by somebody else
                rest = _BLOCK.sub(b"", content, count=1)
            was_there = state.get("was_there", bool(rest) or rest == content)
            is_filling = hashlib.sha256(rest).hexdigest() == state.get("filled")
            if not was_there and (not rest or is_filling):
                self._path.unlink(missing_ok=True)
            elif rest != content:
                self._write(rest)
        if is_last:
            with suppress(FileNotFoundError):
                (self._registry / "state.json").unlink()
            return {}
        return state

    def _others(self) -> bool:
        """True if another session that lives uses the block; traces of dead ones are removed."""
        living = False
        for path in self._registry.glob("*.held"):
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    living = True
                else:
                    path.unlink(missing_ok=True)
        return living

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._registry / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _state(self) -> dict[str, Any]:
        try:
            return mapping(orjson.loads((self._registry / "state.json").read_bytes()))
        except (OSError, orjson.JSONDecodeError):
            return {}

    def _remember(self, state: dict[str, Any]) -> None:
        write_atomically(self._registry / "state.json", orjson.dumps(state), mode=0o600)

    def _content(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, content: bytes) -> None:
        self._path.parent.stat()  # a directory that is missing is an error, and is not made
        try:
            mode = self._path.stat().st_mode & 0o7777
        except FileNotFoundError:
            mode = 0o644
        write_atomically(self._path, content, mode=mode)
