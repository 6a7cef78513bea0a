"""Open one model: the vendor's client, its connection pool, and the settings of requests.

Only the library of the vendor that is needed is imported; each takes tens of megabytes.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2

from agent_swarm_worker.errors import MissingExtra
from agent_swarm_worker.providers.pi.spec import PiOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pydantic_ai.models import Model
    from pydantic_ai.profiles import ModelProfile
    from pydantic_ai.settings import ModelSettings

    from agent_swarm_worker.providers.pi.models import ModelChoice

CONNECT_TIMEOUT_S = 15.0
NO_KEY = "none"
"""Sent to services that need no key, since the libraries require one."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Never requested through a proxy, for which they would be its own machine."""
_OAUTH_BETA = {"anthropic-beta": "oauth-2025-04-20"}


@asynccontextmanager
async def open_model(choice: ModelChoice, env: Mapping[str, str]) -> AsyncIterator[Model]:
    """Open a model, and close its connections at the end.

    Raises:
        MissingExtra: the vendor's library is not installed.
    """
    if choice.api == "bedrock":
        yield _bedrock(choice, env)
        return
    # `model_requests` limits the time between chunks; a read limit here would do so twice.
    timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S)
    is_here = urlsplit(choice.base_url).hostname in _LOOPBACK
    async with httpx2.AsyncClient(
        timeout=timeout, follow_redirects=True, trust_env=not is_here
    ) as http:
        yield _model(choice, http)


def request_settings(choice: ModelChoice, effort: str | None) -> ModelSettings:
    """Return the settings of every request of the session."""
    settings: dict[str, Any] = {"max_retries": 0}  # `model_requests` retries, and reports it
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
    key = choice.credential.key or NO_KEY
    if choice.api == "anthropic-messages":
        return _anthropic(choice, http)
    if choice.api == "openrouter":
        from openai import AsyncOpenAI  # noqa: PLC0415 - only what is needed
        from pydantic_ai.models.openrouter import OpenRouterModel  # noqa: PLC0415
        from pydantic_ai.providers.openrouter import OpenRouterProvider  # noqa: PLC0415

        client = AsyncOpenAI(api_key=key, base_url=choice.base_url, http_client=http)
        router = OpenRouterProvider(openai_client=client)
        return OpenRouterModel(choice.model, provider=router, profile=_needs_finish_reason())
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415

    provider = OpenAIProvider(api_key=key, base_url=choice.base_url, http_client=http)
    if choice.api == "openai-responses":
        from pydantic_ai.models.openai import OpenAIResponsesModel  # noqa: PLC0415

        return OpenAIResponsesModel(choice.model, provider=provider)
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415

    return OpenAIChatModel(choice.model, provider=provider, profile=_needs_finish_reason())


def _needs_finish_reason() -> ModelProfile:
    """Return a profile in which an answer without a finish reason counts as cut off."""
    from pydantic_ai.profiles.openai import OpenAIModelProfile  # noqa: PLC0415

    return OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)


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
