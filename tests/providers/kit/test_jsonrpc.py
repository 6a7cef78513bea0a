"""JSON-RPC both ways: the peer without any I/O, then in a session with a real child process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_config import session_config

from agent_swarm_worker.contract import (
    Ending,
    Progress,
    ProviderEvent,
    ProviderResult,
    ProviderSessionConfig,
    ToolStart,
)
from agent_swarm_worker.providers.kit import jsonrpc
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.conversation import (
    Conversation,
    HandlesRequests,
    SteerRequest,
)
from agent_swarm_worker.providers.kit.jsonrpc import (
    HandlerCall,
    JsonRpcConversation,
    JsonRpcPeer,
    RequestRefused,
    RpcError,
)
from agent_swarm_worker.providers.kit.launch import CliHarness, Launch

pytestmark = pytest.mark.anyio


def noted(method: str, params: Any) -> Iterable[ProviderEvent]:
    yield Progress(f"{method} {params}")


def written(peer: JsonRpcPeer) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in peer.outgoing().splitlines()]


def received(peer: JsonRpcPeer, message: Any) -> list[ProviderEvent]:
    return list(peer.receive(message))


def sent_request(peer: JsonRpcPeer, method: str = "ask", **more: Any) -> list[Any]:
    """Ask, and return the list that fills with the outcome."""
    outcomes: list[Any] = []

    def on(outcome: Any) -> Iterable[ProviderEvent]:
        outcomes.append(outcome)
        yield Progress("answered")

    peer.request(method, {"n": 1}, on, on, **more)
    return outcomes


# --- a peer that reads nothing
def test_what_a_peer_does_not_read_is_limited(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonrpc, "MAX_UNREAD_BYTES", 1000)
    monkeypatch.setattr(jsonrpc, "MAX_UNREAD_REFUSALS_BYTES", 2000)

    async def never(_: Any) -> Any:
        raise AssertionError

    peer = JsonRpcPeer(noted, answers={"big": lambda _: "y" * 600}, handlers={"slow": never})
    for number in range(100):
        received(peer, {"id": number, "method": "big"})
        received(peer, {"id": f"s{number}", "method": "slow"})
        for call in peer.handler_calls():
            call.answer("z" * 600)
        received(peer, {"id": f"u{number}", "method": "nonesuch"})
    size = len(peer._out)
    assert size < 2000 + 700
    answers = written(peer)
    assert [one["id"] for one in answers if "result" in one] == [0, "s0"]
    assert {one["error"]["code"] for one in answers[2:]} == {-32000, -32601}
    peer.unsent_bytes = size
    received(peer, {"id": 1, "method": "big"})
    assert written(peer) == []
    peer.unsent_bytes = 0  # it has read all
    received(peer, {"id": 1, "method": "big"})
    assert "result" in written(peer)[0]


def test_a_request_gets_its_answer_once():
    peer = JsonRpcPeer(noted)
    outcomes = sent_request(peer)
    assert written(peer) == [{"jsonrpc": "2.0", "id": 1, "method": "ask", "params": {"n": 1}}]
    assert written(peer) == []
    assert [one.method for one in peer._pending.values()] == ["ask"]
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"ok": True}}
    assert received(peer, answer) == [Progress("answered")]
    assert received(peer, answer) == []
    assert outcomes == [{"ok": True}]
    assert not peer._pending


def test_answers_out_of_order_find_their_requests():
    peer = JsonRpcPeer(noted)
    first, second = sent_request(peer), sent_request(peer)
    received(peer, {"id": 2, "result": "two"})
    received(peer, {"id": 1, "result": "one"})
    assert (first, second) == (["one"], ["two"])


@pytest.mark.parametrize("answer_id", [1, 1.0, "1"])
def test_a_number_may_come_back_in_another_form(answer_id: Any):
    peer = JsonRpcPeer(noted)
    outcomes = sent_request(peer)
    received(peer, {"id": answer_id, "result": None})
    assert outcomes == [None]


@pytest.mark.parametrize("answer_id", [2, 0, -1, True, None, [1], {}, "one", "", "9" * 5000, 1.5])
def test_an_answer_to_nothing_is_passed_over(answer_id: Any):
    peer = JsonRpcPeer(noted)
    outcomes = sent_request(peer)
    assert received(peer, {"id": answer_id, "result": 1}) == []
    assert outcomes == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"code": -32000, "message": "log in", "data": {"a": 1}}, -32000, "log in"),
        ({"message": 5}, None, "refused: {'message': 5}"),
        ("no", None, "no"),
        (True, None, "refused: True"),
    ],
)
def test_an_error_is_told_as_it_came(error: Any, code: int | None, message: str):
    peer = JsonRpcPeer(noted)
    outcomes = sent_request(peer)
    received(peer, {"id": 1, "error": error, "result": None})
    (told,) = outcomes
    assert (told.method, told.code, told.message, told.native) == ("ask", code, message, error)
    assert not told.is_unanswered


def test_an_error_of_null_is_none():
    peer = JsonRpcPeer(noted)
    outcomes = sent_request(peer)
    received(peer, {"id": 1, "error": None, "result": 7})
    assert outcomes == [7]


def test_an_answer_that_never_comes_fails_with_what_was_seen():
    peer = JsonRpcPeer(noted)
    peer.request("nobody waits")
    first, second = sent_request(peer, "a"), sent_request(peer, "b")
    assert peer.end("it exited with code 3: no disk") == [Progress("answered")] * 2
    assert (len(first), len(second)) == (1, 1)
    assert first[0] == RpcError("a", None, "no answer to a: it exited with code 3: no disk")
    assert first[0].is_unanswered
    assert peer.end("again") == []


def test_too_many_requests_without_an_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonrpc, "MAX_PENDING", 2)
    peer = JsonRpcPeer(noted)
    for _ in range(2):
        sent_request(peer)
    written(peer)
    outcomes = sent_request(peer)
    assert written(peer) == []
    assert outcomes[0].is_unanswered
    assert "2 requests are unanswered" in outcomes[0].message
    assert received(peer, {"id": 1, "result": 0}) == [Progress("answered")] * 2
    sent_request(peer)
    assert len(written(peer)) == 1


def test_notifications_come_in_their_order():
    peer = JsonRpcPeer(noted)
    batch = [{"method": "a", "params": 1}, {"method": "b"}, {"jsonrpc": "2.0", "method": "c"}]
    assert received(peer, batch) == [Progress("a 1"), Progress("b None"), Progress("c None")]


def test_a_batch_may_hold_anything():
    peer = JsonRpcPeer(noted, answers={"q": lambda params: params})
    outcomes = sent_request(peer)
    written(peer)
    batch = [{"id": 1, "result": 2}, {"id": 1, "method": "q", "params": 3}, 7, [], None, {}]
    assert received(peer, batch) == [Progress("answered")]
    assert outcomes == [2]
    assert written(peer) == [{"jsonrpc": "2.0", "id": 1, "result": 3}]


def test_a_question_nobody_knows_is_refused():
    peer = JsonRpcPeer(noted)
    received(peer, {"id": "q", "method": "brand/new"})
    (answer,) = written(peer)
    assert (answer["id"], answer["error"]["code"]) == ("q", -32601)
    received(peer, {"id": 8, "method": ["not", "a", "name"]})
    assert written(peer)[0]["error"]["code"] == -32600
    received(peer, {"method": None, "params": 1})
    assert written(peer) == []


def test_an_answer_that_fails_is_an_error():
    peer = JsonRpcPeer(noted, answers={"q": lambda params: params["missing"]})
    received(peer, {"id": 0, "method": "q", "params": {}})
    (answer,) = written(peer)
    assert answer["error"] == {"code": -32603, "message": "KeyError: 'missing'"}


def test_the_head_of_messages_can_be_left_out():
    peer = JsonRpcPeer(noted, head={})
    peer.notify("initialized")
    assert written(peer) == [{"method": "initialized"}]


def test_half_a_surrogate_pair_is_sent_all_the_same():
    peer = JsonRpcPeer(noted)
    peer.notify("say", "odd \ud83d end")
    assert json.loads(peer.outgoing())["params"] == "odd \ud83d end"


# -- handlers, driven by hand ----------------------------------------------------------------------


def with_handler(handler: Any) -> tuple[JsonRpcPeer, HandlerCall]:
    peer = JsonRpcPeer(noted, handlers={"fs/read": handler})
    received(peer, {"id": 0, "method": "fs/read", "params": {"path": "x"}})
    assert written(peer) == []
    (call,) = peer.handler_calls()
    assert peer.handler_calls() == []
    assert peer._open_calls == [call]
    return peer, call


async def read(params: Any) -> Any:
    await anyio.lowlevel.checkpoint()
    return {"content": params["path"] * 2}


async def test_a_handler_answers_when_it_is_done():
    peer, call = with_handler(read)
    assert (call.method, call.params) == ("fs/read", {"path": "x"})
    await call.run()
    assert written(peer) == [{"jsonrpc": "2.0", "id": 0, "result": {"content": "xx"}}]
    assert not peer._open_calls


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (ValueError("odd"), {"code": -32603, "message": "ValueError: odd"}),
        (RequestRefused("no"), {"code": -32603, "message": "no"}),
        (
            RequestRefused("no such file", code=-32002, data={"path": "x"}),
            {"code": -32002, "message": "no such file", "data": {"path": "x"}},
        ),
    ],
)
async def test_what_a_handler_raises_is_the_error(raised: Exception, error: Any):
    async def fail(_: Any) -> Any:
        raise raised

    peer, call = with_handler(fail)
    await call.run()
    assert [answer["error"] for answer in written(peer)] == [error]


async def test_a_result_that_is_no_json_is_an_error():
    async def odd(_: Any) -> Any:
        return {1, 2}

    peer, call = with_handler(odd)
    await call.run()
    (answer,) = written(peer)
    assert (answer["id"], answer["error"]["code"]) == (0, -32603)


async def test_the_first_answer_counts_and_stops_the_handler():
    began, ended = anyio.Event(), anyio.Event()

    async def slow(_: Any) -> Any:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    peer, call = with_handler(slow)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(call.run)
            await began.wait()
            call.answer({"outcome": "cancelled"})
            await ended.wait()
    call.refuse("too late")
    await call.run()
    assert written(peer) == [{"jsonrpc": "2.0", "id": 0, "result": {"outcome": "cancelled"}}]


async def test_a_handler_that_is_cancelled_answers_nothing():
    peer, call = with_handler(lambda _: anyio.sleep_forever())
    with anyio.move_on_after(0.01):
        await call.run()
    assert written(peer) == []


def test_too_many_questions_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonrpc, "MAX_HANDLERS", 1)
    peer, call = with_handler(read)
    received(peer, {"id": 1, "method": "fs/read", "params": {}})
    (busy,) = written(peer)
    assert (busy["id"], busy["error"]["code"]) == (1, -32000)
    call.answer(1)
    received(peer, {"id": 2, "method": "fs/read", "params": {}})
    assert len(peer.handler_calls()) == 1


VALUES = st.sampled_from(
    [None, True, 0, 1, 2, 1.0, float("inf"), "", "1", "q", "fs/read", "a", [], [1], {}, {"code": 1}]
)
MESSAGES = st.dictionaries(
    st.sampled_from(["id", "method", "params", "result", "error", "jsonrpc"]), VALUES, max_size=6
)


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(st.lists(MESSAGES | VALUES | st.lists(MESSAGES, max_size=3), max_size=6))
def test_no_message_is_too_strange(messages: list[Any]):
    peer = JsonRpcPeer(noted, answers={"q": lambda _: 1}, handlers={"fs/read": read})
    outcomes = [sent_request(peer) for _ in range(3)]
    written(peer)
    flat = [one for m in messages for one in (m if isinstance(m, list) else [m])]
    for message in messages:
        received(peer, message)
    for call in peer.handler_calls():
        call.answer(None)
    questions = [m for m in flat if isinstance(m, dict) and {"id", "method"} <= m.keys()]
    assert len(peer.outgoing().splitlines()) == len(questions)
    peer.end("over")
    assert [len(outcome) for outcome in outcomes] == [1, 1, 1]


# -- in a session with a real child ----------------------------------------------------------------

CHILD = """
import json, sys, os, time
def say(**message): print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def hear(): return json.loads(sys.stdin.readline() or "null")
"""


class Agent(JsonRpcConversation):
    """A client of a made-up agent: one prompt, questions answered by doing I/O."""

    def __init__(self, place: Path, act: Callable[[Any], Any] | None = None) -> None:
        self.rpc = JsonRpcPeer(self._told, handlers={"fs/read": act or self._read})
        self.rpc.request("prompt", {"text": "go"}, self._done, self._failed)
        self._place = place
        self._output: str | None = None
        self._error = ""

    async def _read(self, params: Any) -> Any:
        return {"content": await anyio.Path(self._place, params["path"]).read_text()}

    def _told(self, method: str, params: Any) -> Iterable[ProviderEvent]:
        yield ToolStart("1", method, params)

    def _done(self, result: Any) -> Iterable[ProviderEvent]:
        self._output = result
        yield Progress("done")

    def _failed(self, error: RpcError) -> Iterable[ProviderEvent]:
        self._error = error.message
        yield Progress("failed")

    @property
    def is_final(self) -> bool:
        return self._output is not None

    @property
    def is_input_over(self) -> bool:
        return self.is_final

    def steer(self, request: SteerRequest) -> None:
        request.refuse("not here")

    def interrupt(self) -> bool:
        return False

    def conclude(self, ending: Ending) -> ProviderResult:
        self.rpc.end(f"it exited with {ending.exit_code}: {ending.stderr_tail}")
        failed = self._output is None
        return ProviderResult(
            exit_code=ending.exit_code,
            is_error=failed,
            output=self._output,
            failure_reason=self._error or None,
        )


def session(place: Path, child: str, agent: Agent) -> CliSession:
    assert isinstance(agent, Conversation)
    assert isinstance(agent, HandlesRequests)
    config = session_config(place)

    def make(_: ProviderSessionConfig) -> CliHarness:
        argv = (sys.executable, "-S", "-c", CHILD + child)
        launch = Launch(argv=argv, env={"PATH": "/usr/bin:/bin"}, cwd=place)
        return CliHarness(launch=launch, translator=agent)

    return CliSession(config, make)


async def test_questions_are_answered_while_the_agent_works(tmp_path: Path):
    """Two at once, the second answer first; an unknown one is refused; the order is the child's."""
    second_done = anyio.Event()

    async def act(params: Any) -> Any:
        if params["path"] == "first":
            await second_done.wait()
        said = await anyio.Path(tmp_path, params["path"]).read_text()
        if params["path"] == "second":
            second_done.set()  # last: the answer follows without another wait
        return said

    for name in ("first", "second"):
        (tmp_path / name).write_text(f"the {name}")
    child = """
prompt = hear()
say(id=0, method="fs/read", params={"path": "first"})
say(id=1, method="fs/read", params={"path": "second"})
say(id="x", method="terminal/create", params={})
answers = [hear(), hear(), hear()]
say(method="tool", params={})
by_id = {a["id"]: a for a in answers}
said = [by_id[0]["result"], by_id[1]["result"], str(by_id["x"]["error"]["code"])]
order = [a["id"] for a in answers if a["id"] != "x"]
say(id=prompt["id"], result=" ".join(said + [str(order)]))
assert sys.stdin.readline() == ""
"""
    agent_session = session(tmp_path, child, Agent(tmp_path, act))
    with anyio.fail_after(30):
        result = await agent_session.wait_for_completion()
    assert result.output == "the first the second -32601 [1, 0]"
    assert (result.exit_code, result.is_error) == (0, False)


