"""Isolated calls: results, errors and time limits."""

from __future__ import annotations

import os
import re
import time
from typing import Any

import pytest
from patience import HANG_S

from agent_swarm_worker.processes import isolated_call
from agent_swarm_worker.processes.isolated_call import (
    IsolatedCallFailed,
    IsolatedCallUndecided,
    call_isolated,
    call_isolated_blocking,
)
from agent_swarm_worker.reporting.output_schema import OutputCheck, check_isolated

pytestmark = pytest.mark.anyio


def doubled(number: int) -> int:
    return number * 2


def endless(text: str) -> bool:
    return bool(re.fullmatch(r"(a+)+$", text))


def broken(_: Any) -> None:
    raise ValueError("no such luck")


def waiting(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def resources(_: Any) -> list[str]:
    return sorted(os.environ)


async def ask(kind: str, function: Any, argument: Any, limit_s: float = 20) -> Any:
    if kind == "awaited":
        return await call_isolated(function, argument, limit_s=limit_s)
    return call_isolated_blocking(function, argument, limit_s=limit_s)


@pytest.mark.parametrize("kind", ["awaited", "blocking"])
async def test_what_it_returns_comes_back(kind: str):
    assert await ask(kind, doubled, 21) == 42


@pytest.mark.long
@pytest.mark.parametrize("kind", ["awaited", "blocking"])
async def test_what_never_ends_is_ended(kind: str):
    began = time.monotonic()
    with pytest.raises(IsolatedCallFailed, match=r"longer than 0\.5 s"):
        await ask(kind, endless, "a" * 64 + "!", limit_s=0.5)
    assert time.monotonic() - began < HANG_S


@pytest.mark.long
@pytest.mark.parametrize("kind", ["awaited", "blocking"])
async def test_only_its_own_time_counts(kind: str):
    assert await ask(kind, waiting, 1.0, limit_s=0.5)


async def test_what_the_machine_does_not_let_end_is_undecided(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolated_call, "BUSY_FACTOR", 0.01)
    with pytest.raises(IsolatedCallUndecided):
        await call_isolated(waiting, 60.0, limit_s=5)
    outcome = await check_isolated(OutputCheck(schema={}, texts=["{}"], shown="{}"))
    assert outcome.mismatch.startswith("it could not be checked")


@pytest.mark.parametrize("kind", ["awaited", "blocking"])
async def test_what_breaks_says_how(kind: str):
    with pytest.raises(IsolatedCallFailed, match="no such luck"):
        await ask(kind, broken, None)


async def test_what_cannot_be_told_is_no_question():
    with pytest.raises(IsolatedCallFailed):
        await call_isolated(doubled, {1, 2}, limit_s=5)


async def test_it_is_told_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_KEY", "hidden")
    assert "API_KEY" not in await call_isolated(resources, None, limit_s=20)
