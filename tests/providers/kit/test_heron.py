"""What the kit leaves to do: `heron`, a whole harness for an agent that prints JSON lines.

It has 276 lines, imports and blank ones included: the spec 15, the launch 25, the translator 143,
the adapter 37. It reports tools, context, limits, cost per model, errors by class and when a limit
ends, resumes, starts afresh, and is read again after a crash. All that has to do with processes,
scrubbing, journal and abort is the kit's.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import anyio
import heron
import pytest
from session_config import session_config

from agent_swarm_worker.contract import (
    ContextUsage,
    Error,
    McpServer,
    Message,
    ModelCost,
    Progress,
    ProviderEvent,
    ProviderResult,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing

pytestmark = pytest.mark.anyio

SESSION = "01a00000-0000-4000-8000-000000000001"
BEGIN = {"kind": "session", "id": SESSION, "model": "heron-2-mini", "window": 1000}
END = {"kind": "end", "ok": True}

# The program: prints what the test put beside it, and notes what it was given.
PROGRAM = """#!/usr/bin/env python3
import json, os, sys, time
home = os.environ["HOME"]
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
told = {"argv": sys.argv[1:], "prompt": sys.stdin.read(), "key": os.environ["HERON_API_KEY"]}
told |= {name: open(options["--" + name]).read() for name in ("system", "mcp")}
runs = len([name for name in os.listdir(home) if name.startswith("told")])
json.dump(told, open(f"{home}/told-{runs}.json", "w"))
for line in open(f"{home}/lines-{runs}.jsonl"):
    if line.startswith("exit "): print("no water", file=sys.stderr); sys.exit(int(line[5:]))
    if line.startswith("wait"): time.sleep(60)
    print(line.strip(), flush=True)
