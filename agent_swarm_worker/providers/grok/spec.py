"""Declare the Grok command line: its specification and its variables."""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    CredentialsByModel,
    HarnessSpec,
    Installation,
    Models,
    Program,
    Prompt,
    Skills,
)
from agent_swarm_worker.settings import HarnessOptions, live
from agent_swarm_worker.settings.base import ShellWords, Stripped  # noqa: TC001 - pydantic reads them


class GrokOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the program's."""

    # --- the harness grok
    program: ShellWords = live(
        "GROK_BINARY", default=("grok",), is_native=True, is_checked_late=True
    )
    """The program and its first arguments, split as a shell splits words."""
    key: Stripped = live("XAI_API_KEY", default="", is_native=True)
    """API key of xAI; may be a pool."""
    models_url: Stripped = live("GROK_MODELS_BASE_URL", default="", is_native=True)
    """Address of another service with models."""


SPEC = HarnessSpec(
    name="grok",
    wire_name=("acp", "opencode"),
    program=Program(
        name="grok",
        variables=("GROK_BINARY",),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="@xai-official/grok",
            separator="@",
            version="1.0.41",
        ),
    ),
    options=GrokOptions,
    credentials=Credentials(
        variables=("XAI_API_KEY", "OPENROUTER_API_KEY"),
        files=(".grok/auth.json",),
        by_model=CredentialsByModel(
            gateway="OPENROUTER_API_KEY", families=(("grok-", "XAI_API_KEY"),)
        ),
    ),
    models=Models(
        tiers={
            "smol": "grok-build-0.1",
            "regular": "grok-4.3",
            "smart": "grok-4.6",
            "ultra": "grok-4.7",
        },
    ),
    skills=Skills(folders=(".grok/skills",), native_discovery=False),
    prompt=Prompt(system_delivery="stdin"),
    capabilities=Capabilities(
        steer_modes=("queue",),
        can_resume=True,
        cost_source="harness",
        permissions="asked",
        keeps_stdin_open=True,
    ),
    error_texts={"authentication_failed": (r"not signed in", r"unauthorized \(401\)")},
    tools={
        "run_terminal_command": "shell",
        "read_file": "read",
        "list_dir": "list-directory",
        "web_fetch": "fetch",
        "web_search": "web-search",
        "search_replace": "edit",
        "write": "write",
        "search_tool": "housekeeping",
        "todo_write": "plan",
    },
)
