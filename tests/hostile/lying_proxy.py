"""Changes values in the answers of the local swarm to a worker.

The server acts as it would; only its words are twisted: a value of another kind at every position
of every answer, in turn, and between them whole answers made up to do harm.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
from hostile_values import HOSTILE_TEXTS, HOSTILE_VALUES

from agent_swarm_worker.local_swarm import serve

BUILD_APP = serve.build_app
LONG = "\x1b[31m../x\n" * 100_000
VALUES: list[Any] = [*HOSTILE_VALUES, *HOSTILE_TEXTS, LONG, [{}] * 1000, {"a" * 10_000: [None]}]
IDS = ["../../decoy", "/decoy", "a/b", "..", ".", "a\0b", "a\nb", "\x1b[2J", "CON", "i" * 1_000_000]


def made_up(decoy: Path) -> dict[str, list[Any]]:
    """Return whole answers that point out of the worker's directories, by route."""
    up = "../../../../../../../../.." + str(decoy)
    paths = [str(decoy), up, f"{up}/new", "~/decoy", "decoy\0", "\\\\?\\C:\\decoy", "file://" + up]
    names = [*paths, *IDS]
    rows = {
        **dict.fromkeys(("HOME", "SWARM_STATE_DIR", "SWARM_WORKSPACE_DIR", "LOG_DIR"), str(decoy)),
        **dict.fromkeys(("TMPDIR", "XDG_STATE_HOME", "PATH", "LD_PRELOAD"), str(decoy)),
        **dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:1"),
        **dict.fromkeys(("API_KEY", "AGENT_ID", "MCP_BASE_URL"), "http://127.0.0.1:1/"),
        "A\nB": "x",
        "A=B": "x",
        "": "x",
        "HUGE": LONG,
        "MODEL_OVERRIDE": "--help\n\0",
        "PYTHONSTARTUP": str(decoy / "x.py"),
        "MODEL_TIER_MAP": "[" * 5000,
    }
    skills = [
        {"id": f"s{n}", "name": name, "description": LONG, "content": LONG, "isComplex": True}
        for n, name in enumerate(names)
    ]
    good = {"id": "s", "name": "good", "content": "x", "isComplex": True}
    files = [{"path": name, "content": "pwned"} for name in (*names, "a/../../../decoy/f")]
    servers = [
        {"name": name, "transport": "stdio", "command": name, "args": LONG, "env": {name: name}}
        for name in names
    ]
    repos = [{"url": up, "name": up, "clonePath": path, "autoClone": True} for path in paths]
    messages = [{"id": name, "body": LONG, "mode": "steer", "taskId": name} for name in names]
    tasks = [{"id": name, "task": LONG, "dir": up, "status": "pending"} for name in names]
    profile = dict.fromkeys(("soulMd", "identityMd", "claudeMd", "toolsMd", "setupScript"), LONG)
    return {
        "GET /api/config/resolved": [
            {"configs": [{"key": key, "value": value} for key, value in rows.items()]}
        ],
        "GET /api/agents/[^/]+/skills$": [{"skills": skills}, {"skills": [good]}],
        "GET /api/skills/[^/]+/files$": [{"files": files}],
        "GET /api/skills/[^/]+/files/": [{"file": file} for file in files],
        "GET /api/agents/[^/]+/mcp-servers": [{"servers": servers}],
        "GET /api/repos": [{"repos": [repo]} for repo in repos],
        "GET /api/steering-messages": [{"messages": messages}],
        "GET /api/paused-tasks": [{"tasks": tasks}],
        "POST /api/active-sessions/recover": [{"tasks": tasks, "recovered": 9}],
        "GET /cancelled-tasks": [{"cancelled": tasks}],
        "GET /me": [{"id": name, "name": LONG, **profile} for name in ("a", *names)],
        "POST /api/prompt-templates/render": [{"text": LONG}, {"text": "{{" * 300_000}],
        "POST /api/memory/search": [
            {"results": [{"id": name, "name": LONG, "content": LONG, "similarity": 1e308}]}
            for name in names
        ],
        "GET /api/keys/available": [{"availableIndices": [-1, 10**18, "0", None, 0]}],
    }


