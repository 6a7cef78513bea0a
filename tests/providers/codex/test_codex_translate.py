"""Both transports' recorded streams (`tests/e2e/record_codex.py`) become the same events."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from codex_config import (
    STREAMS,
    THREAD,
    TRANSPORTS,
    SetClock,
    make_plan,
    make_state,
    recorded,
    translator,
)

from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    Custom,
    Ending,
    Error,
    Helper,
    Message,
    Plan,
    PlanStep,
    Progress,
    Reasoning,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.guards.tool_loop import ToolLoopGuard
from agent_swarm_worker.logs import Log
from agent_swarm_worker.providers.codex.outcome import CodexState
from agent_swarm_worker.providers.kit.costs import Tokens

ALL = sorted(tuple(path.stem.split("_", 1)) for path in STREAMS.glob("*.jsonl"))


def fake(transport: str, name: str, state: CodexState) -> tuple[Any, list[Any]]:
    reader = translator(transport, state)
    return reader, [event for line in recorded(transport, name) for event in reader.feed(line)]


def of(events: list[Any], *types: type) -> list[Any]:
    return [event for event in events if isinstance(event, types)]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_answer(transport: str, tmp_path: Path):
    plan = make_plan(tmp_path, transport=transport)
    reader, events = fake(transport, "hello", make_state(tmp_path, plan=plan))
    (init,) = of(events, SessionInit)
    assert (init.session_id, init.model) == (THREAD, "gpt-5.6-terra")
    assert init.harness_variant_meta["transport"] == transport
    assert [event.content for event in of(events, Message)] == ["Hello from the model."]
    assert reader.is_final
    result = reader.conclude(Ending(exit_code=0, duration_ms=1200))
    assert (result.is_error, result.exit_code) == (False, 0)
    assert (result.session_id, result.output) == (THREAD, "Hello from the model.")
    assert (result.cost.input_tokens, result.cost.cache_read_tokens) == (4000, 3000)
    assert (result.cost.output_tokens, result.cost.reasoning_output_tokens) == (50, 20)
    assert result.cost.total_cost_usd == pytest.approx(0.0032)
    assert (result.cost.num_turns, result.cost.duration_ms) == (1, 1200)
    assert (result.cost.provider, result.cost.model) == ("codex", "gpt-5.6-terra")
    assert of(events, Result)[-1].cost.input_tokens == 4000


@pytest.mark.parametrize(("name", "exit_code"), [("bash", 0), ("bash_fails", 3)])
def test_a_command(transport: str, name: str, exit_code: int, tmp_path: Path):
    _, events = fake(transport, name, make_state(tmp_path))
    (start,), (end,) = of(events, ToolStart), of(events, ToolEnd)
    assert start.tool_name == end.tool_name == "bash"
    assert "echo" in start.args["command"]
    assert start.tool_call_id == end.tool_call_id
    assert end.is_error is bool(exit_code)
    assert exit_code in (end.result.get("exitCode"), end.result.get("exit_code"))


def test_a_tool_of_the_swarm(transport: str, tmp_path: Path):
    _, events = fake(transport, "swarm_tool", make_state(tmp_path))
    (start,), (end,) = of(events, ToolStart), of(events, ToolEnd)
    assert start.tool_name == "store-progress"
    assert start.args == {
        "server": "agent-swarm",
        "tool": "store-progress",
        "arguments": {"progress": "half way"},
    }
    assert (end.tool_name, end.is_error) == ("store-progress", False)


@pytest.mark.parametrize(
    ("name", "categories", "words"),
    [
        ("error_401", {"authentication_failed"}, "Authentication failed: unexpected status 401"),
        ("error_429", {"rate_limit"}, "Rate limit hit: exceeded retry limit"),
        ("error_500", {"server_error", "overloaded"}, "experiencing high demand"),
    ],
)
def test_an_error(transport: str, name: str, categories: set[str], words: str, tmp_path: Path):
    reader, events = fake(transport, name, make_state(tmp_path))
    assert of(events, Error)
    result = reader.conclude(Ending(exit_code=0 if transport == "app-server" else 1))
    assert (result.is_error, result.exit_code) == (True, 1)
    assert result.error_category in categories
    assert words in result.failure_reason
    assert result.cost is None, "nothing was used, and nobody says that it cost 0"


def test_an_interrupted_turn(tmp_path: Path):
    reader, _ = fake("app-server", "interrupted", make_state(tmp_path))
    assert reader.is_final
    aborted = reader.conclude(Ending(exit_code=0, aborted="cancelled"))
    assert (aborted.error_category, aborted.failure_reason) == ("aborted", "Aborted: cancelled")
    reader, _ = fake("app-server", "interrupted", make_state(tmp_path))
    assert reader.conclude(Ending(exit_code=0)).error_category == "interrupted"


def test_a_killed_process_is_no_success(tmp_path: Path):
    reader, _ = fake("exec", "interrupted", make_state(tmp_path))
    result = reader.conclude(Ending(exit_code=137))
    assert (result.is_error, result.error_category) == (True, "killed")
    assert "SIGKILL" in result.failure_reason
    assert not reader.is_final


@pytest.mark.parametrize("exit_code", [0, 1])
def test_silence_is_no_success(transport: str, exit_code: int, tmp_path: Path):
    reader = translator(transport, make_state(tmp_path))
    result = reader.conclude(Ending(exit_code=exit_code, stderr_tail="what is that?"))
    assert (result.is_error, result.error_category, result.exit_code) == (True, "crashed", 1)
    assert "what is that?" in result.failure_reason


def test_what_a_resumed_thread_used_before_is_not_billed(transport: str, tmp_path: Path):
    before = Tokens(input=3000, cache_read=2500, output=10, reasoning=5)
    plan = make_plan(tmp_path, transport=transport, used_before=before)
    state = make_state(tmp_path, plan=plan, resume_session_id=THREAD.upper())
    reader, _ = fake(transport, "hello", state)
    result = reader.conclude(Ending(exit_code=0))
    assert not result.is_error
    assert (result.cost.input_tokens, result.cost.cache_read_tokens) == (1000, 500)
    assert (result.cost.output_tokens, result.cost.reasoning_output_tokens) == (40, 15)


def test_another_thread_than_asked_for_is_a_stale_session(transport: str, tmp_path: Path):
    state = make_state(tmp_path, resume_session_id="01a00000-0000-7000-8000-00000000ffff")
    reader, events = fake(transport, "hello", state)
    assert not of(events, SessionInit), "the follow-up's session is not overwritten"
    result = reader.conclude(Ending(exit_code=0))
    assert (result.is_error, result.error_category) == (True, "stale_session")


def test_the_context_and_its_size(tmp_path: Path):
    _, events = fake("app-server", "bash", make_state(tmp_path))
    usage = of(events, ContextUsage)
    assert [event.context_used_tokens for event in usage] == [4050, 4050]
    assert usage[0].context_total_tokens == 258_400
    assert usage[0].context_percent == pytest.approx(1.567, abs=0.001)


def test_a_usage_that_is_repeated_is_no_news(tmp_path: Path):
    state = make_state(tmp_path)
    reader = translator("app-server", state)
    lines = recorded("app-server", "hello")
    (usage,) = [line for line in lines if line.get("method") == "thread/tokenUsage/updated"]
    events = [event for line in [*lines[:-1], usage, lines[-1]] for event in reader.feed(line)]
    assert len(of(events, ContextUsage)) == 1
    assert state.costs.spent.tokens.input == 4000


def test_deltas_reasoning_plans_and_compactions(tmp_path: Path):
    reader = translator("app-server", make_state(tmp_path))
    lines = recorded("app-server", "hello")
    for line in lines[:-1]:
        reader.feed(line)
    about: dict[str, Any] = {"threadId": THREAD, "turnId": "t"}
    plan = [{"step": "look", "status": "completed"}, {"step": "leap", "status": "pending"}]
    events = [
        *reader.feed({"method": "item/agentMessage/delta", "params": {**about, "delta": "He"}}),
        *reader.feed({"method": "turn/plan/updated", "params": {**about, "plan": plan}}),
        *completed(reader, {"type": "reasoning", "id": "r", "summary": ["Hm", "so"]}),
        *completed(reader, {"type": "contextCompaction", "id": "c"}),
    ]
    assert [(event.name, event.data) for event in of(events, Custom)] == [
        ("codex.message_delta", {"itemId": "", "text": "He"})
    ]
    assert of(events, Plan) == [Plan((PlanStep("look", "completed"), PlanStep("leap")))]
    assert of(events, Reasoning) == [Reasoning("Hm\nso")]
    assert of(events, Compaction) == [Compaction(4050, "auto", 258_400)]


def completed(reader: Any, item: dict[str, Any], thread: str = THREAD) -> list[Any]:
    return list(
        reader.feed({"method": "item/completed", "params": {"threadId": thread, "item": item}})
    )


def test_the_older_spelling(tmp_path: Path):
    reader = translator("exec", make_state(tmp_path))
    todo = {"type": "todo_list", "id": "i", "items": [{"text": "look", "completed": False}]}
    events = [
        *reader.feed({"type": "item.updated", "item": todo}),
        *reader.feed(
            {"type": "item.updated", "item": {"type": "agent_message", "id": "m", "text": "He"}}
        ),
        *reader.feed(
            {"type": "item.completed", "item": {"type": "reasoning", "id": "r", "text": "Hm"}}
        ),
        *reader.feed({"type": "item.started", "item": {"type": "web_search", "query": "q"}}),
    ]
    assert [event.name for event in of(events, Custom)] == ["codex.message_delta"]
    assert of(events, Plan) == [Plan((PlanStep("look"),))]
    assert of(events, Reasoning) == [Reasoning("Hm")]
    assert of(events, ToolStart) == [ToolStart("", "WebSearch", {"query": "q"})]


@pytest.mark.parametrize(
    ("kind", "tool"), [("add", "Write"), ("update", "Edit"), ("delete", "Delete")]
)
def test_changes_of_files_have_one_form(kind: str, tool: str, tmp_path: Path):
    """The loop detector treats calls with exactly these arguments with more patience."""
    wanted = ToolStart("f", tool, {"changes": [{"kind": kind, "path": "a.txt"}]})
    old = {"type": "file_change", "id": "f", "changes": [{"path": "a.txt", "kind": kind}]}
    new = copy.deepcopy(old) | {"type": "fileChange"}
    new["changes"] = [{"path": "a.txt", "kind": {"type": kind}, "diff": "+x"}]
    assert list(
        translator("exec", make_state(tmp_path)).feed({"type": "item.started", "item": old})
    ) == [wanted]
    assert list(
        translator("app-server", make_state(tmp_path)).feed(
            {"method": "item/started", "params": {"item": new}}
        )
    ) == [wanted]


def test_a_helpers_words_are_not_the_answer_but_its_tokens_count(tmp_path: Path):
    state = make_state(tmp_path)
    reader = translator("app-server", state)
    lines = recorded("app-server", "hello")
    for line in lines[:-1]:
        reader.feed(line)
    (message,) = completed(
        reader, {"type": "agentMessage", "id": "m", "text": "I looked."}, thread="another"
    )
    total = {"total": {"inputTokens": 100, "outputTokens": 7}}
    events = reader.feed(
        {
            "method": "thread/tokenUsage/updated",
            "params": {"threadId": "another", "tokenUsage": total},
        }
    )
    done = {"method": "turn/completed", "params": {"threadId": "another", "turn": {}}}
    reader.feed(done)
    assert (message, list(events)) == (
        Message("assistant", "I looked.", subagent=True, helper=Helper("another", "helper 1")),
        [],
    )
    assert not reader.is_final, "only our own turn ends the session"
    reader.feed(lines[-1])
    result = reader.conclude(Ending(exit_code=0))
    assert (result.output, result.cost.input_tokens) == ("Hello from the model.", 4100)


NOTICE = "Reconnecting... waiting for network"


def notices(transport: str, reader: Any) -> list[Any]:
    if transport == "exec":
        return list(reader.feed({"type": "error", "message": f"{NOTICE} (refused)"}))
    error = {"message": NOTICE, "codexErrorInfo": {"responseStreamDisconnected": {}}}
    params = {"error": error, "willRetry": True, "threadId": THREAD}
    return list(reader.feed({"method": "error", "params": params}))


def test_a_model_that_cannot_be_reached_is_given_up(transport: str, tmp_path: Path):
    clock = SetClock()
    state = make_state(tmp_path, clock=clock)
    reader = translator(transport, state)
    for line in recorded(transport, "hello")[:2]:
        reader.feed(line)
    assert isinstance(notices(transport, reader)[0], Progress)
    clock.seconds = 179
    notices(transport, reader)
    assert not reader.is_final
    clock.seconds = 181
    events = notices(transport, reader)
    assert reader.is_final
    assert of(events, Error)[0].category == "network"
    result = reader.conclude(Ending(exit_code=143, hung_after_result=True))
    assert (result.is_error, result.error_category) == (True, "network")
    assert "no answer for 181 s" in result.failure_reason


def test_trying_again_now_and_then_is_no_reason_to_give_up(transport: str, tmp_path: Path):
    clock = SetClock()
    reader = translator(transport, make_state(tmp_path, clock=clock))
    lines = recorded(transport, "bash")
    for line in lines:
        clock.seconds += 100
        notices(transport, reader)
        reader.feed(line)
    result = reader.conclude(Ending(exit_code=0))
    assert not result.is_error


@pytest.mark.parametrize(("transport", "name"), ALL)
def test_nothing_malformed_breaks_it(transport: str, name: str, tmp_path: Path):
    """Every value of every line in turn is replaced by what does not belong there."""
    for odd in (None, 7, "x", [], {}, -1, 2**70):
        for line in recorded(transport, name):
            reader = translator(transport, make_state(tmp_path))
            for key in line:
                list(reader.feed({**line, key: odd}))
            inner = line.get("params", line.get("item"))
            for key in inner if isinstance(inner, dict) else ():
                broken = {**inner, key: odd}
                list(reader.feed({**line, "params": broken, "item": broken}))
            list(reader.feed(odd))
            reader.conclude(Ending(exit_code=0))


def test_kinds_that_are_not_known_are_skipped(transport: str, tmp_path: Path):
    reader = translator(transport, make_state(tmp_path))
    for line in (
        {"type": "brand.new", "x": 1},
        {"method": "brand/new", "params": {"threadId": THREAD}},
        {"type": "item.completed", "item": {"type": "hologram", "id": "1"}},
        {"method": "item/completed", "params": {"item": {"type": "hologram"}}},
    ):
        assert list(reader.feed(line)) == []
    assert list(reader.feed_text("plain words")) == list(reader.feed_stderr("noise")) == []


def test_a_command_that_fails_again_and_again_is_a_loop(transport: str, tmp_path: Path):
    reader = translator(transport, make_state(tmp_path))
    for line in recorded(transport, "hello")[:-1]:
        reader.feed(line)
    found: list[str] = []
    guard = ToolLoopGuard(found.append, clock=SetClock(), log=Log())
    for number in range(1, 16):
        assert not found
        item = {"type": "commandExecution", "id": f"item_{number}", "command": "cat x"}
        failed = {"status": "failed", "exitCode": 1, "aggregatedOutput": "no such file"}
        times = {"durationMs": 10 + number, "processId": str(number)}
        for phase, native in (("started", item), ("completed", item | failed | times)):
            line = {"method": f"item/{phase}", "params": {"threadId": THREAD, "item": native}}
            if transport == "exec":
                line = {"type": f"item.{phase}", "item": native}
            for event in reader.feed(line):
                guard.on_event(event)
    assert found == [
        "tool-loop: bash was called 15 times with the same arguments and no new result"
    ]


def test_threads_of_helpers_are_told_apart(tmp_path: Path):
    reader = translator("app-server", make_state(tmp_path))
    for line in recorded("app-server", "hello")[:-1]:
        reader.feed(line)
    item = {"type": "commandExecution", "id": "c1", "command": "ls"}
    speakers = []
    for thread in ("one", "two", "one", THREAD):
        start = {"method": "item/started", "params": {"threadId": thread, "item": item}}
        events = (*reader.feed(start), *completed(reader, item, thread=thread))
        speakers += [event.helper and (event.helper.id, event.helper.name) for event in events]
    one, two = ("one", "helper 1"), ("two", "helper 2")
    assert speakers == [one, one, two, two, one, one, None, None]