"""


class Nest:
    """A home for the agent, with what it is to print in each of its runs."""

    def __init__(self, place: Path, *runs: list[Any], **changed: Any) -> None:
        self.place = place
        self.events: list[ProviderEvent] = []
        program = place / "bin" / "heron"
        program.parent.mkdir()
        program.write_text(PROGRAM)
        program.chmod(0o755)
        for number, lines in enumerate(runs):
            said = [line if isinstance(line, str) else json.dumps(line) for line in lines]
            (place / f"lines-{number}.jsonl").write_text("\n".join(said) + "\n")
        settings: dict[str, Any] = {
            "prompt": "fish",
            "system_prompt": "You are a heron.",
            "model": "Fast",
            "env": {
                "PATH": f"{program.parent}:/usr/local/bin:/usr/bin:/bin",
                "HOME": str(place),
                "HERON_API_KEY": "heron-key-0123456789",
            },
        }
        self.config = session_config(place, **settings | changed)

    async def run(self) -> ProviderResult:
        session = await heron.HeronAdapter().create_session(self.config)
        session.on_event(self.events.append)
        with anyio.fail_after(30):
            return await session.wait_for_completion()

    def received(self, run: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.place / f"told-{run}.json").read_text())
        return found

    def of(self, *kinds: type) -> list[ProviderEvent]:
        return [event for event in self.events if isinstance(event, kinds)]


def usage(total: dict[str, int], usd: float | None, **more: Any) -> dict[str, Any]:
    return {"kind": "usage", "total": total, "usd": usd, **more}


def test_how_long_it_is():
    lines = Path(heron.__file__).read_text().splitlines()
    assert len(lines) <= 300
    assert f"It has {len(lines)} lines" in str(__doc__)


async def test_a_session(tmp_path: Path):
    lines = [
        BEGIN,
        {"kind": "step", "text": "I look."},
        {"kind": "tool", "call": "1", "name": "Spear", "input": {"at": "fish"}},
        {"kind": "tool_done", "call": "1", "output": "a fish", "failed": False},
        usage({"in": 100, "out": 10}, 0.5),
        usage({"in": 300, "out": 30, "cached": 50}, 0.25),
        usage({"in": 7, "out": 1}, 0.125, model="heron-2"),
        {"kind": "something new"},
        {"kind": "step", "text": "Caught one."},
        END,
    ]
    server = McpServer(name="pond", transport="stdio", command="pond")
    nest = Nest(tmp_path, lines, mcp_servers=(server,))
    result = await nest.run()
    assert (result.exit_code, result.is_error, result.output) == (0, False, "Caught one.")
    assert result.session_id == SESSION
    assert nest.of(SessionInit, Message, ToolStart, ToolEnd, ContextUsage, Error) == [
        SessionInit(SESSION, provider="heron", model="heron-2-mini"),
        Message("assistant", "I look."),
        ToolStart("1", "Spear", {"at": "fish"}),
        ToolEnd("1", "Spear", "a fish"),
        ContextUsage(110, 1000, 11.0, 10, "input-cache-output"),
        ContextUsage(270, 1000, 27.0, 20, "input-cache-output"),
        ContextUsage(8, 1000, 0.8, 1, "input-cache-output"),
        Message("assistant", "Caught one."),
    ]
    cost = result.cost
    assert cost is not None
    assert (cost.total_cost_usd, cost.input_tokens, cost.output_tokens) == (0.875, 307, 31)
    assert (cost.cache_read_tokens, cost.task_id, cost.provider) == (50, "task-1", "claude")
    assert cost.models[1] == ModelCost(
        model="heron-2", input_tokens=7, output_tokens=1, cache_read_tokens=0,
        cache_write_tokens=0, harness_cost_usd=0.125,
    )  # fmt: skip
    assert nest.of(Result) == [Result(cost, "Caught one.")]
    told = nest.received()
    assert (told["prompt"], told["system"]) == ("fish", "You are a heron.")
    assert told["argv"][:4] == ["run", "--json", "--model", "heron-2-mini"]
    servers = json.loads(told["mcp"])["mcpServers"]
    assert servers["pond"] == {"command": "pond", "args": []}
    assert servers["agent-swarm"]["headers"]["X-Source-Task-Id"] == "task-1"
    assert list((tmp_path / "private").iterdir()) == []


async def test_an_unknown_price_makes_the_sum_unknown(tmp_path: Path):
    nest = Nest(tmp_path, [BEGIN, usage({"in": 1}, 1.0), usage({"in": 2}, None), END])
    cost = (await nest.run()).cost
    assert cost is not None
    assert (cost.total_cost_usd, cost.input_tokens) == (None, 2)


async def test_a_limit(tmp_path: Path):
    until_s = int(time.time()) + 3600
    limit = {"kind": "limit", "name": "five_hour", "status": "rejected", "until": until_s}
    end = {"kind": "end", "ok": False, "class": "rate_limit", "why": "come back later"}
    result = await Nest(tmp_path, [BEGIN, {**limit, "used": 1}, end]).run()
    assert (result.exit_code, result.error_category) == (1, "rate_limit")
    assert result.failure_reason == "Rate limit hit: come back later"
    assert result.rate_limit_windows["five_hour"].resets_at_s == until_s
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(until_s))
    assert str(result.rate_limit_reset_at).startswith(stamp)


@pytest.mark.parametrize(
    ("lines", "category", "reason"),
    [
        (
            [{"kind": "end", "ok": False, "why": "the pond is full"}],
            "overloaded",
            "The model API is overloaded: the pond is full",
        ),
        (["exit 3"], "crashed", "Heron exited with code 3 before it was finished: no water"),
        (
            [{"kind": "error", "text": "HTTP 529: the pond is full", "retry": True}, "exit 3"],
            "overloaded",
            "Heron exited with code 3 before it was finished; before that: HTTP 529: the pond is"
            " full",
        ),
    ],
)
async def test_what_goes_wrong(tmp_path: Path, lines: list[Any], category: str, reason: str):
    result = await Nest(tmp_path, [BEGIN, *lines]).run()
    assert result.is_error
    assert (result.error_category, result.failure_reason) == (category, reason)


async def test_an_abort(tmp_path: Path):
    nest = Nest(tmp_path, [BEGIN, "wait"])
    session = await heron.HeronAdapter().create_session(nest.config)
    begun = anyio.Event()
    session.on_event(lambda event: begun.set() if event.type == "session_init" else None)
    results: list[ProviderResult] = []

    async def run() -> None:
        results.append(await session.wait_for_completion())

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await begun.wait()
            await session.abort("cancelled")
    assert (results[0].error_category, results[0].failure_reason) == (
        "aborted",
        "Aborted: cancelled",
    )


async def test_a_session_that_is_gone_is_begun_afresh(tmp_path: Path):
    gone = {"kind": "end", "ok": False, "class": "stale_session", "why": "no such session"}
    nest = Nest(tmp_path, [gone], [BEGIN, END], resume_session_id=SESSION, fresh_prompt="anew")
    result = await nest.run()
    assert not result.is_error
    assert nest.received(0)["argv"][-2:] == ["--resume", SESSION]
    assert nest.received(1)["prompt"] == "anew"
    assert nest.of(Progress)


async def test_the_journal_says_the_same_again(tmp_path: Path):
    lines = [BEGIN, {"kind": "step", "text": "key heron-key-0123456789"}, usage({"in": 5}, 1), END]
    nest = Nest(tmp_path, lines)
    nest.config.redactor.add("HERON_API_KEY", "heron-key-0123456789")
    first = await nest.run()
    again = await heron.HeronAdapter().translator(nest.config)
    for line in nest.config.log_file.read_text().splitlines():
        list(again.feed(json.loads(line)))
    result = again.conclude(heron.Ending(exit_code=0))
    assert (result.output, result.cost) == (first.output, first.cost)
    assert result.output == "key [REDACTED:HERON_API_KEY]"


async def test_what_is_there_to_begin_with(tmp_path: Path):
    nest, adapter = Nest(tmp_path, [END]), heron.HeronAdapter()
    env, guest = nest.config.env, nest.config.guest
    await adapter.check(env, guest)
    with pytest.raises(CredentialsMissing):
        await adapter.check({}, guest)
    with pytest.raises(BinaryMissing):
        await adapter.check({**env, "PATH": "/nowhere"}, guest)
    assert not await adapter.can_resume("../told-0", nest.config)
    assert not await adapter.can_resume(SESSION, nest.config)
    saved = tmp_path / ".heron" / "sessions" / f"{SESSION}.jsonl"
    saved.parent.mkdir(parents=True)
    saved.touch()
    assert await adapter.can_resume(SESSION, nest.config)
