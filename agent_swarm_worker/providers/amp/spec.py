"""Declare the Amp CLI: its specification and its variables."""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    HangTexts,
    HarnessSpec,
    Installation,
    Models,
    Program,
    Prompt,
    Skills,
)
from agent_swarm_worker.settings import HarnessOptions, live, operator_only
from agent_swarm_worker.settings.base import ShellWords, Stripped  # noqa: TC001 - pydantic reads them


class AmpOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the CLI's."""

    # --- the harness amp
    program: ShellWords = live("AMP_BINARY", default=("amp",), is_native=True, is_checked_late=True)
    """The program and its first arguments, split as a shell splits words."""
    api_key: Stripped = live("AMP_API_KEY", default="", is_native=True)
    """Access token; may be a pool. It goes before the user's login."""
    config_home: str = operator_only("XDG_CONFIG_HOME", default="", is_native=True)
    """The user's folder of configurations; ``<HOME>/.config`` by default. A session gets one of its
    own, with links to everything but the CLI's settings."""

    @property
    def user_config(self) -> str:
        """The user's folder of configurations; empty if neither variable is set."""
        return self.config_home or (self.home and f"{self.home}/.config")


MODES = ("low", "medium", "high", "ultra")
"""What the CLI has in the place of models."""

SPEC = HarnessSpec(
    name="amp",
    wire_name="opencode",
    program=Program(
        name="amp",
        variables=("AMP_BINARY",),
        version_arguments=("version",),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="@ampcode/cli",
            separator="@",
            version="0.0.1790142911-g7618fb",
        ),
    ),
    options=AmpOptions,
    credentials=Credentials(
        variables=("AMP_API_KEY",), files=(".local/share/amp/secrets.json",), one_at_a_time=True
    ),
    models=Models(
        default="medium",
        aliases={"fable": "ultra", "opus": "high", "sonnet": "medium", "haiku": "low"},
        tiers={"smol": "low", "regular": "medium", "smart": "high", "ultra": "ultra"},
    ),
    skills=Skills(folders=(".config/agents/skills",), native_discovery=False),
    prompt=Prompt(delivery="stdin", system_delivery="file", reads_repository_notes=True),
    is_synthetic=True,
    capabilities=Capabilities(can_resume=True, mcp_transports=("http", "stdio")),
    error_texts={
        "stale_session": (r"\bthread\b[^\n]{0,80}\b(?:not found|does not exist)",),
        "authentication_failed": (r"no api key found", r"invalid or missing api key"),
        "billing_error": (r"out of (?:free )?credits", r"add (?:more )?credits"),
        "network": (r"couldn't connect to the amp server",),
    },
    hang_texts=HangTexts(asking=(r"paste your code", r"starting login flow")),
    tools={
        "create_file": "write",
        "edit_file": "edit",
        "undo_edit": "edit",
        "finder": "search",
        "codebase_search_agent": "search",
        "oracle": "subagent",
        "librarian": "subagent",
        "task": "subagent",
        "skill": "skill",
        "todo_write": "plan",
        "todo_read": "plan",
        "web_search": "web-search",
        "read_web_page": "fetch",
    },
)
