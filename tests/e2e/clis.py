"""What a harness is for the scenarios: how it is started, and what it calls things."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from real_claude import MORE
from scripted_model import ScriptedModel
from worker_rig import WorkerRig, worker_rig


@dataclass(frozen=True, slots=True, kw_only=True)
class Cli:
    """One command line, and what its model has to call its tools."""

    name: str
    """As in ``HARNESS_PROVIDER``; ``acp-NAME`` is a row of its targets."""
    env: Callable[..., dict[str, str]]
    """From an empty home directory and the model's address to the worker's settings."""
    program: Path | None = None
    shell: str = "Bash"
    shell_arguments: Mapping[str, Any] = field(default_factory=dict)
    call: str = "[[tool:mcp__agent-swarm__NAME ARGS]]"
    """The tags for a call to a tool of the swarm."""
    is_pinned: bool = False
    """`make e2e` drives it, too."""
    quick: tuple[str, ...] = ()
    """Scenarios of `make e2e-all` that it ends soon, so that `make e2e` has them, too."""
    is_variant: bool = False
    """It has no row of its own in the table of results."""
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Scenarios that fail with it, and why; each run sees that they still do."""
    has_no: Mapping[str, str] = field(default_factory=dict)
    """Scenarios that have no meaning with it, and why; they are not run."""

    def model(self) -> ScriptedModel:
        return ScriptedModel(self.shell, dict(self.shell_arguments))

    def swarm_tool(self, tool: str, **arguments: str) -> str:
        """Return the tags with which the model calls a tool of the swarm."""
        given = json.dumps(arguments)
        call = self.call.replace("SNAKE", tool.replace("-", "_")).replace("NAME", tool)
        return call.replace("QUOTED", json.dumps(given)[1:-1]).replace("ARGS", given)

    def worker(
        self, folder: Path, model_url: str = "", **more: str
    ) -> AbstractAsyncContextManager[WorkerRig]:
        """Start a worker; `model_url` replaces the address of the scripted model."""

        def env(home: Path, url: str) -> dict[str, str]:
            return {**self.env(home, model_url or url), **more}

        return worker_rig(folder, env, self.model)

    def missing(self) -> str:
        """Return why its program is not here; empty if it is."""
        if self.program is None or self.program.exists():
            return ""
        reason = MORE / "missing" / self.name.removeprefix("acp-")
        return reason.read_text().strip() if reason.exists() else "it is not installed"
