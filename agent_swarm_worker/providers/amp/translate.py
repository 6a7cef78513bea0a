"""Translate the Amp CLI's output: Claude Code's ``stream-json`` in a dialect of its own.

It names no model and no price, so the cost is that of its tokens, with an unknown price.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.amp.launch import resolve_model
from agent_swarm_worker.providers.amp.spec import SPEC
from agent_swarm_worker.providers.kit.claude_stream import ClaudeStreamTranslator
from agent_swarm_worker.providers.kit.native import items, mapping, text

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderSessionConfig


class AmpTranslator(ClaudeStreamTranslator):
    """Translates the lines of one process into events, and at its end into a result."""

    spec = SPEC
    title = "Amp"

    def __init__(self, config: ProviderSessionConfig, **more: Any) -> None:
        super().__init__(config, **more)
        self.state.model = resolve_model(config.model)

    def tool_result(self, block: dict[str, Any]) -> tuple[Any, bool]:
        """Return the output of a command, which is JSON with its exit code, as text."""
        content, is_error = super().tool_result(block)
        parts = items(content)
        told = text(mapping(parts[0]).get("text")) if len(parts) == 1 else text(content)
        if told.startswith("{") and '"exitCode"' in told:
            try:
                run = mapping(json.loads(told))
            except ValueError:
                return content, is_error
            if isinstance(run.get("output"), str):
                return run["output"], is_error or run.get("exitCode") not in (0, None)
        return content, is_error
