"""Make sessions of Factory Droid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.providers.acp.adapter import AcpAdapter
from agent_swarm_worker.providers.acp.target import Asking, Target
from agent_swarm_worker.providers.droid.spec import FACTORY, SPEC, DroidOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

MODES = {"read-only": "spec", "low": "auto-low", "medium": "auto-medium", "high": "auto-high"}


class DroidAdapter(AcpAdapter):
    """Runs each task in a process of ``droid exec --output-format acp``."""

    spec = SPEC
    # Its options for autonomy are ignored with this protocol (measured with 0.215.0).
    target = Target(
        name="Droid",
        model_option="--model",
        tool_names="title",
        # What these would run was not measured.
        asking=Asking(
            code_places=(
                *(".factory/mcp.json", ".factory/settings.json", ".factory/settings.local.json"),
                *(".factory/hooks", ".factory/hooks.json", ".factory/plugins", ".mcp.json"),
            )
        ),
        steering="prompt",
        session_files=((".factory/sessions", "*/{id}.jsonl"), (".factory/sessions", "{id}.jsonl")),
    )

    def target_of(self, env: Mapping[str, str]) -> Target:
        """Return the agent with its mode; raises `BadSetting`."""
        autonomy = DroidOptions.load(env).autonomy
        is_limited = autonomy != "high"
        return replace(self.target, modes=(MODES[autonomy],), refuses_requests=is_limited)

    def program(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return its command line; raises `BadSetting`."""
        return (*DroidOptions.load(env).program, "exec", "--output-format", "acp")


class FactoryAdapter(DroidAdapter):
    """The same under its other name."""

    spec = FACTORY
