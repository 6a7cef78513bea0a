"""Call a vendor's API with one key: test the key, or ask a small model one question.

The worker makes no other request to a vendor. Both calls are bounded in time and in bytes, and no
error repeats the key.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from agent_swarm_worker.contract import CostData, SmallAnswer
from agent_swarm_worker.errors import BadSetting, SwarmWorkerError, VendorFailed
from agent_swarm_worker.network import fits_a_header, http_client
from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.contract import Service

TEST_S = 5.0
MAX_ANSWER_BYTES = 1024 * 1024
MAX_ERROR_CHARS = 200
MAX_ANSWER_TOKENS = 2000
"""Some models think before they answer, and that counts."""
_SYSTEM = "You extract lasting, general learnings from the sessions of coding agents."


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTest:
    """How a request with a key ended."""

    error: str
    """Empty if the key works."""
    latency_ms: int


async def test_key(
    service: Service, key: str, env: Mapping[str, str], *, scrub: Callable[[str], str]
) -> KeyTest:
    """List the models of a service, which costs nothing, to see whether it accepts the key."""
    began_s, error = time.monotonic(), ""
    path = "/v1/models" if service.api == "anthropic-messages" else "/models"
    try:
        with anyio.fail_after(TEST_S):
            status, answer = await _request(service, key, env, path)
        if not 200 <= status < 300:
            text = scrub(answer.decode("utf-8", "replace"))[:MAX_ERROR_CHARS]
            error = f"HTTP {status}: {text}"
    except TimeoutError:
        error = f"no answer within {TEST_S:g} s"
    except SwarmWorkerError as failure:
        error = scrub(str(failure))
    return KeyTest(error=error, latency_ms=round((time.monotonic() - began_s) * 1000))


async def ask_service(
    service: Service, key: str, env: Mapping[str, str], *, model: str, prompt: str
) -> SmallAnswer:
    """Return a model's answer to one question; the caller limits the time.

    Raises:
        SwarmWorkerError: there is none; the error does not repeat the vendor's text, which may
            repeat the question.
    """
    is_anthropic = service.api == "anthropic-messages"
    limit = "max_completion_tokens" if service.name == "openai" else "max_tokens"
    body: dict[str, Any] = {"model": model, limit: MAX_ANSWER_TOKENS}
    user = {"role": "user", "content": prompt}
    if is_anthropic:
        body |= {"system": _SYSTEM, "messages": [user]}
    else:
        body["messages"] = [{"role": "system", "content": _SYSTEM}, user]
    path = "/v1/messages" if is_anthropic else "/chat/completions"
    status, data = await _request(service, key, env, path, body)
    if status != 200:
        raise VendorFailed(f"{service.name} answered {status}")
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict) or answer.get("error"):
        raise VendorFailed(f"{service.name} answered 200 with something that is no answer")
    text = _text_of_blocks(answer.get("content")) if is_anthropic else _text_of_choice(answer)
    return SmallAnswer(text=text, cost=_cost(answer, model, is_anthropic=is_anthropic))


async def _request(
    service: Service,
    key: str,
    env: Mapping[str, str],
    path: str,
    body: Mapping[str, Any] | None = None,
) -> tuple[int, bytes]:
    """Send a request, a POST if it has a body; return status and body of the answer."""
    import httpx2  # noqa: PLC0415 - loads only if used

    if not fits_a_header(key):
        raise BadSetting(service.variable, "***", "only printable ASCII characters can be sent")
    given = named(env, service.base_url_variable).strip() if service.base_url_variable else ""
    base = (given or service.base_url).rstrip("/")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if service.api == "anthropic-messages":
        base = base.removesuffix("/v1")
        headers |= {"x-api-key": key, "anthropic-version": "2023-06-01"}
    else:
        headers["Authorization"] = f"Bearer {key}"
    client = http_client(base, name=service.base_url_variable, timeout=None, headers=headers)
    content = None if body is None else orjson.dumps(body)
    method = "GET" if body is None else "POST"
    sent = {} if body is None else {"Content-Type": "application/json"}
    answer = bytearray()
    try:
        async with (
            client,
            client.stream(method, base + path, content=content, headers=sent) as response,
        ):
            async for chunk in response.aiter_bytes():
                answer += chunk
                if response.status_code >= 400 or len(answer) > MAX_ANSWER_BYTES:
                    break
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise VendorFailed(f"no answer from {service.name}: {type(error).__name__}") from None
    return response.status_code, bytes(answer[:MAX_ANSWER_BYTES])


def _text_of_blocks(blocks: object) -> str:
    found = blocks if isinstance(blocks, list) else []
    return "".join(
        block["text"]
        for block in found
        if isinstance(block, dict) and isinstance(block.get("text"), str)
    )


def _text_of_choice(answer: Mapping[str, Any]) -> str:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else _text_of_blocks(content)


def _cost(answer: Mapping[str, Any], model: str, *, is_anthropic: bool) -> CostData:
    """Return what the answer cost, in dollars only if the service says so."""
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    cached = _count(usage.get("cache_read_input_tokens"))
    written = _count(usage.get("cache_creation_input_tokens"))
    dollars: Any = usage.get("cost")
    is_amount = isinstance(dollars, int | float) and not isinstance(dollars, bool)
    return CostData(
        model=model,
        total_cost_usd=float(dollars) if is_amount and dollars >= 0 else None,
        input_tokens=_count(usage.get("input_tokens" if is_anthropic else "prompt_tokens")),
        output_tokens=_count(usage.get("output_tokens" if is_anthropic else "completion_tokens")),
        cache_read_tokens=cached,
        cache_write_tokens=written,
        num_turns=1,
    )


def _count(value: object) -> int:
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0
