"""Messages to a running CLI, and when one counts as delivered."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from claude_config import make_config
from claude_streams import FixedClock, natives

from agent_swarm_worker.contract import Ending, SteerDelivery
from agent_swarm_worker.ids import counted_ids
from agent_swarm_worker.providers.claude.adapter import ClaudeAdapter, MessageSupport, parse_version
from agent_swarm_worker.providers.claude.conversation import (
    BACKGROUND_WAIT_S,
    ClaudeConversation,
)
from agent_swarm_worker.providers.kit.conversation import Conversation, SteerRequest

FIRST = str(counted_ids()())
TAKEN = SteerDelivery(True, "queue")
INIT = {"type": "system", "subtype": "init", "session_id": "s", "model": "m"}
REPORTS = {**INIT, "capabilities": ["interrupt_receipt_v1", "msg_lifecycle_v1"]}
RESULT = natives("hello")[-1]
BACKGROUND = {"type": "system", "subtype": "background_tasks_changed", "tasks": [{"task_id": "b"}]}


class Moving(FixedClock):
    """Time goes on when it is told to."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def conversation(folder: Path, clock: Any = None, **changed: Any) -> ClaudeConversation:
    config = make_config(folder, **changed)
    return ClaudeConversation(config, clock=clock or FixedClock(), ids=counted_ids())


def feed(claude: ClaudeConversation, *lines: dict[str, Any]) -> None:
    for line in lines:
        claude.feed(line)


def steer(claude: ClaudeConversation, text: str = "look left") -> SteerRequest:
    request = SteerRequest("steer", text)
    claude.steer(request)
    return request


def lifecycle(state: str, line_id: str = FIRST, **more: Any) -> dict[str, Any]:
    return {"type": "command_lifecycle", "command_uuid": line_id, "state": state, **more}


def written(claude: ClaudeConversation) -> list[dict[str, Any]]:
    return [json.loads(line) for line in claude.outgoing().splitlines()]


@pytest.mark.parametrize("prompt", ["--help", "/compact", "two\nlines", "a\0b", "é😀", "x" * 2**20])
def test_the_prompt_is_the_first_line(tmp_path: Path, prompt: str):
    claude = conversation(tmp_path, prompt=prompt)
    assert isinstance(claude, Conversation)
    (line,) = written(claude)
    assert (line["type"], line["message"]) == ("user", {"role": "user", "content": prompt})
    assert written(claude) == []


def test_half_a_character_is_no_reason_to_fail(tmp_path: Path):
    (line,) = written(conversation(tmp_path, prompt="a\ud83db"))
    assert line["message"]["content"] == "a?b"


def test_a_message_is_taken_in_when_the_cli_says_so(tmp_path: Path):
    claude = conversation(tmp_path)
    feed(claude, REPORTS)
    written(claude)
    request = steer(claude)
    (line,) = written(claude)
    assert (line["message"]["content"], line["uuid"]) == ("look left", FIRST)
    feed(claude, lifecycle("queued"))
    assert request.delivery is None
    feed(claude, lifecycle("started"))
    assert request.delivery == TAKEN
    feed(claude, lifecycle("completed"), lifecycle("started"))
    assert request.delivery == TAKEN


def test_a_message_waits_until_it_is_known_whether_the_cli_reports(tmp_path: Path):
    claude = conversation(tmp_path)
    request = steer(claude)
    assert len(written(claude)) == 1  # the prompt
    feed(claude, REPORTS)
    assert [line["message"]["content"] for line in written(claude)] == ["look left"]
    assert request.delivery is None


@pytest.mark.parametrize("line", [INIT, RESULT], ids=["init", "result"])
def test_a_cli_that_does_not_report_is_told_nothing(tmp_path: Path, line: dict[str, Any]):
    claude = conversation(tmp_path)
    early = steer(claude)
    feed(claude, line)
    late = steer(claude)
    assert len(written(claude)) == 1
    for request in (early, late):
        assert request.delivery is not None
        assert not request.delivery.delivered
        assert request.delivery.reason


