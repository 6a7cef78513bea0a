"""The agent's edits of its profile files, brought to the server when a session ends.

One request per field, so that one field over its budget does not hold back the others
(docs/api.md 3.7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.errors import ApiError, ApiRefused
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.workspace.identity import MAX_CHARS, SETUP_SCRIPT, read_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.workspace.identity import Baselines, ProfileWriter

MIN_PERSONA_CHARS = 500
"""A shorter SOUL.md or IDENTITY.md is an accident: such texts have wiped real ones before."""

_PERSONA = frozenset({"soulMd", "identityMd"})
_MAY_BE_BLANK = frozenset({"heartbeatMd"})


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
            texts = await read_files(self._workspace_dir)
            return [field for field, text in texts.items() if await self._send(field, text)]

    async def rescue(self, stored: Mapping[str, str]) -> dict[str, str]:
        """Send the edits of a session whose end this worker did not live to see.

        To be called at boot, before the files are written anew. An edit counts only if the server
        still has what the file began as: if somebody changed the field there, that stands.

        Args:
            stored: the profile as the server has it now.

        Returns:
            The profile as the server has it afterwards.
        """
        async with self._turn:
            texts = await read_files(self._workspace_dir)
            edits = {
                field: text
                for field, text in texts.items()
                if field in stored and self._baselines.is_unchanged(field, stored[field])
            }
            sent = {field: text for field, text in edits.items() if await self._send(field, text)}
        return {**stored, **sent}

    async def begin(self, stored: Mapping[str, str]) -> None:
        """Take what the files hold now for unedited, after they were written at boot.

        Args:
            stored: the profile as the server has it. What could not be written, and a start-up
                script that was there before, differs from it without being an edit.
        """
        texts = await read_files(self._workspace_dir)
        self._baselines.record({field: texts.get(field, text) for field, text in stored.items()})

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
