"""Open the model of a session, and request its answers as streams, with retries.

Only the vendor's library that is needed is imported; each takes tens of megabytes.

Retried are temporary refusals (429, 5xx), failed or broken connections and answers that stop in the
middle; a model that sends nothing for the time limit is asked once more. Other errors fail at once,
as `SessionFailed`.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelHTTPError
from pydantic_ai.models import ModelRequestParameters

from agent_swarm_worker.errors import MissingExtra, SwarmWorkerError
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.network import http_client
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.outcome import LABELS, reset_of
from agent_swarm_worker.providers.pi import native
from agent_swarm_worker.providers.pi.chat_streams import (
    BrokenAnswer,
    mend_chat,
    mend_stream,
    service_error_of,
)
from agent_swarm_worker.providers.pi.history import estimate_tokens
from agent_swarm_worker.providers.pi.native import SessionFailed, context_of
from agent_swarm_worker.providers.pi.server_events import page_text
from agent_swarm_worker.providers.pi.spec import PiOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model, StreamedResponse
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.tools import ToolDefinition

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.providers.pi.models import ModelChoice
    from agent_swarm_worker.providers.pi.native import Record
    from agent_swarm_worker.providers.pi.translate import CostBook

CONNECT_TIMEOUT_S = 15.0
NO_KEY = "none"
"""Sent to services that need no key, since the libraries require one."""
_OAUTH_BETA = {"anthropic-beta": "oauth-2025-04-20"}
MAX_ATTEMPTS = 5
MAX_TIMEOUTS = 2
"""Attempts for a model that sends nothing: each takes the whole time limit."""
MAX_PAGES = 3
"""Attempts for a service that answers with a page or a text of unknown meaning."""
MAX_WAIT_S = 60.0
"""If a service asks for a longer wait, the session fails with that rate limit."""
_TEMPORARY = frozenset(
    {ErrorClass.RATE_LIMIT, ErrorClass.OVERLOADED, ErrorClass.SERVER_ERROR, ErrorClass.NETWORK}
)
_ABOUT_EFFORT = re.compile(r"thinking|reasoning|effort", re.IGNORECASE)
_LABELS: dict[str, str] = {
    **LABELS,
    ErrorClass.CONTEXT_OVERFLOW: "The conversation is too long for the model",
    ErrorClass.MAX_OUTPUT_TOKENS: "The answer is too long for the model",
    ErrorClass.MODEL_NOT_FOUND: "There is no such model",
    ErrorClass.PERMISSION_DENIED: "Permission denied",
}


@asynccontextmanager
async def open_model(choice: ModelChoice, env: Mapping[str, str]) -> AsyncIterator[Model]:
    """Open a model; raise `MissingExtra` if the vendor's library is not installed."""
    if choice.api == "bedrock":
        yield _bedrock(choice, env)
        return
    # No read limit: `ModelRequester` limits the time between chunks.
    timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S)
    is_chat = choice.api in {"openai-completions", "openrouter"}
    async with http_client(
        choice.base_url,
        name="the model's base URL",
        timeout=timeout,
        follow_redirects=True,
        event_hooks={"response": [mend_chat if is_chat else mend_stream]},
    ) as http:
        yield _model(choice, http)


def _request_settings(choice: ModelChoice, effort: str | None) -> ModelSettings:
    settings: dict[str, Any] = {"max_retries": 0}  # `ModelRequester` retries, and reports it
    if choice.max_tokens:
        settings["max_tokens"] = choice.max_tokens
    if choice.api == "anthropic-messages":
        settings["cache"] = True
    if choice.api == "openrouter":
        settings["openrouter_usage"] = {"include": True}
    if effort:
        settings["thinking"] = False if effort == "off" else effort
    return settings  # type: ignore[return-value]  # a TypedDict of one vendor or another


