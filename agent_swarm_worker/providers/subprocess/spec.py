"""Declare ``subprocess``: what is known of an operator's program, and its variables."""

from __future__ import annotations

from typing import Literal

from agent_swarm_worker.contract import Capabilities, HarnessSpec, Prompt, Skills
from agent_swarm_worker.providers.claude.spec import SPEC as CLAUDE
from agent_swarm_worker.providers.codex.spec import SPEC as CODEX
from agent_swarm_worker.settings import HarnessOptions, live


class SubprocessOptions(HarnessOptions):
    """Which program runs the sessions, and how its output is read."""

    # --- the harness subprocess
    command: str = live("HARNESS_COMMAND", default="")
    """The command line, split as a shell splits words; no shell runs."""
    output: Literal["auto", "stream-json", "jsonl", "text"] = live("HARNESS_OUTPUT", default="auto")
    """How its standard output is read."""


SPEC = HarnessSpec(
    name="subprocess",
    wire_name="claude",
    command_variables=("HARNESS_COMMAND",),
    options=SubprocessOptions,
    # That of a common agent that is run this way.
    skills=Skills(folders=(".opencode/skills",), native_discovery=False),
    prompt=Prompt(delivery="stdin", system_delivery="file"),
    # The prompt names no tools, as the program may have no MCP client; the file is there anyway.
    capabilities=Capabilities(mcp_transports=()),
    # The program may be one of these.
    error_texts={**CLAUDE.error_texts, **CODEX.error_texts},
    stage="agent_swarm_worker.providers.subprocess.harness_fixture:SubprocessFixture",
)
