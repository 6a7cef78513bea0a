"""Ask a small model with a ChatGPT login, by the API of the codex program.

The program itself is not used: its agent cannot be started without tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import orjson

from agent_swarm_worker.contract import CostData, SmallAnswer
from agent_swarm_worker.errors import VendorFailed
from agent_swarm_worker.network import fits_a_header, http_client
from agent_swarm_worker.providers.codex.credentials import login_of
from agent_swarm_worker.providers.codex.spec import CodexOptions
from agent_swarm_worker.providers.kit.native import count, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.contract import SmallQuestion

MAX_ANSWER_BYTES = 4 * 1024 * 1024
INSTRUCTIONS = "You extract lasting, general learnings from the sessions of coding agents."


async def ask(question: SmallQuestion) -> SmallAnswer:
    """Return the model's answer, which the service only gives as a stream."""
    access, account = login_of(question.key)
    if not access or not fits_a_header(access + account):
        raise VendorFailed("the ChatGPT login has no usable token")
    base = CodexOptions.load(question.env).chatgpt_url.rstrip("/")
    content = [{"type": "input_text", "text": question.prompt}]
    body = {
        "model": question.model,
        "instructions": INSTRUCTIONS,
        "input": [{"type": "message", "role": "user", "content": content}],
        "store": False,
        "stream": True,
    }
    headers = {
        "Authorization": f"Bearer {access}",
        "chatgpt-account-id": account,
        "OpenAI-Beta": "responses=experimental",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
    }
    answer = bytearray()
    try:
        with anyio.fail_after(question.timeout_s):
            async with (
                http_client(base, name="CODEX_CHATGPT_BASE_URL", timeout=None) as client,
                client.stream(
                    "POST", f"{base}/codex/responses", json=body, headers=headers
                ) as response,
            ):
                async for chunk in response.aiter_bytes():
                    answer += chunk
                    if response.status_code != 200 or len(answer) > MAX_ANSWER_BYTES:
                        break
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise VendorFailed(f"no answer from ChatGPT: {type(error).__name__}") from None
    if response.status_code != 200:
        raise VendorFailed(f"ChatGPT answered {response.status_code}")
    return _answer(bytes(answer), question.model)


def _answer(stream: bytes, model: str) -> SmallAnswer:
    said, whole = "", None
    for event in _events(stream):
        if event.get("type") == "response.output_text.delta":
            said += text(event.get("delta"))
        elif event.get("type") == "response.completed":
            whole = mapping(event.get("response"))
    if whole is None:
        raise VendorFailed("ChatGPT broke off its answer")
    usage = mapping(whole.get("usage"))
    cached = count(mapping(usage.get("input_tokens_details")).get("cached_tokens")) or 0
    cost = CostData(
        model=model,
        input_tokens=max(0, (count(usage.get("input_tokens")) or 0) - cached),
        output_tokens=count(usage.get("output_tokens")) or 0,
        cache_read_tokens=cached,
        cache_write_tokens=0,
        num_turns=1,
    )
    return SmallAnswer(text=said, cost=cost)


def _events(stream: bytes) -> Iterator[dict[str, Any]]:
    for line in stream.splitlines():
        if line.startswith(b"data:"):
            try:
                event = orjson.loads(line.removeprefix(b"data:").strip())
            except orjson.JSONDecodeError:
                continue
            if isinstance(event, dict):
                yield event
