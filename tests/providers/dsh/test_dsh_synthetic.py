"""``dsh`` by lines and a program written from its description (synthetic)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from session_config import session_config

from agent_swarm_worker.contract import Ending, Message, Progress, SessionInit
from agent_swarm_worker.errors import BinaryMissing, CredentialsMissing
from agent_swarm_worker.providers.dsh.adapter import DshAdapter
from agent_swarm_worker.providers.dsh.translate import DshTranslator
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio
SCENARIO = pytest.mark.scenario

PROGRAM = """#!/bin/sh
printf '%s\\n' "$@" > "$HOME/argv"
cp "$4" "$HOME/patch.json"
cat > "$HOME/prompt"
echo '{"type":"session","sessionId":"s-1"}'
echo '{"type":"text","text":"Looking."}'
echo '{"type":"status","phase":"turn_end","reason":{"kind":"completed"}}'
echo '{"type":"final","text":"The heron stands."}'
"""
SESSION = {"type": "session", "sessionId": "s-1"}
FINAL = {"type": "final", "text": "Done."}


def ended(kind: str, message: str = "") -> dict[str, Any]:
    error = {"error": {"message": message}} if message else {}
    return {"type": "status", "phase": "turn_end", "reason": {"kind": kind, **error}}


def translated(*lines: Any, **ending: Any) -> tuple[Any, list[Any]]:
    translator = DshTranslator(session_config())
    events: list[Any] = []
    for line in lines:
        feed = translator.feed_text if isinstance(line, str) else translator.feed
        events += feed(line)
    return translator.conclude(Ending(**{"exit_code": 0, **ending})), events


def program(tmp_path: Path, env: dict[str, str]) -> dict[str, str]:
    path = tmp_path / "dsh"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DSH_BINARY": str(path), **env}


@SCENARIO("answer", "dash")
async def test_a_session(tmp_path: Path):
    env = program(tmp_path, {"DEEPSEEK_API_KEY": "key-0001"})
    config = session_config(
        tmp_path, env=env, prompt="-x " * 100_000, system_prompt="Be brief.", model="deepseek/v4"
    )
    session = await DshAdapter().create_session(config)
    events: list[Any] = []
    session.on_event(events.append)
    result = await session.wait_for_completion()
    assert (result.is_error, result.output, result.session_id) == (
        False,
        "The heron stands.",
        "s-1",
    )
    assert result.cost is None
    assert [event.session_id for event in events if isinstance(event, SessionInit)] == ["s-1"]
    assert [event.content for event in events if isinstance(event, Message)] == ["Looking."]
    assert (tmp_path / "prompt").read_text() == config.prompt
    patch = {one["id"]: one["config"] for one in json.loads((tmp_path / "patch.json").read_text())}
    assert patch["system-prompt"] == {"personaPrefix": "Be brief."}
    assert patch["agent-default-model"]["model"] == "v4"
    assert "key-0001" not in (tmp_path / "argv").read_text()
    assert not list((tmp_path / "private").iterdir())


@pytest.mark.parametrize(
    ("lines", "category"),
    [
        pytest.param(
            [SESSION, ended("failed", "401 Unauthorized"), FINAL],
            "authentication_failed",
            marks=SCENARIO("401"),
        ),
        ([SESSION, ended("interrupted")], "turn_failed"),
        pytest.param(
            [SESSION, {"type": "error", "message": "429 Too Many Requests"}],
            "rate_limit",
            marks=SCENARIO("429"),
        ),
        ([SESSION, ended("completed")], "crashed"),
        ([SESSION, '{"type":"final","text":"hal'], "turn_failed"),
        ([], "crashed"),
    ],
)
def test_failures(lines: list[Any], category: str):
    result, _ = translated(*lines)
    assert (result.is_error, result.error_category) == (True, category)
    assert result.exit_code


def test_odd_lines_are_skipped():
    odd = [{"type": 7}, {"type": "text", "text": ["x"]}, {}, {"type": "session"}, "words", {"a": 1}]
    result, events = translated(SESSION, *odd, ended("completed"), FINAL)
    assert (result.is_error, result.output) == (False, "Done.")
    assert [event.message for event in events if isinstance(event, Progress)] == ["turn_end"]


async def test_what_is_missing(tmp_path: Path):
    guest, adapter = LocalGuest("dsh-check"), DshAdapter()
    env = program(tmp_path, {})
    with pytest.raises(CredentialsMissing):
        await adapter.check(env, guest)
    with pytest.raises(BinaryMissing):
        await adapter.check({**env, "DSH_BINARY": "no-such-dsh"}, guest)
    await adapter.check({**env, "DEEPSEEK_API_KEY": "k"}, guest)
    assert not await adapter.can_resume("s-1", session_config(tmp_path))
