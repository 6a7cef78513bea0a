"""Tools are called over MCP, by a real client: real commands, a real HTTP endpoint."""

from __future__ import annotations

import json
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.http_server import HttpServer
from agent_swarm_worker.logs import Log
from agent_swarm_worker.sandboxes.local import LocalSandbox
from agent_swarm_worker.sandboxes.port import GuestSpec
from agent_swarm_worker.tool_bridge.calls import ToolContext
from agent_swarm_worker.tool_bridge.definitions import ToolDefinition
from agent_swarm_worker.tool_bridge.serving import served_tools

pytestmark = pytest.mark.anyio
SECRET = "s3cr3t-of-the-deployment-42"
VARIABLES = {"DEPLOY_TOKEN": SECRET}
PRINT = "import json, os, sys; print(json.dumps([json.load(sys.stdin), sys.argv[1:], dict(os.environ), os.getcwd()]))"  # noqa: E501


def tool(name: str = "t", **fields: Any) -> ToolDefinition:
    return ToolDefinition(name=name, description=f"The tool {name}.", **fields)


def takes(*names: str, **more: Any) -> dict[str, Any]:
    """Return the schema of arguments with these names, of any type."""
    return {"type": "object", "properties": {name: {} for name in names}, **more}


@asynccontextmanager
async def client_of(tmp_path: Path, *tools: ToolDefinition) -> AsyncIterator[ClientSession]:
    redactor = Scrubber()
    redactor.add("DEPLOY_TOKEN", SECRET)
    async with LocalSandbox().open(GuestSpec(name=str(uuid.uuid4()))) as guest:
        context = ToolContext(
            guest=guest,
            cwd=tmp_path,
            env={**os.environ, "OPENAI_API_KEY": "of-the-session", "AGENT_ID": "me"},
            variables=VARIABLES,
            redactor=redactor,
            log=Log(),
        )
        async with (
            served_tools(tools, context) as server,
            httpx2.AsyncClient(headers=dict(server.headers), timeout=None) as http,
            streamable_http_client(server.url, http_client=http) as (reader, writer, *_),
            ClientSession(reader, writer) as session,
        ):
            await session.initialize()
            yield session


async def called(session: ClientSession, name: str = "t", **arguments: Any) -> tuple[bool, str]:
    result = await session.call_tool(name, arguments)
    return not result.is_error, "".join(getattr(part, "text", "") for part in result.content)


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; it may not be reaped yet."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


async def test_a_command_gets_its_arguments_and_few_variables(tmp_path: Path):
    shown = tool(
        command=(sys.executable, "-c", PRINT, "--of={service}", "--", "{flag}", "{count}"),
        env={"TOKEN": "Bearer ${DEPLOY_TOKEN}"},
        input=takes("service", "flag", "count", "more"),
    )
    async with client_of(tmp_path, shown) as session:
        (listed,) = (await session.list_tools()).tools
        assert (listed.name, listed.description) == ("t", "The tool t.")
        assert listed.input_schema == shown.input
        arguments = {"service": "-a b; $(rm x)", "flag": "--x", "count": 3, "more": [1, "ä\n"]}
        is_ok, text = await called(session, **arguments)
    assert is_ok
    given, argv, env, cwd = json.loads(text)
    assert given == arguments
    assert argv == ["--of=-a b; $(rm x)", "--", "--x", "3"]
    assert cwd == str(tmp_path)
    assert env["AGENT_ID"] == "me"
    assert "OPENAI_API_KEY" not in env
    # The command has the secret, its result does not.
    assert "DEPLOY_TOKEN" in env["TOKEN"]
    assert SECRET not in text


async def test_a_value_cannot_become_an_option(tmp_path: Path):
    shown = tool(command=(sys.executable, "-c", PRINT, "{ref}"), input=takes("ref"))
    async with client_of(tmp_path, shown) as session:
        assert await called(session, ref="--upload-pack=x") == (
            False,
            "The arguments cannot be used: '--upload-pack=x' would be taken for an option",
        )
        assert (await called(session, ref="a\0b"))[0] is False
        assert (await called(session, ref="main"))[0] is True


