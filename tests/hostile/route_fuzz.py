"""Sends hostile requests to every route of the local swarm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2
import orjson
from hostile_values import HOSTILE_TEXTS, drawn, fitting, hostile_texts
from hypothesis import strategies as st
from local_swarm_api import Api, client

from agent_swarm_worker.local_swarm.app import ROUTE_MODULES
from agent_swarm_worker.local_swarm.endpoint import Route
from agent_swarm_worker.local_swarm.serve import LocalSwarm
from agent_swarm_worker.local_swarm.tools import TOOLS

ROUTES = tuple(route for module in ROUTE_MODULES for route in module.ROUTES)
INVALID_PARAMS, INVALID_REQUEST = -32602, -32600
MCP_HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
_NAME = re.compile(r"\{(\w+)(:path)?\}")
KNOWN = "a-known-id"
"""Stands for the id of something that exists; which one is chosen when it is sent."""
_ids = st.sampled_from([KNOWN, KNOWN, *(text for text in HOSTILE_TEXTS if text)])


class Question(NamedTuple):
    """One request, before the ids in it are chosen."""

    segments: dict[str, str]
    query: dict[str, str]
    body: Any
    agent: str


def questions(route: Route, count: int) -> list[Question]:
    """Return `count` questions for one route, the same each time."""
    names = [name for name, _ in _NAME.findall(route.path)]
    body = fitting(route.body.schema(), hostile_texts | _ids) if route.body else st.none()
    known = route.query.schema()["properties"] if route.query else {}
    query = st.fixed_dictionaries(
        {}, optional={name: fitting(one, hostile_texts).map(_word) for name, one in known.items()}
    )
    segments = st.fixed_dictionaries(dict.fromkeys(names, _ids))
    return drawn(st.builds(Question, segments, query, body, _agents), count)


def tool_calls(name: str, count: int) -> list[Any]:
    """Return arguments for one tool."""
    schema = TOOLS[name].arguments.schema()
    return drawn(fitting(schema, hostile_texts | _ids), count)


_agents = st.sampled_from(["agent-1", "agent-1", "agent-1", "nobody", "", "\x7f%00"])


def _word(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


class Asker:
    """Asks, and remembers the ids of what it is told of, so that it can ask about that too."""

    def __init__(self, http: httpx2.AsyncClient, ids: list[str]) -> None:
        self._http, self._ids, self._turn = http, ids, 0

    async def ask(self, route: Route, question: Question) -> httpx2.Response:
        segments = self._known(question.segments)
        path = _NAME.sub(lambda m: quote(segments[m[1]], safe="/" if m[2] else ""), route.path)
        content = b"" if question.body is None else orjson.dumps(self._known(question.body))
        answer = await self._http.request(
            route.method,
            path,
            params=question.query,
            content=content,
            headers={"X-Agent-ID": question.agent} if question.agent else {},
        )
        if answer.status_code in {200, 201} and len(self._ids) < 60:
            self._ids += _ids_in(answer)
        return answer

    def _known(self, value: Any) -> Any:
        if value == KNOWN:
            self._turn += 1
            return self._ids[self._turn % len(self._ids)]
        if isinstance(value, dict):
            return {key: self._known(item) for key, item in value.items()}
        return [self._known(item) for item in value] if isinstance(value, list) else value


def _ids_in(answer: httpx2.Response) -> Iterator[str]:
    if answer.headers["content-type"] != "application/json":
        return
    value = orjson.loads(answer.content)
    for item in [value, *value.values()] if isinstance(value, dict) else ():
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            yield item["id"]


async def ask_every_route(count: int) -> None:
    """Ask each route `count` questions; fail for an answer that no server may give."""
    async with LocalSwarm() as swarm, client(swarm.url, "") as http:
        agent = await Api(http).agent("agent-1")
        task = await agent.started("the first")
        asker = Asker(http, [agent.id, task["id"]])
        for route in ROUTES:
            for question in questions(route, count):
                wrong = complaint(route, await asker.ask(route, question))
                assert not wrong, f"{route.method} {route.path} {question}: {wrong}"
        assert (await http.get(f"/api/tasks/{task['id']}")).json()["task"] == "the first"


async def ask_every_tool(count: int) -> None:
    """Call each tool with `count` odd arguments."""
    async with LocalSwarm() as swarm, client(swarm.url, "") as http:
        agent = await Api(http).agent("agent-1")
        headers = {**agent.headers, **MCP_HEADERS}
        headers["X-Source-Task-Id"] = (await agent.started())["id"]
        for name in TOOLS:
            for arguments in tool_calls(name, count):
                call = {"name": name, "arguments": arguments}
                body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
                answer = await http.post("/mcp", content=orjson.dumps(body), headers=headers)
                assert answer.status_code in {200, 400}, (call, answer.text)
                assert "Traceback" not in answer.text
                failure = answer.json().get("error", {}).get("code")
                assert failure in {None, INVALID_PARAMS, INVALID_REQUEST}, (call, answer.text)


def complaint(route: Route, answer: httpx2.Response) -> str:
    """Say what is wrong with an answer; nothing if it is one a server may give."""
    text = answer.text
    if "Traceback" in text or ("File " in text and ".py" in text):
        return f"a traceback: {text[:300]}"
    if answer.status_code >= 500:
        # The public server lets its database's own words through here, and clients know them.
        allowed = route.path == "/api/active-sessions" and "constraint failed" in text
        return "" if allowed else f"{answer.status_code}: {text[:300]}"
    if answer.headers.get("content-type") == "application/json":
        orjson.loads(answer.content)
    return ""
