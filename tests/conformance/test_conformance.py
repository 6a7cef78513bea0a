"""The checks find each broken promise, and report none that is kept."""

from __future__ import annotations

import json
from typing import Any, cast

import anyio
import pytest
from faulty_adapters import FAULTY, FaultyAdapter

from agent_swarm_worker.cli.app import main
from agent_swarm_worker.conformance import of_adapter, of_permissions, of_session, suite
from agent_swarm_worker.conformance.harness_fixture import HarnessFixture, find_fixture
from agent_swarm_worker.conformance.session_fixture import (
    SESSION_S,
    BrokenPromise,
    ObservedSession,
    SessionFixture,
)
from agent_swarm_worker.conformance.suite import CHECKS, Outcome, is_kept, outcome_of
from agent_swarm_worker.contract import (
    EventListener,
    Message,
    ProviderEvent,
    ProviderSession,
    Result,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.errors import BadSetting, UnknownProvider
from agent_swarm_worker.providers.acp.harness_fixture import AGENT, AcpFixture
from agent_swarm_worker.providers.subprocess.harness_fixture import SubprocessFixture

BY_NAME = {check.name: check for check in CHECKS}
# Only a provider with several modules to load can be slow to import.
WITHOUT_FAULTY_ADAPTER = {"its-import-is-quick"}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait only shortly for events that a faulty adapter never emits."""
    for module in (of_adapter, of_permissions, of_session):
        for limit in ("SESSION_S", "ABORT_S", "SOON_S"):
            if hasattr(module, limit):
                monkeypatch.setattr(module, limit, 1.0)
    monkeypatch.setattr("agent_swarm_worker.conformance.session_fixture.SESSION_S", 4.0)
    monkeypatch.setattr("agent_swarm_worker.conformance.session_fixture.SOON_S", 1.0)


@pytest.mark.anyio
@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_the_subprocess_harness_keeps_its_promises(check: suite.Check):
    assert await is_kept(check, "subprocess", SubprocessFixture)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "check", [check for check in CHECKS if check.run.__module__ == of_permissions.__name__], ids=str
)
async def test_an_agent_over_acp_asks_for_permission(check: suite.Check):
    assert (await outcome_of(check, "acp", harness=AcpFixture)).state == "kept"


class Hasty(AcpFixture):
    """Its agent asks when it has done it."""

    head = "def permitted(session, call):\n"
    agent = AGENT.replace(head, head + '    subprocess.run(call["rawInput"]["command"].split())\n')
    assert agent != AGENT


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name",
    [
        "a-denied-call-does-not-run",
        "a-gate-that-fails-denies",
        "an-abort-does-not-wait-for-permission",
    ],
)
async def test_a_call_that_runs_without_permission_is_found_by_its_mark(name: str):
    outcome = await outcome_of(BY_NAME[name], "acp", harness=Hasty)
    assert (outcome.state, "ran all the same" in outcome.why) == ("broken", True), outcome


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "adapter"), FAULTY, ids=[f"{name}-{i}" for i, (name, _) in enumerate(FAULTY)]
)
async def test_a_broken_promise_is_found(
    name: str, adapter: type[FaultyAdapter], monkeypatch: pytest.MonkeyPatch, soon: None
):
    monkeypatch.setattr(suite, "create_provider", lambda _: adapter())
    outcome = await outcome_of(BY_NAME[name], "subprocess", harness=SubprocessFixture)
    assert (outcome.state, bool(outcome.why)) == ("broken", True), outcome


@pytest.mark.anyio
async def test_a_slow_import_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(of_adapter, "IMPORT_CPU_S", 0.0)
    assert (await outcome_of(BY_NAME["its-import-is-quick"], "subprocess")).state == "broken"


def test_each_check_has_been_seen_to_fail():
    assert {name for name, _ in FAULTY} | WITHOUT_FAULTY_ADAPTER == set(BY_NAME)
    assert len(BY_NAME) == len(CHECKS) > 25
    assert all(check.promise.endswith(".") for check in CHECKS)


@pytest.mark.anyio
async def test_without_a_fixture_session_checks_are_not_run():
    for check in CHECKS:
        if check.needs_fixture:
            assert await outcome_of(check, "subprocess") == Outcome(
                check, "not run", "no harness fixture"
            )
    assert await is_kept(BY_NAME["it-answers"], "subprocess")  # not run is not broken


@pytest.mark.anyio
async def test_a_fixture_that_fails_is_reported():
    class Falls(SubprocessFixture):
        async def __aenter__(self) -> Any:
            raise OSError("the port is taken")

    outcome = await outcome_of(BY_NAME["it-answers"], "subprocess", harness=Falls)
    assert outcome.state == "broken"
    assert "the port is taken" in outcome.why


def test_a_fixture_is_found():
    assert find_fixture("subprocess") is SubprocessFixture
    assert find_fixture("nobody") is None
    where = "agent_swarm_worker.providers.subprocess.harness_fixture:SubprocessFixture"
    assert find_fixture("nobody", where) is SubprocessFixture
    assert isinstance(SubprocessFixture(), HarnessFixture)


@pytest.mark.parametrize(
    "where", ["", "no.such.module:X", "json:nothing", "json:__name__", "json", ":x"]
)
def test_a_fixture_that_does_not_exist(where: str):
    if not where:
        assert find_fixture("nobody", where) is None
        return
    with pytest.raises(BadSetting, match="--stage"):
        find_fixture("nobody", where)


class TestCommand:
    """``swarm-worker conformance``."""

    @pytest.fixture(autouse=True)
    def few_checks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wanted = ("its-spec-is-sane", "it-answers")
        monkeypatch.setattr(suite, "CHECKS", [BY_NAME[name] for name in wanted])

    def test_all_is_well(self, capsys: pytest.CaptureFixture[str]):
        assert main(["conformance", "subprocess"]) == 0
        out = capsys.readouterr().out
        assert out.splitlines()[-1] == "2 kept, 0 broken, 0 not run"
        assert out.count("✔") == 2

    def test_json_says_which_is_broken(self, capsys: pytest.CaptureFixture[str]):
        words = ["conformance", "subprocess", "--json", "--env", "HARNESS_COMMAND=echo hello"]
        assert main(words) == 1
        said = json.loads(capsys.readouterr().out)
        assert said["provider"] == "subprocess"
        assert [row["state"] for row in said["checks"]] == ["kept", "broken"]
        assert "hello" in said["checks"][1]["why"]

    def test_a_check_without_a_fixture_is_not_run(self, capsys: pytest.CaptureFixture[str]):
        assert main(["conformance", "claude"]) == 0
        assert "1 kept, 0 broken, 1 not run" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "code"),
        [(["nobody"], 78), (["subprocess", "--env", "X"], 2), (["subprocess", "--stage", "x"], 78)],
    )
    def test_nonsense_is_refused(
        self, words: list[str], code: int, capsys: pytest.CaptureFixture[str]
    ):
        assert main(["conformance", *words]) == code
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.anyio
async def test_an_unknown_provider_is_no_outcome():
    with pytest.raises(UnknownProvider):
        async for _ in suite.examine("nobody", env={}, harness=None):
            pass


class TalksOnly:
    """A session that emits the given events and does nothing else."""

    def __init__(self, *events: ProviderEvent) -> None:
        self.events = events

    def on_event(self, listener: EventListener) -> None:
        for event in self.events:
            listener(event)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("events", "seen"),
    [
        ([Message("assistant", "I would rather not."), Result(cost=None)], "I would rather not."),
        ([Result(cost=None, output="Nothing to do")], "Nothing to do"),
    ],
)
async def test_a_check_says_what_it_saw_as_soon_as_the_agent_is_done(
    events: list[ProviderEvent], seen: str
):
    observed = ObservedSession(cast("ProviderSession", TalksOnly(*events)), cast("Any", None))
    with anyio.fail_after(SESSION_S / 2), pytest.raises(BrokenPromise) as caught:
        await observed.until(lambda event: isinstance(event, ToolStart), "began to use a tool")
    assert "before it began to use a tool" in str(caught.value)
    assert seen in str(caught.value)


BUSY = (ToolStart("1", "sleep", {}), ToolStart("2", "ls", {}), ToolEnd("2", "ls", ""))


@pytest.mark.anyio
async def test_a_check_aborts_no_agent_that_has_nothing_to_do():
    refused = ToolEnd("1", "sleep", "Blocked: standalone sleep", is_error=True)
    observed = ObservedSession(
        cast("ProviderSession", TalksOnly(*BUSY, refused)), cast("Any", None)
    )
    with pytest.raises(BrokenPromise, match=r"did not keep the agent busy.*Blocked: standalone"):
        await observed.abort()
    with pytest.raises(AttributeError, match="abort"):  # it goes as far as to ask this one
        await ObservedSession(cast("ProviderSession", TalksOnly(*BUSY)), cast("Any", None)).abort()


@pytest.mark.anyio
async def test_a_check_waits_for_no_answer_of_a_session_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
):
    adapter = next(adapter for name, adapter in FAULTY if name == "an-abort-answers-who-waits")
    monkeypatch.setattr(suite, "create_provider", lambda _: adapter())
    monkeypatch.setattr("agent_swarm_worker.conformance.session_fixture.SOON_S", 0.1)
    with anyio.fail_after(SESSION_S / 2):
        outcome = await outcome_of(
            BY_NAME["an-abort-answers-who-waits"], "subprocess", harness=SubprocessFixture
        )
    assert "a message that was open at the abort was not answered" in outcome.why
    assert "aborted" in outcome.why


@pytest.mark.anyio
async def test_a_check_that_takes_too_long_says_what_it_saw(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(suite, "CHECK_S", 3.0)

    async def dawdles(fixture: SessionFixture) -> None:
        await fixture.answered("The heron waits.")
        await anyio.sleep_forever()

    check = suite.Check("dawdles", "It ends.", needs_fixture=True, run=dawdles)
    outcome = await outcome_of(check, "subprocess", harness=SubprocessFixture)
    assert outcome.state == "broken"
    assert outcome.why.startswith("it was not over within 3 s; seen: ")
    assert "The heron waits." in outcome.why
