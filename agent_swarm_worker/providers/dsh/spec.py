"""Declare ``dsh``, the command line of DeepSeek: its specification and its variables."""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    HarnessSpec,
    Installation,
    Models,
    Program,
    Prompt,
    Skills,
)
from agent_swarm_worker.settings import HarnessOptions, live
from agent_swarm_worker.settings.base import ShellWords, Stripped  # noqa: TC001 - pydantic reads them


class DshOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the program's."""

    # --- the harness dsh
    program: ShellWords = live("DSH_BINARY", default=("dsh",), is_native=True, is_checked_late=True)
    """The program and its first arguments, split as a shell splits words."""
    key: Stripped = live("DEEPSEEK_API_KEY", default="", is_native=True)
    """API key of DeepSeek; may be a pool."""


KEY = "DEEPSEEK_API_KEY"

SPEC = HarnessSpec(
    name="dsh",
    wire_name="opencode",
    program=Program(
        name="dsh",
        variables=("DSH_BINARY",),
        # The version that the registry calls the latest has neither --json nor standard input.
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="@deepseek-ai/dsh",
            separator="@",
            version="0.1.7-alpha.2",
        ),
    ),
    options=DshOptions,
    credentials=Credentials(variables=(KEY,)),
    models=Models(default="deepseek-flash"),
    skills=Skills(folders=(".agents/skills",), native_discovery=False),
    prompt=Prompt(delivery="stdin", system_delivery="file"),
    # This version has no client for tool servers.
    is_synthetic=True,
    capabilities=Capabilities(mcp_transports=()),
)