@pytest.mark.parametrize("state", ["cancelled", "discarded", ""])
def test_a_message_that_was_put_aside_is_not_delivered(tmp_path: Path, state: str):
    claude = conversation(tmp_path)
    feed(claude, REPORTS)
    request = steer(claude)
    feed(claude, lifecycle("queued"), lifecycle(state))
    assert request.delivery is not None
    assert (request.delivery.delivered, request.delivery.mode) == (False, None)
    assert state in str(request.delivery.reason)


def test_input_is_over_at_the_last_result_and_not_at_the_first(tmp_path: Path):
    claude = conversation(tmp_path)
    feed(claude, REPORTS)
    request = steer(claude)
    written(claude)
    # The CLI counts no queued turns here, although one is (measured).
    feed(claude, lifecycle("queued"), {**RESULT, "queued_turn_count": 0})
    assert (claude.is_final, claude.is_input_over) == (False, False)
    feed(claude, lifecycle("started"))
    assert request.delivery == TAKEN
    assert (claude.is_final, claude.is_input_over) == (False, False)
    feed(claude, REPORTS, RESULT)
    assert (claude.is_final, claude.is_input_over) == (True, True)
    late = steer(claude)
    assert late.delivery is not None
    assert not late.delivery.delivered
    assert written(claude) == []


def test_input_is_not_over_before_what_is_to_be_said_was_written(tmp_path: Path):
    claude = conversation(tmp_path)
    feed(claude, REPORTS)
    written(claude)
    steer(claude)
    feed(claude, RESULT)
    assert not claude.is_input_over
    assert len(written(claude)) == 1
    feed(claude, lifecycle("queued"))
    assert not claude.is_final


def test_a_message_that_is_never_read_does_not_keep_the_session(tmp_path: Path):
    claude = conversation(tmp_path)
    feed(claude, REPORTS)
    request = steer(claude)
    written(claude)
    feed(claude, RESULT)
    assert (claude.is_final, claude.is_input_over) == (True, True)
    # It was in the pipe: the CLI reads it all the same.
    feed(claude, lifecycle("queued"))
    assert not claude.is_final
    feed(claude, lifecycle("started"), REPORTS, RESULT)
    assert (request.delivery, claude.is_final) == (TAKEN, True)


def test_background_work_is_waited_for_but_not_for_ever(tmp_path: Path):
    clock = Moving()
    claude = conversation(tmp_path, clock)
    feed(claude, REPORTS, BACKGROUND)
    clock.now_s = 50
    feed(claude, RESULT)
    clock.now_s += BACKGROUND_WAIT_S - 1
    assert (claude.is_final, claude.is_input_over) == (False, False)
    clock.now_s += 1
    assert claude.is_final
    feed(claude, REPORTS)
    assert not claude.is_final  # another turn


def test_two_results_are_one_cost(tmp_path: Path):
    claude = conversation(tmp_path)
    feed(claude, REPORTS)
    steer(claude)
    feed(claude, lifecycle("queued"), RESULT, lifecycle("started"), REPORTS, RESULT)
    cost = claude.conclude(Ending(exit_code=0)).cost
    one = conversation(tmp_path)
    feed(one, REPORTS, RESULT)
    once = one.conclude(Ending(exit_code=0)).cost
    assert cost is not None
    assert once is not None
    assert cost.input_tokens == 2 * once.input_tokens
    assert cost.total_cost_usd == pytest.approx(2 * (once.total_cost_usd or 0))


@pytest.mark.parametrize("native", [None, 3, [], {}, {"type": []}, lifecycle("started", "unknown")])
def test_nonsense_changes_nothing(tmp_path: Path, native: Any):
    claude = conversation(tmp_path)
    feed(claude, REPORTS)
    request = steer(claude)
    feed(claude, native, {"type": "command_lifecycle", "command_uuid": [], "state": {}})
    assert request.delivery is None
    assert not claude.is_final


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.1.329 (Claude Code)\n", (2, 1, 329)),
        ("Claude Code version: 2.1.205", (2, 1, 205)),
        ("claude version 2.0.1", (2, 0, 1)),
        ("a warning\n2.1.329 (Claude Code)", (2, 1, 329)),
        ("Python 3.12.1", None),
        ("", None),
        ("2.1", None),
    ],
)
def test_reading_a_version(text: str, version: Any):
    assert parse_version(text) == version


