"""A result that tells a failure is one, however it is printed; a good one is read as well."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from session_config import session_config

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import Ending, ProviderResult, Translator
from agent_swarm_worker.journal.records import events_of
from agent_swarm_worker.providers.claude.conversation import ClaudeConversation
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit.session import BaseSession
from agent_swarm_worker.providers.subprocess.translate import OutputMode, SubprocessTranslator

ERROR = b'{"type":"result","isError":true,"output":"it broke"}'
GOOD = b'{"type":"result","output":"fine"}'
PROGRESS = b'{"type":"progress","message":"a"}'


def result(**members: object) -> bytes:
    return json.dumps({"type": "result", "output": "it broke", **members}).encode()


def indented(line: bytes, indent: int | str = 2) -> bytes:
    return json.dumps(json.loads(line), indent=indent).encode()


TORN = {
    "a cut type": b'{"type":"res',
    "a cut type and blanks": b'{ "type" : "resu',
    "a cut value": b'{"type":"result","isError":tr',
    "a type inside comes first": b'{"content":[{"type":"text","text":"a"}],"isError":true,'
    b'"type":"result","output":"x',
    "in a torn one": b'{"type":"progress","message":"a {"type":"result","isError":true,"output":"x',
    "indented": indented(ERROR)[:-12],
    "no quotes": b"{ type: 'result', isError: true, output: 'it bro",
}
ODD = {
    "many on a line": PROGRESS * 150 + ERROR,
    "very many on a line": PROGRESS * 2000 + ERROR,
    "many and bad ones": b'{"a"' * 300 + ERROR,
    "indented": indented(ERROR),
    "indented by tabs": indented(ERROR, "\t"),
    "indented with more": indented(
        result(isError=True, usage={"a": [1, {"b": 2}, [], {}, "c"], "d": None}, e=[[1], "f"])
    ),
    "indented in an array": indented(b"[" + PROGRESS + b"," + ERROR + b"]"),
    "JavaScript": b"{ type: 'result', isError: true, output: 'it \\'broke\\' \"here\"' }",
    "JavaScript on lines": b"{\n  type: 'result',\n  isError: true,\n  cost: [Object]\n}",
    "JSON5": b'{type:"result",isError:true,output:"x",}',
    "Python": b"{'type': 'result', 'isError': True, 'output': None}",
    "a comment first": b'{/* c */"type":"result","isError":true,"output":"x"}',
    "a comment inside": b'{"type":"result",/* c * d */"isError":true,"output":"x"}',
    "a comment behind": b'{"type":"result","isError":true,"output":"x"} // bad',
    "an array": b"[" + ERROR + b"]",
    "an array of events": b"[" + PROGRESS + b"," + ERROR + b"]",
    "a string": json.dumps(ERROR.decode()).encode(),
    "an envelope": b'{"event":' + ERROR + b"}",
    "a typed envelope": b'{"type":"log","level":3,"data":' + ERROR + b"}",
    "a notification": b'{"jsonrpc":"2.0","method":"event","params":' + ERROR + b"}",
    "server-sent": b"data: " + ERROR,
    "a word": result(isError="true"),
    "a number": result(isError=1),
    "yes": result(isError="yes"),
    "an object": result(isError={"message": "boom"}),
    "only an error": result(error="boom"),
    "an error object": result(error={"message": "boom"}),
    "errors": result(isError=False, errors=["boom"]),
    "a status": result(status="error"),
    "a failed status": result(status="FAILED"),
    "no success": result(success=False),
    "not ok": result(ok="false"),
    "a category": result(errorCategory="timeout"),
    "a category beside no": result(isError=False, error_category="timeout"),
    "a subtype": result(subtype="error_during_execution", is_error=False),
    "repeated": b'{"type":"result","isError":true,"isError":false,"output":"x"}',
    "repeated and NaN": b'{"type":"result","isError":true,"isError":false,"output":"x","a":NaN}',
    "repeated and a comma": b'{"type":"result","isError":true,"isError":false,"output":"x",}',
    "both spellings": b'{"type":"result","isError":true,"is_error":false,"output":"x"}',
    "both spellings, no first": b'{"type":"result","is_error":false,"isError":true,"output":"x"}',
    "NUL in a key": b'{"type":"result","is\0Error":true,"output":"x"}',
    "kebab case": b'{"type":"result","is-error":true,"output":"x"}',
    "upper case": b'{"TYPE":"RESULT","ISERROR":true,"OUTPUT":"x"}',
    "capitals": b'{"Type":"Result","IsError":true,"Output":"x"}',
    "blanks": b'{"type":" result ","isError":true,"output":"x"}',
}
ONLY_DECLARED = {
    "no type yet": b'{"isError":false,"output":"x","ty',
    "an error event": b'{"type":"error","message":"fatal: boom"}',
    "text": b"hello\nworld",
    "other JSON": b'{"hello":1}',
    "two-byte text": ERROR.decode().encode("utf-16-le"),
}
READ = {
    "many on a line": PROGRESS * 150 + GOOD,
    "indented": indented(GOOD),
    "JavaScript": b"{ type: 'result', output: 'fine' }",
    "a comment": b'{"type":"result",/* "isError":true */"output":"fine"}',
    "an array": b"[" + PROGRESS + b"," + GOOD + b"]",
    "an envelope": b'{"event":' + GOOD + b"}",
    "server-sent": b"data: " + GOOD,
    "no error": b'{"type":"result","isError":"false","error":null,"errors":[],"status":"success",'
    b'"success":true,"output":"fine"}',
    "a cut event before": b'{"type":"progress","mess\n' + GOOD,
    "a cut result before": b'{"type":"result","isErr\n' + GOOD,
    "a failure before": ERROR + b"\n" + GOOD,
    "other spellings": b'{"Type":"RESULT","Is_Error":false,"Output":"fine"}',
}


def told(folder: Path, translator: Translator, again: Translator, said: bytes) -> ProviderResult:
    """Take the output of a program in a session; check that its journal tells the same."""
    session = BaseSession(session_config(Path(tempfile.mkdtemp(dir=folder))), clock=SystemClock())
    live: list[object] = []
    session.on_event(lambda event: live.append(event) if event.type != "raw_log" else None)
    for line in said.split(b"\n"):
        session.take([line], translator)
    session.close_journal()
    redactor = session.config.redactor
    records = session.config.log_file.read_bytes().splitlines()
    assert [event for record in records for event in events_of(record, again, redactor)] == live
    concluded = again.conclude(Ending(exit_code=0))
    assert concluded == translator.conclude(Ending(exit_code=0))
    return concluded


def program(folder: Path, mode: OutputMode, said: bytes) -> ProviderResult:
    claude = ClaudeTranslator(session_config())
    translators = [SubprocessTranslator(mode, claude) for _ in range(2)]
    if b"subtype" in said:
        translators[1] = SubprocessTranslator(mode, ClaudeTranslator(session_config()))
    return told(folder, *translators, said)


@pytest.mark.parametrize("mode", ["jsonl", "auto"])
@pytest.mark.parametrize("how", TORN | ODD)
def test_a_failure_told_oddly_is_a_failure(tmp_path: Path, how: str, mode: OutputMode):
    said = (TORN | ODD)[how]
    assert program(tmp_path, mode, said).is_error
    assert program(tmp_path, mode, PROGRESS + b"\n" + said).is_error
    assert program(tmp_path, mode, GOOD + b"\n" + said).is_error


@pytest.mark.parametrize("how", ONLY_DECLARED)
def test_a_declared_stream_without_a_result_is_a_failure(tmp_path: Path, how: str):
    assert program(tmp_path, "jsonl", ONLY_DECLARED[how]).is_error
    assert program(tmp_path, "jsonl", PROGRESS + b"\n" + ONLY_DECLARED[how]).is_error
    # An undeclared one becomes one by its first event.
    assert program(tmp_path, "auto", PROGRESS + b"\n" + ONLY_DECLARED[how]).is_error


@pytest.mark.parametrize("mode", ["jsonl", "auto"])
@pytest.mark.parametrize("how", READ)
def test_a_good_result_told_oddly_is_read(tmp_path: Path, how: str, mode: OutputMode):
    done = program(tmp_path, mode, READ[how])
    assert (done.is_error, done.output) == (False, "fine")


def test_words_before_the_first_event(tmp_path: Path):
    glued = b"WARN: old option " + ERROR
    assert program(tmp_path, "auto", glued).is_error
    # What is followed by more words is mentioned, not said.
    assert not program(tmp_path, "auto", glued + b" was said").is_error
    assert not program(tmp_path, "text", glued).is_error


CLAUDE_START = (
    b'{"type":"assistant","message":{"model":"m","content":[{"type":"text","text":"w"}]}}\n'
)


def claude_result(**members: object) -> bytes:
    usual = {"type": "result", "subtype": "success", "result": "R", "num_turns": 1}
    return json.dumps({**usual, **members}).encode()


CLAUDE_GOOD = claude_result(is_error=False)
CLAUDE_ERROR = claude_result(is_error=True)
CLAUDE_ODD = {
    "a word": claude_result(is_error="true"),
    "a number": claude_result(is_error=1),
    "a subtype": claude_result(subtype="error_during_execution", is_error=False),
    "errors": claude_result(is_error=False, errors=["boom"]),
    "an API status": claude_result(is_error=False, api_error_status=500),
    "both spellings": claude_result(isError=True, is_error=False),
    "repeated": CLAUDE_ERROR[:-1] + b',"is_error":false}',
    "repeated and NaN": CLAUDE_ERROR[:-1] + b',"is_error":false,"total_cost_usd":NaN}',
    "NUL in a key": CLAUDE_ERROR.replace(b"is_error", b"is_\0error"),
    "capitals": b'{"Type":"Result","Is_Error":true,"Result":"R"}',
    "indented": indented(CLAUDE_ERROR),
    "many on a line": b'{"type":"system"}' * 150 + CLAUDE_ERROR,
    "an array": b"[" + CLAUDE_ERROR + b"]",
    "an envelope": b'{"event":' + CLAUDE_ERROR + b"}",
    "server-sent": b"data: " + CLAUDE_ERROR,
    "JavaScript": b"{ type: 'result', is_error: true }",
    "deep": CLAUDE_ERROR[:-1] + b',"z":' + b"[" * 3000 + b"]" * 3000 + b"}",
    "a cut type": b'{"is_error":true,"result":"bad","type":"res',
    "a type inside comes first": b'{"usage":{"type":"x"},"is_error":true,"type":"result","res',
    "indented and cut": indented(CLAUDE_ERROR)[:-5],
}


@pytest.mark.parametrize("how", CLAUDE_ODD)
def test_a_failure_of_claude_told_oddly_is_a_failure(tmp_path: Path, how: str):
    for before in (b"", CLAUDE_GOOD + b"\n"):
        said = CLAUDE_START + before + CLAUDE_ODD[how]
        translators = [ClaudeConversation(session_config()) for _ in range(2)]
        assert told(tmp_path, *translators, said).is_error


@pytest.mark.parametrize(
    "said",
    [
        CLAUDE_GOOD,
        claude_result(is_error="false", errors=[], api_error_status=None),
        claude_result(is_error=False, errors=["[ede_diagnostic] x"]),
        b"[" + CLAUDE_GOOD + b"]",
        indented(CLAUDE_GOOD),
    ],
)
def test_a_good_result_of_claude_is_read(tmp_path: Path, said: bytes):
    translators = [ClaudeConversation(session_config()) for _ in range(2)]
    done = told(tmp_path, *translators, CLAUDE_START + said)
    assert (done.is_error, done.output) == (False, "R")
