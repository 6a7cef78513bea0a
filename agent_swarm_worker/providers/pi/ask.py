"""One answer of the model: a streamed request, repeated while that can help.

Repeated are refusals for now (429, 5xx), connections that fail or break and answers that stop in
the middle. A model that is silent for too long is asked once more. Anything else fails at once.

Why a session of pi ends badly: one category, one readable line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import anyio
from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelHTTPError
from pydantic_ai.models import ModelRequestParameters
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from agent_swarm_worker.errors import ProviderError, SwarmWorkerError
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.outcome import LABELS, MAX_REASON_CHARS, reset_of
from agent_swarm_worker.providers.pi import native
from agent_swarm_worker.providers.pi.client import request_settings
from agent_swarm_worker.providers.pi.costs import context_of
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model, StreamedResponse
    from pydantic_ai.tools import ToolDefinition

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.providers.pi.costs import CostBook
    from agent_swarm_worker.providers.pi.models import ModelChoice
    from agent_swarm_worker.providers.pi.native import Record
    from agent_swarm_worker.providers.pi.spec import PiOptions

MAX_ATTEMPTS = 5
MAX_TIMEOUTS = 2
"""Tries for a model that says nothing: each takes the whole time limit."""
MAX_WAIT_S = 60.0
"""A service that asks for a longer wait is taken at its word: the task fails with that limit."""
_PASSING = frozenset(
    {
        ErrorClass.RATE_LIMIT.value,
        ErrorClass.OVERLOADED.value,
        ErrorClass.SERVER_ERROR.value,
        ErrorClass.NETWORK.value,
    }
)
_ABOUT_EFFORT = re.compile(r"thinking|reasoning|effort", re.IGNORECASE)


class _Again(Exception):
    """A failure that a repetition may mend."""

    def __init__(self, failure: SessionFailed, *, after_s: float | None, timed_out: bool) -> None:
        super().__init__(failure.reason)
        self.failure, self.after_s, self.timed_out = failure, after_s, timed_out


class Asker:
    """Asks one model for one session."""

    def __init__(
        self,
        model: Model,
        choice: ModelChoice,
        settings: PiOptions,
        *,
        effort: str | None,
        clock: Clock,
        book: CostBook,
        say: Callable[[Record], None],
    ) -> None:
        self._model = model
        self._choice = choice
        self._settings = settings
        self._clock = clock
        self._book = book
        self._say = say
        self._effort = effort if model.profile.get("supports_thinking", False) else None

    @property
    def applied_effort(self) -> str | None:
        """The reasoning effort that requests really ask for."""
        return self._effort

    async def ask(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolDefinition]
    ) -> ModelResponse:
        """Return the model's next message.

        Raises:
            SessionFailed: there is none to be had.
        """
        try:
            return await self._ask(messages, tools)
        except SessionFailed as failure:
            refused = failure.kind == ErrorClass.INVALID_REQUEST.value
            if not (refused and self._effort and _ABOUT_EFFORT.search(failure.reason)):
                raise
            what = f"the model takes no reasoning effort {self._effort!r}; asking without it"
            self._say(native.warning(f"{what}: {failure.reason}"))
            self._effort = None
        return await self._ask(messages, tools)

    async def _ask(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolDefinition]
    ) -> ModelResponse:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Again),
            stop=_is_enough,
            wait=self._wait_s,
            sleep=self._clock.sleep,
            before_sleep=self._announce,
            reraise=True,
        )
        try:
            return await retrying(self._once, messages, tools)
        except _Again as again:
            raise again.failure from again

    async def _once(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolDefinition]
    ) -> ModelResponse:
        silence_s = self._settings.request_timeout_s
        stream: StreamedResponse | None = None
        try:
            with anyio.fail_after(silence_s) as limit:
                request = model_request_stream(
                    self._model,
                    messages,
                    model_settings=request_settings(self._choice, self._effort),
                    model_request_parameters=ModelRequestParameters(function_tools=list(tools)),
                )
                async with request as stream:
                    async for _ in stream:
                        limit.deadline = anyio.current_time() + silence_s
            response = stream.get()
        except TimeoutError as error:
            why = f"the model said nothing for {silence_s:.0f} s"
            failure = SessionFailed(ErrorClass.NETWORK.value, why)
            raise _Again(failure, after_s=None, timed_out=True) from error
        except SwarmWorkerError:
            raise
        except Exception as error:  # of four libraries, none of which wraps all of the others'
            raise self._judged(error) from error
        finally:
            if stream is not None:
                self._count(stream)
        if response.finish_reason is None or response.state == "incomplete":
            why = "the answer broke off in the middle, or was none"
            failure = SessionFailed(ErrorClass.NETWORK.value, why)
            raise _Again(failure, after_s=None, timed_out=False)
        return response

    def _judged(self, error: Exception) -> Exception:
        status = error.status_code if isinstance(error, ModelHTTPError) else None
        text, code, after_s = str(error) or type(error).__name__, None, None
        if isinstance(error, ModelAPIError):
            code = error.provider_error_type or error.provider_error_code
            after_s = error.retry_after
            text = _words(error.body) or error.message
        failure = model_failure(
            text, now=self._clock.now(), status=status, code=code, retry_after_s=after_s
        )
        is_passing = failure.kind in _PASSING and (after_s or 0) <= MAX_WAIT_S
        if failure.kind == ErrorClass.UNKNOWN.value and not status:
            # What no service worded: the connection broke, or what came was no answer.
            kind = "bad_response" if isinstance(error, AgentRunError) else "network"
            what = f"{type(error).__name__}: {text}"
            failure = SessionFailed(
                kind, one_line(f"The model API cannot be used: {what}", MAX_REASON_CHARS)
            )
            is_passing = True
        return _Again(failure, after_s=after_s, timed_out=False) if is_passing else failure

    def _count(self, stream: StreamedResponse) -> None:
        """Count what was used, also if the answer was cut off or the session was aborted."""
        usage = usage_of(stream)
        if not context_of(usage):
            return
        cost = (stream.provider_details or {}).get("cost")
        reported = float(cost) if isinstance(cost, int | float) else None
        self._book.count(stream.model_name, usage, reported_usd=reported)

    def _wait_s(self, state: RetryCallState) -> float:
        again = _again(state)
        wait_s: float = self._settings.retry_base_s * 2 ** (state.attempt_number - 1)
        return max(min(wait_s, MAX_WAIT_S), again.after_s or 0.0)

    def _announce(self, state: RetryCallState) -> None:
        delay_s = state.next_action.sleep if state.next_action else 0.0
        why = _again(state).failure.reason
        self._say(native.retry(state.attempt_number, delay_s, why))


def usage_of(answer: StreamedResponse | ModelResponse) -> Tokens:
    """Return the tokens of an answer, apart; the library's input contains those of the cache."""
    usage = answer.usage
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return Tokens(
        input=max(0, usage.input_tokens - cached),
        output=usage.output_tokens,
        cache_read=usage.cache_read_tokens,
        cache_write=usage.cache_write_tokens,
        cache_write_1h=usage.cache_write_1h_tokens,
        reasoning=usage.output_reasoning_tokens,
    )