class TestSupport:
    """Whether a session is started so that it takes messages."""

    pytestmark = pytest.mark.anyio

    def program(self, folder: Path, script: str) -> dict[str, str]:
        path = folder / "claude.py"
        path.write_text(
            f"import sys, time\nopen({str(folder / 'asked')!r}, 'a').write('x')\n{script}"
        )
        words = shlex.join([sys.executable, "-S", str(path)])
        return {"PATH": "/usr/bin:/bin", "ANTHROPIC_API_KEY": "k", "CLAUDE_BINARY": words}

    @pytest.mark.parametrize(
        ("script", "takes"),
        [
            ("print('2.1.205 (Claude Code)')", True),
            ("print('2.1.204 (Claude Code)')", False),
            ("print('3.0.0 (Claude Code)')", True),
            ("print('hello'); sys.exit(1)", False),
            ("sys.stdout.write('9' * 10_000_000)", False),
            ("sys.stdin.read()", False),
        ],
    )
    async def test_auto_asks_for_the_version_once(self, tmp_path: Path, script: str, takes: bool):
        support = MessageSupport()
        config = make_config(tmp_path, env=self.program(tmp_path, script))
        assert [await support(config), await support(config)] == [takes, takes]
        assert (tmp_path / "asked").read_text() == "x"

    async def test_a_program_that_hangs_is_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("agent_swarm_worker.providers.claude.adapter.PROBE_S", 0.3)
        config = make_config(tmp_path, env=self.program(tmp_path, "time.sleep(60)"))
        support = MessageSupport()
        with anyio.fail_after(10):
            assert [await support(config), await support(config)] == [False, False]
        assert (tmp_path / "asked").read_text() == "xx"  # it may have been a bad moment

    @pytest.mark.parametrize(
        ("wish", "takes"), [("on", True), ("TRUE", True), ("off", False), ("0", False)]
    )
    async def test_the_switch_decides_without_asking(self, tmp_path: Path, wish: str, takes: bool):
        env = {**self.program(tmp_path, ""), "CLAUDE_QUEUE_STEERING": wish}
        assert await MessageSupport()(make_config(tmp_path, env=env)) is takes
        assert not (tmp_path / "asked").exists()

    async def test_a_program_that_is_not_there_is_for_the_session_to_report(self, tmp_path: Path):
        env = {"PATH": "/usr/bin:/bin", "CLAUDE_BINARY": "no-such-claude"}
        assert not await MessageSupport()(make_config(tmp_path, env=env))

    async def test_a_session_with_a_message_from_start_to_end(self, tmp_path: Path):
        init = {**REPORTS, "claude_code_version": "2.1.329"}
        script = f"""
import json
if sys.argv[-1] == "--version":
    print("2.1.329 (Claude Code)")
    sys.exit()
def say(**event): print(json.dumps(event), flush=True)
assert sys.argv[sys.argv.index("--input-format") + 1] == "stream-json"
prompt = json.loads(sys.stdin.readline())["message"]["content"]
say(**{init!r})
line = json.loads(sys.stdin.readline())
say(type="command_lifecycle", command_uuid=line["uuid"], state="queued")
say(type="command_lifecycle", command_uuid=line["uuid"], state="started")
say(**{{**{RESULT!r}, "result": prompt + " and " + line["message"]["content"]}})
sys.exit(0 if sys.stdin.read() == "" else 9)
"""
        config = make_config(tmp_path, env=self.program(tmp_path, script), prompt="this")
        session: Any = await ClaudeAdapter().create_session(config)
        outcomes: list[SteerDelivery] = []

        async def deliver() -> None:
            outcomes.append(await session.deliver_steering("steer", "that"))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(deliver)
                result = await session.wait_for_completion()
        assert outcomes == [TAKEN]
        assert (result.exit_code, result.output) == (0, "this and that")

    async def test_an_empty_prompt_is_given_as_one(self, tmp_path: Path):
        script = "print(sys.argv[1:], repr(sys.stdin.read()), file=sys.stderr); sys.exit(1)"
        env = {**self.program(tmp_path, script), "CLAUDE_QUEUE_STEERING": "on"}
        session = await ClaudeAdapter().create_session(make_config(tmp_path, env=env, prompt=" "))
        result = await session.wait_for_completion()
        assert "--input-format" not in str(result.failure_reason)
        assert "' '" in str(result.failure_reason)
