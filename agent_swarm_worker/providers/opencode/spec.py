"""Declare opencode: its specification and its variables."""

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
from agent_swarm_worker.settings import HarnessOptions, live, operator_only
from agent_swarm_worker.settings.base import ShellWords, Stripped  # noqa: TC001 - pydantic reads them


class OpencodeOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the program's."""

    # --- the harness opencode
    program: ShellWords = live(
        "OPENCODE_BINARY", default=("opencode",), is_native=True, is_checked_late=True
    )
    """The program and its first arguments, split as a shell splits words."""
    config_content: Stripped = live("OPENCODE_CONFIG_CONTENT", default="", is_native=True)
    """Configuration as JSON, such as providers and models; a session adds its own to it."""
    config_file: str = operator_only("OPENCODE_CONFIG", default="", is_native=True)
    """A further configuration file."""


SPEC = HarnessSpec(
    name="opencode",
    code_variables=("OPENCODE_CONFIG_CONTENT",),
    program=Program(
        name="opencode",
        variables=("OPENCODE_BINARY",),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="opencode-ai",
            separator="@",
            version="1.18.33",
        ),
    ),
    options=OpencodeOptions,
    credentials=Credentials(
        variables=("OPENROUTER_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
        files=(
            ".local/share/opencode/auth.json",
            ".config/opencode/opencode.json",
            ".config/opencode/opencode.jsonc",
        ),
        by_model=CredentialsByModel(
            gateway="OPENROUTER_API_KEY",
            families=(("claude-", "ANTHROPIC_API_KEY"), (r"gpt-|codex-|o\d", "OPENAI_API_KEY")),
        ),
    ),
    models=Models(
        tiers={
            "smol": "openrouter/deepseek/deepseek-v4.1-flash",
            "regular": "openrouter/deepseek/deepseek-v4.1-flash",
            "smart": "openrouter/deepseek/deepseek-v4-pro-0813",
            "ultra": "openrouter/anthropic/claude-opus-5.5",
        },
    ),
    skills=Skills(folders=(".opencode/skills", ".config/opencode/skills"), native_discovery=False),
    prompt=Prompt(system_delivery="file", reads_repository_notes=True),
    capabilities=Capabilities(
        steer_modes=("steer", "queue"),
        can_resume=True,
        can_fork=True,
        cost_source="harness",
        permissions="asked",
        keeps_stdin_open=True,
    ),
    tools={
        "list": "list-directory",
        "apply_patch": "edit",
        "patch": "edit",
    },
)
