"""Declare ``echo-agent``.

This module imports nothing but the contract: every worker loads it, whichever harness it runs.
"""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    HarnessSpec,
    Installation,
    Models,
    Program,
    Prompt,
    Skills,
)

SPEC = HarnessSpec(
    name="echo",
    wire_name="claude",  # the server does not know the name echo
    program=Program(
        name="echo-agent",
        install=Installation(tool="pip", package="swarm-worker-echo", version="0.1.0"),
    ),
    # It has no model and no account. A real harness declares its credentials here:
    #   credentials=Credentials(variables=("ECHO_API_KEY",), one_at_a_time=True),
    models=Models(
        tiers={"smol": "echo-small", "regular": "echo", "smart": "echo", "ultra": "echo"},
        windows=((r"^echo", 64_000),),
        uses_catalog=False,
    ),
    skills=Skills(
        folders=(".echo-agent/skills",),
        native_discovery=False,
        # It has no commands of its own.
        command_form="Follow the skill {name}.",
    ),
    prompt=Prompt(delivery="stdin", system_delivery="file"),
    capabilities=Capabilities(can_resume=True, mcp_transports=()),
    error_texts={"usage_limit": (r"the echo is used up",)},
    tools={"shell": "shell"},
)
