"""The harness claude-managed keeps the promises of a harness, against the API on loopback."""

from __future__ import annotations

import pytest
from fake_managed import FakeManaged

from agent_swarm_worker.conformance.suite import CHECKS, Check, is_kept


@pytest.mark.anyio
@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_it_keeps_the_promises_of_a_harness(check: Check):
    assert await is_kept(check, "claude-managed", FakeManaged)
