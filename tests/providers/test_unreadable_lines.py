"""A protocol line that is no valid JSON is read, or the session fails; no success comes of it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from session_config import session_config

from agent_swarm_worker.contract import ProviderResult, ProviderSessionConfig, Translator
from agent_swarm_worker.journal.records import events_of
from agent_swarm_worker.providers.claude.conversation import ClaudeConversation
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.codex.app_server import AppServer
from agent_swarm_worker.providers.codex.credentials import Credential
from agent_swarm_worker.providers.codex.exec_stream import ExecTranslator
from agent_swarm_worker.providers.codex.outcome import CodexState, Plan
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.launch import CliHarness, Launch
from agent_swarm_worker.providers.subprocess.translate import OutputMode, SubprocessTranslator

pytestmark = pytest.mark.anyio

CHILD = "import sys, time; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
THREAD = "01a00000-0000-7000-8000-000000000001"
MakeTranslator = Callable[[ProviderSessionConfig], Translator]


def codex(config: ProviderSessionConfig, transport: str) -> Translator:
    plan = Plan(
        transport="exec" if transport == "exec" else "app-server",
        model="m",
        effort=None,
        home=Path("/nowhere"),
        credential=Credential(is_oauth=False),
    )
    state = CodexState(config=config, plan=plan)
    return ExecTranslator(state) if transport == "exec" else AppServer(state)


def subprocess(mode: OutputMode) -> MakeTranslator:
    return lambda config: SubprocessTranslator(mode, ClaudeTranslator(config))


CLAUDE = [
    b'{"type":"system","subtype":"init","session_id":"s","model":"m"}',
    b'{"type":"assistant","message":{"model":"m","content":[{"type":"text","text":"Hm."}]}}',
    b'{"type":"result","subtype":"success","is_error":true,"result":"API Error: 401"}',
]
CODEX = [
    b'{"type":"thread.started","thread_id":"%b"}' % THREAD.encode(),
    b'{"type":"turn.started"}',
    b'{"type":"turn.failed","error":{"message":"API Error: 401"}}',
]
SERVER = [
    b'{"id":1,"result":{}}',
    b'{"id":2,"result":{"thread":{"id":"%b"}}}' % THREAD.encode(),
    b'{"id":3,"result":{"turn":{"id":"t"}}}',
    b'{"method":"turn/completed","params":{"turn":'
    b'{"status":"failed","error":{"message":"API Error: 401"}}}}',
]
EVENTS = [
    b'{"type":"message","content":"Hm."}',
    b'{"type":"result","is_error":true,"output":"API Error: 401"}',
]
HARNESSES: dict[str, tuple[MakeTranslator, list[bytes]]] = {
    "claude": (ClaudeConversation, CLAUDE),
    "codex exec": (lambda config: codex(config, "exec"), CODEX),
    "codex app-server": (lambda config: codex(config, "app-server"), SERVER),
    "subprocess stream-json": (subprocess("stream-json"), CLAUDE),
    "subprocess jsonl": (subprocess("jsonl"), EVENTS),
    "subprocess auto": (subprocess("auto"), EVENTS),
}
MEMBERS: dict[str, Callable[[bytes], bytes]] = {
    "title": lambda line: b"\x1b]0;agent\x07" + line,
    "byte order mark": lambda line: b"\xef\xbb\xbf" + line,
    "colour": lambda line: b"\x1b[32m" + line + b"\x1b[0m",
    "NUL": lambda line: b"\0" + line,
    "NaN": lambda line: line[:-1] + b',"cost_usd":NaN,"max":-Infinity}',
    "trailing comma": lambda line: line[:-1] + b",}",
    "raw tab in a string": lambda line: line[:-1] + b',"note":"a\tb"}',
    "wrong escape": lambda line: line[:-1] + b',"note":"\\x1b"}',
    "two objects": lambda line: b'{"type":"ping"}' + line,
    "text behind": lambda line: line + b" bye",
    "single quotes": lambda line: line.replace(b'"', b"'"),
    "comments": lambda line: line.replace(b"{", b"{/* a */", 1) + b" // b",
}
"""What may become of a line."""
GLUED = {
    "text before": lambda line: b"warning: slow disk " + line,
    "half a line before": lambda line: b'{"type":"ping","x":"y' + line,
}
"""The same, of lines that come when it is certain that the program prints JSON."""
TORN = {
    "cut": lambda line: line[:-9],
    "overwritten": lambda line: line[:30] + b'progress: 5% "' + line[34:],
}


async def ran(
    folder: Path, make: MakeTranslator, lines: list[bytes], **changed: object
) -> ProviderResult:
    """Run a program that prints these lines in a session; check that its journal tells the same."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    said = folder / "said"
    said.write_bytes(b"".join(line + b"\n" for line in lines))
    config = session_config(folder, env={"PATH": "/usr/bin:/bin"}, **changed)
    launch = Launch(
        argv=(sys.executable, "-S", "-c", CHILD, str(said)), env=config.env, cwd=config.cwd
    )
    translators: list[Translator] = []

    def make_harness(config: ProviderSessionConfig) -> CliHarness:
        translators.append(make(config))
        return CliHarness(launch=launch, translator=translators[-1])

    session = CliSession(config, make_harness)
    live: list[object] = []
    session.on_event(lambda event: live.append(event) if event.type != "raw_log" else None)
    result = await session.wait_for_completion()
    again = make(config)
    records, redactor = config.log_file.read_bytes().splitlines(), config.redactor
    assert [event for record in records for event in events_of(record, again, redactor)] == live
    return result


