"""Hold the state of an ACP session, count what it spent, and decide its outcome.

The end of a turn is not its success: some agents end it normally after a model request that failed,
with an empty answer, without usage, or with the error as their answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from agent_swarm_worker.contract import ContextUsage, Error
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.kit import costs
from agent_swarm_worker.providers.kit.costs import Spent, Tokens, cost_data
from agent_swarm_worker.providers.kit.native import count, mapping, number, text
from agent_swarm_worker.providers.kit.outcome import (
    TranslationState,
    aborted,
    concluded,
    failure,
    reset_of,
    unfinished,
)
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from agent_swarm_worker.contract import CostData, Ending, HarnessSpec, ProviderResult
    from agent_swarm_worker.providers.acp.target import Target
    from agent_swarm_worker.providers.kit.jsonrpc import RpcError
    from agent_swarm_worker.providers.kit.outcome import Failure

AUTH_REQUIRED = -32000
MAX_SHOWN_CHARS = 100
FAILED = "turn_failed"
STALE_SESSION = ErrorClass.STALE_SESSION.value
_CATEGORIES = {
    AUTH_REQUIRED: ErrorClass.AUTHENTICATION_FAILED,
    -31002: ErrorClass.AUTHENTICATION_FAILED,
    -32003: ErrorClass.RATE_LIMIT,
}
"""By the code of an error, unless its text is clear."""
_DETAILS = ("details", "message", "error", "reason", "errorMessage")
_KINDS = ("errorKind", "error_kind", "kind", "errorName")
_STATUSES = ("http_status", "httpStatus", "status", "statusCode", "status_code")
_STATUS_IN_TEXT = re.compile(r"(?<![\w.:/-])(40[1-4]|408|413|429|5\d\d)(?![\w.:/-]\d|\d)")
_LONE_ERROR = re.compile(r"\s*(?:API )?Error: ")
_STOPPED = {
    "refusal": "the agent refused the prompt",
    "max_tokens": "the answer reached the limit of output tokens",
    "max_turn_requests": "the turn reached the agent's limit of model requests",
    "cancelled": "the agent cancelled the turn",
}
_TOKENS = {
    "input": ("inputTokens", "input_tokens", "promptTokens"),
    "output": ("outputTokens", "output_tokens", "completionTokens"),
    "cache_read": ("cachedReadTokens", "cachedInputTokens", "cached_tokens", "cachedTokens"),
    "cache_write": ("cachedWriteTokens", "cacheWriteInputTokens", "cacheCreationTokens"),
    "reasoning": ("thoughtTokens", "reasoningOutputTokens", "reasoningTokens"),
}


@dataclass(slots=True)
class Turn:
    """One prompt and what came of it."""

    has_text: bool = False
    has_tools: bool = False
    last_chunk: str = ""
    """The last piece of the answer."""
    last_notice: str = ""
    usage: Tokens | None = None
    """What its chunks report, request by request."""
    has_system_error: bool = False
    """The agent reports that its engine failed."""


@dataclass(slots=True, kw_only=True)
class AcpState(TranslationState):
    """The state of one process of an agent."""

    spec: HarnessSpec
    target: Target
    turn: Turn = field(default_factory=Turn)
    turns: int = 0
    phase: Literal["start", "prompt", "over"] = "start"
    outcome: Literal["none", "completed", "failed", "cancelled"] = "none"
    fatal: Error | None = None
    """The error that ended the session."""
    unanswered: str = ""
    """The essential request that the agent left unanswered at its end."""
    version: str = ""
    spent: Tokens | None = None
    """``None`` while it is unknown."""
    spent_usd: float | None = None
    usd_before: float | None = None
    """The running total of the session before its first prompt here; ``None`` if unknown."""
    applied_effort: str | None = None

    @property
    def is_final(self) -> bool:
        """True after the last turn."""
        return self.phase == "over"

    def end(self, error: Error) -> None:
        """End the session with this error; the first one counts."""
        self.fatal = self.fatal or error
        self.outcome, self.phase = "failed", "over"

    # --- usage
    def take_context(self, update: dict[str, Any]) -> ContextUsage | None:
        """Take the state of the context window, with the session's running cost."""
        cost = mapping(update.get("cost"))
        usd = number(cost.get("amount"))
        if usd is not None and text(cost.get("currency")) in ("", "USD"):
            self._take_usd(usd)
        used, size = count(update.get("used")), count(update.get("size"))
        self.window = size or self.window
        if not used:
            return None
        return self.context_usage(used, None, "harness-reported")

    def _take_usd(self, total: float) -> None:
        if self.phase == "start":
            self.usd_before = total
        elif self.usd_before is None:
            if self.config.resume_session_id is not None:
                return  # the total has earlier turns, and how much is not known
            self.usd_before = 0.0
        # A session that nothing was paid for may as well have no prices.
        self.spent_usd = max(0.0, total - (self.usd_before or 0.0)) or None

    def add_request(self, native: Any) -> None:
        """Add the usage of one model request of the turn."""
        if tokens := read_tokens(native):
            self.turn.usage = (self.turn.usage or Tokens()) + tokens

    def close_usage(self, result: dict[str, Any]) -> Tokens | None:
        """Add the usage of the turn, which has ended; return it, or ``None`` if unknown."""
        meta = mapping(result.get("_meta"))
        quota = mapping(meta.get("quota")).get("token_count")
        tokens = read_tokens(result.get("usage")) or read_tokens(meta.get("usage"))
        tokens = tokens or self.turn.usage or read_tokens(quota)
        self.model = text(meta.get("modelId")) or self.model
        ticks = number(mapping(meta.get("usage")).get("costUsdTicks"))
        if ticks:
            self.spent_usd = (self.spent_usd or 0.0) + ticks / 1e10
        reported, kind = tokens, self.target.usage
        if kind == "last" and self.turn.has_tools:
            tokens = None  # earlier requests of the turn are not in it
        if kind == "session":
            is_whole = self.config.resume_session_id is None
            self.spent = tokens if is_whole else None
        elif tokens is None or (self.turns > 1 and self.spent is None):
            self.spent = None
        else:
            self.spent = (self.spent or Tokens()) + tokens
        return reported

    def cost(self, *, is_error: bool) -> CostData | None:
        """Return the spend, or ``None`` if nothing is known of it."""
        if self.spent is None and self.spent_usd is None:
            return None
        usd = self.spent_usd
        if usd is None and self.spent is not None and self.model:
            usd = _list_price(self.model, self.spent)
        tokens = self.spent or Tokens()
        unknown: dict[str, Any] = {}
        if self.spent is None:
            names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
            unknown = dict.fromkeys(names)
        return cost_data(
            self.config,
            {self.model: Spent(tokens, usd)},
            provider=self.spec.name,
            model=self.model,
            is_error=is_error,
            num_turns=self.turns or None,
            reasoning_output_tokens=tokens.reasoning or None,
            models=(),
            **unknown,
        )

    # --- failures
    def classified(self, message: str, **known: Any) -> ErrorClass:
        """Return the class of an error of this agent."""
        return classify_error(message, also=self.spec.error_texts, **known)

    def error(self, message: str) -> Error:
        """Return an error that is known by its text alone."""
        return Error(message, self._category(message))

    def _category(self, message: str) -> str:
        kind = self.classified(message)
        if kind is ErrorClass.UNKNOWN and (found := _STATUS_IN_TEXT.search(message[:300])):
            kind = self.classified(message, status=int(found[1]))
        return FAILED if kind is ErrorClass.UNKNOWN else kind.value

    def rpc_error(self, error: RpcError) -> Error:
        """Turn an error that answers a request into a normalized one."""
        data, code = error.data, error.code
        fields = mapping(data)
        details = data if isinstance(data, str) else ""
        details = details or next(filter(None, (text(fields.get(key)) for key in _DETAILS)), "")
        message = error.message
        if details and details not in message:
            message = f"{message}: {details}"
        kind = next(filter(None, (text(fields.get(key)) for key in _KINDS)), "")
        status = next(filter(None, (count(fields.get(key)) for key in _STATUSES)), None)
        if code is not None and 400 <= code < 600:
            status = code
        by_code = self.classified(message, category=kind or None, status=status)
        category = self._category(message) if by_code is ErrorClass.UNKNOWN else by_code.value
        if category == FAILED and code in _CATEGORIES:
            category = _CATEGORIES[code].value
        return Error(message, category)

    def failure_of_turn(self, result: dict[str, Any], tokens: Tokens | None) -> Error | None:
        """Return why the turn that has ended is a failure; ``None`` for a success."""
        turn, native = self.turn, result.get("stopReason")
        reason = text(native)
        answer = self.last_text if turn.has_text else ""
        said = answer or turn.last_notice
        if reason == "max_tokens":
            return Error(_STOPPED[reason], ErrorClass.MAX_OUTPUT_TOKENS.value)
        if reason == "cancelled":
            return Error(_STOPPED[reason], "interrupted")
        if reason != "end_turn":
            shown = "no stop reason" if native is None else f"the stop reason {native!r}"
            what = _STOPPED.get(reason) or f"the turn ended with {one_line(shown, MAX_SHOWN_CHARS)}"
            error = self.error(said or what)
            return Error(f"{what}: {said}" if said else what, error.category)
        if turn.has_system_error:
            return self.error(said or "the agent's engine failed")
        # Where an agent cuts its text is chance, unless it is known to append its errors.
        parts = (answer, turn.last_chunk) if self.target.has_text_errors else (answer,)
        if lone := next(filter(_LONE_ERROR.match, parts), ""):
            is_known = tokens is None and self._category(lone) != FAILED
            if self.target.has_text_errors or is_known:
                return self.error(lone.strip())
        if tokens is None and self.target.reports_usage:
            return self.error(said or "no request to the model has succeeded")
        if not (turn.has_text or turn.has_tools):
            what = "the agent ended its turn without an answer"
            return self.error(f"{what}: {turn.last_notice}" if turn.last_notice else what)
        return None


