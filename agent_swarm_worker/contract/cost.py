"""What a session cost.

``None`` means *unknown* and is left out on the wire; ``0`` means *really nothing*. The two must
never be mixed up, since budgets are enforced on these rows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """The share of one model in a session that used several."""

    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    web_search_requests: int | None = None
    harness_cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostData:
    """One session's spend, cumulative over the session (docs/api.md 10.1)."""

    session_id: str = ""
    """The harness's own session id; the reporter replaces it by the runner's."""
    task_id: str | None = None
    agent_id: str = ""
    total_cost_usd: float | None = None
    """US dollars; ``None`` when the harness does not say and no price is known."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    thinking_tokens: int | None = None
    models: tuple[ModelCost, ...] = ()
    duration_ms: int | None = None
    num_turns: int | None = None
    model: str = ""
    is_error: bool = False
    provider: str | None = None
    """The harness name as the server knows it; with it the server prices the row itself."""
