"""The agent's edits of its profile files, brought to the server when a session ends.

One request per field, so that one field over its budget does not hold back the others
(API reference D.1 and E7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.workspace.identity import PROFILE_FILES, SETUP_SCRIPT

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.workspace.identity import Baselines, ProfileWriter

MIN_PERSONA_CHARS = 500
"""A shorter SOUL.md or IDENTITY.md is an accident: such texts have wiped real ones before."""
MAX_CHARS = 262_144
"""What the server takes at most for any field."""

_PERSONA = frozenset({"soulMd", "identityMd"})
_MAY_BE_BLANK = frozenset({"heartbeatMd"})
_SCRIPT_BEGIN = "# === Agent-managed setup (from DB) ==="
_SCRIPT_END = "# === End agent-managed setup ==="


class ProfileSync:
    """Sends edited profile files to the server; sessions that end together take turns."""

    def __init__(
        self,
        server: ProfileWriter,
        agent_id: str,
        workspace_dir: Path,
        baselines: Baselines,
        redactor: Redactor,
    ) -> None:
        """Set up.

        Args:
            server: where the profile lives.
            agent_id: whose profile.
            workspace_dir: where the files lie.
            baselines: tells an edit from a copy.
            redactor: secrets an agent noted down stay on this machine.
        """
        self._server, self._agent_id, self._workspace_dir = server, agent_id, workspace_dir
        self._baselines, self._redactor = baselines, redactor
        self._turn = anyio.Lock()
        self._refused: dict[str, str] = {}
        self._log = Log()

    async def sync(self) -> list[str]:
        """Send what was edited since the last time; return the names of the fields stored."""
        async with self._turn:
            texts = await to_thread.run_sync(_read, self._workspace_dir)
            return [field for field, text in texts.items() if await self._send(field, text)]

    async def _send(self, field: str, text: str) -> bool:
        if self._baselines.is_unchanged(field, text) or self._refused.get(field) == text:
            return False
        if not _is_fit(field, text):
            self._log.debug(Event.IDENTITY, state="not synced", field=field, chars=len(text))
            return False
        shown = self._redactor.text(text)
        if shown != text and field == SETUP_SCRIPT.field:
            why = "it contains a secret, and would not work without it"
            self._log.warning(Event.IDENTITY, state="not synced", field=field, why=why)
            self._refused[field] = text
            return False
        try:
            await self._server.profile(self._agent_id, {field: shown}, change_source="session_sync")
        except ApiError as error:
            self._log.warning(Event.IDENTITY, state="not synced", field=field, why=str(error))
            if isinstance(error, ApiRefused) and not error.is_server_fault:
                self._refused[field] = text  # the same text would be refused again
            return False
        self._baselines.record({field: text})
        self._log.info(Event.IDENTITY, state="synced", field=field)
        return True


def _is_fit(field: str, text: str) -> bool:
    if len(text) > MAX_CHARS or (not text.strip() and field not in _MAY_BE_BLANK):
        return False
    return field not in _PERSONA or len(text) >= MIN_PERSONA_CHARS


def _read(workspace_dir: Path) -> dict[str, str]:
    texts = {}
    for item in (*PROFILE_FILES, SETUP_SCRIPT):
        try:
            with (workspace_dir / item.file_name).open("rb") as file:
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
