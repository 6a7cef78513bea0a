"""Declare the Gemini CLI: its specification and its variables."""

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
from agent_swarm_worker.settings import HarnessOptions, live, operator_only
from agent_swarm_worker.settings.base import ShellWords, Stripped, YesFlag  # noqa: TC001 - pydantic reads them


class GeminiOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the CLI's."""

    # --- the harness gemini
    program: ShellWords = live(
        "GEMINI_BINARY", default=("gemini",), is_native=True, is_checked_late=True
    )
    """The program and its first arguments, split as a shell splits words."""
    api_key: Stripped = live("GEMINI_API_KEY", default="", is_native=True)
    """API key; may be a pool. It goes before the user's login."""
    google_key: Stripped = live("GOOGLE_API_KEY", default="", is_native=True)
    """API key of Vertex AI, with ``GOOGLE_GENAI_USE_VERTEXAI``."""
    uses_vertex: YesFlag = live("GOOGLE_GENAI_USE_VERTEXAI", default=False, is_native=True)
    """Ask the models of Vertex AI."""
    cloud_project: Stripped = live("GOOGLE_CLOUD_PROJECT", default="", is_native=True)
    """The project of Vertex AI; with it the login of the machine or of gcloud is enough."""
    cli_home: str = operator_only("GEMINI_CLI_HOME", default="", is_native=True)
    """The folder with ``.gemini``, the CLI's own folder; ``HOME`` by default. A session gets one of
    its own, with links to everything but the settings."""

    @property
    def user_home(self) -> str:
        """The folder with the user's ``.gemini``; empty if neither variable is set."""
        return self.cli_home or self.home


SPEC = HarnessSpec(
    name="gemini",
    wire_name="opencode",
    program=Program(
        name="gemini",
        variables=("GEMINI_BINARY",),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="@google/gemini-cli",
            separator="@",
            version="0.61.0",
        ),
    ),
    options=GeminiOptions,
    credentials=Credentials(
        variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        files=(".gemini/oauth_creds.json", ".gemini/gemini-credentials.json"),
        one_at_a_time=True,
    ),
    models=Models(
        # The CLI resolves its short names itself; tasks may use those of another vendor's models.
        aliases={"fable": "pro", "opus": "pro", "sonnet": "flash", "haiku": "flash-lite"},
        tiers={"smol": "flash-lite", "regular": "flash", "smart": "pro", "ultra": "pro"},
        windows=((r"^(?:gemini-(?:[2-9]|[1-9]\d)|(?:auto|pro|flash|flash-lite)$)", 1_048_576),),
        efforts=("low", "medium", "high"),
    ),
    skills=Skills(folders=(".gemini/skills",), native_discovery=False),
    prompt=Prompt(delivery="stdin", system_delivery="file"),
    capabilities=Capabilities(
        can_resume=True,
        cost_source="price-table",
    ),
    error_texts={
        "stale_session": (
            r"error resuming session: (?:invalid session identifier|no previous sessions)",
        ),
        "usage_limit": (r"exhausted your (?:daily quota|capacity)", r"quota will reset"),
        "rate_limit": (r"request a quota increase",),
        "authentication_failed": (
            r"api key not valid",
            r"must specify the GEMINI_API_KEY",
            r"set an auth method",
            r"invalid auth method",
            r"\bUNAUTHENTICATED\b",
        ),
        "network": (r"^(?:\[api error: )?terminated\b",),
    },
    tools={
        "read_file": "read",
        "read_many_files": "read",
        "replace": "edit",
        "write_file": "write",
        "run_shell_command": "shell",
        "grep_search": "search",
        "search_file_content": "search",
        "glob": "find-files",
        "list_directory": "list-directory",
        "invoke_agent": "subagent",
        "activate_skill": "skill",
        "write_todos": "plan",
        "update_topic": "housekeeping",
        "google_web_search": "web-search",
        "web_fetch": "fetch",
        "ask_user": "question",
        "exit_plan_mode": "plan",
    },
)
