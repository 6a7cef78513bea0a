"""Declare the Copilot command line: its specification and its variables."""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    HarnessSpec,
    Installation,
    Program,
    Prompt,
    Skills,
)
from agent_swarm_worker.settings import HarnessOptions, live
from agent_swarm_worker.settings.base import ShellWords, Stripped  # noqa: TC001 - pydantic reads them


class CopilotOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the program's."""

    # --- the harness copilot
    program: ShellWords = live(
        "COPILOT_BINARY", default=("copilot",), is_native=True, is_checked_late=True
    )
    """The program and its first arguments, split as a shell splits words."""
    instructions_folders: Stripped = live(
        "COPILOT_CUSTOM_INSTRUCTIONS_DIRS", default="", is_native=True
    )
    """Folders with instructions, separated by commas; a session adds one with its system prompt."""
    token: Stripped = live("COPILOT_GITHUB_TOKEN", default="", is_native=True)
    """Token of a GitHub user with Copilot; may be a pool. ``GH_TOKEN`` and ``GITHUB_TOKEN`` do as
    well."""
    provider_url: Stripped = live("COPILOT_PROVIDER_BASE_URL", default="", is_native=True)
    """Address of another service with models; then no GitHub token is needed."""
    provider_key: Stripped = live("COPILOT_PROVIDER_API_KEY", default="", is_native=True)
    """API key of that service."""
    provider_type: Stripped = live("COPILOT_PROVIDER_TYPE", default="", is_native=True)
    """Kind of that service: ``openai``, ``azure`` or ``anthropic``."""
    model: Stripped = live("COPILOT_MODEL", default="", is_native=True)
    """Model of a task that names none."""
    is_offline: Stripped = live("COPILOT_OFFLINE", default="", is_native=True)
    """``true``: nothing but that service is asked."""


SPEC = HarnessSpec(
    name="copilot",
    wire_name=("acp", "opencode"),
    program=Program(
        name="copilot",
        variables=("COPILOT_BINARY",),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="@github/copilot",
            separator="@",
            version="1.0.102",
        ),
    ),
    options=CopilotOptions,
    credentials=Credentials(
        variables=("COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"),
        files=(".copilot/config.json",),
        personal=("COPILOT_GITHUB_TOKEN",),
    ),
    skills=Skills(folders=(".copilot/skills",), native_discovery=False),
    prompt=Prompt(system_delivery="file", reads_agent_notes=True, reads_repository_notes=True),
    capabilities=Capabilities(
        steer_modes=("queue",),
        can_resume=True,
        cost_source="price-table",
        permissions="asked",
        keeps_stdin_open=True,
    ),
    error_texts={
        "authentication_failed": (r"authentication failed with provider", r"no model is available"),
        "network": (r"cannot connect to", r"failed to (?:reach|connect)"),
    },
    tools={
        "view": "read",
        "create": "write",
        "str_replace_editor": "edit",
        "rg": "search",
        "web_fetch": "fetch",
        "ask_user": "question",
        "report_intent": "housekeeping",
        "update_todo": "plan",
    },
)
