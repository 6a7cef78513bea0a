"""Declare codex: its specification, its variables, the names and effort levels of its models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator

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
from agent_swarm_worker.providers.catalog import OPENAI, effort_levels
from agent_swarm_worker.settings import HarnessOptions, live, operator_only
from agent_swarm_worker.settings.base import ShellWords, Stripped  # noqa: TC001 - pydantic reads them

NETWORK_TIMEOUT_S = 180.0

Transport: TypeAlias = Literal["app-server", "exec"]


class CodexLogin(HarnessOptions):
    """Where the CLI keeps its files, and what it logs in with."""

    # --- the login of codex
    codex_home: str = operator_only("CODEX_HOME", default="", is_native=True)
    """The operator's folder of the CLI: its login, configuration and sessions; ``<HOME>/.codex`` by
    default. A session gets one of its own."""
    oauth: Stripped = live("CODEX_OAUTH", default="", is_native=True)
    """A ChatGPT login of this worker's own, as JSON; a login of the swarm goes before it."""
    api_key: Stripped = live("OPENAI_API_KEY", default="", is_native=True)
    """API key; may be a pool. A login goes before it."""
    oauth_pooled: str = live("CODEX_OAUTH_POOLED", default="", is_native=True)
    """Set to ``1`` by the worker for a session whose login is the swarm's: the CLI must not renew
    it."""
    auth_mode: str = live("CODEX_AUTH_MODE", default="", is_native=True)
    """Set to ``apikey`` by the worker for a session that uses the key although the CLI is logged
    in."""

    @property
    def operator_home(self) -> Path | None:
        """The operator's folder of the CLI; ``None`` without ``HOME`` and ``CODEX_HOME``."""
        if self.codex_home:
            return Path(self.codex_home)
        return Path(self.home, ".codex") if self.home else None


class CodexOptions(CodexLogin):
    """How the CLI is started and watched."""

    # --- the harness codex
    program: ShellWords = live(
        "CODEX_BINARY",
        "CODEX_PATH_OVERRIDE",
        default=("codex",),
        is_native=True,
        is_checked_late=True,
    )
    """The program and its first arguments, split as a shell splits words."""
    transport: Literal["auto", "app-server", "exec"] = live(
        "CODEX_TRANSPORT", default="auto", is_checked_late=True
    )
    """The transport; ``auto`` asks the program once whether it has an app server."""
    network_timeout_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = live(
        "CODEX_NETWORK_TIMEOUT_SECONDS", default=NETWORK_TIMEOUT_S, is_checked_late=True
    )
    """How long the CLI may only retry to reach the model's API."""
    system_prompt: Literal["developer", "agents-md"] = live(
        "CODEX_SYSTEM_PROMPT", default="developer", is_checked_late=True
    )
    """Where the system prompt goes: into the developer instructions, or into ``AGENTS.md``."""
    chatgpt_url: Stripped = operator_only(
        "CODEX_CHATGPT_BASE_URL", default="https://chatgpt.com/backend-api"
    )
    """Address of the API behind ChatGPT logins, for summaries of sessions."""
    runtime_id: str | None = operator_only("SWARM_RUNTIME_INSTANCE_ID")
    """Set by the worker for each session: its instance id, sent to the swarm's tool server."""

    @field_validator("transport", "system_prompt", mode="before")
    @classmethod
    def _lowered(cls, value: object) -> str:
        return str(value).strip().lower()


OAUTH = "CODEX_OAUTH"
API_KEY = "OPENAI_API_KEY"
POOLED = "CODEX_OAUTH_POOLED"
AUTH_MODE = "CODEX_AUTH_MODE"
"""``apikey``: the worker has chosen the key, although the CLI is logged in."""

_CONFIG = """\
# The container is the sandbox, and nobody is there to approve anything.
approval_policy = "never"
sandbox_mode = "danger-full-access"
"""

SPEC = HarnessSpec(
    name="codex",
    program=Program(
        name="codex",
        variables=("CODEX_BINARY", "CODEX_PATH_OVERRIDE"),
        install=Installation(
            tool="npm",
            arguments=("install", "--global"),
            package="@openai/codex",
            separator="@",
            version="0.169.0",
        ),
    ),
    options=CodexOptions,
    credentials=Credentials(
        variables=(OAUTH, API_KEY),
        files=(".codex/auth.json",),
        one_at_a_time=True,
        personal=(OAUTH,),
        # Rows of the swarm's login pool: they hold refresh tokens.
        withheld=(r"codex_oauth", r"(?i:codex_oauth_\d+)"),
        set_by_worker=(POOLED, AUTH_MODE),
        login="agent_swarm_worker.credentials.codex:CodexLogins",
        services=(
            OPENAI,
            Service(
                variable=OAUTH,
                name="openai-codex",
                ask="agent_swarm_worker.providers.codex.small_model:ask",
                small_model="gpt-5.4-mini",
                rank=4,
            ),
        ),
    ),
    models=Models(
        default="gpt-5.6-terra",
        # Tasks may use the short names of another vendor's models.
        aliases={
            "fable": "gpt-5.6-sol",
            "opus": "gpt-5.6-sol",
            "sonnet": "gpt-5.6-terra",
            "haiku": "gpt-5.6-luna",
        },
        tiers={
            "smol": "gpt-5.6-luna",
            "regular": "gpt-5.6-terra",
            "smart": "gpt-5.6-sol",
            "ultra": "gpt-5.6-sol",
        },
    ),
    skills=Skills(folders=(".codex/skills",), native_discovery=False),
    prompt=Prompt(delivery="stdin", system_delivery="file", reads_repository_notes=True),
    capabilities=Capabilities(
        steer_modes=("steer", "queue"),
        can_resume=True,
        can_fork=True,
        permissions="asked",
        mcp_transports=("http", "stdio"),
        cost_source="price-table",
        keeps_stdin_open=True,
    ),
    error_texts={
        "context_overflow": (r"ran out of room in the model's context",),
        "billing_error": (r"workspace owner to refill", r"refill in order to continue"),
    },
    tools={
        "bash": "shell",
        "write": "write",
        "edit": "edit",
        "delete": "edit",
        "websearch": "web-search",
    },
    home_files={".codex/config.toml": _CONFIG},
)


DEFAULT_MODEL = SPEC.models.default
"""The model of a session if neither its task nor the operator's ``config.toml`` names one."""


def resolve_model(model: str) -> str:
    """Return the full name of a model; tasks may use another vendor's short names."""
    name = model.strip()
    return SPEC.models.aliases.get(name.lower(), name)


def native_effort(model: str, level: str | None) -> str | None:
    """Return a level by the CLI's name for it, or ``None`` if `model` is not known to have it.

    The API refuses a level that a model does not have.
    """
    levels = None if "/" in model else effort_levels(model)
    if level is None or level not in (levels or ()):
        return None
    return "none" if level == "off" else level
