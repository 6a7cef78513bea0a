"""What the agent inside the worker's process is, for everything outside this package."""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    CredentialsByModel,
    HarnessSpec,
    Models,
    Prompt,
    Skills,
)
from agent_swarm_worker.providers.pi.options import PiOptions

KEY_VARIABLES = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "openai": "OPENAI_API_KEY",
}
"""The variable with the key of each service."""

SPEC = HarnessSpec(
    name="pi",
    extra="pi",
    options=PiOptions,
    credentials=Credentials(
        variables=tuple(KEY_VARIABLES.values()),
        files=(".pi/agent/auth.json",),
        by_model=CredentialsByModel(
            gateway=KEY_VARIABLES["openrouter"],
            families=(
                (r"claude-", KEY_VARIABLES["anthropic"]),
                (r"gpt-|chatgpt-|codex-|o\d", KEY_VARIABLES["openai"]),
            ),
            # Another vendor's model is never asked of OpenAI with its own key.
            only_own_models=(KEY_VARIABLES["openai"],),
        ),
        chosen_by=(KEY_VARIABLES["openrouter"],),
    ),
    models=Models(
        aliases={
            "fable": "claude-fable-5",
            "opus": "claude-opus-4-8",
            "sonnet": "claude-sonnet-5",
            "haiku": "claude-haiku-4-5-20251001",
        },
        tiers={
            "smol": "openrouter/deepseek/deepseek-v4-flash",
            "regular": "openrouter/deepseek/deepseek-v4-flash",
            "smart": "openrouter/deepseek/deepseek-v4-pro",
            "ultra": "openrouter/anthropic/claude-opus-4.8",
        },
    ),
    skills=Skills(folders=(".pi/agent/skills",), command_form="/skill:{name}"),
    prompt=Prompt(delivery="in-process", system_delivery="in-process", reads_repository_notes=True),
    capabilities=Capabilities(
        steer_modes=("steer", "queue"), can_resume=True, cost_source="price-table"
    ),
    tools={
        "read": "read",
        "bash": "shell",
        "edit": "edit",
        "write": "write",
        "grep": "search",
        "find": "find-files",
        "ls": "list-directory",
    },
    demo="agent_swarm_worker.providers.pi.demo:demo_model",
)
