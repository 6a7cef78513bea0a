"""Every harness keeps the contract in a sandbox where the worker's paths do not exist."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import audit
import pytest
from fake_harness_fixtures import FakeClaudeFixture, FakeCodexFixture
from model_fixtures import claude_fixture, codex_fixture, pi_fixture
from namespace_sandbox import NamespaceSandbox, why_impossible
from pi_env import load_libraries
from real_codex import TRANSPORTS

from agent_swarm_worker.conformance import suite
from agent_swarm_worker.conformance.harness_fixture import HarnessFixture
from agent_swarm_worker.conformance.suite import CHECKS, Check, outcome_of
from agent_swarm_worker.contract import ProviderSession, ProviderSessionConfig
from agent_swarm_worker.providers.subprocess.adapter import SubprocessAdapter
from agent_swarm_worker.providers.subprocess.harness_fixture import SubprocessFixture
from agent_swarm_worker.sandboxes.port import GuestSpec

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(bool(why_impossible()), reason=f"no namespaces here: {why_impossible()}"),
]

LONG, SLOW = pytest.mark.long, pytest.mark.slow
FIXTURES = [
    pytest.param("subprocess", SubprocessFixture, id="subprocess", marks=LONG),
    pytest.param("claude", FakeClaudeFixture, id="claude-fake", marks=LONG),
    pytest.param("codex", FakeCodexFixture, id="codex-fake", marks=LONG),
    pytest.param("pi", partial(pi_fixture, "anthropic"), id="pi", marks=LONG),
    pytest.param("claude", claude_fixture, id="claude", marks=SLOW),
    *(
        pytest.param("codex", partial(codex_fixture, way), id=f"codex-{way}", marks=SLOW)
        for way in TRANSPORTS
    ),
]
BY_NAME = {check.name: check for check in CHECKS}
# A program that takes its prompt on standard input takes no message after it.
TAKES_NONE = {"codex-exec", "codex-fake", "claude-fake"}
NEEDS_A_CONVERSATION = {
    "a-session-takes-what-the-spec-says",
    "an-allowed-call-runs",
    "a-denied-call-does-not-run",
    "a-gate-that-fails-denies",
    "an-abort-does-not-wait-for-permission",
}


@pytest.fixture(scope="session", autouse=True)
def model_library() -> None:
    load_libraries()


@pytest.fixture(autouse=True)
def nothing_past_the_guest() -> Iterator[list[str]]:
    audit.violations.clear()
    yield audit.violations
    assert audit.violations == []


@pytest.mark.parametrize("check", CHECKS, ids=str)
@pytest.mark.parametrize(("provider", "harness"), FIXTURES)
async def test_it_keeps_its_promise(
    provider: str,
    harness: Callable[[], HarnessFixture],
    check: Check,
    request: pytest.FixtureRequest,
):
    kind = request.node.callspec.id.partition(f"-{check.name}")[0]
    if kind in TAKES_NONE and check.name in NEEDS_A_CONVERSATION:
        pytest.skip("its sessions take no messages, and ask nothing, in this mode")
    outcome = await outcome_of(check, provider, harness=harness, sandbox=NamespaceSandbox())
    assert outcome.state != "broken", f"{check.promise} But {outcome.why}"


@pytest.mark.long
@pytest.mark.parametrize("name", ["it-answers", "an-abort-ends-it-and-all-it-started"])
@pytest.mark.parametrize(
    ("provider", "harness"),
    [param.values for param in FIXTURES[:4]],
    ids=["subprocess", "claude", "codex", "pi"],
)
async def test_it_keeps_its_main_promises(
    provider: str, harness: Callable[[], HarnessFixture], name: str
):
    outcome = await outcome_of(BY_NAME[name], provider, harness=harness, sandbox=NamespaceSandbox())
    assert outcome.state == "kept", outcome.why


class OpensAFile(SubprocessAdapter):
    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        with suppress(OSError):
            Path(config.cwd, ".mcp.json").open().close()  # noqa: ASYNC230 - that is the mistake
        return await super().create_session(config)


class StartsAProcess(SubprocessAdapter):
    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        subprocess.run(["true"], check=True)  # noqa: ASYNC221 - as above
        return await super().create_session(config)


@pytest.mark.parametrize(
    ("adapter", "event"), [(OpensAFile, "open /mnt/guest-"), (StartsAProcess, "subprocess.Popen")]
)
async def test_what_goes_past_the_guest_is_seen(
    adapter: type[SubprocessAdapter],
    event: str,
    monkeypatch: pytest.MonkeyPatch,
    nothing_past_the_guest: list[str],
):
    monkeypatch.setattr(suite, "create_provider", lambda _: adapter())
    check = BY_NAME["it-answers"]
    await outcome_of(check, "subprocess", harness=SubprocessFixture, sandbox=NamespaceSandbox())
    assert nothing_past_the_guest[0].startswith(event)
    assert "create_session" in nothing_past_the_guest[0]
    nothing_past_the_guest.clear()


async def test_paths_inside_exist_nowhere_else(tmp_path: Path):
    (tmp_path / "here").write_text("x")
    spec = GuestSpec(name="paths", mounts={"work": tmp_path})
    async with NamespaceSandbox().open(spec) as guest:
        inside = guest.path(tmp_path / "here")
        assert await guest.read(inside, max_bytes=9) == b"x"
        assert not await guest.exists(str(tmp_path / "here"))
        assert not Path(inside).exists()
