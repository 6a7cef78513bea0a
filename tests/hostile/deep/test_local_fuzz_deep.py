"""Fuzzes the routes of the local swarm, with many more requests than the fast suite."""

from __future__ import annotations

import pytest
from route_fuzz import ask_every_route, ask_every_tool

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


async def test_every_route_answers_anything_with_words_many_times() -> None:
    await ask_every_route(150)


async def test_every_tool_answers_anything_with_words_many_times() -> None:
    await ask_every_tool(60)
