"""Judges a call by a policy, without a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent_swarm_worker.contract import PermissionRequest
from agent_swarm_worker.guards.permissions.call import Call, Places, read_call
from agent_swarm_worker.guards.permissions.decision import Decision, decide
from agent_swarm_worker.guards.permissions.policy import Policy

CWD = "/work"


async def _resolved(path: str) -> str:
    return str(Path(path).resolve())


def call_of(
    tool: str,
    args: Any,
    *,
    cwd: str = CWD,
    directories: tuple[str, ...] | None = (CWD,),
    tools: Any = None,
) -> Call:
    known = (cwd,) if directories == (CWD,) else directories
    places = Places(cwd=cwd, real_cwd=cwd, directories=known, real_path=_resolved)
    reading = read_call(PermissionRequest(tool_name=tool, args=args), tools or {}, places)
    try:
        reading.send(None)  # nothing in it waits
    except StopIteration as done:
        call: Call = done.value
        return call
    raise AssertionError("it waited")


def judged(tool: str, args: Any, policy: Policy, **more: Any) -> Decision:
    return decide(call_of(tool, args, **more), policy)
