"""What a listener hears, what the disk has and what the sink is told, in which order."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    Ending,
    Message,
    ProviderEvent,
    ProviderResult,
    ProviderSessionConfig,
    RawLog,
    RawStderr,
)
from agent_swarm_worker.contract.listening import ByteRange, listens_to
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.journal import writer
from agent_swarm_worker.journal.files import continuation_of, continuation_record, read_head
from agent_swarm_worker.journal.writer import Journal
from agent_swarm_worker.providers.kit.session import BaseSession
from agent_swarm_worker.sandboxes.local import LocalGuest

SECRET = "a-secret-of-the-session"
PAD = "x" * 300


class Says:
    """A translator: each line is a message."""

    is_final = False

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        yield Message("assistant", str(native["say"]))

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        yield Message("assistant", line)

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:
        yield Message("user", line)

    def conclude(self, ending: Ending) -> ProviderResult:
        return ProviderResult(exit_code=ending.exit_code, is_error=False)


class Observed:
    """A session with a sink and a listener that note what happens, and what is on disk then."""

    def __init__(self, place: Path, *, max_bytes: int = 1 << 30) -> None:
        redactor = Scrubber()
        redactor.add("SECRET", SECRET)
        self.path = place / "journal.jsonl"
        self.start = Journal.begin(self.path, {"type": "worker_metadata"})
        self.session = BaseSession(
            ProviderSessionConfig(
                prompt="",
                agent_id="a",
                task_id="t",
                session_uuid="u",
                api_url="",
                api_key="",
                cwd=place,
                log_file=self.path,
                private_dir=place,
                env={},
                guest=LocalGuest("u"),
                redactor=redactor,
                journal_max_bytes=max_bytes,
                sink=self,
            ),
            clock=SystemClock(),
        )
        self.session.on_event(self.take)
        self.noted: list[tuple[str, Any]] = []
        self.signs_of_life: list[list[bytes]] = []
        self.shipped = b""
        """What an uploader makes of it: ranges as they are told, and what is unwritten."""
        self.not_on_disk: list[str] = []
        """Lines that were heard and not in the file then."""
        self._translator = Says()

    # --- the sink
    def wrote(self, written: ByteRange) -> None:
        self.noted.append(("wrote", written))
        self.shipped += self.path.read_bytes()[written.start : written.end]

    def switched(self, path: Path, start: int) -> None:
        self.noted.append(("switched", start))
        self.path = path

    def unwritten(self, lines: bytes) -> None:
        self.noted.append(("unwritten", lines))
        self.shipped += lines

    def received(self, lines: Sequence[bytes]) -> None:
        self.signs_of_life.append([line for line in lines if line])

    # --- the listener
    def take(self, event: ProviderEvent) -> None:
        self.noted.append((event.type, event))
        if isinstance(event, RawLog) and event.content.encode() not in self.path.read_bytes():
            self.not_on_disk.append(event.content)

    def say(self, *words: str) -> None:
        lines = [json.dumps({"say": word}).encode() for word in words]
        self.session.take(lines, self._translator, lambda *sizes: self.intent(*sizes))

    def intent(self, begin: int, end: int) -> None:
        size = self.path.stat().st_size if self.path.exists() else 0
        assert size == begin, "the intent is noted before anything is written"
        self.noted.append(("intent", (begin, end)))

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.noted]

    def heard_words(self) -> list[str]:
        return [event.content for kind, event in self.noted if kind == "message"]


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """A disk that is full as soon as a file has this size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_intent_disk_sink_then_each_line_and_its_events(tmp_path: Path):
    seen = Observed(tmp_path)
    seen.say("one", f"two {SECRET}")
    expected = ["intent", "wrote", "raw_log", "message", "raw_log", "message"]
    assert seen.kinds() == expected
    assert seen.noted[1] == ("wrote", (seen.start, seen.path.stat().st_size))
    assert seen.noted[0][1] == seen.noted[1][1]
    assert SECRET.encode() not in seen.path.read_bytes()
    assert not seen.not_on_disk
    seen.noted.clear()
    seen.session.take_stderr(b"oh\nno", Says(), seen.intent)
    assert seen.kinds() == ["intent", "wrote", "raw_stderr", "message", "message"]
    assert seen.noted[2] == ("raw_stderr", RawStderr("oh\nno"))


def test_an_event_that_no_line_says_is_a_sign_of_life(tmp_path: Path):
    seen = Observed(tmp_path)
    seen.session.emit(Message("assistant", "from the agent in this process"))
    assert seen.signs_of_life == [[]]
    assert seen.kinds() == ["message"]
    seen.say("one")
    assert len(seen.signs_of_life) == 2, "a line is one, whatever events come of it"