async def test_a_handler_s_failure_reaches_the_agent(tmp_path: Path):
    child = """
prompt = hear()
say(id=0, method="fs/read", params={"path": "no such file"})
say(id=prompt["id"], result=hear()["error"]["message"])
"""
    with anyio.fail_after(30):
        result = await session(tmp_path, child, Agent(tmp_path)).wait_for_completion()
    assert "FileNotFoundError" in str(result.output)


@pytest.mark.parametrize("how", ["abort", "cancel"])
async def test_a_handler_is_cancelled_with_its_session(tmp_path: Path, how: str):
    began, ended = anyio.Event(), anyio.Event()

    async def slow(_: Any) -> Any:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    child = 'hear(); say(id=0, method="fs/read", params={}); hear()'
    agent_session = session(tmp_path, child, Agent(tmp_path, slow))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(agent_session.wait_for_completion)
            await began.wait()
            if how == "abort":
                await agent_session.abort("enough")
            else:
                group.cancel_scope.cancel()
    assert ended.is_set()


async def test_a_handler_is_cancelled_when_nothing_more_can_be_said(tmp_path: Path):
    """The agent has finished, and stays until the handler is gone."""

    async def slow(_: Any) -> Any:
        (tmp_path / "began").touch()
        try:
            await anyio.sleep_forever()
        finally:
            (tmp_path / "ended").touch()

    child = """
def wait_for(name):
    while not os.path.exists(name): time.sleep(0.01)
prompt = hear()
say(id=0, method="fs/read", params={})
wait_for("began")
say(id=prompt["id"], result="done")
wait_for("ended")
"""
    with anyio.fail_after(30):
        result = await session(tmp_path, child, Agent(tmp_path, slow)).wait_for_completion()
    assert (result.output, result.exit_code) == ("done", 0)


async def test_an_agent_that_dies_leaves_a_reason(tmp_path: Path):
    child = 'hear(); print("no disk left", file=sys.stderr); sys.exit(3)'
    with anyio.fail_after(30):
        result = await session(tmp_path, child, Agent(tmp_path)).wait_for_completion()
    assert result.is_error
    assert result.failure_reason == "no answer to prompt: it exited with 3: no disk left"
