"""Copy the agent's profile from the server to files in the workspace, and send edits back.

The server owns the profile. Missing texts are generated and stored there; the files are copies
that are written at boot and that the agent may edit (docs/api.md 3.10).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import orjson
from anyio import to_thread

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.files import try_lock, write_atomically
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.workspace.profiles import AgentDetails, default_profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from agent_swarm_worker.api.client import Agents
    from agent_swarm_worker.api.wire.resources import Agent
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.workspace.profiles import AgentTemplate


SETUP_SCRIPT = "setupScript"
PROFILE_FILES = {
    "soulMd": "SOUL.md",
    "identityMd": "IDENTITY.md",
    "toolsMd": "TOOLS.md",
    "heartbeatMd": "HEARTBEAT.md",
    "claudeMd": "CLAUDE.md",
    SETUP_SCRIPT: "start-up.sh",
}
"""Names in the workspace, by profile field."""
MAX_CHARS = 262_144
"""The server's limit for any field."""
MAX_BACKUPS = 5
"""Per file; older backups are removed."""
LOCK_FILE = ".swarm-profile.lock"
MIN_PERSONA_CHARS = 500
"""A shorter SOUL.md or IDENTITY.md is taken for an accident and not sent."""

_PERSONA = frozenset({"soulMd", "identityMd"})
_MAY_BE_BLANK = frozenset({"heartbeatMd"})

_SCRIPT_BEGIN = "# === Agent-managed setup (from DB) ==="
_SCRIPT_END = "# === End agent-managed setup ==="


@contextmanager
def profile_lock(workspace_dir: Path) -> Iterator[bool]:
    """Lock the profile files of a workspace against other workers; yield whether that succeeded.

    Two agents that share the files would each store the other's texts as edits of its own.
    """
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(workspace_dir / LOCK_FILE, flags, 0o644)
    except OSError:
        yield False
        return
    try:
        try:
            is_ours = try_lock(fd)
        except OSError:  # a file system without locks: assume one worker
            is_ours = True
        yield is_ours
    finally:
        os.close(fd)


def profile_of(agent: Agent) -> dict[str, str]:
    """Return the profile texts that the server has for an agent, by field."""
    texts = {
        "soulMd": agent.soul_md,
        "identityMd": agent.identity_md,
        "toolsMd": agent.tools_md,
        "heartbeatMd": agent.heartbeat_md,
        "claudeMd": agent.claude_md,
        "setupScript": agent.setup_script,
    }
    return {field: text for field, text in texts.items() if text and text.strip()}


def missing_texts(
    profile: Mapping[str, str], details: AgentDetails, template: AgentTemplate | None = None
) -> dict[str, str]:
    """Return the texts that `profile` (see `profile_of`) lacks: the template's, else generated."""
    initial = default_profile(details) | (template.profile(details) if template else {})
    fields = PROFILE_FILES.keys() - profile.keys()
    return {field: text for field, text in initial.items() if field in fields}


async def store_missing(server: Agents, agent_id: str, missing: Mapping[str, str]) -> None:
    """Store the result of `missing_texts` on the server; a failure is logged."""
    if not missing:
        return
    try:
        await server.profile(agent_id, missing)
    except ApiError as error:
        Log().warning(Event.IDENTITY, state="not stored", fields=sorted(missing), why=str(error))


async def write_files(workspace_dir: Path, profile: Mapping[str, str], clock: Clock) -> list[Path]:
    """Copy the profile to the workspace, if that exists; return the files written.

    A file that differs is saved as ``<name>.pre-boot-<time>.bak`` first. An existing set-up script
    stays. A file that cannot be written is logged and skipped.
    """
    return await to_thread.run_sync(_write_files, workspace_dir, profile, wire_time(clock.now()))


async def read_files(workspace_dir: Path) -> dict[str, str]:
    """Return the texts of the profile files by field; unreadable files are left out."""
    return await to_thread.run_sync(_read_files, workspace_dir)


