"""The log: how lines look, that each is scrubbed, that writing one never fails, and its words."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TextIO

import anyio
import pytest
from sources import MODULES, nodes_of

from agent_swarm_worker import logs
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.logs import Event, Log

SECRET = "s3cr3t-'quoted\"-\\-value"


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    yield
    logs.reset()


def lines(
    act: Callable[[Log], None],
    *,
    human: bool = False,
    level: str = "info",
    scrub: Callable[[str], str] | None = None,
) -> list[str]:
    stream = io.StringIO()
    logs.configure(human=human, level=level, scrub=scrub, stream=stream)
    act(Log())
    return stream.getvalue().splitlines()


# --- how a line looks
def test_json_lines_carry_event_level_time_and_values():
    (line,) = lines(lambda log: log.info(Event.BOOT_STEP, step="one", path=Path("/x"), none=None))
    values = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", values.pop("timestamp"))
    assert values == {
        "event": "boot.step",
        "level": "info",
        "step": "one",
        "path": "/x",
        "none": None,
    }


def test_readable_lines():
    (line,) = lines(
        lambda log: log.warning(Event.BOOT_STEP, step="one", why="two words", none=None),
        human=True,
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d ! boot\.step  step=one  why='two words'", line)


@pytest.mark.parametrize("value", ["a\nb", "\x1b[2J", "\x9b31m", "\u202e", "a\rb", "\x00"])
def test_a_value_cannot_make_lines_or_drive_a_terminal(value: str):
    (line,) = lines(lambda log: log.info(Event.SESSION_OUTPUT, text=value), human=True)
    assert line.isprintable()
    (line,) = lines(lambda log: log.info(Event.SESSION_OUTPUT, text=value))
    assert json.loads(line)["text"] == value
    assert line.isprintable()
    (line,) = lines(lambda log: log.output(Event.SESSION_OUTPUT, f"{value} \x7f\u2028"))
    assert json.loads(line)["text"] == f"{value} \x7f\u2028"
    assert line.isprintable()


def test_bound_values_are_on_every_line_of_that_logger_alone():
    def act(log: Log) -> None:
        task = log.bind(task="t-1")
        task.info(Event.TASK_STARTED)
        task.bind(more=1).info(Event.TASK_FINISHED)
        log.info(Event.WORKER_STOPPED)

    first, second, third = map(json.loads, lines(act))
    assert first["task"] == second["task"] == "t-1"
    assert (second["more"], "more" in first, "task" in third) == (1, False, False)


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_less_severe_lines_are_left_out(level: str, shown: int):
    def act(log: Log) -> None:
        for write in (log.debug, log.info, log.warning, log.error):
            write(Event.BOOT_STEP)

    found = lines(act, level=level)
    assert len(found) == shown
    assert json.loads(found[-1])["level"] == "error"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_gets_readable_lines(is_terminal: bool):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal  # type: ignore[method-assign]
    logs.configure(stream=stream)
    Log().info(Event.BOOT_STEP)
    assert stream.getvalue().startswith("{") is not is_terminal


@pytest.mark.parametrize("human", [True, False])
@pytest.mark.parametrize(
    "value", ["\udcff", 2**70, {"deep": "\ud800"}, {1: 2}, object(), {3}, b"x"]
)
def test_values_that_json_does_not_know(value: object, human: bool):
    (line,) = lines(lambda log: log.error(Event.TASK_LOST, value=value, why="it"), human=human)
    assert "task.lost" in line
    assert "it" in line
    if not human:
        assert json.loads(line)["level"] == "error"


# --- secrets
@pytest.mark.parametrize("human", [True, False])
def test_every_line_is_scrubbed(human: bool):
    scrubber = Scrubber()
    scrubber.add("KEY", SECRET)

    def act(log: Log) -> None:
        log.info(Event.BOOT_STEP, plain=SECRET, within=f"it's {SECRET}", deep=[{"a": SECRET}])
        log.bind(bound=SECRET).error(Event.TASK_LOST, **{SECRET[:6] + "x": 1})
        log.info(Event.BOOT_STEP, value="\udcff", secret=SECRET)

    found = lines(act, human=human, scrub=scrubber.text)
    assert len(found) == 3
    for line in found:
        assert "quoted" not in line
    assert found[0].count("[REDACTED:KEY]") == 3


# --- writing never fails
class Failing(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error

    def write(self, text: str) -> int:
        if self.error:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        BrokenPipeError(),
        BlockingIOError(),
        ValueError("I/O operation on closed file"),
        UnicodeEncodeError("ascii", "é", 0, 1, "no"),
    ],
)
def test_a_line_that_cannot_be_written_is_dropped(error: Exception):
    stream = Failing(error)
    logs.configure(human=False, stream=stream)
    log = Log()
    log.error(Event.TASK_LOST)
    stream.error = None
    log.info(Event.WORKER_STARTED)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "worker.started"
    ]


def full() -> TextIO:
    return Path("/dev/full").open("w", encoding="utf-8")


def without_reader() -> TextIO:
    read_end, write_end = os.pipe()
    os.close(read_end)
    return os.fdopen(write_end, "w", encoding="utf-8")


@pytest.mark.parametrize("broken", [full, without_reader])
def test_a_stream_that_takes_nothing_does_not_matter(broken: Callable[[], TextIO]):
    stream = broken()
    logs.configure(human=False, stream=stream)
    for _ in range(3):
        Log().error(Event.TASK_LOST, why="x" * 50_000)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())  # for what is left in its buffer
    stream.close()
    Log().error(Event.TASK_LOST)


def test_lines_come_out_at_once(tmp_path: Path):
    # A killed process has said all it had to say, even to a file, which Python would buffer.
    code = (
        "import os, sys; from agent_swarm_worker import logs\n"
        "logs.configure(human=False)\n"
        "logs.Log().info(logs.Event.BOOT_STEP)\n"
        "logs.configure(human=False, stream=open(sys.argv[1], 'w'))\n"
        "logs.Log().info(logs.Event.WORKER_STARTED)\n"
        "os._exit(0)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "log")]
    done = subprocess.run(words, capture_output=True, timeout=30, check=True)
    assert json.loads(done.stderr)["event"] == "boot.step"
    assert json.loads((tmp_path / "log").read_text())["event"] == "worker.started"
    assert done.stdout == b""


# --- what sessions say
@pytest.mark.anyio
async def test_output_is_written_when_the_step_of_the_loop_ends():
    stream = io.StringIO()
    logs.configure(human=False, stream=stream)
    log = Log(task="t").bind(n=1)
    log.output(Event.SESSION_OUTPUT, "é")
    log.output(Event.SESSION_OUTPUT, "b")
    assert stream.getvalue() == ""
    await anyio.lowlevel.checkpoint()
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert datetime.fromisoformat(first.pop("timestamp")).tzinfo is not None
    said = {"task": "t", "n": 1, "text": "é", "event": "session.output", "level": "info"}
    assert first == said
    assert second["text"] == "b"


@pytest.mark.anyio
async def test_output_keeps_its_place_among_other_lines():
    stream = io.StringIO()
    logs.configure(human=False, stream=stream)
    log = Log()
    for number in range(3):
        log.output(Event.SESSION_OUTPUT, f"line {number}")
        log.warning(Event.TASK_LOST)
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["session.output", "task.lost"] * 3


@pytest.mark.anyio
async def test_output_is_scrubbed_line_by_line():
    stream = io.StringIO()
    logs.configure(human=False, stream=stream, scrub=lambda text: text.replace("hunter2", "[X]"))
    for text in ("plain", "it is hunter2", "plain"):
        Log().output(Event.SESSION_OUTPUT, text)
    await anyio.lowlevel.checkpoint()
    texts = [json.loads(line)["text"] for line in stream.getvalue().splitlines()]
    assert texts == ["plain", "it is [X]", "plain"]


@pytest.mark.anyio
async def test_output_that_the_stream_cannot_encode_costs_only_its_own_line(tmp_path: Path):
    with (tmp_path / "log").open("w", encoding="ascii") as stream:
        logs.configure(human=False, stream=stream)
        for text in ("a", "é", "b"):
            Log().output(Event.SESSION_OUTPUT, text)
        await anyio.lowlevel.checkpoint()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a", "b"]


def test_output_of_a_level_that_is_hidden_is_left_out():
    stream = io.StringIO()
    logs.configure(human=False, stream=stream, level="warning")
    Log().output(Event.SESSION_OUTPUT, "a")
    assert not Log().shows_info
    logs.flush()
    assert stream.getvalue() == ""


_OUTPUT = """
import asyncio, os, signal, sys
from agent_swarm_worker import logs

