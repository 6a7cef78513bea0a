"""The agent's profile at boot: filled where the server has nothing, and copied to the workspace.

The server's database is where a profile lives; the files are copies that the agent may edit, and
`profile_sync` brings its edits back (docs/api.md 3.10).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import orjson
from anyio import to_thread

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.files import write_atomically
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.workspace.profiles import AgentFacts, default_profile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent_swarm_worker.api.wire import Agent
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.workspace.profiles import AgentTemplate


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """A profile field that has a file in the workspace."""

    field: str
    """Its name on the wire."""
    file_name: str


PROFILE_FILES = (
    ProfileFile("soulMd", "SOUL.md"),
    ProfileFile("identityMd", "IDENTITY.md"),
    ProfileFile("toolsMd", "TOOLS.md"),
    ProfileFile("heartbeatMd", "HEARTBEAT.md"),
    ProfileFile("claudeMd", "CLAUDE.md"),
)
SETUP_SCRIPT = ProfileFile("setupScript", "start-up.sh")
MAX_CHARS = 262_144
"""What the server takes at most for any field."""
MAX_BACKUPS = 5
"""Of each file; a worker that restarts all day must not fill the workspace."""

_SCRIPT_BEGIN = "# === Agent-managed setup (from DB) ==="
_SCRIPT_END = "# === End agent-managed setup ==="


class ProfileWriter(Protocol):
    """The server, as far as profiles go; `api.client` is one. Raises `ApiError`."""

    async def profile(
        self, agent_id: str, fields: Mapping[str, str], *, change_source: str | None = None
    ) -> None:
        """Set these fields (docs/api.md 3.7)."""
        ...


def profile_of(agent: Agent) -> dict[str, str]:
    """Return the profile texts the server has for an agent, by their names on the wire."""
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
    profile: Mapping[str, str], facts: AgentFacts, template: AgentTemplate | None = None
) -> dict[str, str]:
    """Return the texts that a profile lacks.

    Args:
        profile: what the server has, see `profile_of`.
        facts: what the generated texts say.
        template: the role template, which goes before the generated texts.
    """
    offered = default_profile(facts) | (template.profile(facts) if template else {})
    known = {item.field for item in (*PROFILE_FILES, SETUP_SCRIPT)}
    return {field: offered[field] for field in offered if field in known - profile.keys()}


async def store_missing(server: ProfileWriter, agent_id: str, missing: Mapping[str, str]) -> None:
    """Store texts that the server lacks; one that cannot be written to lacks them still.

    Args:
        server: where the profile lives.
        agent_id: whose.
        missing: see `missing_texts`.
    """
    if not missing:
        return
    try:
        await server.profile(agent_id, missing)
    except ApiError as error:
        Log().warning(Event.IDENTITY, state="not stored", fields=sorted(missing), why=str(error))


async def write_files(workspace_dir: Path, profile: Mapping[str, str], clock: Clock) -> list[Path]:
    """Copy the profile to the workspace, if there is one; return the files written.

    A file that differs is kept as ``<name>.pre-boot-<time>.bak``. The set-up script is only written
    where there is none. A file that cannot be written is logged and skipped.
    """
    return await to_thread.run_sync(_write_files, workspace_dir, profile, wire_time(clock.now()))


async def read_files(workspace_dir: Path) -> dict[str, str]:
    """Return the texts of the profile's files by field; those that cannot be read are left out."""
    return await to_thread.run_sync(_read_files, workspace_dir)


class Baselines:
    """What each file held when the worker last dealt with it: one hash per field, on disk.

    Only a file that differs from its baseline was edited here. Without it, an edit that the lead
    made on the server meanwhile would be overwritten by the old copy.
    """

    def __init__(self, path: Path) -> None:
        """Open the baselines kept at `path`; a missing or broken file means none."""
        self._path = path
        self._hashes: dict[str, str] = {}
        try:
            stored = orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return
        if isinstance(stored, dict):
            self._hashes = {str(field): str(digest) for field, digest in stored.items()}

    def is_unchanged(self, field: str, text: str) -> bool:
        """True if `text` is what was recorded."""
        return self._hashes.get(field) == _digest(text)

    def record(self, profile: Mapping[str, str]) -> None:
        """Note that these texts are known to both sides."""
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
    for item in (*PROFILE_FILES, SETUP_SCRIPT):
        text = profile.get(item.field)
        if not text:
            continue
        path = workspace_dir / item.file_name
        try:
            if _write_file(path, text, stamp, is_script=item is SETUP_SCRIPT):
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
        # Times of one format: by name is by age.
        for old in sorted(path.parent.glob(f"{path.name}.pre-boot-*.bak"))[:-MAX_BACKUPS]:
            old.unlink()
    write_atomically(path, content, mode=0o644)
    return True


def _read_files(workspace_dir: Path) -> dict[str, str]:
    texts = {}
    for item in (*PROFILE_FILES, SETUP_SCRIPT):
        path = workspace_dir / item.file_name
        try:
            if not path.is_file():  # opening a pipe would wait for somebody to write to it
                continue
            with path.open("rb") as file:
                # One byte more than can be sent, so that what is too long is seen to be.
                content = file.read(4 * MAX_CHARS + 1)
        except OSError:
            continue
        texts[item.field] = content.decode(errors="replace")
    if SETUP_SCRIPT.field in texts:
        texts[SETUP_SCRIPT.field] = managed_part(texts[SETUP_SCRIPT.field])
    return texts


def managed_part(script: str) -> str:
    """Return the part of a start-up script that belongs to the profile.

    That is what stands between the two marker lines; without them all of it but the bash line.
    """
    _, begin, rest = script.partition(_SCRIPT_BEGIN)
    if begin:
        return rest.partition(_SCRIPT_END)[0].strip("\n")
    first, newline, rest = script.partition("\n")
    return rest if first.startswith("#!") and "bash" in first and newline else script
