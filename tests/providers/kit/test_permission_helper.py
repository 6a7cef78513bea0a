"""Ask the gate: what goes wrong denies, and each decision is one event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from scripted_gate import DENIAL, GateOf, ScriptedGate, broken, never
from session_config import session_config

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import PermissionDecided, PermissionRequest, ToolEnd, Verdict
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.providers.kit.permissions import ReportedGate
from agent_swarm_worker.providers.kit.session import BaseSession

pytestmark = pytest.mark.anyio


def call(number: int = 1, **args: Any) -> PermissionRequest:
    return PermissionRequest(tool_name="Bash", args=args, tool_call_id=f"call-{number}")


async def test_a_verdict_is_passed_on_and_reported_once():
    events: list[Any] = []
    gate = ReportedGate(ScriptedGate("rm"), events.append, Scrubber())
    assert gate.mode == "rules"
    assert await gate.decide(call(1, command="ls")) == Verdict(True, "rule 1")
    assert await gate.decide(call(2, command="rm x")) == Verdict(False, DENIAL)
    assert events == [
        PermissionDecided("call-1", "Bash", True, "rule 1"),
        PermissionDecided("call-2", "Bash", False, DENIAL),
    ]


@pytest.mark.parametrize("answer", [None, True, {"is_allowed": True}, Verdict("yes")])  # type: ignore[arg-type]
async def test_an_answer_that_is_no_verdict_denies(answer: Any):
    async def answers(_: PermissionRequest) -> Any:
        return answer

    events: list[Any] = []
    verdict = await ReportedGate(GateOf(answers), events.append, Scrubber()).decide(call())
    assert not verdict.is_allowed
    assert [event.is_allowed for event in events] == [False]
    assert verdict.reason


async def test_a_gate_that_fails_denies_with_its_error():
    events: list[Any] = []
    verdict = await ReportedGate(GateOf(broken), events.append, Scrubber()).decide(call())
    assert not verdict.is_allowed
    assert "the policy has a bug" in verdict.reason
    assert [event.reason for event in events] == [verdict.reason]


async def test_a_question_that_is_cancelled_is_reported_as_denied():
    events: list[Any] = []
    asked = GateOf(never)
    gate = ReportedGate(asked, events.append, Scrubber())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.decide, call(1))
        tasks.start_soon(gate.decide, call(2))
        await anyio.wait_all_tasks_blocked()
        assert len(asked.requests) == 2, "several questions are open at once"
        tasks.cancel_scope.cancel()
    assert {event.tool_call_id for event in events} == {"call-1", "call-2"}
    assert not any(event.is_allowed for event in events)


async def test_after_the_session_nothing_is_asked_and_all_is_denied(tmp_path: Path):
    asked = ScriptedGate()
    session = BaseSession(session_config(tmp_path, permissions=asked), clock=SystemClock())
    gate = session.config.permissions
    assert gate is not None
    assert (await gate.decide(call())).is_allowed
    session.close_journal()
    assert not (await gate.decide(call())).is_allowed
    assert len(asked.requests) == 1


async def test_the_end_of_a_denied_call_says_why(tmp_path: Path):
    session = BaseSession(
        session_config(tmp_path, permissions=ScriptedGate("rm")), clock=SystemClock()
    )
    events: list[Any] = []
    session.on_event(events.append)
    gate = session.config.permissions
    assert gate is not None
    await gate.decide(call(1, command="rm x"))
    await gate.decide(call(2, command="ls"))
    for number, result in ((1, ""), (2, "a.txt")):
        session.emit(ToolEnd(f"call-{number}", "Bash", result, is_error=number == 1))
    ends = [event for event in events if isinstance(event, ToolEnd)]
    assert [(end.is_error, end.result) for end in ends] == [(True, DENIAL), (False, "a.txt")]


def test_without_a_gate_there_is_none(tmp_path: Path):
    session = BaseSession(session_config(tmp_path), clock=SystemClock())
    assert session.config.permissions is None


async def test_no_secret_is_asked_about(tmp_path: Path):
    asked = ScriptedGate()
    config = session_config(tmp_path, permissions=asked)
    config.redactor.add("TOKEN", "heron-secret-0123456789")
    session = BaseSession(config, clock=SystemClock())
    gate = session.config.permissions
    assert gate is not None
    await gate.decide(call(1, command="curl -H heron-secret-0123456789"))
    assert "heron-secret" not in str(asked.requests)
