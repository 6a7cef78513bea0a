"""docs/api.md has every request of the worker, and none that it does not make."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fake_api import Reply, connected, serving
from sources import MODULES, PACKAGE, nodes_of

from agent_swarm_worker.api.client import SwarmClient
from agent_swarm_worker.api.configuration import PoolKey
from agent_swarm_worker.api.wire.tasks import ChannelCursor
from agent_swarm_worker.errors import ApiError

pytestmark = pytest.mark.anyio

PAGE = PACKAGE.parent / "docs" / "api.md"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROW = re.compile(r"^\| `([A-Z]+) (/[^`]*)`[^|]*\| (\d+\.\d+) \|$", re.MULTILINE)
PATH = re.compile(
    r"(?:\{\})*(/(?:api|mcp|ping|close|me|health|cancelled-tasks|openapi)(?:[/?].*)?)"
)
"""A path of the API, as a whole string of the code; ``{}`` stands for what is put in."""

ARGUMENTS: dict[str, Any] = {
    "agent_id": "a",
    "batch": [],
    "body": b"{}",
    "cursors": [ChannelCursor(channel_id="c", ts="1")],
    "event": "tool.start",
    "event_type": "task.trigger.assigned",
    "by": "a person",
    "comment": "why not",
    "description": "what it does",
    "fields": {"role": "dev"},
    "intent": "why",
    "is_approved": True,
    "is_lead": False,
    "key": "codex_oauth_0",
    "key_type": "ANTHROPIC_API_KEY",
    "latest_model": {},
    "limit": 1,
    "lines": ["line"],
    "link": {},
    "iteration": 1,
    "message_id": "m",
    "mode": "queue",
    "name": "n",
    "owner": "o",
    "path": "SKILL.md",
    "provider_session_id": "p",
    "query": "words",
    "question_id": "q",
    "ready": True,
    "reason": "crash_recovery",
    "request_id": "r",
    "reported_at_ms": 1,
    "row": {},
    "row_id": "r",
    "session": {"claudeSessionId": "s"},
    "session_uuid": "u",
    "skill_id": "k",
    "snapshot": {},
    "status": "completed",
    "task_id": "t",
    "text": "text",
    "timeout_s": 5.0,
    "title": "May it?",
    "token_id": "t",
    "total": 1,
    "trigger_type": "task_assigned",
    "ttl_ms": 1000,
    "why": "asked again",
    "until": "2026-01-01T00:00:00Z",
    "value": "v",
    "variables": {},
    "windows": {},
}
"""By the name of the parameter."""
POOL_KEY = PoolKey(key_type="ANTHROPIC_API_KEY", suffix="abcde", index=0)


@cache
def documented() -> dict[tuple[str, str], str]:
    """Return the sections of the page's table, by method and path."""
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len(rows) == len({row[:2] for row in rows}) > 60
    return {(method, path): section for method, path, section in rows}


def fits(template: str, path: str) -> bool:
    """True if a path may be one of the template's; on both sides ``{…}`` stands for a segment."""
    ours, theirs = template.split("/"), path.split("?", maxsplit=1)[0].split("/")
    return len(ours) == len(theirs) and all(
        a == b or a.startswith("{") or b == "{}" for a, b in zip(ours, theirs, strict=True)
    )


def rows_of(method: str, path: str) -> list[tuple[str, str]]:
    """Return the rows that a request may be; the one that is spelt out wins over a pattern."""
    found = [row for row in documented() if row[0] == method and fits(row[1], path)]
    return [row for row in found if row[1] == path] or found


def methods_of(client: SwarmClient) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, group in vars(client).items():
        if name not in {"http", "capabilities"}:
            for method, member in vars(type(group)).items():
                if not method.startswith("_") and callable(member):
                    yield f"{name}.{method}", getattr(group, method)


def arguments_of(method: Callable[..., Any]) -> dict[str, Any]:
    needed = {
        name: parameter.annotation
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is inspect.Parameter.empty
    }
    return {
        name: POOL_KEY if kind == "PoolKey" else ARGUMENTS[name] for name, kind in needed.items()
    }


async def client_modules() -> set[Path]:
    """Return the modules whose methods are called here, by their place in the package."""
    async with connected("http://127.0.0.1:1") as client:
        groups = {type(group) for name, group in vars(client).items() if name != "capabilities"}
    own = {Path(inspect.getfile(group)).relative_to(PACKAGE) for group in groups}
    return {*own, Path("api/first_request.py")}  # `Config` asks through it


async def requests_of(answer: Reply) -> set[tuple[str, str]]:
    """Return what all methods of the client send to a server that always answers this."""
    async with serving(lambda _: answer) as server, connected(server.url) as client:
        for _, method in methods_of(client):
            with suppress(ApiError):
                await method(**arguments_of(method))
        return {(request.method, request.path) for request in server.requests}


async def all_requests() -> set[tuple[str, str]]:
    """Return what is asked of a server that has every route, and of one that has none."""
    return await requests_of(Reply()) | await requests_of(Reply(404, "Not Found"))


def spelt_out(path: Path) -> Iterator[str]:
    """Yield the API paths among the strings of a module."""
    texts = {
        id(node.value)
        for node in nodes_of(path)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    parts = {
        id(part)
        for node in nodes_of(path)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in nodes_of(path):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in texts | parts:
                pass
            case ast.JoinedStr(values=values):
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "{}" for part in values
                )
            case _:
                continue
        if found := PATH.fullmatch(text):
            yield found[1]


def modules() -> dict[Path, Path]:
    """Return the worker's modules: their place in the package, and their path."""
    return {
        path.relative_to(PACKAGE): path
        for path in MODULES
        if not path.is_relative_to(PACKAGE / "local_swarm")
    }


async def test_the_page_has_every_request_and_no_other():
    sent = await all_requests()
    assert len(sent) > 60
    assert {request for request in sent if not rows_of(*request)} == set()
    made = {row for request in sent for row in rows_of(*request)}
    # Of these the code has the address, and somebody else asks: the agent, the MCP client.
    named = {
        path
        for file, source in modules().items()
        if file.parts[0] != "api"
        for path in spelt_out(source)
    }
    made |= {row for row in documented() if any(fits(row[1], path) for path in named)}
    assert set(documented()) - made == set()


def test_every_path_in_the_code_is_on_the_page():
    paths = {(path, file.name) for file in modules().values() for path in spelt_out(file)}
    known = [path for _, path in documented()]
    assert len(paths) > 30
    assert {it for it in paths if not any(fits(path, it[0]) for path in known)} == set()


async def test_only_the_client_makes_requests():
    """A request made elsewhere would not be seen by the tests above."""
    makers = {
        place
        for place, path in modules().items()
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr.strip("_").removesuffix("_if") in {"request", "call"}
        and any(isinstance(arg, ast.Constant) and arg.value in METHODS for arg in node.args[:2])
    }
    assert len(makers) > 4
    assert makers - await client_modules() == set()


def test_each_row_of_the_table_names_the_section_that_has_the_request():
    page = PAGE.read_text(encoding="utf-8")
    pieces = re.split(r"^### (\d+\.\d+) .+$", page, flags=re.MULTILINE)
    text_of = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    missing = {
        (method, path)
        for (method, path), section in documented().items()
        if path not in text_of[section] or method not in text_of[section]
    }
    assert missing == set()
