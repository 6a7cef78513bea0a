"""What is known of a program of the operator's own: next to nothing."""

from __future__ import annotations

from agent_swarm_worker.contract import Capabilities, HarnessSpec, Prompt, Skills
from agent_swarm_worker.providers.claude.spec import SPEC as CLAUDE
from agent_swarm_worker.providers.codex.spec import SPEC as CODEX
from agent_swarm_worker.providers.subprocess.options import SubprocessOptions

SPEC = HarnessSpec(
    name="subprocess",
    wire_name="claude",
    options=SubprocessOptions,
    # The folder of a common agent that is run this way.
    skills=Skills(folders=(".opencode/skills",), native_discovery=False),
    prompt=Prompt(delivery="stdin", system_delivery="file"),
    # Nothing is known of the program, so the prompt names no tools; it may use them anyway.
    capabilities=Capabilities(mcp_transports=()),
    # It may well be one of those that we know.
    error_texts={**CLAUDE.error_texts, **CODEX.error_texts},
    stage="agent_swarm_worker.providers.subprocess.stage:SubprocessStage",
)