def _model(choice: ModelChoice, http: httpx2.AsyncClient) -> Model:
    if choice.api == "anthropic-messages":
        return _anthropic(choice, http)
    from openai import AsyncOpenAI  # noqa: PLC0415 - only what is needed
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel  # noqa: PLC0415
    from pydantic_ai.profiles.openai import OpenAIModelProfile  # noqa: PLC0415
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415

    key = choice.credential.key or NO_KEY
    client = AsyncOpenAI(api_key=key, base_url=choice.base_url, http_client=http)
    # An answer without a finish reason counts as cut off.
    profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
    if choice.api == "openrouter":
        from pydantic_ai.models.openrouter import OpenRouterModel  # noqa: PLC0415
        from pydantic_ai.providers.openrouter import OpenRouterProvider  # noqa: PLC0415

        router = OpenRouterProvider(openai_client=client)
        return OpenRouterModel(choice.model, provider=router, profile=profile)
    provider = OpenAIProvider(openai_client=client)
    if choice.api == "openai-responses":
        return OpenAIResponsesModel(choice.model, provider=provider)
    return OpenAIChatModel(choice.model, provider=provider, profile=profile)


def _anthropic(choice: ModelChoice, http: httpx2.AsyncClient) -> Model:
    from anthropic import AsyncAnthropic  # noqa: PLC0415
    from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415
    from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415

    # One of the two is always given, so that the library reads none from the environment.
    token = choice.credential.bearer
    client = AsyncAnthropic(
        api_key=None if token else choice.credential.key or NO_KEY,
        auth_token=token or None,
        base_url=choice.base_url,
        default_headers=_OAUTH_BETA if token else None,
        http_client=http,
    )
    return AnthropicModel(choice.model, provider=AnthropicProvider(anthropic_client=client))


def _bedrock(choice: ModelChoice, env: Mapping[str, str]) -> Model:
    try:
        from pydantic_ai.models.bedrock import BedrockConverseModel  # noqa: PLC0415
        from pydantic_ai.providers.bedrock import BedrockProvider  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("a model at Amazon Bedrock", "bedrock") from error
    options = PiOptions.load(env)
    provider = BedrockProvider(
        region_name=options.aws_region or None,
        aws_access_key_id=options.aws_access_key_id,
        aws_secret_access_key=options.aws_secret_access_key,
        aws_session_token=options.aws_session_token,
        profile_name=options.aws_profile,
    )
    return BedrockConverseModel(choice.model, provider=provider)