def _is_enough(state: RetryCallState) -> bool:
    most = MAX_TIMEOUTS if _again(state).timed_out else MAX_ATTEMPTS
    return state.attempt_number >= most


def _again(state: RetryCallState) -> _Again:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _Again)
    return error


def _words(body: object) -> str:
    """What an error's body says to people."""
    while isinstance(body, dict) and "error" in body:
        body = body["error"]
    if isinstance(body, dict):
        message = body.get("message")
        return message if isinstance(message, str) else str(body)
    return body if isinstance(body, str) else ""


_LABELS: dict[str, str] = {
    **LABELS,
    ErrorClass.CONTEXT_OVERFLOW: "The conversation is too long for the model",
    ErrorClass.MAX_OUTPUT_TOKENS: "The answer is too long for the model",
    ErrorClass.MODEL_NOT_FOUND: "There is no such model",
    ErrorClass.PERMISSION_DENIED: "Permission denied",
}
_MARKUP = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]{1,500}>", re.DOTALL)


class SessionFailed(ProviderError):
    """The session cannot go on."""

    def __init__(self, kind: str, reason: str, *, reset_at: str | None = None) -> None:
        self.kind, self.reason, self.reset_at = kind, reason, reset_at
        super().__init__(reason)


def model_failure(
    text: str,
    *,
    now: datetime,
    status: int | None = None,
    code: str | None = None,
    retry_after_s: float | None = None,
) -> SessionFailed:
    """Say what a failed model request means.

    Args:
        text: the error as the service worded it.
        now: the present moment.
        status: its HTTP status, if it had one.
        code: its own word for the kind of error, if it has one.
        retry_after_s: how long the service asks to wait.
    """
    plain = " ".join(_MARKUP.sub(" ", text).split())
    kind = classify_error(text, category=code, status=status)
    label = _LABELS.get(kind, "The model request failed")
    where = f" (HTTP {status})" if status else ""
    reason = f"{label}{where}: {plain}" if plain else f"{label}{where}"
    asked = f"{text}\nretry-after: {retry_after_s or 0:.0f}"
    return SessionFailed(
        kind.value, one_line(reason, MAX_REASON_CHARS), reset_at=reset_of(kind.value, asked, now)
    )
