"""Output that does not fit the task's schema is asked for once more, in the same session."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from patience import until
from recording_proxy import proxy_rig
from rig import AGENTS, Rig, harness, running_worker, swarm_rig
from test_continuity import Adapter
from worker_process import worker_process

from agent_swarm_worker.contract import ProviderSession, ProviderSessionConfig
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, Launch
from agent_swarm_worker.providers.subprocess.translate import SubprocessTranslator
from agent_swarm_worker.worker.boot import harness as worker_harness

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
ENV = {"HARNESS_PROVIDER": "remembering"}


class Answering(Adapter):
    """A harness that remembers its sessions, and speaks as claude does."""

    async def create_session(self, config: ProviderSessionConfig) -> ProviderSession:
        def make_harness(config: ProviderSessionConfig) -> CliHarness:
            session = config.resume_session_id or ""
            program = str(AGENTS / "answers_in_form.py")
            return CliHarness(
                launch=Launch(
                    argv=(sys.executable, "-S", "-B", program, str(self.place), session),
                    env=config.env,
                    cwd=config.cwd,
                    stdin=config.prompt.encode(),
                ),
                translator=SubprocessTranslator("stream-json", ClaudeTranslator(config)),
            )

        return CliSession(config, make_harness)

    async def translator(self, config: ProviderSessionConfig) -> SubprocessTranslator:
        return SubprocessTranslator("stream-json", ClaudeTranslator(config))


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Answering("remembering", place=tmp_path)
    monkeypatch.setattr(worker_harness, "create_provider", lambda name: made)


async def ran(rig: Rig, **env: str) -> dict[str, Any]:
    async with running_worker(rig, ENV | env):
        task_id = await rig.submit("Count them", outputSchema=SCHEMA)
        row = dict(await rig.until_ended(task_id))
        await rig.settled(task_id)
        return row


def asked(place: Path) -> list[str]:
    return [path.read_text() for path in sorted(place.glob("asked-*"))]


@pytest.mark.long
@pytest.mark.usefixtures("adapter")
async def test_the_same_session_is_asked_once_and_its_cost_counts(tmp_path: Path):
    (tmp_path / "answer").write_text('Here: {"n": 3}')
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig)
        assert (row["status"], row["output"]) == ("completed", '{"n": 3}')
        first, second = asked(tmp_path)
        assert first.startswith("fresh\n")
        assert second.startswith("s-1\n")
        assert '"required"' in second
        assert "the output is not JSON" in second
        costs = await rig.costs(row["id"])
        assert [cost["totalCostUsd"] for cost in costs] == [0.25, 0.25]
        assert len({cost["sessionId"] for cost in costs}) == 2
        # The lines of both, in their order.
        assert await rig.said(row["id"]) == ["I have counted them", "as you wish"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Three, as I said.", "does not fit the task's outputSchema: the output is not JSON"),
        ('{"n": "three"}', "does not fit the task's outputSchema: $.n"),
        ("fails", "the session failed: Session error: no more credit"),
    ],
)
@pytest.mark.usefixtures("adapter")
async def test_it_is_asked_once_only(tmp_path: Path, answer: str, reason: str):
    (tmp_path / "answer").write_text(answer)
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig)
        assert row["status"] == "failed"
        assert reason in row["failureReason"]
        assert len(asked(tmp_path)) == 2
        assert len(await rig.costs(row["id"])) == 2


@pytest.mark.long
@pytest.mark.usefixtures("adapter")
async def test_the_request_is_bounded(tmp_path: Path):
    (tmp_path / "hangs").touch()
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, SWARM_SESSION_TIMEOUT_S="3")
        assert row["status"] == "failed"
        assert "Asked once more for fitting output, the session failed" in row["failureReason"]
        assert "There are three of them." in row["failureReason"]


@pytest.mark.usefixtures("adapter")
async def test_an_agent_that_stored_fitting_output_is_not_asked(tmp_path: Path):
    (tmp_path / "answer").write_text('{"n": 4}')
    async with proxy_rig(tmp_path) as (rig, proxy), running_worker(rig, ENV):
        held = proxy.hold("prompt-templates/render")
        task_id = await rig.submit("Count them", outputSchema=SCHEMA)
        await held.reached.wait()
        store = proxy.stores[-1]
        with store.transaction():
            store.run("UPDATE tasks SET output = ? WHERE id = ?", '{"n": 3}', task_id)
        held.open.set()
        row = await rig.until_ended(task_id)
    assert row["output"] == '{"n": 3}'
    assert len(asked(tmp_path)) == 1


@pytest.mark.long
@pytest.mark.parametrize("answers", [True, False])
async def test_a_kill_while_it_is_asked_loses_neither_run(tmp_path: Path, answers: bool):
    (tmp_path / "answer").write_text('{"n": 3}')
    if not answers:
        (tmp_path / "hangs").touch()
    program = [sys.executable, "-S", "-B", str(AGENTS / "answers_in_form.py"), str(tmp_path), ""]
    env = {
        "HARNESS_PROVIDER": "claude",
        "CLAUDE_BINARY": shlex.join(program),
        "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-of-the-tests-0123456789",
    }
    async with proxy_rig(tmp_path) as (rig, proxy):
        proxy.refuse("/finish", 503)
        async with worker_process(tmp_path, {**rig.env, **env}) as worker:
            task_id = await rig.submit("Count them", outputSchema=SCHEMA)
            await until(lambda: len(asked(tmp_path)) == 2)
            if answers:
                await until(lambda: proxy.seen("/finish"))
            else:
                await until(lambda: "as you wish" in worker.text())
            worker.signal(signal.SIGKILL)
            await worker.exit_code()
        proxy.be_open()
        async with running_worker(rig, harness("says_hi")):
            row = await rig.until_ended(task_id)
            await rig.settled(task_id)
        assert row["status"] == ("completed" if answers else "superseded")
        assert len(await rig.costs(task_id)) == 1 + answers
        assert await rig.said(task_id) == ["I have counted them", "as you wish"]
