"""Declare the harness ``pi``: its specification and its variables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticUseDefault

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    CredentialsByModel,
    HarnessSpec,
    Models,
    Prompt,
    Skills,
)
from agent_swarm_worker.providers.catalog import ANTHROPIC, OPENAI, OPENROUTER
from agent_swarm_worker.settings import HarnessOptions, live, operator_only
from agent_swarm_worker.settings.base import Lowered, PathList, Stripped, YesFlag  # noqa: TC001 - pydantic reads them

if TYPE_CHECKING:
    from collections.abc import Mapping


def _count(value: object) -> object:
    """Use the default for a text that is no number: the core model reports it."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise PydanticUseDefault
    return value


class PiOptions(HarnessOptions):
    """The variables that the agent and its tools read."""

    # --- the harness pi
    max_steps: int = live("PI_MAX_STEPS", default=500, ge=0)
    """Model requests of one session, at most; 0 = no limit."""
    max_cost_usd: float = live("PI_MAX_COST_USD", default=0.0, ge=0)
    """A session that has cost this much is ended; 0 = no limit. Counts what has a known price."""
    max_session_s: float = live("PI_MAX_SECONDS", default=0.0, ge=0)
    """Wall-clock limit of a session, kept by the harness itself; 0 = none."""
    request_timeout_s: float = live("PI_REQUEST_TIMEOUT_S", default=300.0, gt=0, le=3600)
    """How long a model may be silent, before its answer and in the middle of it."""
    retry_base_s: float = live("PI_RETRY_BASE_S", default=2.0, ge=0, le=60)
    """Wait before a failed model request is repeated; doubled each time."""
    compact_at_percent: float = live("PI_COMPACT_AT_PERCENT", default=80.0, gt=0, le=100)
    """How full the context window may get before the conversation is summarised."""
    mcp_start_s: float = live("PI_MCP_START_S", default=10.0, gt=0, le=3600)
    """How long a tool server (MCP) may take to start and to list its tools."""
    allow_outside_cwd: YesFlag = operator_only("PI_ALLOW_OUTSIDE_CWD", default=False)
    """The file tools may go everywhere: ``1``, ``true``, ``on`` or ``yes``."""
    extra_roots: PathList = operator_only("PI_EXTRA_ROOTS", default=())
    """Directories, separated as in ``PATH``, that the file tools may use besides the session's."""
    coding_agent_dir: Stripped = operator_only("PI_CODING_AGENT_DIR", default="", is_native=True)
    """The agent directory with ``auth.json``, ``models.json``, skills and sessions;
    ``<HOME>/.pi/agent`` by default."""
    model_override: str = live("MODEL_OVERRIDE", default="", is_shared=True)
    max_skill_chars: Annotated[int, BeforeValidator(_count)] = live(
        "MAX_SKILL_CHARS", default=100_000, is_shared=True
    )

    # --- models of pi
    anthropic_api_key: Stripped = live("ANTHROPIC_API_KEY", default="", is_native=True)
    """API key of Anthropic; may be a pool."""
    anthropic_oauth_token: Stripped = live("ANTHROPIC_OAUTH_TOKEN", default="", is_native=True)
    """OAuth access token of Anthropic, if there is no key."""
    openrouter_api_key: Stripped = live("OPENROUTER_API_KEY", default="", is_native=True)
    """API key of OpenRouter; may be a pool."""
    openai_api_key: Stripped = live("OPENAI_API_KEY", default="", is_native=True)
    """API key of OpenAI; may be a pool."""
    anthropic_base_url: Stripped = live("ANTHROPIC_BASE_URL", default="", is_native=True)
    """Address of Anthropic's API, or of what speaks its language."""
    openrouter_base_url: Stripped = live("OPENROUTER_BASE_URL", default="", is_native=True)
    """Address of OpenRouter's API."""
    openai_base_url: Stripped = live("OPENAI_BASE_URL", default="", is_native=True)
    """Address of OpenAI's API, or of what speaks its language."""
    bedrock_auth_mode: Lowered = live("BEDROCK_AUTH_MODE", default="", is_native=True)
    """``sdk``: log in at Amazon Bedrock as its SDK does; needs ``AWS_REGION``."""
    aws_region: Stripped = live("AWS_REGION", default="", is_native=True)
    """Region of Amazon Bedrock."""
    bedrock_url: Stripped = operator_only("AWS_ENDPOINT_URL_BEDROCK", default="", is_native=True)
    """Address of Amazon Bedrock's list of models, if it is not the usual one of the region."""
    aws_access_key_id: str | None = live("AWS_ACCESS_KEY_ID", is_native=True)
    """Access key for Amazon Bedrock; without one the SDK looks where it always does."""
    aws_secret_access_key: str | None = live("AWS_SECRET_ACCESS_KEY", is_native=True)
    """See ``AWS_ACCESS_KEY_ID``."""
    aws_session_token: str | None = live("AWS_SESSION_TOKEN", is_native=True)
    """See ``AWS_ACCESS_KEY_ID``."""
    aws_profile: str | None = live("AWS_PROFILE", is_native=True)
    """Profile of Amazon's configuration files."""

    @property
    def keys(self) -> Mapping[str, str]:
        """API keys by provider; empty where there is none."""
        return {
            "anthropic": self.anthropic_api_key,
            "openrouter": self.openrouter_api_key,
            "openai": self.openai_api_key,
        }

    @property
    def base_urls(self) -> Mapping[str, str]:
        """Addresses by provider; empty where the usual one holds."""
        return {
            "anthropic": self.anthropic_base_url,
            "openrouter": self.openrouter_base_url,
            "openai": self.openai_base_url,
        }

    @property
    def agent_dir(self) -> Path:
        """The agent directory."""
        home, chosen = Path(self.home.strip() or "/"), self.coding_agent_dir
        if chosen == "~" or chosen.startswith("~/"):
            return home / chosen[2:]
        return Path(chosen) if chosen else home / ".pi" / "agent"


KEY_VARIABLES = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "openai": "OPENAI_API_KEY",
}
"""The variable with the key of each service."""
FAMILIES = (("claude-", "anthropic"), (r"gpt-|chatgpt-|codex-|o\d", "openai"))
"""Regular expressions for the model names of each vendor."""

SPEC = HarnessSpec(
    name="pi",
    extra="pi",
    options=PiOptions,
    credentials=Credentials(
        variables=tuple(KEY_VARIABLES.values()),
        files=(".pi/agent/auth.json",),
        by_model=CredentialsByModel(
            gateway=KEY_VARIABLES["openrouter"],
            families=tuple((names, KEY_VARIABLES[vendor]) for names, vendor in FAMILIES),
            # OpenAI's own key never serves another vendor's model.
            only_own_models=(KEY_VARIABLES["openai"],),
        ),
        chosen_by=(KEY_VARIABLES["openrouter"],),
        services=(OPENROUTER, ANTHROPIC, OPENAI),
        sdk_login="agent_swarm_worker.providers.pi.bedrock:BedrockLogin",
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
        steer_modes=("steer", "queue"),
        can_resume=True,
        permissions="every",
        cost_source="price-table",
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
