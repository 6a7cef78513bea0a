"""Declare Claude Code: its specification and its variables."""

from __future__ import annotations

import json

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    HarnessSpec,
    Installation,
    Models,
    Program,
    Prompt,
    Service,
    Skills,
)
from agent_swarm_worker.providers.catalog import ANTHROPIC
from agent_swarm_worker.settings import HarnessOptions, live, operator_only
from agent_swarm_worker.settings.base import Lowered, ShellWords, Stripped, YesFlag  # noqa: TC001 - pydantic reads them


class ClaudeOptions(HarnessOptions):
    """The variables that the adapter reads; the rest of the environment is the CLI's."""

    # --- the harness claude
    program: ShellWords = live(
        "CLAUDE_BINARY", default=("claude",), is_native=True, is_checked_late=True
    )
    """The program and its first arguments, split as a shell splits words."""
    queue_steering: Lowered = live("CLAUDE_QUEUE_STEERING", default="auto")
    """Start the CLI so that it takes messages while it runs: ``on``, ``off``, or ``auto``, which
    asks the CLI for its version."""
    oauth_token: Stripped = live("CLAUDE_CODE_OAUTH_TOKEN", default="", is_native=True)
    """Token of a subscription; may be a pool. With it the CLI is not given an API key."""
    api_key: Stripped = live("ANTHROPIC_API_KEY", default="", is_native=True)
    """API key; may be a pool."""
    telemetry: YesFlag = operator_only(
        "CLAUDE_CODE_ENABLE_TELEMETRY", default=False, is_native=True
    )
    """The CLI sends traces by itself; then it sees ``OTEL_EXPORTER_OTLP_*HEADERS``, too."""
    config_dir: str = operator_only("CLAUDE_CONFIG_DIR", default="", is_native=True)
    """Where the CLI keeps its sessions; ``<HOME>/.claude`` by default."""

    @property
    def sessions_home(self) -> str:
        """The CLI's own folder; empty if neither variable is set."""
        return self.config_dir or (self.home and f"{self.home}/.claude")


OAUTH_TOKEN = "CLAUDE_CODE_OAUTH_TOKEN"  # noqa: S105 - the name of a variable
ANTHROPIC_KEY = "ANTHROPIC_API_KEY"

_NEEDS_A_PERSON = (
    "AskUserQuestion",
    "NotebookEdit",
    "EnterPlanMode",
    "ExitPlanMode",
    "Artifact",
    "Workflow",
    "ReportFindings",
)
"""Tools that wait for a person at a terminal, or make output that only one would see."""
_STATE = {"hasCompletedOnboarding": True, "bypassPermissionsModeAccepted": True}
_SETTINGS = {
    "permissions": {"allow": ["mcp__agent-swarm__*"], "deny": list(_NEEDS_A_PERSON)},
    "outputStyle": "Concise",
    "disableBundledSkills": True,
    "disableRemoteControl": True,
    "disableClaudeAiConnectors": True,
}

SPEC = HarnessSpec(
    name="claude",
    program=Program(
        name="claude",
        variables=("CLAUDE_BINARY",),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="@anthropic-ai/claude-code",
            separator="@",
            version="2.1.329",
        ),
    ),
    options=ClaudeOptions,
    credentials=Credentials(
        # A subscription comes before a key that costs money.
        variables=(OAUTH_TOKEN, ANTHROPIC_KEY),
        one_at_a_time=True,
        personal=(OAUTH_TOKEN,),
        services=(
            ANTHROPIC,
            Service(
                variable=OAUTH_TOKEN,
                name="claude-cli",
                ask="agent_swarm_worker.providers.claude.small_model:ask",
                small_model="haiku",
                rank=5,
            ),
        ),
    ),
    models=Models(
        default="opus",
        # The CLI resolves its short names itself.
        tiers={"smol": "haiku", "regular": "sonnet", "smart": "opus", "ultra": "fable"},
        windows=(
            (r"\[1m\]$", 1_000_000),
            # Anthropic states 1M for these; Claude Code gives them 200K unless the name ends in
            # [1m] (measured with 2.1.329; its documentation, "Model configuration").
            (r"claude-(?:opus|sonnet)-4[.-]6(?!\d)", 200_000),
        ),
    ),
    skills=Skills(folders=(".claude/skills",), command_folders=(".claude/commands",)),
    prompt=Prompt(
        delivery="stdin",
        system_delivery="file",
        reads_agent_notes=True,
        reads_repository_notes=True,
    ),
    capabilities=Capabilities(
        steer_modes=("queue",),
        can_resume=True,
        can_fork=True,
        permissions="every",
        cost_source="harness",
        keeps_stdin_open=True,
    ),
    error_texts={
        "stale_session": (
            r"no conversation found with session id",
            r"--resume requires a valid session id",
        ),
    },
    tools={
        "multiedit": "edit",
        "glob": "find-files",
        "agent": "subagent",
        "task": "subagent",
        "skill": "skill",
        "toolsearch": "housekeeping",
        "todoread": "plan",
        "todowrite": "plan",
        "notebookedit": "edit",
        "webfetch": "fetch",
        "websearch": "web-search",
        "exitplanmode": "plan",
        "askuserquestion": "question",
    },
    operator_prefixes=(
        "CLAUDE_CODE_CLIENT_",
        "CLAUDE_CODE_PLUGIN_SEED",
        "CLAUDE_CODE_SHELL",
        "CLAUDE_ENV_FILE",
    ),
    tracing_variables=("CLAUDE_CODE_ENABLE_TELEMETRY",),
    home_files={
        ".claude.json": json.dumps(_STATE),
        ".claude/settings.json": json.dumps(_SETTINGS, indent=2),
    },
)