async def test_arguments_are_checked_before_the_command_runs(tmp_path: Path):
    left = tmp_path / "ran"
    schema = takes(
        properties={"n": {"type": "integer"}, "s": {"type": "string", "pattern": "^(a+)+$"}},
        required=["n"],
        additionalProperties=False,
    )
    touched = tool(command=("touch", str(left)), input=schema)
    async with client_of(tmp_path, touched) as session:
        for wrong in ({}, {"n": "1"}, {"n": 1, "x": 2}, {"n": 1, "s": "b"}):
            is_ok, text = await called(session, **wrong)
            assert not is_ok
            assert text.startswith("The arguments cannot be used: $")
        # A pattern that takes for ever ends with its limit, and the worker goes on meanwhile.
        is_ok, text = await called(session, n=1, s="a" * 40 + "b")
        assert (is_ok, "cannot be checked" in text) == (False, True)
        assert not left.exists()
        assert await called(session, n=1) == (True, "")
        assert left.exists()


async def test_large_arguments_do_not_hold_the_worker_up(tmp_path: Path):
    items = {"type": "array", "items": {}, "uniqueItems": True}
    unique = tool(command=("true",), input=takes(properties={"many": items}), max_output=100)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.01)
            ticks += 1

    async with client_of(tmp_path, unique) as session, anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        many = [f"{number}" if number % 2 else [number] for number in range(3000)]
        assert (await called(session, many=[1, 1]))[0] is False
        before = ticks
        await called(session, many=many)
        assert ticks - before > 20  # a check in this process would have stopped them
        tasks.cancel_scope.cancel()


async def test_arguments_that_are_no_plain_json_are_an_error_of_the_call(tmp_path: Path):
    async with client_of(tmp_path, tool(command=("true",))) as session:
        assert (await called(session, n=10**30))[0] is False


async def test_failures_of_a_command_are_errors_of_the_call(tmp_path: Path):
    leaves = "sleep 600 & echo $! > left; wait"
    async with client_of(
        tmp_path,
        tool("fails", command=("sh", "-c", f"echo some; echo {SECRET} >&2; exit 3")),
        tool("is_killed", command=("sh", "-c", "kill -9 $$")),
        tool("is_missing", command=("no-such-program",)),
        tool("hangs", command=("sh", "-c", f"trap '' TERM; {leaves}"), timeout_s=0.3),
        tool("is_deaf", command=("true",)),
    ) as session:
        is_ok, text = await called(session, "fails")
        assert not is_ok
        assert text.splitlines()[0] == "The command failed with exit code 3."
        assert "some" in text
        assert SECRET not in text
        assert (await called(session, "is_killed"))[1] == "The command failed with exit code 137."
        is_ok, text = await called(session, "is_missing")
        assert (is_ok, "no-such-program" in text) == (False, True)
        assert await called(session, "hangs") == (False, "The tool did not end within 0.3 s.")
        assert is_gone(int((tmp_path / "left").read_text()))
        assert await called(session, "is_deaf", much="x" * 300_000) == (True, "")
        is_ok, text = await called(session, "unknown")
        assert (is_ok, text) == (False, "Unknown tool: unknown")


async def test_a_flood_is_cut_and_no_half_of_a_secret_is_shown(tmp_path: Path):
    flood = tool("flood", command="sh -c 'yes | head -c 100000000'", max_output=1000)
    half = tool("half", command=("printf", f"%s{SECRET}%s", "x" * 80, "y" * 99), max_output=95)
    noise = tool("noise", command=("printf", r"\377\376"))
    async with client_of(tmp_path, flood, half, noise) as session:
        is_ok, text = await called(session, "flood")
        assert is_ok
        assert text.endswith("[cut: there are more than 1000 bytes]")
        assert len(text) < 1100
        _, text = await called(session, "half")
        assert text.startswith("x" * 80 + "[")
        assert SECRET[:6] not in text
        assert await called(session, "noise") == (True, "��")


async def test_calls_run_side_by_side(tmp_path: Path):
    # Each waits for the other.
    script = "touch {me}; while ! [ -e {other} ]; do sleep 0.01; done; echo {me}"
    both = [
        tool(me, command=("sh", "-c", script.format(me=me, other=other)), timeout_s=60)
        for me, other in (("a", "b"), ("b", "a"))
    ]
    async with client_of(tmp_path, *both) as session, anyio.create_task_group() as tasks:
        for name in "ab":
            tasks.start_soon(called, session, name)


