"""Declare the pi command line: its specification and its variables."""

from __future__ import annotations

from dataclasses import replace

from agent_swarm_worker.contract import (
    Capabilities,
    HarnessSpec,
    Installation,
    Program,
    Prompt,
)
from agent_swarm_worker.providers.pi.spec import SPEC as IN_PROCESS
from agent_swarm_worker.settings import HarnessOptions, live, operator_only
from agent_swarm_worker.settings.base import ShellWords, Stripped  # noqa: TC001 - pydantic reads them


class PiCliOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the program's."""

    # --- the harness pi-cli
    program: ShellWords = live(
        "PI_CLI_BINARY", "PI_BINARY", default=("pi",), is_native=True, is_checked_late=True
    )
    """The program and its first arguments, split as a shell splits words."""
    coding_agent_dir: Stripped = operator_only(
        "PI_CODING_AGENT_DIR", default="", is_native=True, is_shared=True
    )

    @property
    def agent_dir(self) -> str:
        """The agent directory; empty if neither it nor ``HOME`` is set."""
        chosen, home = self.coding_agent_dir, self.home
        if home and (chosen == "~" or chosen.startswith("~/")):
            return home + chosen[1:]
        return chosen or (home and f"{home}/.pi/agent")


SPEC = HarnessSpec(
    name="pi-cli",
    wire_name="pi",
    program=Program(
        name="pi",
        variables=("PI_CLI_BINARY", "PI_BINARY"),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="@earendil-works/pi-coding-agent",
            separator="@",
            version="0.87.1",
        ),
    ),
    options=PiCliOptions,
    # The harness inside the worker reads the same files, and knows the same models.
    credentials=replace(
        IN_PROCESS.credentials,
        variables=(
            *IN_PROCESS.credentials.variables,
            "ANTHROPIC_OAUTH_TOKEN",
            "DEEPSEEK_API_KEY",
            "GEMINI_API_KEY",
            "GROQ_API_KEY",
            "MISTRAL_API_KEY",
            "XAI_API_KEY",
        ),
        files=(".pi/agent/auth.json", ".pi/agent/models.json"),
        chosen_by=(),
    ),
    models=IN_PROCESS.models,
    skills=IN_PROCESS.skills,
    prompt=Prompt(delivery="stdin", system_delivery="file", reads_repository_notes=True),
    capabilities=Capabilities(
        steer_modes=("steer", "queue"),
        can_resume=True,
        can_fork=True,
        mcp_transports=("http",),
        cost_source="harness",
        keeps_stdin_open=True,
    ),
    error_texts={
        "stale_session": (r"no session found matching", r"session not found"),
        "network": (r"^terminated\b",),
        "authentication_failed": (r"no api key found for",),
        "model_not_found": (r"\bmodel \"?[^\n]{1,120}\"? not found",),
    },
    tools={**IN_PROCESS.tools, "powershell": "shell"},
)