class _RetryableFailure(Exception):
    """A failure that may not occur again in another attempt."""

    def __init__(
        self,
        failure: SessionFailed,
        *,
        after_s: float | None = None,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        super().__init__(failure.reason)
        self.failure, self.after_s, self.max_attempts = failure, after_s, max_attempts


@dataclass(slots=True, eq=False, kw_only=True)
class ModelRequester:
    """Sends the requests of one session to one model."""

    model: Model
    choice: ModelChoice
    settings: PiOptions
    effort: str | None
    """The reasoning effort of the requests; ``None`` once it is known that the model has none."""
    clock: Clock
    book: CostBook
    emit: Callable[[Record], None]
    _has_estimated: bool = False

    def __post_init__(self) -> None:
        if not self.model.profile.get("supports_thinking", False):
            self.effort = None

    async def request(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolDefinition]
    ) -> ModelResponse:
        """Return the model's next message; raise `SessionFailed` if all attempts failed."""
        try:
            return await self._request_with_retries(messages, tools)
        except SessionFailed as failure:
            refused = failure.kind == ErrorClass.INVALID_REQUEST
            if not (refused and self.effort and _ABOUT_EFFORT.search(failure.reason)):
                raise
            what = f"the model takes no reasoning effort {self.effort!r}; asking without it"
            self.emit(native.warning(f"{what}: {failure.reason}"))
            self.effort = None
        return await self._request_with_retries(messages, tools)

    async def _request_with_retries(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolDefinition]
    ) -> ModelResponse:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._once(messages, tools)
            except _RetryableFailure as error:
                if attempt >= error.max_attempts:
                    raise error.failure from error
                wait_s = min(self.settings.retry_base_s * 2 ** (attempt - 1), MAX_WAIT_S)
                wait_s = max(wait_s, error.after_s or 0.0)
                self.emit(native.retry(attempt, wait_s, error.failure.reason))
            await self.clock.sleep(wait_s)

    async def _once(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolDefinition]
    ) -> ModelResponse:
        silence_s = self.settings.request_timeout_s
        stream: StreamedResponse | None = None
        try:
            with anyio.fail_after(silence_s) as limit:
                request = model_request_stream(
                    self.model,
                    messages,
                    model_settings=_request_settings(self.choice, self.effort),
                    model_request_parameters=ModelRequestParameters(function_tools=list(tools)),
                )
                async with request as stream:
                    async for _ in stream:
                        limit.deadline = anyio.current_time() + silence_s
            response = stream.get()
        except TimeoutError as error:
            reason = f"the model said nothing for {silence_s:.0f} s"
            failure = SessionFailed(ErrorClass.NETWORK, reason)
            raise _RetryableFailure(failure, max_attempts=MAX_TIMEOUTS) from error
        except SwarmWorkerError:
            raise
        except Exception as error:  # of four libraries; none wraps the errors of all others
            raise self._classified(error) from error
        finally:
            if stream is not None:
                self._count(stream, messages)
        if response.finish_reason is None or response.state == "incomplete":
            reason = "the answer broke off in the middle, or was none"
            raise _RetryableFailure(SessionFailed(ErrorClass.NETWORK, reason))
        return response

    def _classified(self, error: Exception) -> Exception:
        status = error.status_code if isinstance(error, ModelHTTPError) else None
        text, code, after_s = str(error) or type(error).__name__, None, None
        service = service_error_of(error)
        if isinstance(service, BrokenAnswer):
            return _RetryableFailure(SessionFailed(ErrorClass.NETWORK, str(service)))
        if service is not None:
            status, code, text = service.status, service.code, str(service)
        elif isinstance(error, ModelAPIError):
            code = error.provider_error_type or error.provider_error_code
            after_s = error.retry_after
            text = _message_of(error.body) or error.message
        kind = classify_error(text, category=code, status=status)
        if kind == ErrorClass.UNKNOWN and not status and service is None:
            # Not the error of a service: the connection broke, or the answer is malformed.
            category = "bad_response" if isinstance(error, AgentRunError) else "network"
            reason = f"The model API cannot be used: {type(error).__name__}: {text}"
            return _RetryableFailure(SessionFailed(category, reason), after_s=after_s)
        plain = page_text(text)
        label = _LABELS.get(kind, "The model request failed")
        where = f" (HTTP {status})" if status else ""
        asked = f"{text}\nretry-after: {after_s or 0:.0f}"
        failure = SessionFailed(
            "bad_response" if kind == ErrorClass.UNKNOWN else kind,
            f"{label}{where}: {plain}" if plain else f"{label}{where}",
            reset_at=reset_of(kind, asked, self.clock.now()),
        )
        if kind == ErrorClass.UNKNOWN and service is not None and service.is_page:
            return _RetryableFailure(failure, max_attempts=MAX_PAGES)
        is_temporary = kind in _TEMPORARY and (after_s or 0) <= MAX_WAIT_S
        return _RetryableFailure(failure, after_s=after_s) if is_temporary else failure

    def _count(self, stream: StreamedResponse, messages: Sequence[ModelMessage]) -> None:
        """Add the tokens to the cost, also of an answer that was cut off or aborted."""
        usage, answer = usage_of(stream), stream.get()
        is_counted = context_of(usage) > usage.output
        if answer.parts and not (is_counted and answer.finish_reason):
            asked = usage.input if is_counted else estimate_tokens(messages)
            written = max(usage.output, estimate_tokens([answer]))
            usage = replace(usage, input=asked, output=written)
            if not self._has_estimated:
                self._has_estimated = True
                what = "an answer came without its count of tokens; the cost has an estimate of it"
                self.emit(native.warning(what))
        if not context_of(usage):
            return
        cost = (stream.provider_details or {}).get("cost")
        reported = float(cost) if isinstance(cost, int | float) else None
        self.book.count(stream.model_name, usage, reported_usd=reported)


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


def _message_of(body: object) -> str:
    """Return the message in the body of an error response."""
    while isinstance(body, dict) and "error" in body:
        body = body["error"]
    if isinstance(body, dict):
        message = body.get("message")
        return message if isinstance(message, str) else str(body)
    return body if isinstance(body, str) else ""