async def test_only_the_session_is_served(tmp_path: Path):
    async with LocalSandbox().open(GuestSpec(name=str(uuid.uuid4()))) as guest:
        context = ToolContext(
            guest=guest, cwd=tmp_path, env={}, variables={}, redactor=Scrubber(), log=Log()
        )
        async with (
            served_tools([tool(command=("true",))], context) as server,
            httpx2.AsyncClient() as http,
        ):
            token = dict(server.headers)
            assert token["Authorization"] not in context.redactor.text(str(token))
            wrong = {"Authorization": "Bearer nobody"}
            assert (await http.post(server.url, json={})).status_code == 401
            assert (await http.post(server.url, json={}, headers=wrong)).status_code == 401
            assert (await http.get(server.url, headers=token)).status_code == 405
            other = server.url.replace("/mcp", "/else")
            assert (await http.post(other, json={}, headers=token)).status_code == 404
            large = b" " * (5 << 20)
            assert (await http.post(server.url, content=large, headers=token)).status_code == 413
            assert (await http.post(server.url, content=b"{", headers=token)).status_code == 400
        async with httpx2.AsyncClient() as http:
            with pytest.raises(httpx2.ConnectError):
                await http.post(server.url, json={})


# --- HTTP
async def _echo(request: Request) -> Response:
    said = {
        "method": request.method,
        "path": request.scope["raw_path"].decode(),
        "query": dict(request.query_params),
        "auth": request.headers.get("authorization"),
        "body": (await request.body()).decode(),
    }
    return PlainTextResponse(json.dumps(said))


async def _status(request: Request) -> Response:
    return PlainTextResponse("it is so", int(request.path_params["code"]))


async def _elsewhere(_: Request) -> Response:
    return RedirectResponse("http://127.0.0.1:1/stolen")


async def _flood(_: Request) -> Response:
    return PlainTextResponse("z" * 10_000_000)


async def _hang(_: Request) -> Response:
    await anyio.sleep_forever()
    raise AssertionError


@asynccontextmanager
async def endpoint() -> AsyncIterator[str]:
    methods = ["GET", "POST", "PUT", "DELETE"]
    routes = [
        Route("/echo/{rest:path}", _echo, methods=methods),
        Route("/status/{code}", _status, methods=methods),
        Route("/elsewhere", _elsewhere, methods=methods),
        Route("/flood", _flood, methods=methods),
        Route("/hang", _hang, methods=methods),
    ]
    server = HttpServer(Starlette(routes=routes))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.stop()
                await server.stopped()


async def test_an_endpoint_gets_its_arguments_as_the_method_says(tmp_path: Path):
    login = {"Authorization": "Bearer ${DEPLOY_TOKEN}"}
    async with (
        endpoint() as url,
        client_of(
            tmp_path,
            tool("get", url=f"{url}/echo/{{id}}", method="GET", headers=login, input=takes("id")),
            tool("post", url=f"{url}/echo/x", headers=login, input=takes("id")),
        ) as session,
    ):
        is_ok, text = await called(session, "get", id="a/../b?c=d", page=2)
        assert is_ok
        said = json.loads(text)
        assert (said["method"], said["path"]) == ("GET", "/echo/a%2F..%2Fb%3Fc%3Dd")
        assert said["query"] == {"page": "2"}
        assert SECRET not in text
        for odd in ("..", ".", ""):
            is_ok, text = await called(session, "get", id=odd)
            assert (is_ok, "part of the address" in text) == (False, True)
        said = json.loads((await called(session, "post", id=7, more=["ä"]))[1])
        assert (said["method"], json.loads(said["body"])) == ("POST", {"id": 7, "more": ["ä"]})


async def test_failures_of_an_endpoint_are_errors_of_the_call(tmp_path: Path):
    async with (
        endpoint() as url,
        client_of(
            tmp_path,
            tool("refuses", url=f"{url}/status/403"),
            tool("breaks", url=f"{url}/status/500"),
            tool("leads_away", url=f"{url}/elsewhere"),
            tool("floods", url=f"{url}/flood", max_output=100),
            tool("hangs", url=f"{url}/hang", timeout_s=0.3),
            tool("is_away", url="http://127.0.0.1:1/"),
        ) as session,
    ):
        answers = {
            name: await called(session, name)
            for name in ("refuses", "breaks", "leads_away", "floods", "hangs", "is_away")
        }
    assert answers["refuses"] == (False, "The tool's server answered 403.\nit is so")
    assert answers["breaks"] == (False, "The tool's server answered 500.\nit is so")
    assert answers["leads_away"][0] is False
    assert answers["floods"] == (True, "z" * 100 + "\n[cut: there are more than 100 bytes]")
    assert answers["hangs"] == (False, "The tool did not end within 0.3 s.")
    assert answers["is_away"][0] is False
