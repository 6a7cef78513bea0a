"""The real CLIs keep what the contract promises."""

from __future__ import annotations

import pytest
from claude_stage import ClaudeStage

from agent_swarm_worker.conformance.suite import CHECKS, Check, is_kept

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

STAGES = {"claude": ClaudeStage}


@pytest.mark.parametrize("check", CHECKS, ids=str)
@pytest.mark.parametrize("provider", STAGES)
async def test_it_keeps_its_promise(provider: str, check: Check):
    assert await is_kept(check, provider, STAGES[provider])