def hostile_task(decoy: Path, turn: int) -> dict[str, Any]:
    """Return what a trigger says of a task besides its id."""
    up = "../../../../../../../../.." + str(decoy)
    return {
        "dir": [str(decoy), up, "\0", LONG, None][turn % 5],
        "vcsRepo": [up, "-x", "ext::sh -c touch% pwned", "https://u:p@h/\nx", None][turn % 5],
        "model": ["--help", "\0", "m" * 200_000, None][turn % 4],
        "claudeSessionId": up,
        "contextKey": "a\r\nX-Evil: 1",
        "parentTaskId": IDS[turn % len(IDS)],
        "outputSchema": [{"pattern": "(a+)+$"}, {"$ref": "file://" + up}, None][turn % 3],
        "attachments": [{"id": "a", "name": f"{up}/f;`id`"}, {"id": up, "name": LONG}],
        "tags": [LONG, None, 1],
    }


class LyingProxy:
    """ASGI middleware that lies while `is_lying`."""

    def __init__(self, decoy: Path) -> None:
        self.is_lying = False
        self.lies: Counter[str] = Counter()
        self._turn: Counter[str] = Counter()
        self._decoy, self._made_up = decoy, made_up(decoy)

    @contextmanager
    def before_every_swarm(self) -> Iterator[None]:
        """Put it before each local swarm that is started meanwhile."""
        with mock.patch.object(serve, "build_app", lambda *args: self._before(BUILD_APP(*args))):
            yield

    def _before(self, app: Any) -> Any:
        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            asked_by_worker = any(key == b"x-agent-id" for key, _ in scope.get("headers", ()))
            if scope["type"] != "http" or not (self.is_lying and asked_by_worker):
                await app(scope, receive, send)
                return
            messages: list[Any] = []

            async def keep(message: Any) -> None:
                messages.append(message)

            await app(scope, receive, keep)
            if not self.is_lying:
                for message in messages:
                    await send(message)
                return
            content = b"".join(message.get("body", b"") for message in messages)
            lie = self._lie(f"{scope['method']} {scope['path']}", content)
            start = {**messages[0], "headers": [(b"content-type", b"application/json")]}
            await send(start if lie is content else {**start, "status": 200})
            await send({"type": "http.response.body", "body": lie})

        return guarded

    def _lie(self, name: str, content: bytes) -> bytes:
        route = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "{id}", name)
        self._turn[route] += 1
        turn = self._turn[route]
        choices = next((c for key, c in self._made_up.items() if re.search(key, name)), [])
        if choices and turn % 2:
            self.lies[route] += 1
            return orjson.dumps(choices[turn // 2 % len(choices)])
        try:
            value = orjson.loads(content)
        except orjson.JSONDecodeError:
            return content
        if name == "GET /api/poll" and value.get("trigger") and turn % 3:
            value["trigger"].setdefault("task", {}).update(hostile_task(self._decoy, turn))
            self.lies["a trigger"] += 1
            return orjson.dumps(value)
        places = list(value_paths(value))
        # Two numbers without a common divisor: in time, each value comes to each place.
        place, lie = places[turn % len(places)], VALUES[turn * 7 % len(VALUES)]
        self.lies[route] += 1
        return orjson.dumps(with_wrong_value(value, place, lie))


def value_paths(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where there is something in a document, as paths of keys and indices."""
    yield place
    if isinstance(value, dict):
        for key, item in value.items():
            yield from value_paths(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value[:3]):
            yield from value_paths(item, (*place, index))


def with_wrong_value(value: Any, place: tuple[Any, ...], lie: Any) -> Any:
    """Return the document with something else at one place."""
    if not place:
        return lie
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = with_wrong_value(changed[place[0]], place[1:], lie)
    return changed
