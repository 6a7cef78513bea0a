"""MCP servers whose lists and answers are not quite as the protocol has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from http_servers import INITIALIZED, Request, good, said, serving
from mcp_rig import http, session, stdio
from patience import HANG_S

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.logs import Log
from agent_swarm_worker.providers.kit.mcp_config import read_mcp_config
from agent_swarm_worker.providers.pi import mcp_transports
from agent_swarm_worker.providers.pi.mcp_tools import open_mcp_tools
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio
OBJECT = {"type": "object"}
DEFS = {"A": {"properties": {"a": {"$ref": "#/$defs/B"}}}, "B": {}}
GOOD = {"name": "good", "inputSchema": OBJECT}


def listed(name: str, schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": schema, **more}


USABLE = [
    {"name": "missing"},
    listed("null"),
    listed("empty", {}),
    listed("types", {"type": ["object", "null"], "properties": None}),
    listed("described", OBJECT, description=None, outputSchema="?", annotations=[], title=7),
    listed(
        "referring",
        {
            "$ref": "#/$defs/A",
            "$defs": {"A": {"properties": {"a": {"$ref": "#/$defs/B"}}}, "B": {}},
        },
    ),
]
UNUSABLE = [
    {"inputSchema": OBJECT},
    {"name": "", "inputSchema": OBJECT},
    {"name": 7, "inputSchema": OBJECT},
    "no object",
    None,
    listed("a-list", []),
    listed("a-bool", True),
    listed("dangling", {"properties": {"a": {"$ref": "#/$defs/A"}}}),
    listed("elsewhere", {"properties": {"a": {"$ref": "https://schemas.test/a.json"}}}),
    listed("dangling-top", {"$ref": "#/definitions/A"}),
    listed("old-required", {"properties": {"a": {"type": "string", "required": True}}}),
]


async def test_one_bad_tool_costs_that_tool(tag: str):
    tools = json.dumps([*UNUSABLE, *USABLE, GOOD])
    async with session(stdio("lists", tools), tag=tag) as ours:
        names = {"mcp__s__good", *(f"mcp__s__{tool['name']}" for tool in USABLE)}
        assert set(ours.tools) == names
        for name in names:
            assert ours.tools[name].parameters["type"] == "object"
            assert json.loads(await ours.use(name, a=1)) == {"a": 1}
        assert set(ours.tools["mcp__s__referring"].parameters["properties"]) == {"a"}
    assert len(ours.warnings) == len(UNUSABLE)
    reported = "\n".join(ours.warnings)
    assert "its tool number 1 is left out: it has no name" in reported
    assert "'dangling' is left out: its schema refers to '#/$defs/A'" in reported


async def test_a_page_that_fails_costs_the_tools_behind_it():
    async def handler(request: Request) -> None:
        if request.call.get("method") != "tools/list":
            await good(request)
        elif "cursor" in request.call.get("params", {}):
            await request.reply(b"no pages today", status=500, content_type="text/plain")
        else:
            await request.result({"tools": [GOOD], "nextCursor": "2"})

    async with serving(handler) as server, session(http(server.url)) as ours:
        assert set(ours.tools) == {"mcp__s__good"}
        assert "HTTP 500: no pages today" in ours.warnings[0]


@pytest.mark.parametrize("page", [{}, {"tools": "none"}])
async def test_a_list_that_is_none_costs_the_server(page: dict[str, Any]):
    async def handler(request: Request) -> None:
        is_list = request.call.get("method") == "tools/list"
        await (request.result(page) if is_list else good(request))

    async with serving(handler) as server, session(http(server.url)) as ours:
        assert "no list of tools" in ours.warnings[0]


@pytest.mark.parametrize(
    "hello",
    [
        {},
        {"protocolVersion": "2030-01-01", "capabilities": None, "serverInfo": {"name": 1}},
        {**INITIALIZED, "protocolVersion": "a\nb", "instructions": 7},
    ],
)
async def test_a_greeting_that_lacks_something_is_one(hello: dict[str, Any]):
    async def handler(request: Request) -> None:
        is_hello = request.call.get("method") == "initialize"
        await (request.result(hello) if is_hello else good(request))

    async with serving(handler) as server, session(http(server.url)) as ours:
        assert await ours.use("mcp__s__echo") == "{}"


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({"structuredContent": {"a": [1]}}, '{"a":[1]}'),
        ({"content": [], "structuredContent": [1, 2]}, "[1,2]"),
        ({"content": None, "structuredContent": "plain"}, '"plain"'),
        (
            {
                "content": [{"type": "image", "data": "QUJD", "mimeType": "image/png"}],
                "structuredContent": {"a": 1},
            },
            '[image, image/png, 3 bytes]\n\n{"a":1}',
        ),
        ({"content": [{"type": "text", "text": "said"}], "structuredContent": {"a": 1}}, "said"),
        ({}, "(no output)"),
        ({"content": "no list"}, "no list"),
        ({"content": {"type": "text", "text": "one"}}, "one"),
        ({"content": ["a", {"text": "b"}, 3, None]}, "a\n\nb\n\n3\n\nnull"),
        ({"toolResult": {"old": True}}, '{"toolResult":{"old":true}}'),
        (
            {"content": [{"type": "hologram", "data": "QUJD", "size": 2}]},
            '{"type":"hologram","data":"[3 bytes]","size":2}',
        ),
        ({"content": [{"type": "text", "text": {"a": 1}}]}, '{"type":"text","text":{"a":1}}'),
        ({"content": [{"type": "image", "data": "QUJD"}]}, "[image, of no type, 3 bytes]"),
        ({"content": [{"type": "resource_link", "uri": "file:///x"}]}, "[resource : file:///x]"),
        ({"content": [{"type": "resource", "resource": 7}]}, '{"type":"resource","resource":7}'),
        ("bare", "bare"),
        ([{"type": "text", "text": "listed"}], "listed"),
        (None, "(no output)"),
    ],
)
async def test_a_result_of_any_form_is_passed_on(tag: str, result: Any, shown: str):
    line = json.dumps({"jsonrpc": "2.0", "id": "ID", "result": result}).replace('"ID"', "ID")
    async with session(stdio("says", line + "\n"), tag=tag) as ours:
        assert await ours.use("mcp__s__echo") == shown


@pytest.mark.parametrize("is_error", [True, "true"])
async def test_a_failure_without_content_is_one(tag: str, is_error: Any):
    result = json.dumps({"isError": is_error, "structuredContent": {"why": "x"}})
    line = f'{{"jsonrpc": "2.0", "id": ID, "result": {result}}}\n'
    async with session(stdio("says", line), tag=tag) as ours:
        assert await ours.fails("mcp__s__echo") == '{"why":"x"}'


RESULT = '"result": {"content": [{"type": "text", "text": "fine"}]}'
ANSWER = f'{{"jsonrpc": "2.0", "id": ID, {RESULT}}}'
READABLE = {
    "no version": f'{{"id": ID, {RESULT}}}\n',
    "no error": f'{{"jsonrpc": "2.0", "id": ID, {RESULT}, "error": null}}\n',
    "float id": f'{{"jsonrpc": "2.0", "id": ID.0, {RESULT}}}\n',
    "text id": f'{{"jsonrpc": "2.0", "id": "ID", {RESULT}}}\n',
    "mark": f"\ufeff{ANSWER}\n",
    "glued": f"\x1b]0;title\x07Log: {{done}} {ANSWER} and more\n",
    "batch": f'[{{"jsonrpc": "2.0", "method": "notifications/x"}}, {ANSWER}]\n',
    "two": f'{{"jsonrpc": "2.0", "method": "notifications/x"}}{ANSWER}\n',
    "nan": ANSWER.replace('"fine"}', '"fine", "score": NaN}') + "\n",
    "raw break": ANSWER.replace("fine", "fine\tly") + "\n",
    "log before": f'working on {{it}}\n{{"level": "info", "id": 1}}\n{ANSWER}\n',
    "framed": f"Content-Length: 99\r\n\r\n{ANSWER}\r\n",
    "no line end": ANSWER,
}


@pytest.mark.parametrize("name", READABLE)
async def test_an_answer_that_can_be_understood_is(
    tag: str, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mcp_transports, "DOUBT_S", 0.5)
    async with session(stdio("says", READABLE[name]), tag=tag) as ours:
        assert (await ours.use("mcp__s__echo")).startswith("fine")


UNREADABLE = {
    '{"jsonrpc": "2.0", "id": ID, "result": {"content": [{"te\n': '"content": [{"te',
    '{"jsonrpc": "2.0", "id": ID}\n': '{"jsonrpc": "2.0", "id": ID}',
    '{"jsonrpc": "2.0", "result": {"content": \n': '"result": {"content":',
    '{"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "Parse error"}}\n': (
        "tool server s: Parse error"
    ),
    '{"jsonrpc": "2.0", "id": ID, "error": "plain words"}\n': "tool server s: plain words",
    '{"jsonrpc": "2.0", "id": ID, "error": {"reason": "x"}}\n': '{"reason": "x"}',
    "Traceback (most recent call last):\nKeyError: 'x'\n": "Traceback (most recent",
    "oops": "oops",
}


@pytest.mark.parametrize("line", UNREADABLE)
async def test_an_answer_that_cannot_be_read_fails_its_call(
    tag: str, line: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mcp_transports, "DOUBT_S", 0.5)
    async with session(stdio("says", line), tag=tag, call_s=1000) as ours:
        with anyio.fail_after(HANG_S):
            reported = await ours.fails("mcp__s__echo")
        expected = UNREADABLE[line]
        assert expected.replace("ID", "3") in reported


async def test_of_several_calls_the_unreadable_answer_fails_the_one_that_gets_no_other(tag: str):
    line = '{"jsonrpc": "2.0", "result": {"content": \n'
    async with session(stdio("says", line), tag=tag, call_s=1000) as ours:
        with anyio.fail_after(HANG_S):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(ours.fails, "mcp__s__echo")


@pytest.mark.long
async def test_a_server_that_prints_and_answers_is_waited_for(
    tag: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mcp_transports, "DOUBT_S", 0.1)
    async with session(stdio("slow-and-noisy"), tag=tag) as ours:
        assert await ours.use("mcp__s__echo") == "at last"


@pytest.mark.long
async def test_a_server_that_answers_too_late_is_waited_for_from_then_on(
    tag: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(mcp_transports, "DOUBT_S", 0.1)
    may_answer = tmp_path / "may-answer"
    async with session(stdio("late-and-noisy", str(may_answer)), tag=tag) as ours:
        assert "working" in await ours.fails("mcp__s__echo")
        may_answer.touch()
        assert await ours.use("mcp__s__echo") == "at last"


HALVES = ["{|" + ANSWER[1:], ANSWER.replace("fine", "fi|ne"), "working " + ANSWER[:-1] + "|}"]


@pytest.mark.long
@pytest.mark.parametrize("answer", [*HALVES, "working\n" + HALVES[1]])
async def test_an_answer_with_a_pause_in_it_is_waited_for(
    tag: str, answer: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mcp_transports, "DOUBT_S", 0.1)
    async with session(stdio("halves", answer), tag=tag) as ours:
        assert await ours.use("mcp__s__echo") == "fine"


BODIES = [
    (b"not json", "application/json", 200, "an unreadable answer: not json"),
    (b"", "application/json", 200, "an empty answer"),
    (b"<html><b>Blocked</b> by us", "text/html", 200, "an unreadable answer: <html><b>Blocked"),
    (b"<style>b {}</style><b>Blocked</b> &amp; gone", "text/html", 403, "HTTP 403: Blocked & gone"),
    (b'{"detail": "no such key"}', "application/json", 401, 'HTTP 401: {"detail": "no such key"}'),
    (b'{"jsonrpc": "2.0", "id": null, "error": {"message": "why"}}', "text/plain", 400, ": why"),
    (b'data: {"jsonrpc": "2.0", "id": 1, "resu\n\n', "text/event-stream", 200, '"resu'),
    (b"data: what?\n\n", "text/event-stream", 200, "an unreadable answer: what?"),
]


@pytest.mark.parametrize(("body", "kind", "status", "complaint"), BODIES)
async def test_over_http_what_was_said_is_shown(
    body: bytes, kind: str, status: int, complaint: str
):
    async def handler(request: Request) -> None:
        if request.call.get("method") == "tools/call":
            await request.reply(body, status=status, content_type=kind)
        else:
            await good(request)

    async with serving(handler) as server, session(http(server.url), call_s=1000) as ours:
        with anyio.fail_after(HANG_S):
            assert complaint in await ours.fails("mcp__s__echo")


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "text/event-stream"])
async def test_over_http_an_answer_with_another_id_is_the_answer(kind: str):
    async def handler(request: Request) -> None:
        if request.call.get("method") != "tools/call":
            await good(request)
            return
        answer = json.dumps({"id": 99, "result": said("found")}).encode()
        if kind == "text/event-stream":
            answer = b"\xef\xbb\xbf: hi\r\nevent: result\r\ndata: log\r\n\r\ndata: " + answer
        await request.reply(answer, content_type=kind)

    async with serving(handler) as server, session(http(server.url)) as ours:
        assert await ours.use("mcp__s__echo") == "found"


async def test_over_the_older_stream_an_unreadable_answer_fails_its_call():
    streams: list[Request] = []

    async def handler(request: Request) -> None:
        if request.method == "GET":
            streams.append(request)
            head = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
            await request.socket.send(head + b"event: endpoint\ndata: /messages?s=1\n\n")
            return
        await request.reply(status=202)
        results = {"initialize": INITIALIZED, "tools/list": {"tools": [GOOD]}}
        if result := results.get(request.call["method"]):
            answer = {"jsonrpc": "2.0", "id": request.call["id"], "result": result}
            await streams[-1].socket.send(f"data: {json.dumps(answer)}\n\n".encode())
        elif request.call["method"] == "tools/call":
            await streams[-1].socket.send(b'data: {"jsonrpc": "2.0", "result": {"a\n\n')

    async with serving(handler) as server:
        sse = McpServer(name="s", transport="sse", url=server.url)
        async with session(sse, call_s=1000) as ours:
            with anyio.fail_after(HANG_S):
                assert 'an unreadable answer: {"jsonrpc"' in await ours.fails("mcp__s__good")


async def test_the_time_to_start_is_a_setting(tag: str):
    warnings: list[str] = []
    async with open_mcp_tools(
        [stdio("never")],
        redactor=Scrubber(),
        log=Log(),
        on_warning=warnings.append,
        guest=LocalGuest(tag),
        cwd=Path.cwd(),
        env={"PI_MCP_START_S": "0.25"},
    ):
        pass
    assert "no answer within 0.25 s (PI_MCP_START_S)" in warnings[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_servers_may_begin_with_a_mark(encoding: str):
    content = '{"mcpServers": {"mine": {"command": "/bin/true"}}}'.encode(encoding)
    assert read_mcp_config(content) == {"mine": {"command": "/bin/true"}}
