"""Hostile requests neither fail, hang nor corrupt the local swarm."""

from __future__ import annotations

import pytest
from route_fuzz import ask_every_route, ask_every_tool

pytestmark = pytest.mark.anyio


async def test_every_route_answers_anything_with_words() -> None:
    await ask_every_route(1)


async def test_every_tool_answers_anything_with_words() -> None:
    await ask_every_tool(1)
