"""Hold the state of a codex session's translation, classify its errors, and decide its outcome.

Success takes a completed turn, whatever the exit code. An error is classified by the CLI's own code
for it, then by the HTTP status, then by its text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from agent_swarm_worker.contract import (
    ContextUsage,
    Error,
    Helper,
    Progress,
    ProviderEvent,
    SessionInit,
)
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.guards.rate_limits import parse_reset_time
from agent_swarm_worker.providers.codex.spec import NETWORK_TIMEOUT_S, SPEC
from agent_swarm_worker.providers.kit import costs
from agent_swarm_worker.providers.kit.costs import CostBook, Tokens, cost_data
from agent_swarm_worker.providers.kit.lenient_json import MAX_QUOTED_CHARS, UNREADABLE, torn_event
from agent_swarm_worker.providers.kit.native import count, mapping, text
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
    from collections.abc import Iterator
    from pathlib import PurePath

    from agent_swarm_worker.contract import CostData, Ending, ProviderResult
    from agent_swarm_worker.providers.codex.credentials import Credential
    from agent_swarm_worker.providers.codex.spec import Transport
    from agent_swarm_worker.providers.kit.outcome import Failure


VENDOR = "openai"
NETWORK = ErrorClass.NETWORK.value
STALE_SESSION = ErrorClass.STALE_SESSION.value
_classified = partial(classify_error, also=SPEC.error_texts)

_BY_CODE = {
    "badRequest": ErrorClass.INVALID_REQUEST,
    "contextWindowExceeded": ErrorClass.CONTEXT_OVERFLOW,
    "cyberPolicy": ErrorClass.PERMISSION_DENIED,
    "flexUnavailable": ErrorClass.OVERLOADED,
    "internalServerError": ErrorClass.SERVER_ERROR,
    "misalignmentPolicyViolation": ErrorClass.PERMISSION_DENIED,
    "modelNotFound": ErrorClass.MODEL_NOT_FOUND,
    "policyCapacityUnavailable": ErrorClass.OVERLOADED,
    "rateLimitExceeded": ErrorClass.RATE_LIMIT,
    "serverOverloaded": ErrorClass.OVERLOADED,
    "unauthorized": ErrorClass.AUTHENTICATION_FAILED,
    "usageLimitExceeded": ErrorClass.USAGE_LIMIT,
}
_CONNECTION = ("httpConnectionFailed", "responseStreamConnectionFailed")
_DISCONNECTED = re.compile(
    r"stream disconnected|waiting for network|connection failed", re.IGNORECASE
)
_NO_KEY = re.compile(r"missing environment variable", re.IGNORECASE)
_RETRYING = re.compile(r"^\s*Reconnecting\b")
_ENDS_OF_TURN = ("turn.completed", "turn.failed", "turn/completed")
_STALE = re.compile(r"no rollout found|thread/resume failed|invalid session id", re.IGNORECASE)
_TOKENS = {
    "input": ("inputTokens", "input_tokens"),
    "output": ("outputTokens", "output_tokens"),
    "cache_read": ("cachedInputTokens", "cached_input_tokens"),
    "cache_write": ("cacheWriteInputTokens", "cache_write_input_tokens"),
    "reasoning": ("reasoningOutputTokens", "reasoning_output_tokens"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The choices for one session that its configuration file, launch and translation share."""

    transport: Transport
    model: str
    effort: str | None
    """The effort by the CLI's name for it; ``None`` leaves it to the model."""
    applied_effort: str | None = None
    """The same by the worker's name for it."""
    home: PurePath
    """The session's own ``CODEX_HOME``."""
    credential: Credential
    uses_agents_md: bool = False
    network_timeout_s: float = NETWORK_TIMEOUT_S
    """How long the CLI may only retry to reach the model API."""
    used_before: Tokens = field(default_factory=Tokens)
    changed_system_prompt: str = ""
    """Set if a resumed thread was started with other instructions, which it keeps."""


