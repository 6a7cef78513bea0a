"""Send the agent's edits of its profile files to the server when a session ends.

Each field is a request of its own, so that a refused field does not affect the others
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

    from agent_swarm_worker.api.client import Agents
    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.workspace.identity import Baselines

MIN_PERSONA_CHARS = 500
"""A shorter SOUL.md or IDENTITY.md is taken for an accident and not sent."""

_PERSONA = frozenset({"soulMd", "identityMd"})
_MAY_BE_BLANK = frozenset({"heartbeatMd"})


class ProfileSync:
    """Sends edited profile files to the server, one session's edits at a time."""

    def __init__(
        self,
        server: Agents,
        agent_id: str,
        workspace_dir: Path,
        baselines: Baselines,
        redactor: Redactor,
    ) -> None:
        """Set up.

        Args:
            server: stores the profile.
            agent_id: the agent that owns the profile.
            workspace_dir: directory of the files.
            baselines: tell an edit from a copy.
            redactor: removes secrets from texts before they are sent.
        """
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
        """Send the edits of an earlier process's sessions; return the server's profile after that.

        To be called at boot, before the files are overwritten. An edit is sent only if the server's
        text (`stored`) still equals the baseline; otherwise the server's text wins.
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
                self._refused[field] = text  # not to be sent again
            return False
        self._baselines.record({field: text})
        self._log.info(Event.IDENTITY, state="synced", field=field)
        return True


def _may_be_sent(field: str, text: str) -> bool:
    if len(text) > MAX_CHARS or (not text.strip() and field not in _MAY_BE_BLANK):
        return False
    return field not in _PERSONA or len(text) >= MIN_PERSONA_CHARS