def test_near_the_limit_nobody_hears_of_a_line_before_it_is_settled(tmp_path: Path):
    seen = Observed(tmp_path, max_bytes=6000)
    for number in range(40):
        seen.say(f"{number} {PAD}", f"{number} again {PAD}")
    recorded = [json.loads(line) for line in seen.path.read_bytes().splitlines()[1:]]
    assert seen.heard_words() == [
        text for n in range(40) for text in (f"{n} {PAD}", f"{n} again {PAD}")
    ], "all of it is heard, in order"
    assert len(recorded) - 1 + len(seen.not_on_disk) == 80
    assert recorded[-1]["type"] == "journal_limit", "the file says so before they are heard"
    kinds = seen.kinds()
    for at, kind in enumerate(kinds):
        if kind == "intent":
            wrote = [kinds[at + 1]] if kinds[at + 1] == "wrote" else []
            heard = ["raw_log", "message"] * 2
            assert kinds[at : at + 1 + len(wrote) + 4] == ["intent", *wrote, *heard]
    seen.session.close_journal()
    assert json.loads(seen.path.read_bytes().splitlines()[-1])["left_out"]["ordinary"]
    assert seen.shipped == seen.path.read_bytes()[seen.start :]


def test_while_the_disk_is_full_lines_are_heard_and_held_in_order(tmp_path: Path):
    seen = Observed(tmp_path)
    seen.say("before")
    with largest_file(seen.path.stat().st_size + 1):
        seen.say("held", "as well")
        seen.say("and this")
        assert seen.kinds()[-8:] == [
            "intent",
            *["raw_log", "message"] * 2,
            "intent",
            *["raw_log", "message"],
        ]
    assert [json.loads(text)["say"] for text in seen.not_on_disk] == ["held", "as well", "and this"]
    seen.say("after")
    seen.session.close_journal()
    recorded = [json.loads(line)["say"] for line in seen.path.read_bytes().splitlines()[1:]]
    assert recorded == seen.heard_words() == ["before", "held", "as well", "and this", "after"]
    assert seen.shipped == seen.path.read_bytes()[seen.start :]


def test_what_memory_does_not_hold_is_uploaded_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "MAX_HELD_BYTES", 60)
    seen = Observed(tmp_path)
    seen.say("before")
    with largest_file(seen.path.stat().st_size + 1):
        seen.say("held")
        seen.say("too much " + "y" * 60)
        seen.say("held again")
    seen.say("after")
    with largest_file(seen.path.stat().st_size + 1):
        seen.say("at the end")
        seen.session.close_journal()
    uploaded = [json.loads(line)["say"] for line in seen.shipped.splitlines()]
    assert uploaded == seen.heard_words()
    kinds = [kind for kind in seen.kinds() if kind in {"wrote", "unwritten"}]
    assert kinds == ["wrote", "unwritten", "wrote", "unwritten"]


def test_each_read_is_a_sign_of_life_whatever_it_means(tmp_path: Path):
    seen = Observed(tmp_path)
    seen.say("one", "two")
    seen.session.take([b'{"of": "no meaning"}', b"no JSON"], Says())
    seen.session.take([b""], Says())
    assert seen.signs_of_life == [
        [b'{"say": "one"}', b'{"say": "two"}'],
        [b'{"of": "no meaning"}', b'{"type":"stdout","content":"no JSON"}'],
        [],
    ]


def test_a_session_goes_on_in_another_file(tmp_path: Path):
    seen = Observed(tmp_path)
    seen.say("first")
    second = continuation_of(seen.path)
    head = continuation_record(stale_session_id="gone", timestamp="now")
    seen.session.journal.switch(second, head)
    seen.say("second")
    seen.session.close_journal()
    assert ("switched", read_head(second).size) in seen.noted
    assert [json.loads(line)["say"] for line in seen.shipped.splitlines()] == ["first", "second"]


def test_lines_are_not_made_for_listeners_that_ignore_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = Observed(tmp_path)
    events: list[ProviderEvent] = []

    class Listener:
        @listens_to(lines="none")
        def on_event(self, event: ProviderEvent) -> None:
            events.append(event)

    session = BaseSession(seen.session.config, clock=SystemClock())
    session.on_event(Listener().on_event)
    monkeypatch.setattr("agent_swarm_worker.providers.kit.session.RawLog", None)
    session.take([b'{"say": "hi"}'], Says())
    assert events == [Message("assistant", "hi")]
    monkeypatch.undo()
    raw: list[ProviderEvent] = []
    session.on_event(raw.append)
    session.take([b'{"say": "ho"}'], Says())
    assert raw == [RawLog('{"say": "ho"}'), Message("assistant", "ho")]
    assert events[1:] == [Message("assistant", "ho")]


def test_a_file_without_its_first_record_has_lines_only(tmp_path: Path):
    # The disk was full when the session was prepared.
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"say": "hi"}\n')
    assert read_head(path) == ({}, 0)
    path.write_bytes(b"not JSON\n")
    assert read_head(path) == ({}, 0)
    path.write_bytes(b'{"type":"worker_metadata","model":"m"}\n{}\n')
    assert read_head(path) == ({"type": "worker_metadata", "model": "m"}, 39)
