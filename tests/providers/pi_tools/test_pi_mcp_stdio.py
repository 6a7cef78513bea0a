"""MCP servers as child processes: tools, failures, and ending them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import anyio
import pytest
from mcp_rig import session, stdio
from patience import HANG_S

from agent_swarm_worker.contract import McpServer
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.processes.stop_tree import find
from agent_swarm_worker.providers.pi.mcp_tools import exposed_names

pytestmark = pytest.mark.anyio
SECRET = "s3cret-value-of-the-operator"


async def test_a_server_lists_and_is_called(tag: str):
    async with session(stdio("good", name="my server!"), tag=tag) as ours:
        assert set(ours.tools) == {"mcp__my_server___echo", "mcp__my_server___env"}
        tool = ours.tools["mcp__my_server___echo"]
        assert tool.description == "it does echo"
        assert tool.parameters == {"type": "object", "properties": {}}
        assert json.loads(await ours.use("mcp__my_server___echo", a=[1, None])) == {"a": [1, None]}
        assert await ours.fails("mcp__my_server___echo", fail=True) == '{"fail": true}'
        assert len(find(tag)) == 1
    assert find(tag) == []
    assert ours.warnings == []


async def test_without_servers_there_is_nothing_to_wait_for():
    async with session() as ours:
        assert ours.tools == {}


@pytest.mark.long
async def test_a_server_of_the_library_itself(tmp_path: Path, tag: str):
    script = tmp_path / "server.py"
    script.write_text(
        "from mcp.server.mcpserver import MCPServer\n"
        "server = MCPServer('lib')\n"
        "@server.tool()\n"
        "def add(a: int, b: int) -> int:\n"
        "    'Adds.'\n"
        "    return a + b\n"
        "server.run('stdio')\n"
    )
    lib = McpServer(name="lib", transport="stdio", command=sys.executable, args=(str(script),))
    async with session(lib, tag=tag) as ours:
        assert ours.warnings == []
        assert await ours.use("mcp__lib__add", a=2, b=3) == "5"
        assert "mcp__lib__add" in ours.tools
        await ours.fails("mcp__lib__add", a="x")


async def test_a_server_gets_its_own_environment_and_little_else(tmp_path: Path, tag: str):
    env = {"PATH": os.environ["PATH"], "HOME": "/home/x", "SECRET_OF_OURS": "x", "LANG": "C"}
    async with session(stdio("good", KEY="k"), tag=tag, env=env, cwd=tmp_path) as ours:
        seen = json.loads(await ours.use("mcp__s__env"))
    assert seen["cwd"] == os.path.realpath(tmp_path)
    assert {"HOME": "/home/x", "KEY": "k", "LANG": "C"}.items() <= seen["env"].items()
    assert "SECRET_OF_OURS" not in seen["env"]


async def test_what_can_be_mended_is_and_the_rest_is_left_out(tag: str):
    async with session(stdio("odd-schemas"), tag=tag) as ours:
        assert set(ours.tools) == {"mcp__s__good", "mcp__s__union"}
        assert set(ours.tools["mcp__s__union"].parameters) == {"type", "properties"}
        assert ours.tools["mcp__s__good"].parameters["required"] == ["a"]
    reported = "\n".join(ours.warnings)
    assert all(name in reported for name in ("not-a-type", "odd member", "huge"))


@pytest.mark.parametrize(
    ("manner", "count"), [("endless-list", 1), ("circling-list", 1), ("many", 250)]
)
async def test_a_list_without_end_has_one(tag: str, manner: str, count: int):
    async with session(stdio(manner), tag=tag) as ours:
        assert len(ours.tools) == count


@pytest.mark.long
async def test_servers_that_do_not_come_cost_their_tools_only(tag: str):
    missing = McpServer(name="missing", transport="stdio", command="/there/is/none")
    servers = [
        stdio("never", name="never"),
        stdio("exits", name="exits"),
        missing,
        stdio("garbage", name="talks"),
        stdio("good", name="good"),
        McpServer(name="empty", transport="stdio"),
    ]
    async with session(*servers, tag=tag, connect_s=3) as ours:
        assert {name.split("__")[1] for name in ours.tools} == {"talks", "good"}
        assert await ours.use("mcp__talks__echo") == "{}"
        assert await ours.use("mcp__good__echo") == "{}"
    reported = "\n".join(ours.warnings)
    assert "never: not available: no answer within 3 s" in reported
    assert "exits: not available: it ended with exit code 7: cannot find its key" in reported
    assert "missing: not available" in reported
    assert "empty: not available" in reported
    assert find(tag) == []


@pytest.mark.parametrize(
    ("manner", "complaint"),
    [
        ("dies", "it ended with exit code 3: last words of the server"),
        ("rpc-error", "it broke"),
    ],
)
async def test_a_call_that_fails_costs_that_call(tag: str, manner: str, complaint: str):
    servers = [stdio(manner), stdio("good", name="other")]
    async with session(*servers, tag=tag) as ours:
        for _ in range(2):  # one that died is started again
            assert complaint in await ours.fails("mcp__s__echo")
        assert await ours.use("mcp__other__echo") == "{}"


@pytest.mark.long
async def test_a_call_that_is_never_answered_ends(tag: str):
    async with session(stdio("silent-call"), tag=tag, call_s=0.5) as ours:
        with anyio.fail_after(HANG_S):
            assert "no answer to echo within 0.5 s" in await ours.fails("mcp__s__echo")


async def test_an_answer_that_is_not_as_promised_is_shown_all_the_same(tag: str):
    async with session(stdio("not-as-promised"), tag=tag) as ours:
        assert await ours.use("mcp__s__echo") == "still useful"


async def test_one_that_leaves_while_idle_takes_nobody_along_and_is_started_again(tag: str):
    servers = [stdio("idle-exit"), stdio("good", name="other")]
    async with session(*servers, tag=tag) as ours:
        while len(find(tag)) > 1:
            await anyio.sleep(0.01)
        assert await ours.use("mcp__other__echo") == "{}"
        said = [await ours.tools["mcp__s__echo"].run({}) for _ in range(2)]
        assert not said[-1].is_error


async def test_calls_side_by_side_get_their_own_answers(tag: str):
    async with session(stdio("good"), tag=tag) as ours:

        async def call(number: int) -> None:
            assert json.loads(await ours.use("mcp__s__echo", n=number)) == {"n": number}

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(call, number)


@pytest.mark.long
@pytest.mark.parametrize("manner", ["grandchild", "stays"])
async def test_nothing_is_left_of_a_server(tag: str, manner: str):
    async with session(stdio(manner), tag=tag) as ours:
        await ours.use("mcp__s__echo")
        assert find(tag)
    assert find(tag) == []


@pytest.mark.parametrize("manner", ["grandchild", "silent-call", "never"])
async def test_cancelling_leaves_nothing_of_a_server(tag: str, manner: str):
    async def live() -> None:
        async with session(stdio(manner), tag=tag) as ours:
            await ours.tools["mcp__s__echo"].run({})
            await anyio.sleep_forever()

    with anyio.fail_after(HANG_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live)
            while len(find(tag)) < (2 if manner == "grandchild" else 1):
                await anyio.sleep(0.01)
            await anyio.sleep(0.2)
            tasks.cancel_scope.cancel()
    assert find(tag) == []


async def test_what_the_session_raises_comes_out_as_it_is(tag: str):
    with pytest.raises(ZeroDivisionError):
        async with session(stdio("good"), tag=tag):
            raise ZeroDivisionError


async def test_secrets_are_taken_out_of_all_that_a_server_says(
    tag: str, capfd: pytest.CaptureFixture[str]
):
    redactor = Scrubber()
    redactor.add("OPERATOR", SECRET)
    async with session(stdio("good"), tag=tag, redactor=redactor) as ours:
        said = await ours.use("mcp__s__echo", a=SECRET)
        assert said == '{"a": "[REDACTED:OPERATOR]"}'
        said = await ours.use("mcp__s__echo", a="x " * 40_000 + SECRET + "y " * 40_000)
        assert len(said) < 60_000
        assert SECRET[:8] not in said
    async with session(stdio("rpc-error", name=SECRET), tag=tag, redactor=redactor) as ours:
        (name, _) = ours.tools
        assert SECRET not in await ours.fails(name)
    assert SECRET not in "".join(capfd.readouterr())


async def test_what_is_no_text_is_named(tag: str):
    content = [
        {"type": "text", "text": "see:"},
        {"type": "image", "data": "QUJD" * 1000, "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "file:///x", "text": "inside"}},
        {"type": "resource_link", "name": "n", "uri": "file:///y"},
    ]
    async with session(stdio("good"), tag=tag) as ours:
        said = await ours.use("mcp__s__echo", content=content)
    assert said == (
        "see:\n\n[image, image/png, 2.9 KB]\n\n[resource file:///x]\ninside\n\n"
        "[resource n: file:///y]"
    )


def test_names_are_fit_short_and_never_the_same():
    tools = [
        ("a b", "x"),
        ("a_b", "x"),
        ("s", "y" * 100),
        ("s", "y" * 101),
        ("s", "same"),
        ("s", "same"),
        ("é", "ü.ß"),
        ("s", ""),
    ]
    names = exposed_names(tools)
    assert len(set(names)) == len(tools)
    assert all(len(name) <= 64 for name in names)
    assert all(name.isascii() and name.replace("-", "_").isidentifier() for name in names)
    assert exposed_names([("swarm", "get-task")]) == ["mcp__swarm__get-task"]
    assert exposed_names(tools[2:4]) == names[2:4]
