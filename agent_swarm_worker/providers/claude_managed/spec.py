"""Declare the harness ``claude-managed``: its specification and its variables."""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    HarnessSpec,
    Models,
    Prompt,
    Skills,
)
from agent_swarm_worker.providers.catalog import ANTHROPIC
from agent_swarm_worker.settings import HarnessOptions, live
from agent_swarm_worker.settings.base import Stripped  # noqa: TC001 - pydantic reads it

DEFAULT_URL = "https://api.anthropic.com"


class ManagedOptions(HarnessOptions):
    """The variables that the adapter reads."""

    # --- the harness claude-managed
    api_key: Stripped = live("ANTHROPIC_API_KEY", default="", is_native=True, is_shared=True)
    base_url: Stripped = live(
        "ANTHROPIC_BASE_URL", default=DEFAULT_URL, is_native=True, is_shared=True
    )
    agent_id: Stripped = live("MANAGED_AGENT_ID", "managed_agent_id", default="")
    """The agent at Anthropic that runs the sessions; it has model, tools and tool servers."""
    environment_id: Stripped = live("MANAGED_ENVIRONMENT_ID", "managed_environment_id", default="")
    """The environment at Anthropic in which the agent works."""
    mcp_vault_id: Stripped = live("MANAGED_MCP_VAULT_ID", "managed_mcp_vault_id", default="")
    """The vault with the agent's key for the swarm's tool server."""
    github_vault_id: Stripped = live("MANAGED_GITHUB_VAULT_ID", default="")
    """The vault with the agent's key for GitHub's tool server."""
    github_token: Stripped = live("MANAGED_GITHUB_TOKEN", default="")
    """Token with which the task's repository is cloned at Anthropic; public ones need none."""
    runtime_usd_per_hour: float = live(
        "CLAUDE_MANAGED_RUNTIME_FEE_USD_PER_HOUR", default=0.08, ge=0
    )
    """Price of an hour in which the session works, besides the model's tokens."""
    request_timeout_s: float = live("CLAUDE_MANAGED_REQUEST_TIMEOUT_S", default=30.0, gt=0, le=600)
    """How long a request may take, and the stream of events be silent before it is opened again."""


SPEC = HarnessSpec(
    name="claude-managed",
    extra="claude-managed",
    options=ManagedOptions,
    credentials=Credentials(variables=("ANTHROPIC_API_KEY",), services=(ANTHROPIC,)),
    models=Models(
        aliases={
            "fable": "claude-fable-5",
            "opus": "claude-opus-4-8",
            "sonnet": "claude-sonnet-5",
            "haiku": "claude-haiku-4-5",
        },
        tiers={
            "smol": "claude-haiku-4-5",
            "regular": "claude-sonnet-5",
            "smart": "claude-opus-4-8",
            "ultra": "claude-fable-5",
        },
        efforts=(),
    ),
    skills=Skills(),
    prompt=Prompt(delivery="in-process", system_delivery="in-process"),
    capabilities=Capabilities(
        steer_modes=("steer", "queue"),
        can_resume=True,
        mcp_transports=("http",),
        has_local_environment=False,
        cost_source="price-table",
    ),
    tools={
        "bash": "shell",
        "read": "read",
        "write": "write",
        "edit": "edit",
        "glob": "find-files",
        "grep": "search",
        "web_fetch": "fetch",
        "web_search": "web-search",
    },
    is_synthetic=True,
)
