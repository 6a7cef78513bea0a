"""The normalized events of a session, and its cost.

In a cost ``None`` means *unknown* and is left out on the wire; ``0`` means *nothing was used*. The
two must not be mixed up, since budgets are enforced on these rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class SessionInit:
    """The harness has a session; emitted as early as its id is known."""

    type: ClassVar[Literal["session_init"]] = "session_init"
    session_id: str
    provider: str | None = None
    provider_meta: Mapping[str, Any] = field(default_factory=dict)
    harness_variant: str | None = None
    harness_variant_meta: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Helper:
    """A subagent of the session's main agent."""

    id: str
    """The same in all its events; the harness's own."""
    name: str = ""
    """For people, for example what the main agent asked of it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A complete message, not a delta. Empty assistant text marks the end of a turn."""

    type: ClassVar[Literal["message"]] = "message"
    role: Literal["assistant", "user"]
    content: str
    subagent: bool = False
    """True for a message of a subagent: never the task's output."""
    helper: Helper | None = None
    """The subagent, if it is known which."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought, or a summary of it; never the task's output."""

    type: ClassVar[Literal["reasoning"]] = "reasoning"
    content: str
    helper: Helper | None = None
    """The subagent that thought; ``None``: the main agent."""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step of an agent's plan."""

    text: str
    status: Literal["pending", "in_progress", "completed"] = "pending"


@dataclass(frozen=True, slots=True)
class Plan:
    """The agent's plan, or list of things to do. It replaces the one before."""

    type: ClassVar[Literal["plan"]] = "plan"
    steps: tuple[PlanStep, ...]


@dataclass(frozen=True, slots=True)
class ToolStart:
    """A tool call begins."""

    type: ClassVar[Literal["tool_start"]] = "tool_start"
    tool_call_id: str
    tool_name: str
    args: Any
    helper: Helper | None = None
    """The subagent that calls; ``None``: the main agent."""


@dataclass(frozen=True, slots=True)
class ToolEnd:
    """A tool call has ended."""

    type: ClassVar[Literal["tool_end"]] = "tool_end"
    tool_call_id: str
    tool_name: str
    result: Any
    is_error: bool = False
    helper: Helper | None = None
    """That of the call's `ToolStart`."""


@dataclass(frozen=True, slots=True)
class PermissionDecided:
    """A tool call was allowed or denied by the operator's policy, or by a person."""

    type: ClassVar[Literal["permission_decided"]] = "permission_decided"
    tool_call_id: str
    tool_name: str
    is_allowed: bool
    reason: str = ""
    """Such as the rule, or the person and what they said."""
    helper: Helper | None = None
    """The subagent that calls; ``None``: the main agent."""


@dataclass(frozen=True, slots=True)
class Result:
    """The harness's final result. A later one replaces an earlier one."""

    type: ClassVar[Literal["result"]] = "result"
    cost: CostData | None
    output: str | None = None
    is_error: bool = False
    error_category: str | None = None


@dataclass(frozen=True, slots=True)
class Error:
    """An error; only `Result` tells whether the session failed."""

    type: ClassVar[Literal["error"]] = "error"
    message: str
    category: str | None = None


@dataclass(frozen=True, slots=True)
class RawLog:
    """One line of the session's log, exactly as the journal has it."""

    type: ClassVar[Literal["raw_log"]] = "raw_log"
    content: str


@dataclass(frozen=True, slots=True)
class RawStderr:
    """One line of standard error."""

    type: ClassVar[Literal["raw_stderr"]] = "raw_stderr"
    content: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A progress text for people."""

    type: ClassVar[Literal["progress"]] = "progress"
    message: str


@dataclass(frozen=True, slots=True)
class Custom:
    """An event of one harness without a normalized type."""

    type: ClassVar[Literal["custom"]] = "custom"
    name: str
    data: Any


@dataclass(frozen=True, slots=True)
class ContextUsage:
    """How full the model's context window is; ``None`` for a value that is not reported."""

    type: ClassVar[Literal["context_usage"]] = "context_usage"
    context_used_tokens: int
    context_total_tokens: int | None = None
    context_percent: float | None = None
    """0 to 100."""
    output_tokens: int | None = None
    context_formula: str = "unknown"


@dataclass(frozen=True, slots=True)
class Compaction:
    """The harness shortened its context."""

    type: ClassVar[Literal["compaction"]] = "compaction"
    pre_compact_tokens: int
    compact_trigger: Literal["auto", "manual", "auto-inferred"] = "auto"
    context_total_tokens: int | None = None


ProviderEvent: TypeAlias = (
    SessionInit
    | Message
    | Reasoning
    | Plan
    | ToolStart
    | ToolEnd
    | PermissionDecided
    | Result
    | Error
    | RawLog
    | RawStderr
    | Progress
    | Custom
    | ContextUsage
    | Compaction
)


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
    """Cumulative cost of a session (docs/api.md 10.1)."""

    session_id: str = ""
    """The harness's own session id; the reporter replaces it by the runner's."""
    task_id: str | None = None
    agent_id: str = ""
    total_cost_usd: float | None = None
    """US dollars; ``None`` if the harness does not report it and no price is known."""
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


EventListener: TypeAlias = "Callable[[ProviderEvent], None]"
