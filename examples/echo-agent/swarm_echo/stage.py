"""Somebody for the sessions to talk to in the conformance checks: the agent itself."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self


class EchoStage:
    """A home for the agent, in which one can read what it was told."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._home = Path()

    @property
    def env(self) -> Mapping[str, str]:
        """Where the agent keeps its sessions."""
        return {"ECHO_AGENT_HOME": str(self._home)}

    def answers(self, words: str) -> str:
        """Return a prompt to which the agent answers exactly `words`."""
        return f"echo: {words}"

    def works(self, seconds: float) -> str:
        """Return a prompt with which the agent runs a command for so long."""
        return f"run: sleep {seconds}"

    def heard(self) -> Sequence[str]:
        """Return all prompts so far, oldest first."""
        files = [json.loads(path.read_text()) for path in self._home.glob("*.json")]
        told = [entry for entries in files for entry in entries]
        return [entry["prompt"] for entry in sorted(told, key=lambda entry: entry["at"])]

    async def __aenter__(self) -> Self:
        folder = tempfile.TemporaryDirectory(prefix="echo-agent-")
        self._home = Path(self._held.enter_context(folder))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()