async def main():
    logs.configure(human=False)
    for number in range(5):
        logs.Log().output(logs.Event.SESSION_OUTPUT, str(number))
        if number == 3:
            await asyncio.sleep(0)
    {end}

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("end", "count"),
    [
        ("pass", 5),
        ("raise KeyboardInterrupt", 5),
        ("sys.exit(3)", 5),
        ("logs.flush(); os._exit(0)", 5),
        ("os.kill(os.getpid(), signal.SIGKILL)", 4),  # what the last step said is gone
    ],
)
def test_the_end_of_the_process_loses_no_output_of_an_earlier_step(end: str, count: int):
    words = [sys.executable, "-c", _OUTPUT.replace("{end}", end)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith("{")]
    assert [json.loads(line)["text"] for line in said] == [str(n) for n in range(count)]


def test_output_from_a_thread_without_a_loop_is_written_at_once():
    stream = io.StringIO()
    logs.configure(human=False, stream=stream)
    Log().output(Event.SESSION_OUTPUT, "a")
    assert json.loads(stream.getvalue())["text"] == "a"


# --- the vocabulary
def mentioned() -> dict[str, list[str]]:
    """Return where each ``Event.NAME`` stands, the vocabulary itself excepted."""
    found: dict[str, list[str]] = {}
    for path in MODULES:
        if path.name == "logs.py" or not _ours(path):
            continue
        for node in nodes_of(path):
            match node:
                case ast.Attribute(ast.Name("Event"), name):
                    found.setdefault(name, []).append(f"{path}:{node.lineno}")
    return found


