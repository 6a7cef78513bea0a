"""The requests to the app server, and their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from codex_config import THREAD, make_plan, make_state, recorded
from scripted_gate import ScriptedGate

from agent_swarm_worker.contract import Ending, SteerDelivery
from agent_swarm_worker.providers.codex.app_server import AppServer
from agent_swarm_worker.providers.kit.conversation import Conversation, SteerRequest

TURN = "01a00000-0000-7000-8000-000000000002"


def written(server: AppServer) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in server.outgoing().splitlines()]


def begun(tmp_path: Path, **changed: Any) -> AppServer:
    """A server in the middle of its turn, with nothing left to say."""
    server = AppServer(make_state(tmp_path, **changed))
    assert isinstance(server, Conversation)
    for line in recorded("app-server", "hello")[:5]:
        server.feed(line)
    server.outgoing()
    return server


def turn_over(server: AppServer, status: str, **more: Any) -> list[Any]:
    turn = {"id": TURN, "status": status, **more}
    return list(
        server.feed({"method": "turn/completed", "params": {"threadId": THREAD, "turn": turn}})
    )


def shown(server: AppServer, client_id: str) -> None:
    item = {"type": "userMessage", "clientId": client_id}
    server.feed({"method": "item/started", "params": {"threadId": THREAD, "item": item}})


def test_one_thing_after_the_other(tmp_path: Path):
    server = AppServer(make_state(tmp_path))
    lines = recorded("app-server", "hello")
    (hello,) = written(server)
    assert hello["method"] == "initialize"
    assert written(server) == []
    server.feed(lines[0])
    initialized, start = written(server)
    assert initialized == {"method": "initialized"}
    assert (start["method"], start["params"]["approvalPolicy"]) == ("thread/start", "never")
    assert start["params"]["model"] == "gpt-5.6-terra"
    server.feed(lines[1])
    (turn,) = written(server)
    assert turn["method"] == "turn/start"
    assert turn["params"] == {"threadId": THREAD, "input": [{"type": "text", "text": "do it"}]}
    assert not server.is_input_over
    for line in lines[2:]:
        server.feed(line)
    assert server.is_input_over
    assert written(server) == []


def test_a_resumed_thread_is_told_its_new_orders_first(tmp_path: Path):
    plan = make_plan(tmp_path, changed_system_prompt="New orders.")
    server = AppServer(make_state(tmp_path, plan=plan, resume_session_id=THREAD))
    lines = recorded("app-server", "hello")
    server.feed(lines[0])
    resume = written(server)[-1]
    assert resume["method"] == "thread/resume"
    assert resume["params"]["threadId"] == THREAD
    server.feed(lines[1])
    inject, turn = written(server)
    assert inject["method"] == "thread/inject_items"
    assert inject["params"]["items"][0]["role"] == "developer"
    assert inject["params"]["items"][0]["content"][0]["text"] == "New orders."
    assert turn["method"] == "turn/start"


def test_a_fork_is_a_thread_of_its_own(tmp_path: Path):
    server = AppServer(make_state(tmp_path, resume_session_id="earlier", forks=True))
    lines = recorded("app-server", "hello")
    server.feed(lines[0])
    fork = written(server)[-1]
    assert (fork["method"], fork["params"]["threadId"]) == ("thread/fork", "earlier")
    (begun, *_) = server.feed(lines[1])
    assert begun.session_id == THREAD
    assert not server.is_final


def test_a_thread_that_is_gone_is_a_stale_session(tmp_path: Path):
    server = AppServer(make_state(tmp_path, resume_session_id=THREAD))
    server.feed({"id": 1, "result": {}})
    server.feed({"id": 2, "error": {"code": -32600, "message": "no rollout found"}})
    assert server.is_final
    result = server.conclude(Ending(exit_code=0))
    assert (result.is_error, result.error_category) == (True, "stale_session")


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_a_refusal_on_the_way_ends_the_session(answered: int, tmp_path: Path):
    server = AppServer(make_state(tmp_path))
    for line in recorded("app-server", "hello")[:answered]:
        server.feed(line)
    server.feed({"id": answered + 1, "error": {"message": "unknown variant"}})
    assert server.is_input_over
    result = server.conclude(Ending(exit_code=0))
    assert result.is_error
    assert "unknown variant" in result.failure_reason


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("item/commandExecution/requestApproval", {"decision": "accept"}),
        ("execCommandApproval", {"decision": "approved"}),
        ("item/tool/requestUserInput", {"answers": {}}),
        ("mcpServer/elicitation/request", {"action": "decline"}),
    ],
)
def test_a_question_is_answered(method: str, result: Any, tmp_path: Path):
    server = begun(tmp_path)
    server.feed({"id": 0, "method": method, "params": {}})
    assert written(server) == [{"id": 0, "result": result}]


def test_a_question_nobody_knows_is_refused(tmp_path: Path):
    """Without an answer the server would wait for ever."""
    server = begun(tmp_path)
    server.feed({"id": "q", "method": "brand/new/question"})
    (answer,) = written(server)
    assert (answer["id"], answer["error"]["code"]) == ("q", -32601)


def test_a_message_counts_as_delivered_when_the_thread_has_it(tmp_path: Path):
    server, request = begun(tmp_path), SteerRequest("steer", "turn left")
    server.steer(request)
    (steer,) = written(server)
    assert steer["method"] == "turn/steer"
    assert steer["params"]["expectedTurnId"] == TURN
    assert steer["params"]["input"][0]["text"] == "turn left"
    server.feed({"id": steer["id"], "result": {"turnId": TURN}})
    assert request.delivery is None, "accepted is not yet taken in"
    shown(server, steer["params"]["clientUserMessageId"])
    assert request.delivery == SteerDelivery(True, mode="steer")


@pytest.mark.parametrize(("status", "delivered"), [("completed", True), ("interrupted", False)])
def test_a_turn_that_ends_settles_what_it_accepted(status: str, delivered: bool, tmp_path: Path):
    server, request = begun(tmp_path), SteerRequest("steer", "turn left")
    server.steer(request)
    server.feed({"id": written(server)[0]["id"], "result": {"turnId": TURN}})
    turn_over(server, status)
    assert request.delivery is not None
    assert request.delivery.delivered is delivered


def test_a_message_that_is_refused_or_late(tmp_path: Path):
    server, request = begun(tmp_path), SteerRequest("steer", "turn left")
    server.steer(request)
    server.feed({"id": written(server)[0]["id"], "error": {"message": "no active turn to steer"}})
    assert request.delivery == SteerDelivery(False, reason="no active turn to steer")
    turn_over(server, "completed")
    late = SteerRequest("queue", "and then?")
    server.steer(late)
    assert late.delivery == SteerDelivery(False, reason="the session is over")


def test_a_message_before_the_turn_waits_for_it(tmp_path: Path):
    server, request = AppServer(make_state(tmp_path)), SteerRequest("steer", "turn left")
    server.steer(request)
    lines = recorded("app-server", "hello")
    for line in lines[:2]:
        server.feed(line)
    assert "turn/steer" not in [message.get("method") for message in written(server)]
    for line in lines[2:5]:
        server.feed(line)
    assert [message["method"] for message in written(server)] == ["turn/steer"]


def test_a_queued_message_is_a_turn_of_its_own(tmp_path: Path):
    server, request = begun(tmp_path), SteerRequest("queue", "and then?")
    server.steer(request)
    assert written(server) == []
    assert turn_over(server, "completed") == []
    assert not server.is_final
    (turn,) = written(server)
    assert (turn["method"], turn["params"]["input"][0]["text"]) == ("turn/start", "and then?")
    server.feed({"id": turn["id"], "result": {"turn": {"id": "turn-2"}}})
    shown(server, turn["params"]["clientUserMessageId"])
    assert request.delivery == SteerDelivery(True, mode="queue")
    turn_over(server, "completed")
    assert server.is_final


def test_after_a_failed_turn_nothing_queued_is_begun(tmp_path: Path):
    server, request = begun(tmp_path), SteerRequest("queue", "and then?")
    server.steer(request)
    turn_over(server, "failed", error={"message": "overloaded"})
    assert server.is_final
    assert written(server) == []
    assert request.delivery is None, "the shared session tells it that the session is over"


def test_an_interruption_needs_a_turn(tmp_path: Path):
    server = AppServer(make_state(tmp_path))
    assert not server.interrupt()
    server = begun(tmp_path)
    assert server.interrupt()
    (asked,) = written(server)
    assert asked["method"] == "turn/interrupt"
    assert asked["params"] == {"threadId": THREAD, "turnId": TURN}
    turn_over(server, "interrupted")
    assert server.is_final
    assert not server.interrupt()


def test_half_a_surrogate_pair_is_sent_all_the_same(tmp_path: Path):
    server = AppServer(make_state(tmp_path, prompt="odd \ud83d end"))
    for line in recorded("app-server", "hello")[:2]:
        server.feed(line)
    assert b'"odd ' in server.outgoing()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("item", "asked", "args"),
    [
        ({"cwd": "/a"}, {"cwd": "/b"}, {"command": "rm x", "cwd": "/b"}),
        ({"cwd": "/a"}, {}, {"command": "rm x", "cwd": "/a"}),
        ({}, {}, {"command": "rm x"}),
    ],
)
async def test_the_policy_is_told_where_a_command_runs(
    item: dict[str, str], asked: dict[str, str], args: dict[str, str], tmp_path: Path
):
    gate = ScriptedGate()
    server = begun(tmp_path, permissions=gate)
    started = {"type": "commandExecution", "id": "i", "command": "rm x", **item}
    server.feed({"method": "item/started", "params": {"threadId": THREAD, "item": started}})
    params = {"threadId": THREAD, "itemId": "i", "command": "rm x", **asked}
    server.feed({"id": 0, "method": "item/commandExecution/requestApproval", "params": params})
    for call in server.handler_calls():
        await call.run()
    assert [request.args for request in gate.requests] == [args]
