"""The real CLIs and the in-process harness keep the promises of the contract."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from model_fixtures import (
    acp_fixture,
    claude_fixture,
    codex_fixture,
    gemini_fixture,
    pi_cli_fixture,
    pi_fixture,
)
from real_codex import TRANSPORTS

from agent_swarm_worker.conformance import of_permissions
from agent_swarm_worker.conformance.harness_fixture import HarnessFixture
from agent_swarm_worker.conformance.suite import CHECKS, Check, outcome_of
from agent_swarm_worker.providers.registry import spec_of

pytestmark = pytest.mark.anyio

SLOW = pytest.mark.slow
FIXTURES = [
    pytest.param("claude", claude_fixture, id="claude", marks=SLOW),
    *(
        pytest.param("codex", partial(codex_fixture, way), id=f"codex-{way}", marks=SLOW)
        for way in TRANSPORTS
    ),
    pytest.param("gemini", gemini_fixture, id="gemini", marks=SLOW),
    pytest.param("pi-cli", pi_cli_fixture, id="pi-cli", marks=SLOW),
    *(
        pytest.param(name, partial(acp_fixture, name), id=name, marks=SLOW)
        for name in ("grok", "opencode", "qwen")
    ),
    pytest.param("pi", partial(pi_fixture, "anthropic"), id="pi-anthropic"),
    pytest.param("pi", partial(pi_fixture, "openai"), id="pi-openai", marks=SLOW),
]


# Traits are the adapter's; that this transport cannot be sent anything is the session's to say.
EXCEPT = {
    **{
        ("codex-exec", str(check)): "codex exec refuses sessions under a permission policy"
        for check in CHECKS
        if check.run.__module__ == of_permissions.__name__
    },
    ("codex-exec", "a-session-takes-what-the-spec-says"): "codex exec takes no messages",
    ("grok", "a-long-prompt-arrives-whole"): "grok 1.0.41 shortens a prompt of 180,000 characters",
}


@pytest.mark.parametrize("check", CHECKS, ids=str)
@pytest.mark.parametrize(("provider", "harness"), FIXTURES)
async def test_it_keeps_its_promise(
    provider: str,
    harness: Callable[[], HarnessFixture],
    check: Check,
    request: pytest.FixtureRequest,
):
    for (kind, name), why in EXCEPT.items():
        if f"[{kind}-{name}]" in request.node.name:
            request.applymarker(pytest.mark.xfail(reason=why))
    outcome = await outcome_of(check, provider, harness=harness)
    is_asked = spec_of(provider).capabilities.permissions != "none"
    if "permission" in outcome.why and outcome.state == "not run" and not is_asked:
        pytest.skip("the harness asks for no permission")
    # A check that could not be carried out would prove nothing.
    assert outcome.state == "kept", f"{check.promise} But {outcome.why}"
