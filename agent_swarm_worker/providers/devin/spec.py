"""Declare the harness ``devin``: its specification and its variables."""

from __future__ import annotations

from agent_swarm_worker.contract import (
    Capabilities,
    Credentials,
    HarnessSpec,
    Models,
    Prompt,
    Skills,
)
from agent_swarm_worker.settings import HarnessOptions, live, operator_only
from agent_swarm_worker.settings.base import Stripped, YesFlag  # noqa: TC001 - pydantic reads them

DEFAULT_URL = "https://api.devin.ai"


class DevinOptions(HarnessOptions):
    """The variables that the adapter reads."""

    # --- the harness devin
    api_key: Stripped = live("DEVIN_API_KEY", default="", is_native=True)
    """Key of a service user of Devin's API; may be a pool."""
    org_id: Stripped = live("DEVIN_ORG_ID", default="", is_native=True)
    """The organisation in which sessions are created."""
    base_url: Stripped = operator_only("DEVIN_API_BASE_URL", default=DEFAULT_URL)
    """Address of Devin's API."""
    poll_interval_ms: int = live("DEVIN_POLL_INTERVAL_MS", default=15_000, ge=10)
    """Wait between two polls of a session."""
    request_timeout_s: float = live("DEVIN_REQUEST_TIMEOUT_S", default=30.0, gt=0, le=600)
    """How long a request may take."""
    answer_wait_s: float = live("DEVIN_ANSWER_WAIT_S", default=3600.0, ge=0)
    """How long a session may wait for an answer or an approval of a person; then it fails."""
    acu_cost_usd: float = live("DEVIN_ACU_COST_USD", default=2.25, ge=0)
    """Price of one agent compute unit in US dollars."""
    max_acu_limit: int | None = live("DEVIN_MAX_ACU_LIMIT", ge=1)
    """Limit of a session in agent compute units; none by default."""
    has_mcp: YesFlag = operator_only("HAS_MCP", default=False)
    """Must not be set: this worker passes no tool servers on to Devin."""
    agent_role: Stripped = operator_only("AGENT_ROLE", default="worker", is_shared=True)


SPEC = HarnessSpec(
    name="devin",
    options=DevinOptions,
    credentials=Credentials(variables=("DEVIN_API_KEY",)),
    models=Models(
        default="devin",
        tiers=dict.fromkeys(("smol", "regular", "smart", "ultra"), "devin"),
        uses_catalog=False,
        efforts=(),
    ),
    skills=Skills(native_discovery=False, command_form="@skills:{name}"),
    prompt=Prompt(delivery="in-process", system_delivery="in-process"),
    capabilities=Capabilities(
        steer_modes=("queue",),
        can_resume=True,
        mcp_transports=(),
        has_local_environment=False,
        shows_tools=False,
        cost_source="harness",
    ),
    is_synthetic=True,
)
