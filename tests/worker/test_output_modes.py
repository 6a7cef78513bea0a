"""How the output of a program is read: stream-json, jsonl, text, or detected."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from rig import AGENT, Rig, harness, running_worker, swarm_rig

from agent_swarm_worker.errors import BadSetting
from agent_swarm_worker.logs import Event

pytestmark = pytest.mark.anyio

NORMALIZED = [
    {"type": "session_init", "sessionId": "n-1"},
    {"type": "tool_start", "toolCallId": "1", "toolName": "Read", "args": {"path": "a/b/c.txt"}},
    {"type": "tool_end", "toolCallId": "1", "toolName": "Read", "result": "c"},
    {"type": "context_usage", "contextUsedTokens": 30, "contextTotalTokens": 100},
    {"type": "message", "role": "assistant", "content": "almost there"},
    {
        "type": "result",
        "output": "the output",
        "cost": {"totalCostUsd": 0.5, "inputTokens": 7, "outputTokens": 1, "model": "m-2"},
    },
]
STREAM = [
    {"type": "system", "subtype": "init", "session_id": "c-1", "model": "m", "tools": []},
    {
        "type": "assistant",
        "message": {"model": "m", "content": [{"type": "text", "text": "I did"}]},
    },
    {"type": "result", "subtype": "success", "is_error": False, "result": "it", "num_turns": 1},
]


def lines(events: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


async def ran(rig: Rig, env: dict[str, str], **task: Any) -> dict[str, Any]:
    """Run one task and return its row."""
    async with running_worker(rig, env):
        task_id = await rig.submit(**task)
        row = await rig.until_ended(task_id)
        await rig.settled(task_id)
        return row


async def outputs(tmp_path: Path, mode: str, said: dict[str, bytes]) -> dict[str, str | None]:
    """Run a program for each way of talking, in one worker; return the outputs of its tasks."""
    async with swarm_rig(tmp_path) as rig:
        for name, content in said.items():
            (tmp_path / name).write_bytes(content)
        async with running_worker(rig, harness("prints_by_task", tmp_path, HARNESS_OUTPUT=mode)):
            rows = {}
            for name in said:
                rows[name] = await rig.until_ended(await rig.submit(f"print={name}"))
    return {
        name: row["output"] if row["status"] == "completed" else f"failed: {row['failureReason']}"
        for name, row in rows.items()
    }


async def test_normalized_events_are_reported_like_any_others(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        # A blank line on standard error is no line of the log.
        env = rig.prints(NORMALIZED, stderr=" ", HARNESS_OUTPUT="jsonl")
        row = await ran(rig, env)
        assert (row["status"], row["output"]) == ("completed", "the output")
        assert row["claudeSessionId"] == "n-1"
        assert row["progress"] == "📖 Reading b/c.txt"
        (cost,) = await rig.costs(row["id"])
        assert (cost["totalCostUsd"], cost["inputTokens"], cost["model"]) == (0.5, 7, "m-2")
        assert await rig.lines(row["id"]) == NORMALIZED
        assert "tool.end" in {event["event"] for event in await rig.events(row["id"])}


async def test_stream_json(tmp_path: Path):
    said = {
        "whole": lines(STREAM),
        "no-result": lines(STREAM[:-1]),
        "stray-words": b"warning: beta\n" + lines(STREAM) + b"bye\n",
        "words-alone": b"I am no Claude\n",
    }
    found = await outputs(tmp_path, "stream-json", said)
    assert found["whole"] == found["stray-words"] == "it"
    assert str(found["no-result"]).startswith("failed:")
    assert str(found["words-alone"]).startswith("failed:")


async def test_jsonl(tmp_path: Path):
    said = {
        "whole": lines(NORMALIZED),
        "no-result": lines(NORMALIZED[:-1]),
        "error": lines([{"type": "result", "isError": True, "output": "out of paper"}]),
        "unknown": lines([{"type": "turn.started"}, {"type": "turn.completed"}]),
        "untyped": lines([{"answer": 42}]),
        "stray-words": b"warning: beta\n" + lines(NORMALIZED) + b"bye\n",
        "words-alone": b"I know no JSON\n",
    }
    found = await outputs(tmp_path, "jsonl", said)
    assert found["whole"] == found["stray-words"] == "the output"
    assert found["error"] == "failed: out of paper"
    for name in ("no-result", "unknown", "untyped", "words-alone"):
        assert str(found[name]).startswith("failed: The command exited without a result"), name
    assert str(found["no-result"]).endswith(": almost there [no_result]")


async def test_text_is_passed_on_to_the_letter(tmp_path: Path):
    pretty = json.dumps({"numbers": [1.10, None, True, "ä"], "empty": {}}, indent=2) + "\n"
    said = {
        "words": b"first\nsecond\n\n  third\n",
        "json-line": b'{"n": 1.10, "ok": true}\n',
        "pretty": pretty.encode(),
        "typed": b'done\n{"type": "result", "output": "x"}\n',
        "unended": b"no newline at the end",
        "silent": b"",
    }
    found = await outputs(tmp_path, "text", said)
    assert found["words"] == "first\nsecond\n\n  third"
    assert found["json-line"] == '{"n": 1.10, "ok": true}'
    assert found["pretty"] == pretty.strip()
    assert found["typed"] == 'done\n{"type": "result", "output": "x"}'
    assert found["unended"] == "no newline at the end"
    assert found["silent"] == "failed: The command exited without saying anything [no_output]"


async def test_auto_finds_out(tmp_path: Path):
    said = {
        "stream": b"Welcome!\n\n" + lines(STREAM),
        "jsonl": b"Welcome!\n" + lines(NORMALIZED),
        "words": b"first\nsecond\n",
        "json-line": b'{"answer": 42}\n',
        "number": b"42\n",
        "words-with-typed-json": b'The schema is\n{"type": "object"}\nand that is all\n',
    }
    found = await outputs(tmp_path, "auto", said)
    assert found["stream"] == "it"
    assert found["jsonl"] == "the output"
    assert found["words"] == "first\nsecond"
    assert found["json-line"] == '{"answer": 42}'
    assert found["number"] == "42"
    assert found["words-with-typed-json"] == 'The schema is\n{"type": "object"}\nand that is all'


@pytest.mark.parametrize("mode", ["auto", "jsonl"])
async def test_an_exit_code_outweighs_a_result(tmp_path: Path, mode: str):
    async with swarm_rig(tmp_path) as rig:
        env = rig.prints(NORMALIZED, code=7, stderr="but then it broke", HARNESS_OUTPUT=mode)
        row = await ran(rig, env)
        assert row["status"] == "failed"
        assert "code 7" in row["failureReason"]
        assert "but then it broke" in row["failureReason"]
        assert len(await rig.costs(row["id"])) == 1


async def test_json_in_text_can_meet_a_schema(tmp_path: Path):
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "null"}}}
    async with swarm_rig(tmp_path) as rig:
        env = rig.prints(b'{"n": null}\n', HARNESS_OUTPUT="text")
        row = await ran(rig, env, outputSchema=schema)
    assert (row["status"], row["output"]) == ("completed", '{"n": null}')


async def test_the_command_is_split_like_a_shell_would(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig:
        program = "import sys; print('|'.join(sys.argv[1:]))"
        words = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}"
        command = f"{words} 'one two' \"three 'four'\" five\\ six $HOME *"
        env = {"HARNESS_PROVIDER": "subprocess", "HARNESS_COMMAND": command}
        row = await ran(rig, env)
    assert row["output"] == "one two|three 'four'|five six|$HOME|*"


@pytest.mark.parametrize(
    ("name", "value"),
    [("HARNESS_COMMAND", "agent 'unbalanced"), ("HARNESS_COMMAND", ""), ("HARNESS_OUTPUT", "xml")],
)
async def test_a_bad_setting_ends_the_start_and_names_itself(tmp_path: Path, name: str, value: str):
    async with swarm_rig(tmp_path) as rig:
        with pytest.RaisesGroup(
            pytest.RaisesExc(BadSetting, match=name), flatten_subgroups=True, allow_unwrapped=True
        ):
            async with running_worker(rig, harness("says_hi") | {name: value}):
                pass


async def test_a_bad_row_fails_a_task_with_a_clear_reason_or_is_passed_over(tmp_path: Path):
    async with swarm_rig(tmp_path) as rig, running_worker(rig, harness("says_hi")):

        async def put(key: str, value: str) -> None:
            row = {"scope": "agent", "scopeId": AGENT, "key": key, "value": value}
            (await rig.api.put("/api/config", json=row)).raise_for_status()

        async def ignored() -> bool:
            return bool(rig.logged(Event.CONFIG_IGNORED))

        await put("HARNESS_OUTPUT", "xml")
        await rig.until(ignored)
        row = await rig.until_ended(await rig.submit())
        assert row["output"] == "hi there", row
        assert len(rig.logged(Event.CONFIG_IGNORED)) == 1
        await put("HARNESS_COMMAND", "agent 'unbalanced")

        async def failed() -> Any:
            row = await rig.until_ended(await rig.submit())
            return row if row["status"] == "failed" else None

        row = await rig.until(failed)
        assert "HARNESS_COMMAND" in row["failureReason"]
        assert "no closing quotation" in row["failureReason"]


@pytest.mark.parametrize("mode", ["text", "jsonl", "stream-json"])
async def test_a_failure_in_colours_is_told_plainly(tmp_path: Path, mode: str):
    said = '\x1b]0;agent\x07\x1b[31mAPI Error: \x1b[1m429\x1b[0m {"error":"x"}\u202e\x9b'
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, rig.prints(b"", code=1, stderr=said, HARNESS_OUTPUT=mode))
        (ended,) = rig.logged(Event.SESSION_ENDED)
    assert ended["category"] == "rate_limit"
    assert 'API Error: 429 {"error":"x"}' in row["failureReason"]
    assert row["failureReason"].replace("\n", "").isprintable()


async def test_colours_and_bars_are_not_in_progress_and_output(tmp_path: Path):
    said = b"\x1b[1mbuilding\x1b[0m\r\n 10%\r 50%\r\x1b[K100%\r\n\x1b[32mdone\x1b[0m\n"
    async with swarm_rig(tmp_path) as rig:
        row = await ran(rig, rig.prints(said, HARNESS_OUTPUT="text"))
    assert row["output"] == "building\n100%\ndone"
    assert row["progress"] in {"building", "100%", "done"}


@pytest.mark.parametrize("word", ["result", "assistant", "success", "message"])
async def test_a_weak_secret_that_is_a_word_of_the_protocol(tmp_path: Path, word: str):
    async with swarm_rig(tmp_path) as rig:
        env = rig.prints(STREAM, HARNESS_OUTPUT="stream-json", DB_PASSWORD=word)
        row = await ran(rig, env)
        assert (row["status"], row["output"]) == ("completed", "it")
        assert word not in json.dumps(await rig.lines(row["id"]))
