"""Values that cannot be used: one clear line, and nothing is blamed on the server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_api import Reply, Request, connected, serving
from patience import BYTECODE
from run_here import PLAIN, run_here

from agent_swarm_worker import files
from agent_swarm_worker.errors import ApiGarbled
from agent_swarm_worker.files import read_whole


def run(*args: str | bytes, stdin: int = subprocess.DEVNULL, **env: str | bytes):
    """Run a command of the worker as a process; return exit code and standard error's lines."""
    command = [sys.executable, "-m", "agent_swarm_worker", *args]
    given: dict[str, str | bytes] = {"PATH": os.environ["PATH"], **BYTECODE, **PLAIN}
    ended = subprocess.run(
        command, env=given | env, stdin=stdin, capture_output=True, timeout=60, check=False
    )
    return ended.returncode, ended.stderr.decode().strip().splitlines()


def test_an_agent_id_that_is_not_text(tmp_path: Path) -> None:
    code, (line,) = run("run", HOME=str(tmp_path), AGENT_ID=b"\xff")
    assert code == 78
    assert line.startswith("swarm-worker: AGENT_ID=")


@pytest.mark.parametrize("agent_id", ["a\tb", "a/b", "..", "x" * 300, "ü"])
def test_a_bad_agent_id(
    tmp_path: Path,
    agent_id: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = {"HOME": str(tmp_path), "AGENT_ID": agent_id}
    code, (line,) = run_here("run", env=env, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 78
    assert line.startswith("swarm-worker: AGENT_ID=")


@pytest.mark.parametrize("by", ["option", "variable"])
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("pipe", "its end did not come within 0.1 s"),
        ("held", "its end did not come within 0.1 s"),
        ("/dev/zero", "has no end"),
        ("folder", "Is a directory"),
        ("none", "No such file"),
    ],
)
def test_a_prompt_file_without_end(
    tmp_path: Path,
    kind: str,
    why: str,
    by: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / kind
    writer = None
    if kind in {"pipe", "held"}:
        os.mkfifo(path)
        monkeypatch.setattr(files, "MAX_READ_S", 0.1)
    if kind == "held":
        writer = os.open(path, os.O_RDWR)
    if kind == "folder":
        path.mkdir()
    option = ["--system-prompt-file", str(path)] if by == "option" else []
    variable = {"SYSTEM_PROMPT_FILE": str(path)} if by == "variable" else {}
    env = {"HOME": str(tmp_path), **variable}
    code, (line,) = run_here("run", *option, env=env, capsys=capsys, monkeypatch=monkeypatch)
    if writer is not None:
        os.close(writer)
    assert code == 78
    assert line.startswith(f"swarm-worker: cannot read {path}: ")
    assert why in line


def test_a_task_that_is_not_text(tmp_path: Path) -> None:
    code, lines = run("task", "submit", b"look at \xff", HOME=str(tmp_path))
    assert (code, len(lines)) == (2, 1)
    assert lines[0].endswith("the text of the task is not UTF-8")


@pytest.mark.anyio
async def test_half_a_character_in_a_task_is_replaced() -> None:
    """JavaScript cuts a text between the two halves of a character, and sends it so."""
    task = rb'{"id": "t", "status": "pending", "task": "a\ud83d b \\\\ud83d \ud83d\ude00 \ude00"}'
    reply = Reply(200, b'{"trigger": {"type": "task_assigned", "task": ' + task + b"}}")
    async with serving(lambda _: reply) as server, connected(server.url) as client:
        trigger = await client.polling.poll()
    assert trigger is not None
    assert trigger.task.text == "a\ufffd b \\\\ud83d 😀 \ufffd"


@pytest.mark.anyio
async def test_half_an_answer_is_still_none() -> None:
    def script(_: Request) -> Reply:
        return Reply(200, rb'{"trigger": "\ud83d')

    async with serving(script) as server, connected(server.url) as client:
        with pytest.raises(ApiGarbled):
            await client.polling.poll()


def test_a_pipe_that_ends_is_read() -> None:
    """As a shell makes it of ``<(...)``."""
    reader, writer = os.pipe()
    os.write(writer, b"Be brief.")
    os.close(writer)
    assert read_whole(Path(f"/dev/fd/{reader}")) == b"Be brief."
    os.close(reader)
