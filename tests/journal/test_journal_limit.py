"""A session that says more than its journal may hold."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_swarm_worker import logs
from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    ContextUsage,
    Custom,
    Error,
    Message,
    Progress,
    ProviderEvent,
    ProviderSessionConfig,
    RawLog,
    Result,
    Translator,
)
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.journal.limit import Weight, weigh
from agent_swarm_worker.journal.records import LIMIT_RECORD
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit import session as sessions
from agent_swarm_worker.providers.kit.session import BaseSession
from agent_swarm_worker.providers.subprocess.translate import SubprocessTranslator
from agent_swarm_worker.sandboxes.local import LocalGuest

MAX = 16_000
PAD = "x" * 400
INIT = {"type": "system", "subtype": "init", "session_id": "s-1", "model": "m"}
DELTA = {"type": "stream_event", "event": {"type": "content_block_delta"}, "x": PAD}
SAID = {"type": "assistant", "message": {"id": "m", "content": [{"type": "text", "text": PAD}]}}
ERROR = {"type": "error", "error": {"message": f"it broke {PAD}"}}
RESULT = {"type": "result", "subtype": "success", "is_error": False, "result": "done"}


@pytest.fixture
def worker_log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure(human=False, stream=stream)
    yield stream
    logs.reset()


class Spoken:
    """A session that says what it is told to say."""

    def __init__(self, place: Path, *, max_bytes: int = MAX) -> None:
        self.config = ProviderSessionConfig(
            prompt="",
            agent_id="a",
            task_id="t",
            session_uuid="u",
            api_url="",
            api_key="",
            guest=LocalGuest("u"),
            cwd=place,
            log_file=place / "journal.jsonl",
            private_dir=place,
            env={},
            redactor=Scrubber(),
            journal_max_bytes=max_bytes,
        )
        self.session = BaseSession(self.config, clock=SystemClock())
        self.translator: Translator = ClaudeTranslator(self.config)
        self.events: list[ProviderEvent] = []
        self.session.on_event(self.events.append)

    def say(self, *things: dict[str, Any] | str, times: int = 1) -> None:
        lines = [x.encode() if isinstance(x, str) else json.dumps(x).encode() for x in things]
        for _ in range(times):
            self.session.take(lines, self.translator)

    def recorded(self, path: Path | None = None) -> list[dict[str, Any]]:
        text = (path or self.config.log_file).read_text()
        return [json.loads(line) for line in text.splitlines()]

    def types(self) -> list[str]:
        return [record["type"] for record in self.recorded()]

    def of(self, kind: type[ProviderEvent]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


def test_below_half_of_the_limit_all_is_recorded(tmp_path: Path):
    spoken = Spoken(tmp_path)
    spoken.say(INIT, DELTA, "plain words", SAID, times=5)
    spoken.session.take_stderr(b"a warning", spoken.translator)
    spoken.say(RESULT)
    spoken.session.close_journal()
    expected = ["system", "stream_event", "stdout", "assistant"] * 5 + ["stderr", "result"]
    assert spoken.types() == expected


def test_debug_lines_go_first_and_results_never(tmp_path: Path, worker_log: io.StringIO):
    spoken = Spoken(tmp_path)
    spoken.say(DELTA, times=17)
    before = len(spoken.types())
    spoken.say(DELTA, "plain words", {"type": "ping"}, {"type": "unheard-of"}, SAID, times=3)
    spoken.session.take_stderr(b"a warning", spoken.translator)
    assert spoken.types()[before:] == [LIMIT_RECORD, "assistant", "assistant", "assistant"]
    spoken.say(SAID, times=30)
    spoken.say(INIT | {"session_id": "s-2"}, ERROR, RESULT)
    spoken.session.close_journal()
    tail = spoken.types()[-5:]
    assert tail == [LIMIT_RECORD, "system", "error", "result", LIMIT_RECORD]
    assert spoken.config.log_file.stat().st_size < MAX
    # All of it was heard, whether recorded or not.
    assert spoken.of(RawLog) == 17 + 15 + 30 + 3
    assert spoken.of(Result) == 1
    assert spoken.session.session_id == "s-2"
    last = spoken.recorded()[-1]["left_out"]
    said = spoken.types().count("assistant")
    assert last["debug"]["lines"] == 4 * 3 + 1
    assert last["debug"]["bytes"] > 3 * len(PAD)
    assert last["ordinary"]["lines"] == 33 - said
    assert "vital" not in last
    told = [json.loads(line) for line in worker_log.getvalue().splitlines()]
    assert [line["event"] for line in told] == [Event.JOURNAL_LIMITED.value] * 3
    assert told[-1]["left_out"] == last


def test_a_flood_of_errors_is_bounded_and_the_last_word_is_kept(tmp_path: Path):
    spoken = Spoken(tmp_path)
    spoken.say(ERROR, times=200)
    spoken.say(RESULT)
    spoken.say(SAID, DELTA)
    size = spoken.config.log_file.stat().st_size
    assert MAX <= size < MAX + 3000
    spoken.session.close_journal()
    last, word = spoken.recorded()[-2:]
    assert last == RESULT
    assert word["left_out"]["vital"]["lines"] == 200 - spoken.types().count("error")


def test_the_limit_is_that_of_the_session_not_of_one_of_its_files(tmp_path: Path):
    spoken = Spoken(tmp_path)
    spoken.say(SAID, times=40)
    second = tmp_path / "journal-fresh.jsonl"
    spoken.session.journal.switch(second, {"type": "fresh_session"})
    spoken.say(SAID, RESULT)
    spoken.session.close_journal()
    assert [r["type"] for r in spoken.recorded(second)] == ["fresh_session", "result", LIMIT_RECORD]


def test_plain_words_are_what_a_plain_program_has_to_say(tmp_path: Path):
    spoken = Spoken(tmp_path)
    spoken.translator = SubprocessTranslator("text", ClaudeTranslator(spoken.config))
    spoken.say(PAD, times=30)
    assert LIMIT_RECORD not in spoken.types()
    spoken.say(PAD, times=5)
    spoken.say(PAD, "", '{"json": "is words too"}', times=50)
    spoken.session.close_journal()
    assert spoken.recorded()[-1]["left_out"].keys() == {"ordinary"}
    assert spoken.config.log_file.stat().st_size < MAX


@pytest.mark.parametrize(
    ("events", "weight"),
    [
        ([], Weight.DEBUG),
        ([Custom("codex.message_delta", {})], Weight.DEBUG),
        ([Progress("compiling")], Weight.ORDINARY),
        ([Message("assistant", "hi"), ContextUsage(5)], Weight.ORDINARY),
        ([ContextUsage(5)], Weight.VITAL),
        ([Message("assistant", "oh"), Error("no")], Weight.VITAL),
        ([Custom("x", {}), Result(None)], Weight.VITAL),
    ],
)
def test_a_line_weighs_what_it_means(events: list[ProviderEvent], weight: Weight):
    assert weigh(events) is weight


def test_a_translator_that_breaks_costs_its_line_only(tmp_path: Path):
    class Broken(ClaudeTranslator):
        def feed(self, native: Any) -> Any:
            yield from super().feed(native)
            raise RuntimeError("broken")

    spoken = Spoken(tmp_path)
    spoken.say(SAID, times=20)
    spoken.translator = Broken(spoken.config)
    spoken.say(RESULT)
    spoken.say(SAID)
    assert spoken.types()[-2:] == ["result", "assistant"]
    assert spoken.of(Result) == 1


def test_what_waits_for_the_first_listener_has_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sessions, "MAX_BACKLOG_BYTES", 5000)
    spoken = Spoken(tmp_path)
    early, heard = BaseSession(spoken.config, clock=SystemClock()), spoken.events
    for _ in range(100):
        early.emit(RawLog(PAD))
    early.on_event(heard.append)
    assert sum(len(event.content) for event in heard if isinstance(event, RawLog)) < 5000
    assert len(heard) > 5