def read_tokens(native: Any) -> Tokens | None:
    """Read a usage object; `input` is without the cached tokens. ``None`` if it has no counts."""
    tokens = Tokens.read(native, _TOKENS)
    if not tokens:
        return None
    total = count(mapping(native).get("totalTokens"))
    cached = tokens.cache_read + tokens.cache_write
    outputs = {tokens.output, tokens.output + tokens.reasoning}
    if total is not None and total - tokens.input in outputs and tokens.input >= cached:
        tokens = replace(tokens, input=tokens.input - cached)
    elif total is not None and total == tokens.input + cached + tokens.output + tokens.reasoning:
        tokens = replace(tokens, output=tokens.output + tokens.reasoning)
    return tokens


def _list_price(model: str, tokens: Tokens) -> float | None:
    return costs.usd(
        model.rpartition("/")[2],
        provider=None,
        input_tokens=tokens.input + tokens.cache_read + tokens.cache_write,
        cached_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        output_tokens=tokens.output,
    )


def conclude(state: AcpState, ending: Ending) -> ProviderResult:
    """Return the result of the session, from its output and the end of its process."""
    failed = _failure(state, ending)
    cost = state.cost(is_error=failed is not None)
    reset_at = None
    if failed is not None:
        reset_at = reset_of(failed.category, failed.reason, state.clock.now())
    return concluded(
        failed,
        # The exit code of an agent says nothing.
        exit_code=0 if failed is None else ending.exit_code or 1,
        session_id=state.session_id,
        cost=replace(cost, duration_ms=ending.duration_ms) if cost else None,
        output=state.last_text or None,
        reset_at=reset_at,
        applied_effort=state.applied_effort,
    )


def _failure(state: AcpState, ending: Ending) -> Failure | None:
    if state.outcome == "completed":
        return None
    if state.outcome == "cancelled" and ending.aborted is None:
        return failure("interrupted")
    if state.fatal is not None and (ending.aborted is None or state.outcome != "cancelled"):
        return failure(state.fatal.category or FAILED, state.fatal.message)
    return aborted(ending) or unfinished(
        state.target.name,
        ending,
        lambda message: state.classified(message).value,
        last_error=state.last_error,
        waiting_for=state.unanswered,
    )