@dataclass(slots=True, kw_only=True)
class CodexState(TranslationState):
    """The state of a translation, for both transports. The session's id is its thread's."""

    plan: Plan
    costs: CostBook = field(default_factory=CostBook)
    turns: int = 0
    context_used: int = 0
    fatal: Error | None = None
    """The error that ended the session."""
    turn: Literal["none", "running", "completed", "failed", "interrupted"] = "none"
    is_final: bool = False
    unanswered: str = ""
    """The essential request that the CLI left unanswered at its end."""
    version: str = ""
    _retrying_since_s: float | None = None
    _helpers: dict[str, Helper] = field(default_factory=dict)

    def helper(self, thread_id: str) -> Helper | None:
        """Return the subagent of a thread, which the CLI does not name; ``None`` for ours."""
        if thread_id in {"", self.session_id}:
            return None
        known = self._helpers.get(thread_id)
        if known is None:
            known = Helper(thread_id, f"helper {len(self._helpers) + 1}")
            self._helpers[thread_id] = known
        return known

    def begin_thread(self, thread_id: str, model: str) -> Iterator[ProviderEvent]:
        """Record the thread; end the session if another one was requested."""
        self.session_id = thread_id
        self.model = model or self.model
        asked = None if self.config.forks else self.config.resume_session_id
        if asked is not None and asked.lower() != thread_id.lower():
            self.end(Error(f"asked for thread {asked}, got {thread_id}", STALE_SESSION))
            return
        self.costs.begin(thread_id, self.plan.used_before)
        meta = {"transport": self.plan.transport}
        yield SessionInit(
            thread_id,
            provider="codex",
            harness_variant="stock",
            harness_variant_meta=meta | ({"version": self.version} if self.version else {}),
            model=self.model or None,
        )

    def clear_retry(self) -> None:
        """Forget the last error and retries: the CLI has reported something else."""
        self._retrying_since_s = None
        self.last_error = None

    def take_error(self, error: Error, *, is_retried: bool) -> Iterator[ProviderEvent]:
        """Take an error; after `network_timeout_s` of retries, which the CLI never ends, end it."""
        self.last_error = error
        if not is_retried and not _RETRYING.match(error.message):
            yield error
            return
        now_s = self.clock.monotonic()
        if self._retrying_since_s is None:
            self._retrying_since_s = now_s
        yield Progress(error.message)
        waited_s = now_s - self._retrying_since_s
        if waited_s >= self.plan.network_timeout_s and not self.is_final:
            timeout = Error(f"no answer for {waited_s:.0f} s: {error.message}", NETWORK)
            self.end(timeout)
            yield timeout

    def end(self, error: Error) -> None:
        """End the session with this error; the first one counts."""
        self.fatal = self.fatal or error
        self.turn = "failed"
        self.is_final = True

    def take_torn(self, line: str) -> Iterator[ProviderEvent]:
        """End the session with an error if this line is the end of a turn and cannot be read."""
        if torn_event(line, _ENDS_OF_TURN) in _ENDS_OF_TURN and not self.is_final:
            error = read_error({"message": f"{UNREADABLE}: {one_line(line, MAX_QUOTED_CHARS)}"})
            self.end(error)
            yield error

    def take_context(self, last: Tokens, formula: str) -> ContextUsage:
        """Record the use of the context, and return the event."""
        self.context_used = last.input + last.output
        return self.context_usage(self.context_used, last.output, formula)

    def take_total(self, thread_id: str, total: Tokens) -> Tokens:
        """Take the total since the start of a thread; return its growth, priced as one call."""
        grown = self.costs.grown(thread_id, total)
        usd: float | None = 0.0
        if grown:
            usd = costs.usd(
                self.model,
                provider=VENDOR,
                input_tokens=grown.input,
                cached_tokens=grown.cache_read,
                cache_write_tokens=grown.cache_write,
                output_tokens=grown.output,
            )
        self.costs.add(self.model, grown, usd)
        return grown

    def cost(self, *, is_error: bool) -> CostData | None:
        """Return the spend so far, or ``None`` if the CLI has reported none."""
        if not self.costs.models:
            return None
        return cost_data(
            self.config,
            self.costs.models,
            provider="codex",
            model=self.model,
            is_error=is_error,
            reasoning_output_tokens=self.costs.spent.tokens.reasoning,
            num_turns=self.turns or None,
            models=(),
        )


def conclude(state: CodexState, ending: Ending) -> ProviderResult:
    """Return the result of the session, from its output and the end of its process."""
    failed = _failure(state, ending)
    cost = state.cost(is_error=failed is not None)
    reset_at = None
    if failed is not None:
        now = state.clock.now()
        in_reason = parse_reset_time(failed.reason, now)
        reset_at = reset_of(failed.category, "", now, in_reason, state.limits.resets_at)
    return concluded(
        failed,
        # The app server ends with 0 whatever happened.
        exit_code=0 if failed is None else ending.exit_code or 1,
        session_id=state.session_id,
        cost=replace(cost, duration_ms=ending.duration_ms) if cost else None,
        output=state.last_text or None,
        reset_at=reset_at,
        windows=state.limits.windows,
        applied_effort=state.plan.applied_effort,
    )


def _failure(state: CodexState, ending: Ending) -> Failure | None:
    if state.turn == "completed" and state.is_final:
        return None
    if state.fatal is not None:
        return failure(state.fatal.category or "turn_failed", state.fatal.message)
    if ending.aborted is None and state.turn == "interrupted":
        return failure("interrupted")
    return aborted(ending) or unfinished(
        "Codex",
        ending,
        lambda message: _classified(message).value,
        last_error=state.last_error,
        waiting_for=state.unanswered,
    )


def read_tokens(native: Any) -> Tokens:
    """Read the usage object of either transport; `input` includes the cached tokens."""
    return Tokens.read(native, _TOKENS)


def read_error(native: dict[str, Any]) -> Error:
    """Turn an error of either transport into a normalized one."""
    message = text(native.get("message"))
    details = text(native.get("additionalDetails"))
    if message and details:
        message = f"{message} ({details})"
    message = message or details or "unknown error"
    return Error(message, _category(message, native.get("codexErrorInfo")))


def is_stale_session(message: str) -> bool:
    """True if the CLI reports that the session to resume does not exist."""
    return _STALE.search(message) is not None


def _category(message: str, info: Any) -> str:
    if isinstance(info, str):
        known = _BY_CODE.get(info)
        if known is ErrorClass.USAGE_LIMIT:
            # The code of every quota; a text about credit is more exact.
            by_text = _classified(message)
            return (by_text if by_text is ErrorClass.BILLING_ERROR else known).value
        if known is not None:
            return _classified(message, category=known.value).value
    for code, details in mapping(info).items():
        status = count(mapping(details).get("httpStatusCode"))
        if status is not None:
            return _classified(message, status=status).value
        if code in _CONNECTION:
            return NETWORK
    return _by_text(message)


def _by_text(message: str) -> str:
    by_text = _classified(message)
    if by_text is not ErrorClass.UNKNOWN:
        return by_text.value
    if _DISCONNECTED.search(message):
        return NETWORK
    if _NO_KEY.search(message):
        return ErrorClass.AUTHENTICATION_FAILED.value
    return "turn_failed"
