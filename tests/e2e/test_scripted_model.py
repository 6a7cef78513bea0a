"""The scripted model that the end-to-end tests rely on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from anthropic_format import USAGE
from model_script import TOOL_SEARCH
from scripted_model import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BASH = {"name": "Bash"}
SEARCH = {"name": TOOL_SEARCH}

pytestmark = pytest.mark.anyio


@pytest.fixture
async def model(anyio_backend: str) -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as running:
        yield running


def body(*messages: Any, tools: tuple[Any, ...] = (BASH,), **more: Any) -> dict[str, Any]:
    turns = [
        {"role": "assistant" if index % 2 else "user", "content": content}
        for index, content in enumerate(messages)
    ]
    return {"model": "m", "messages": turns, "tools": list(tools), **more}


async def post(model: ScriptedModel, request: dict[str, Any], **more: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=model.url, trust_env=False) as client:
        return await client.post("/v1/messages", json=request, **more)


async def asked(model: ScriptedModel, *messages: Any, **more: Any) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = (await post(model, body(*messages, **more))).json()["content"]
    return content


def call(name: str, call_id: str = "t1", **arguments: Any) -> list[dict[str, Any]]:
    return [{"type": "tool_use", "id": call_id, "name": name, "input": arguments}]


def result(text: str, call_id: str = "t1") -> list[dict[str, Any]]:
    return [{"type": "tool_result", "tool_use_id": call_id, "content": text}]


async def test_a_plain_answer(model: ScriptedModel) -> None:
    assert await asked(model, "hello") == [{"type": "text", "text": "Done."}]
    assert await asked(model, "[[say:Hi there.]]") == [{"type": "text", "text": "Hi there."}]


async def test_a_streamed_answer_is_the_same_in_pieces(model: ScriptedModel) -> None:
    response = await post(model, body("[[bash:ls]] [[say:no]]", stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line[:5] == "data:"]
    assert [event["type"] for event in events[:2]] == ["message_start", "content_block_start"]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(delta.get("text", "") for delta in deltas) == "Working."
    assert json.loads(deltas[-1]["partial_json"])["command"] == "ls"
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert events[-2]["usage"] == USAGE
    assert events[-1]["type"] == "message_stop"


async def test_tools_come_in_order_and_then_the_answer(model: ScriptedModel) -> None:
    prompt = '[[bash:one]] [[tool:Bash {"command":"two"}]] [[say:End.]]'
    first = (await asked(model, prompt))[1]
    assert (first["name"], first["input"]["command"]) == ("Bash", "one")
    after_one = (prompt, call("Bash"), result("1"))
    assert (await asked(model, *after_one))[1]["input"] == {"command": "two"}
    after_two = (*after_one, call("Bash", "t2"), result("2", "t2"))
    assert await asked(model, *after_two) == [{"type": "text", "text": "End."}]


async def test_a_hidden_tool_is_searched_for_once(model: ScriptedModel) -> None:
    prompt, tools = "[[tool:mcp__swarm__go {}]]", (BASH, SEARCH)
    (_, search) = await asked(model, prompt, tools=tools)
    assert (search["name"], search["input"]["query"]) == (TOOL_SEARCH, "select:mcp__swarm__go")
    found = [*result("found"), {"type": "text", "text": "Tool loaded."}]
    (_, then) = await asked(model, prompt, call(TOOL_SEARCH), found, tools=tools)
    assert then["name"] == "mcp__swarm__go"


async def test_only_the_last_prompt_counts(model: ScriptedModel) -> None:
    reminder = {"type": "text", "text": "<system-reminder>[[say:no]]</system-reminder>"}
    assert await asked(
        model, "[[bash:old]]", "ok", [{"type": "text", "text": "new"}, reminder]
    ) == [{"type": "text", "text": "Done."}]


@pytest.mark.parametrize(
    ("tag", "status", "kind", "message"),
    [
        ("[[fail:401]]", 401, "authentication_error", "scripted failure"),
        ("[[fail:429 slow down]]", 429, "rate_limit_error", "slow down"),
        ("[[fail:500]]", 500, "api_error", "scripted failure"),
        ("[[fail:529 x2]]", 529, "overloaded_error", "scripted failure"),
    ],
)
async def test_failures(
    model: ScriptedModel, tag: str, status: int, kind: str, message: str
) -> None:
    response = await post(model, body(tag))
    assert response.status_code == status
    assert response.json()["error"] == {"type": kind, "message": message}


async def test_a_failure_may_end(model: ScriptedModel) -> None:
    request = body("[[fail:429 x2]]")
    assert [(await post(model, request)).status_code for _ in range(4)] == [429, 429, 200, 200]
    assert [(await post(model, body("[[fail:500]]"))).status_code for _ in range(3)] == [500] * 3


async def test_a_subscriptions_limit_is_in_the_headers(model: ScriptedModel) -> None:
    response = await post(model, body("[[limit:1795298400]]"))
    assert response.status_code == 429
    assert response.headers["anthropic-ratelimit-unified-reset"] == "1795298400"


async def test_a_hang_ends_with_the_model(model: ScriptedModel) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        await post(model, body("[[hang]]"), timeout=0.2)
    assert len(model.requests) == 1


async def test_a_cut_answer_breaks_off(model: ScriptedModel) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        await post(model, body("[[cut]]", stream=True))


async def test_a_slow_answer_takes_its_time(model: ScriptedModel) -> None:
    started = anyio.current_time()
    await post(model, body("[[slow:0.2]] [[say:0123456789]]", stream=True))
    assert anyio.current_time() - started >= 0.2


async def test_everything_is_recorded(model: ScriptedModel) -> None:
    request = body("hello", system=[{"type": "text", "text": "Be brief."}])
    await post(model, request, headers={"x-api-key": "k"})
    async with httpx2.AsyncClient(base_url=model.url, trust_env=False) as client:
        counted = await client.post("/v1/messages/count_tokens", json=request)
        assert (await client.get("/elsewhere")).status_code == 404
    assert counted.json()["input_tokens"] > 0
    (recorded,) = model.requests
    assert (recorded.path, recorded.headers["x-api-key"]) == ("/v1/messages", "k")
    assert (recorded.system, recorded.prompt) == ("Be brief.", "hello")
    assert recorded.size > 50
    assert recorded.body["model"] == "m"
    assert model.others == ["GET /elsewhere"]
