"""The questions of one CLI process, without the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted_gate import ScriptedGate
from session_config import session_config

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.providers.claude import permissions
from agent_swarm_worker.providers.claude.outcome import ClaudeState
from agent_swarm_worker.providers.claude.permissions import PermissionRequests

pytestmark = pytest.mark.anyio


async def ask(requests: PermissionRequests, call_id: str, args: Any, *, hook: bool) -> None:
    kind = "hook_callback" if hook else "can_use_tool"
    fields = {"tool_use_id": call_id, "tool_name": "Write"}
    given = {"input": {**fields, "tool_input": args}} if hook else {**fields, "input": args}
    request = {"subtype": kind, **given}
    event = {"type": "control_request", "request_id": f"{kind}-{call_id}"}
    requests.take({**event, "request": request})
    for question in requests.calls():
        await question.run()


@pytest.fixture
def gate() -> ScriptedGate:
    return ScriptedGate()


@pytest.fixture
def requests(gate: ScriptedGate, tmp_path: Path) -> PermissionRequests:
    state = ClaudeState(config=session_config(tmp_path), clock=SystemClock())
    return PermissionRequests(gate, state, lambda _: None)


async def test_the_gate_is_asked_once_for_the_same_arguments(
    requests: PermissionRequests, gate: ScriptedGate
):
    await ask(requests, "a", {"x": 1, "y": 2}, hook=True)
    await ask(requests, "a", {"y": 2, "x": 1}, hook=False)
    assert len(gate.requests) == 1
    await ask(requests, "b", {"x": 1}, hook=True)
    await ask(requests, "b", {"x": 2}, hook=False)
    assert len(gate.requests) == 3


async def test_of_answered_calls_little_is_kept(
    requests: PermissionRequests, gate: ScriptedGate, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(permissions, "MAX_VERDICTS", 3)
    for number in range(6):
        await ask(requests, str(number), {"content": "x" * 100_000}, hook=True)
    kept = requests._verdicts
    assert [*kept] == ["3", "4", "5"]
    assert {len(digest) for digest, _ in kept.values()} == {32}
    await ask(requests, "0", {"content": "x" * 100_000}, hook=False)
    assert len(gate.requests) == 7
