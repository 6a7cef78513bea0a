"""Provide the harness fixture of the conformance checks: the agent itself, with its own home."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self


class EchoFixture:
    """Gives the agent a home directory, and reads the prompts it has stored there."""

    def __init__(self) -> None:
        self._home = Path()

    @property
    def env(self) -> Mapping[str, str]:
        """The home directory of the agent."""
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
        prompts = [entry for entries in files for entry in entries]
        return [entry["prompt"] for entry in sorted(prompts, key=lambda entry: entry["at"])]

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="echo-agent-")
        self._home = Path(self._folder.name)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._folder.cleanup()