@pytest.mark.parametrize("how", MEMBERS | GLUED)
@pytest.mark.parametrize("harness", HARNESSES)
async def test_a_failure_is_read_whatever_became_of_the_line(
    harness: str, how: str, tmp_path: Path
):
    make, lines = HARNESSES[harness]
    change = (MEMBERS | GLUED)[how]
    result = await ran(tmp_path, make, [*lines[:-1], change(lines[-1])])
    assert result.is_error
    assert result.error_category == "authentication_failed", result
    assert "API Error: 401" in (result.failure_reason or "")


@pytest.mark.parametrize("how", TORN)
@pytest.mark.parametrize("harness", HARNESSES)
async def test_a_result_that_cannot_be_read_is_a_failure(harness: str, how: str, tmp_path: Path):
    make, lines = HARNESSES[harness]
    result = await ran(tmp_path, make, [*lines[:-1], TORN[how](lines[-1])])
    assert result.is_error
    assert "cannot be read" in (result.failure_reason or ""), result


@pytest.mark.parametrize("how", MEMBERS)
@pytest.mark.parametrize("harness", HARNESSES)
async def test_every_line_is_read(harness: str, how: str, tmp_path: Path):
    """Also where the first line decides how a program is read, and answers to requests."""
    make, lines = HARNESSES[harness]
    good = [line.replace(b'"is_error":true', b'"is_error":false') for line in lines]
    good[-1] = (
        good[-1].replace(b"turn.failed", b"turn.completed").replace(b'"failed"', b'"completed"')
    )
    result = await ran(tmp_path, make, [MEMBERS[how](line) for line in good])
    assert not result.is_error, result


async def test_a_later_result_that_cannot_be_read_outweighs_an_earlier_one(tmp_path: Path):
    good = CLAUDE[-1].replace(b'"is_error":true', b'"is_error":false')
    result = await ran(tmp_path, ClaudeConversation, [*CLAUDE[:-1], good, CLAUDE[-1][:-3]])
    assert result.is_error
    event = EVENTS[-1].replace(b'"is_error":true', b'"is_error":false')
    result = await ran(tmp_path, subprocess("jsonl"), [event, EVENTS[-1][:-3]])
    assert result.is_error


async def test_an_answer_that_cannot_be_read_fails_its_request(tmp_path: Path):
    result = await ran(tmp_path, HARNESSES["codex app-server"][0], [b'{"id":1,"result":{"a":oops'])
    assert "the answer to initialize cannot be read" in (result.failure_reason or "")


async def test_text_that_only_mentions_events_is_text(tmp_path: Path):
    said = [
        b'log: {"type":"result","is_error":true} was said',
        b'{"a":1}{"b":2}',
        b"{odd",
        b'{"a":1,}',
    ]
    for mode in ("auto", "text"):
        result = await ran(tmp_path, subprocess("auto" if mode == "auto" else "text"), said)
        assert (result.is_error, result.output) == (False, b"\n".join(said).decode())


async def test_what_is_mended_is_recorded_as_valid_json_and_scrubbed(tmp_path: Path):
    config = session_config()
    config.redactor.add("TOKEN", "a-secret-of-mine")
    lines = [b'a-secret-of-mine {"type":"x","y":"a-secret-\x1b[0mof-mine a-secret-of-mine",}']
    await ran(tmp_path, ClaudeConversation, lines, redactor=config.redactor)
    (journal,) = tmp_path.glob("*/session.jsonl")
    records = [orjson.loads(line) for line in journal.read_bytes().splitlines()]
    assert [record.get("type") for record in records] == ["stdout", "x"]
    assert "a-secret-of-mine" not in journal.read_text()