def _ours(path: Path) -> bool:
    """True if ``Event`` is the vocabulary here, and not anyio's or somebody else's."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "agent_swarm_worker.logs"
        and any(alias.name == "Event" for alias in node.names)
        for node in nodes_of(path)
    )


def test_every_event_that_is_used_exists_and_every_one_that_exists_is_used():
    used = mentioned()
    assert {name: places for name, places in used.items() if name not in Event.__members__} == {}
    assert set(Event.__members__) - set(used) == set()


def test_event_names_are_unique_and_plain():
    assert len({event.value for event in Event}) == len(Event)
    for event in Event:
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", event.value)


LEVELS = {"debug", "info", "warning", "error"}
RESERVED = {"event", "level", "timestamp"}


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    for path in MODULES:
        for node in nodes_of(path):
            match node:
                case ast.Call(ast.Attribute(_, name), [ast.Attribute(ast.Name("Event")), *_]):
                    if name in LEVELS:
                        yield f"{path}:{node.lineno}", node


def test_no_value_takes_the_place_of_what_every_line_carries():
    found = [
        place
        for place, node in log_calls()
        if RESERVED & {keyword.arg for keyword in node.keywords}
    ]
    assert found == []
    assert len(list(log_calls())) > 30


def test_nothing_else_logs():
    for path in MODULES:
        for node in nodes_of(path):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if path.name != "logs.py":
                assert not {"logging", "structlog"} & set(modules), path
