"""Request one answer from a model, as a stream, with retries.

Retried are temporary refusals (429, 5xx), failed or broken connections and answers that stop in the
middle; a model that sends nothing for the time limit is asked once more. Other errors fail at once,
as `SessionFailed`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import anyio
from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelHTTPError
from pydantic_ai.models import ModelRequestParameters
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from agent_swarm_worker.errors import SwarmWorkerError
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.outcome import MAX_REASON_CHARS
from agent_swarm_worker.providers.pi import native
from agent_swarm_worker.providers.pi.client import request_settings
from agent_swarm_worker.providers.pi.costs import context_of
from agent_swarm_worker.providers.pi.failures import SessionFailed, model_failure
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
"""Attempts for a model that sends nothing: each takes the whole time limit."""
MAX_WAIT_S = 60.0
"""If a service asks for a longer wait, the session fails with that rate limit."""
_TEMPORARY = frozenset(
    {
        ErrorClass.RATE_LIMIT.value,
        ErrorClass.OVERLOADED.value,
        ErrorClass.SERVER_ERROR.value,
        ErrorClass.NETWORK.value,
    }
)
_ABOUT_EFFORT = re.compile(r"thinking|reasoning|effort", re.IGNORECASE)


class _RetryableFailure(Exception):
    """A failure that may not occur again in another attempt."""

    def __init__(self, failure: SessionFailed, *, after_s: float | None, timed_out: bool) -> None:
        super().__init__(failure.reason)
        self.failure, self.after_s, self.timed_out = failure, after_s, timed_out


class ModelRequester:
    """Sends the requests of one session to one model."""

    def __init__(
        self,
        model: Model,
        choice: ModelChoice,
        settings: PiOptions,
        *,
        effort: str | None,
        clock: Clock,
        book: CostBook,
        emit: Callable[[Record], None],
    ) -> None:
        self._model = model
        self._choice = choice
        self._settings = settings
        self._clock = clock
        self._book = book
        self._emit = emit
        self._effort = effort if model.profile.get("supports_thinking", False) else None

    @property
    def applied_effort(self) -> str | None:
        """The reasoning effort that requests have."""
        return self._effort

    async def request(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolDefinition]
    ) -> ModelResponse:
        """Return the model's next message.

        Raises:
            SessionFailed: all attempts failed, or no further one may help.
        """
        try:
            return await self._request_with_retries(messages, tools)
        except SessionFailed as failure:
            refused = failure.kind == ErrorClass.INVALID_REQUEST.value
            if not (refused and self._effort and _ABOUT_EFFORT.search(failure.reason)):
                raise
            what = f"the model takes no reasoning effort {self._effort!r}; asking without it"
            self._emit(native.warning(f"{what}: {failure.reason}"))
            self._effort = None
        return await self._request_with_retries(messages, tools)

    async def _request_with_retries(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolDefinition]
    ) -> ModelResponse:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_RetryableFailure),
            stop=_is_last_attempt,
            wait=self._wait_s,
            sleep=self._clock.sleep,
            before_sleep=self._announce,
            reraise=True,
        )
        try:
            return await retrying(self._once, messages, tools)
        except _RetryableFailure as error:
            raise error.failure from error

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
            reason = f"the model said nothing for {silence_s:.0f} s"
            failure = SessionFailed(ErrorClass.NETWORK.value, reason)
            raise _RetryableFailure(failure, after_s=None, timed_out=True) from error
        except SwarmWorkerError:
            raise
        except Exception as error:  # of four libraries; none wraps the errors of all others
            raise self._classified(error) from error
        finally:
            if stream is not None:
                self._count(stream)
        if response.finish_reason is None or response.state == "incomplete":
            reason = "the answer broke off in the middle, or was none"
            failure = SessionFailed(ErrorClass.NETWORK.value, reason)
            raise _RetryableFailure(failure, after_s=None, timed_out=False)
        return response

    def _classified(self, error: Exception) -> Exception:
        status = error.status_code if isinstance(error, ModelHTTPError) else None
        text, code, after_s = str(error) or type(error).__name__, None, None
        if isinstance(error, ModelAPIError):
            code = error.provider_error_type or error.provider_error_code
            after_s = error.retry_after
            text = _message_of(error.body) or error.message
        failure = model_failure(
            text, now=self._clock.now(), status=status, code=code, retry_after_s=after_s
        )
        is_temporary = failure.kind in _TEMPORARY and (after_s or 0) <= MAX_WAIT_S
        if failure.kind == ErrorClass.UNKNOWN.value and not status:
            # Not the error of a service: the connection broke, or the answer is malformed.
            kind = "bad_response" if isinstance(error, AgentRunError) else "network"
            what = f"{type(error).__name__}: {text}"
            failure = SessionFailed(
                kind, one_line(f"The model API cannot be used: {what}", MAX_REASON_CHARS)
            )
            is_temporary = True
        return (
            _RetryableFailure(failure, after_s=after_s, timed_out=False)
            if is_temporary
            else failure
        )

    def _count(self, stream: StreamedResponse) -> None:
        """Add the tokens to the cost, also of an answer that was cut off or aborted."""
        usage = usage_of(stream)
        if not context_of(usage):
            return
        cost = (stream.provider_details or {}).get("cost")
        reported = float(cost) if isinstance(cost, int | float) else None
        self._book.count(stream.model_name, usage, reported_usd=reported)

    def _wait_s(self, state: RetryCallState) -> float:
        wait_s: float = self._settings.retry_base_s * 2 ** (state.attempt_number - 1)
        return max(min(wait_s, MAX_WAIT_S), _failure_of(state).after_s or 0.0)

    def _announce(self, state: RetryCallState) -> None:
        delay_s = state.next_action.sleep if state.next_action else 0.0
        reason = _failure_of(state).failure.reason
        self._emit(native.retry(state.attempt_number, delay_s, reason))


def usage_of(answer: StreamedResponse | ModelResponse) -> Tokens:
    """Return the tokens of an answer; the library's input count includes those of the cache."""
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


def _is_last_attempt(state: RetryCallState) -> bool:
    most = MAX_TIMEOUTS if _failure_of(state).timed_out else MAX_ATTEMPTS
    return state.attempt_number >= most


def _failure_of(state: RetryCallState) -> _RetryableFailure:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _RetryableFailure)
    return error


def _message_of(body: object) -> str:
    """Return the message in the body of an error response."""
    while isinstance(body, dict) and "error" in body:
        body = body["error"]
    if isinstance(body, dict):
        message = body.get("message")
        return message if isinstance(message, str) else str(body)
    return body if isinstance(body, str) else ""