class Baselines:
    """SHA-256 of each profile file as it was last written or sent, stored on disk.

    A file is an edit of the agent only if it differs from its baseline. Without baselines an old
    copy would overwrite an edit that the lead made on the server.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hashes: dict[str, str] = {}
        try:
            stored = orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return  # missing or damaged: no baselines
        if isinstance(stored, dict):
            self._hashes = {str(field): str(digest) for field, digest in stored.items()}

    def is_unchanged(self, field: str, text: str) -> bool:
        """True if `text` equals the baseline of `field`."""
        return self._hashes.get(field) == _digest(text)

    def record(self, profile: Mapping[str, str]) -> None:
        """Set the baselines of these texts, which the files and the server both have."""
        self._hashes |= {field: _digest(text) for field, text in profile.items()}
        try:
            write_atomically(self._path, orjson.dumps(self._hashes), mode=0o600)
        except OSError as error:
            Log().warning(Event.IDENTITY, state="baselines not kept", why=str(error))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _write_files(workspace_dir: Path, profile: Mapping[str, str], stamp: str) -> list[Path]:
    if not workspace_dir.is_dir():
        return []
    written = []
    for field, file_name in PROFILE_FILES.items():
        text = profile.get(field)
        if not text:
            continue
        path = workspace_dir / file_name
        try:
            if _write_file(path, text, stamp, is_script=field == SETUP_SCRIPT):
                written.append(path)
        except OSError as error:
            Log().warning(Event.IDENTITY, state="not written", file=str(path), why=str(error))
    return written


def _write_file(path: Path, text: str, stamp: str, *, is_script: bool) -> bool:
    if is_script:
        if path.exists():
            return False
        script = text if text.startswith("#!") else f"#!/bin/bash\n{text}"
        write_atomically(path, script.encode(errors="replace"), mode=0o755)
        return True
    content = text.encode(errors="replace")
    if path.is_file():
        existing = path.read_bytes()
        if existing == content:
            return False
        write_atomically(path.with_name(f"{path.name}.pre-boot-{stamp}.bak"), existing, mode=0o644)
        # The times in the names have one format, so the order of names is that of ages.
        for old in sorted(path.parent.glob(f"{path.name}.pre-boot-*.bak"))[:-MAX_BACKUPS]:
            old.unlink()
    write_atomically(path, content, mode=0o644)
    return True


def _read_files(workspace_dir: Path) -> dict[str, str]:
    texts = {}
    for field, file_name in PROFILE_FILES.items():
        path = workspace_dir / file_name
        try:
            if not path.is_file():  # opening a named pipe would block
                continue
            with path.open("rb") as file:
                # One byte above the limit, so that a text that is too long is recognised.
                content = file.read(4 * MAX_CHARS + 1)
        except OSError:
            continue
        texts[field] = content.decode(errors="replace")
    if SETUP_SCRIPT in texts:
        texts[SETUP_SCRIPT] = managed_part(texts[SETUP_SCRIPT])
    return texts


def managed_part(script: str) -> str:
    """Return the profile's part of a start-up script: between the markers, else all but ``#!``."""
    _, begin, rest = script.partition(_SCRIPT_BEGIN)
    if begin:
        return rest.partition(_SCRIPT_END)[0].strip("\n")
    first, newline, rest = script.partition("\n")
    return rest if first.startswith("#!") and "bash" in first and newline else script


class ProfileSync:
    """Sends edited profile files to the server when a session ends, one session's at a time.

    Each field is a request of its own, so that a refused field does not affect the others
    (docs/api.md 3.7).
    """

    def __init__(
        self,
        server: Agents,
        agent_id: str,
        workspace_dir: Path,
        baselines: Baselines,
        redactor: Redactor,
    ) -> None:
        self._server, self._agent_id, self._workspace_dir = server, agent_id, workspace_dir
        self._baselines, self._redactor = baselines, redactor
        self._lock = anyio.Lock()
        self._refused: dict[str, str] = {}
        self._log = Log()

    async def sync(self) -> list[str]:
        """Send the edits since the last call; return the fields that were stored."""
        async with self._lock:
            texts = await read_files(self._workspace_dir)
            return [field for field, text in texts.items() if await self._send(field, text)]

    async def rescue(self, stored: Mapping[str, str]) -> dict[str, str]:
        """Send the edits of an earlier process, at boot; return the server's profile after that.

        An edit is sent only if the server's text (`stored`) still equals the baseline; otherwise
        the server's text wins.
        """
        async with self._lock:
            texts = await read_files(self._workspace_dir)
            edits = {
                field: text
                for field, text in texts.items()
                if field in stored and self._baselines.is_unchanged(field, stored[field])
            }
            sent = {field: text for field, text in edits.items() if await self._send(field, text)}
        return {**stored, **sent}

    async def begin(self, stored: Mapping[str, str]) -> None:
        """Set the baselines to the files' content, after they were written at boot.

        A file may differ from the server's text (`stored`) without being an edit: one that could
        not be written, or an existing start-up script.
        """
        texts = await read_files(self._workspace_dir)
        self._baselines.record({field: texts.get(field, text) for field, text in stored.items()})

    async def _send(self, field: str, text: str) -> bool:
        if self._baselines.is_unchanged(field, text) or self._refused.get(field) == text:
            return False
        if not _may_be_sent(field, text):
            self._log.debug(Event.IDENTITY, state="not synced", field=field, chars=len(text))
            return False
        shown = self._redactor.text(text)
        if shown != text and field == SETUP_SCRIPT:
            why = "it contains a secret, and would not work without it"
            self._log.warning(Event.IDENTITY, state="not synced", field=field, why=why)
            self._refused[field] = text
            return False
        try:
            await self._server.profile(self._agent_id, {field: shown}, change_source="session_sync")
        except ApiError as error:
            self._log.warning(Event.IDENTITY, state="not synced", field=field, why=str(error))
            if isinstance(error, ApiRefused) and not error.is_server_fault:
                self._refused[field] = text  # not to be sent again
            return False
        self._baselines.record({field: text})
        self._log.info(Event.IDENTITY, state="synced", field=field)
        return True


def _may_be_sent(field: str, text: str) -> bool:
    if len(text) > MAX_CHARS or (not text.strip() and field not in _MAY_BE_BLANK):
        return False
    return field not in _PERSONA or len(text) >= MIN_PERSONA_CHARS
