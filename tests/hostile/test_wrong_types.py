"""Every API call that reads an answer, with one wrong value in it.

What comes out is of the types that are written in the code, whatever went in; or it is an error of
ours. So no code behind it checks again.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
import pytest
from fake_api import Reply, connected, serving
from hostile_values import drawn, hostile_values
from hypothesis import strategies as st
from lying_proxy import IDS, value_paths, with_wrong_value

from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.resources import Rendered, SetupScripts
from agent_swarm_worker.api.values import is_identifier
from agent_swarm_worker.api.wire.resources import (
    Agent,
    ConfigRow,
    InstalledMcpServer,
    LogEntry,
    Memory,
    Repo,
    Skill,
    SkillFile,
    SteeringMessage,
    StoredEvent,
)
from agent_swarm_worker.api.wire.tasks import Task, Trigger
from agent_swarm_worker.errors import ApiError

pytestmark = pytest.mark.anyio

AN_ID = "0a9e0000-0000-4000-8000-000000000001"
ATTACHMENT = {"id": AN_ID, "name": "a.txt", "mimeType": "text/plain", "sizeBytes": 3, "path": "a"}
TASK = {
    "id": AN_ID,
    "task": "do it",
    "status": "pending",
    "tags": ["a"],
    "priority": 50,
    "dependsOn": [AN_ID],
    "vcsNumber": 3,
    "outputSchema": {"type": "object"},
    "dir": "/x",
    "attachments": [ATTACHMENT],
    "logs": [{"eventType": "task_progress", "newValue": "x"}],
    "totalCostUsd": 0.5,
    "providerMeta": {"a": 1},
    "parentTaskId": AN_ID,
    "wasPaused": True,
}
AGENT = {"id": AN_ID, "name": "a", "isLead": False, "capabilities": ["x"], "maxTasks": 2}
REPO = {"url": "https://h/o/r", "name": "r", "clonePath": "/workspace/r", "autoClone": True}
REPO |= {"hooks": {"enabled": True}, "guidelines": {"prChecks": ["x"], "allowMerge": True}}
SERVER = {"name": "s", "command": "c", "args": '["-x"]', "headers": {"A": "b"}, "isEnabled": True}
SKILL = {"id": AN_ID, "name": "n", "content": "c", "isComplex": True, "isActive": True}
PERSON = {"name": "n", "email": "e", "comms": {"tone": "dry"}}
MESSAGE = {"channelId": "c", "channelName": "n", "ts": "1.2", "user": "u", "text": "t"}
CURSOR = {"channelId": "c", "ts": "1.2"}
STEERING = {"id": AN_ID, "taskId": AN_ID, "body": "b", "mode": "steer", "status": "pending"}
LINE = {"sessionId": "s", "iteration": 1, "lineNumber": 2, "content": "{}", "cli": "claude"}
SCRIPTS = {"globalSetupScript": "a", "setupScript": "b"}

Call = Callable[[SwarmClient], Awaitable[Any]]
CALLS: dict[str, tuple[Call, Any, Any]] = {
    "poll: a task": (
        lambda c: c.polling.poll(),
        {
            "trigger": {
                "type": "task_assigned",
                "task": TASK,
                "taskId": AN_ID,
                "requestedBy": PERSON,
            }
        },
        Trigger | None,
    ),
    "poll: messages": (
        lambda c: c.polling.poll(),
        {
            "trigger": {
                "type": "channel_activity",
                "count": 1,
                "messages": [MESSAGE],
                "cursorUpdates": [CURSOR],
            }
        },
        Trigger | None,
    ),
    "poll: no money": (
        lambda c: c.polling.poll(),
        {"trigger": {"type": "budget_refused", "cause": "agent", "resetAt": "2026-01-01"}},
        Trigger | None,
    ),
    "cancelled": (lambda c: c.tasks.is_cancelled(AN_ID), {"cancelled": [TASK]}, bool),
    "paused": (lambda c: c.tasks.paused(), {"tasks": [TASK]}, tuple[Task, ...]),
    "task": (lambda c: c.tasks.get(AN_ID), TASK, Task),
    "tasks": (lambda c: c.tasks.list(), {"tasks": [TASK], "total": 1}, Sequence[Task]),
    "lines": (lambda c: c.tasks.session_logs(AN_ID), {"logs": [LINE]}, Sequence[LogEntry]),
    "register": (lambda c: c.agents.register(name="a", is_lead=False), AGENT, Agent),
    "me": (lambda c: c.agents.me(), AGENT | {"soulMd": "x", "enabledCapabilities": ["y"]}, Agent),
    "heartbeat": (lambda c: c.sessions.heartbeat(AN_ID), {"updated": True}, bool),
    "recovered": (
        lambda c: c.sessions.recover_orphaned(AN_ID),
        {"recovered": 1, "tasks": [TASK]},
        tuple[Task, ...],
    ),
    "keys": (
        lambda c: c.keys.available("K", 3),
        {"availableIndices": [0, 2]},
        tuple[int, ...] | None,
    ),
    "limits": (
        lambda c: c.keys.limited("K"),
        {"keys": [{"keySuffix": "abcde", "rateLimitedUntil": "2026", "status": "rate_limited"}]},
        dict[str, str] | None,
    ),
    "rows": (
        lambda c: c.config.resolved(AN_ID),
        {"configs": [{"key": "A", "value": "b", "isSecret": True, "scope": "global", "id": AN_ID}]},
        tuple[ConfigRow, ...],
    ),
    "memories": (
        lambda c: c.resources.memory_search("q", intent="i"),
        {"results": [{"id": AN_ID, "name": "n", "content": "c", "similarity": 0.5}]},
        tuple[Memory, ...],
    ),
    "repos": (lambda c: c.resources.repos("r"), {"repos": [REPO]}, tuple[Repo, ...]),
    "scripts": (lambda c: c.resources.setup_scripts(AN_ID), SCRIPTS, SetupScripts | None),
    "tool servers": (
        lambda c: c.resources.mcp_servers(AN_ID),
        {"servers": [SERVER | {"resolvedEnv": {"A": "b"}, "authError": None}]},
        tuple[InstalledMcpServer, ...],
    ),
    "skills": (
        lambda c: c.resources.skills(AN_ID),
        {"skills": [SKILL]},
        tuple[Skill, ...] | None,
    ),
    "skill hash": (lambda c: c.resources.skills_signature(AN_ID), {"hash": "x"}, str | None),
    "skill files": (
        lambda c: c.resources.skill_files(AN_ID),
        {"files": [{"path": "a/b", "content": "", "isBinary": False}]},
        tuple[SkillFile, ...],
    ),
    "skill file": (
        lambda c: c.resources.skill_file(AN_ID, "a/b"),
        {"file": {"path": "a/b", "content": "x", "isBinary": False}},
        SkillFile | None,
    ),
    "prompt": (
        lambda c: c.resources.render_template("e", {}),
        {"text": "x", "skipped": False},
        Rendered | None,
    ),
    "version": (lambda c: c.resources.health(), {"status": "ok", "version": "1"}, str),
    "events": (
        lambda c: c.resources.events("e", agent_id=AN_ID),
        {"events": [{"id": AN_ID, "event": "e", "createdAt": "2026", "data": {"a": 1}}]},
        tuple[StoredEvent, ...],
    ),
    "messages": (
        lambda c: c.steering.pending(AN_ID),
        {"messages": [STEERING]},
        tuple[SteeringMessage, ...],
    ),
    "a lock": (lambda c: c.refresh_locks.acquire("k", ttl_ms=1), {"owner": "o"}, str | None),
}


@pytest.mark.parametrize("name", CALLS)
async def test_what_is_read_is_what_the_types_say(name: str) -> None:
    call, true, expected = CALLS[name]
    lies = st.tuples(
        st.sampled_from(list(value_paths(true))), hostile_values | st.sampled_from(IDS[:-1])
    )
    answers = [with_wrong_value(true, place, lie) for place, lie in drawn(lies, 12)]
    given = iter([Reply(200, true), *(Reply(200, orjson.dumps(answer)) for answer in answers)])
    async with serving(lambda _: next(given)) as server, connected(server.url) as client:
        assert fits(await call(client), expected)
        for answer in answers:
            try:
                found = await call(client)
            except ApiError:
                continue
            assert fits(found, expected), (answer, found)


@pytest.mark.parametrize("kind", [Task, Skill, SteeringMessage, Memory, Agent])
def test_what_could_climb_or_drive_a_terminal_is_no_id(kind: Any) -> None:
    for an_id in (*IDS, "..", "a\\b", "\u202e", "", " \t", "\x7f", 7, None, ["a"]):
        found = kind.from_wire({"id": an_id, "name": "n"})
        if an_id == "CON":  # a name like any other, but on a system this does not run on
            assert found.id == an_id
        else:
            assert found is None, an_id


def fits(value: Any, kind: Any) -> bool:
    """True if `value` is of a type as it is annotated, all the way down."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in {types.UnionType, typing.Union}:
        return any(fits(value, one) for one in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(item, args[0]) for item in value)
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(fits(item, args[0]) for item in value)
    if origin in {dict, Mapping}:
        pairs = value.items() if isinstance(value, dict) else [(None, None)]
        return all(fits(key, args[0]) and fits(item, args[1]) for key, item in pairs)
    if origin is typing.ClassVar:
        return True
    if kind in {int, float}:
        return isinstance(value, kind) and not isinstance(value, bool)
    if dataclasses.is_dataclass(kind):
        return type(value) is kind and _fields_fit(value)
    return isinstance(value, kind)


def _fields_fit(value: Any) -> bool:
    module = vars(sys.modules[type(value).__module__])
    hints = typing.get_type_hints(type(value), {**module, "Mapping": Mapping})
    for item in dataclasses.fields(value):
        if not fits(getattr(value, item.name), hints[item.name]):
            return False
    # Rows that are addressed or named on disk by their id have one that is harmless.
    is_named = isinstance(value, Task | Skill | SteeringMessage | Memory | Agent)
    return not is_named or is_identifier(value.id)
