"""``swarm-worker demo``: a whole task; no process or file is left, however it ends."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import signal
import struct
import sys
import termios
from pathlib import Path

import pytest
from cli_rig import SYSTEM_PATH, bare_env, call, processes_of, running, start, stop
from patience import HANG_S, until_blocking

from agent_swarm_worker.cli.app import main

Capture = pytest.CaptureFixture[str]
CLEAR = "\r\x1b[2K"
DOWN = "worker and swarm are down; nothing is left behind"


def assert_nothing_is_left(place: Path) -> None:
    assert processes_of(place) == []
    assert list((place / "tmp").iterdir()) == []
    assert list((place / "home").iterdir()) == []


def test_it_completes_a_task_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "cwd").mkdir()
    # What is set for a worker of the user's own must not make the demo another one.
    hostile = {
        "AGENT_ID": "somebody-else",
        "AGENT_ROLE": "boss",
        "AGENT_SWARM_API_KEY": "another-key",
        "HARNESS_PROVIDER": "nonesuch",
        "LOG_DIR": str(tmp_path / "cwd" / "logs"),
        "MAX_CONCURRENT_TASKS": "many",
        "MCP_BASE_URL": "http://127.0.0.1:9",
        "PORT": "none",
        "SWARM_SESSION_TIMEOUT_S": "0.1",
        "SYSTEM_PROMPT_FILE": "/nowhere",
    }
    env = bare_env(tmp_path, **hostile)
    code, said, errors = call("demo", env=env, cwd=tmp_path / "cwd")
    assert (code, errors) == (0, "")
    assert "harness: pi with a scripted model, since there is no usable claude here" in said
    assert "🔧 📁 Listing the directory" in said
    assert "🔧 📝 Writing hello-from-the-swarm.md" in said
    assert "💰 $0.0043" in said
    assert "✔ completed" in said
    assert DOWN in said.splitlines()[-1]
    assert "\x1b" not in said
    assert list((tmp_path / "cwd").iterdir()) == []
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM]
)
def test_a_signal_in_the_middle_leaves_nothing(tmp_path: Path, number: signal.Signals):
    with running("demo", env=bare_env(tmp_path), place=tmp_path) as (process, said):
        until_blocking(lambda: "I will look around" in said())
        # Impatience does no harm: the second one does not stop the cleaning up.
        process.send_signal(number)
        code, took_s = stop(process, number)
    assert code == 128 + number
    assert took_s < HANG_S
    assert "Traceback" not in said()
    assert DOWN not in said()
    assert_nothing_is_left(tmp_path)


def test_a_signal_right_at_the_start_leaves_nothing(tmp_path: Path):
    with running("demo", env=bare_env(tmp_path), place=tmp_path) as (process, said):
        until_blocking(lambda: list((tmp_path / "tmp").iterdir()))
        code, _ = stop(process)
    assert code == 130
    assert "Traceback" not in said()
    assert_nothing_is_left(tmp_path)


CLAUDE = """#!/bin/sh
prompt=$(cat)
printf '%s\\n' "$*" > "$HOME/argv"
cat <<'EVENTS'
{"type":"system","subtype":"init","session_id":"s-1","model":"fake","tools":[]}
{"type":"assistant","session_id":"s-1","message":{"role":"assistant","model":"fake",\
"content":[{"type":"text","text":"Hello swarm, says the fake."}],"usage":{}}}
{"type":"result","subtype":"success","is_error":false,"result":"Hello swarm.",\
"session_id":"s-1","num_turns":1,"total_cost_usd":0.5,"usage":{}}
EVENTS
"""


def with_claude(place: Path, **more: str) -> dict[str, str]:
    programs = place / "bin"
    programs.mkdir()
    (programs / "claude").write_text(CLAUDE)
    (programs / "claude").chmod(0o755)
    key = {"ANTHROPIC_API_KEY": "sk-ant-a-long-enough-key"}
    return bare_env(place, PATH=f"{programs}:{SYSTEM_PATH}", **key, **more)


@pytest.mark.parametrize(("model", "used"), [({}, "haiku"), ({"MODEL_OVERRIDE": "opus"}, "opus")])
def test_with_a_usable_claude_it_asks_claude(tmp_path: Path, model: dict[str, str], used: str):
    code, said, errors = call("demo", env=with_claude(tmp_path, **model))
    assert (code, errors) == (0, "")
    assert "harness: claude" in said
    assert "💬 Hello swarm, says the fake." in said
    assert "💰 $0.5000" in said
    assert f"--model {used}" in (tmp_path / "home/argv").read_text()


def test_keep_leaves_it_up_and_says_how_to_talk_to_it(
    tmp_path: Path, env: dict[str, str], capsys: Capture
):
    # A key of another swarm in the reader's environment must not get in the way.
    env["AGENT_SWARM_API_KEY"] = "another-key"
    words = ("demo", "--keep", "--scripted", "--verbose")
    with running(*words, env=with_claude(tmp_path), place=tmp_path) as (process, said):
        until_blocking(lambda: "/api/tasks" in said())
        exported = re.search(r"export (.+)", said())
        assert exported
        env.update(word.split("=", 1) for word in shlex.split(exported[1]))
        assert main(["task", "list", "--json"]) == 0
        (task,) = json.loads(capsys.readouterr().out)
        assert task["status"] == "completed"
        code, took_s = stop(process)
    assert code == 130
    assert took_s < HANG_S
    assert_nothing_is_left(tmp_path)
    # Asked for the script, it did not ask claude; asked to be verbose, it showed the worker's log.
    assert "harness: pi with a scripted model, as you asked for" in said()
    assert '"event":"worker.started"' in said()


def test_a_task_that_fails_makes_it_fail(tmp_path: Path):
    env = with_claude(tmp_path)
    (tmp_path / "bin/claude").write_text("#!/bin/sh\ncat >/dev/null\nexit 3\n")
    code, said, _ = call("demo", env=env)
    assert code == 1
    assert "✘ failed" in said
    assert "Reason" in said
    assert DOWN in said


def test_on_a_terminal_the_status_line_moves_and_is_gone_at_the_end(tmp_path: Path):
    far, near = os.openpty()
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
    process = start("demo", env=bare_env(tmp_path), stdout=near, stderr=near)
    os.close(near)
    said = b""
    try:
        while chunk := os.read(far, 65536):
            said += chunk
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(far)
    assert process.wait(10) == 0
    assert process.stderr is None
    pieces = said.decode().split(CLEAR)
    moves = [piece for piece in pieces if re.match("[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] ", piece)]
    assert len(set(moves)) > 10
    assert all(len(move) < 70 and "\n" not in move for move in moves)
    # Each of them was wiped before something else was printed, the last one included.
    assert DOWN in pieces[-1].splitlines()[-1]


def test_without_the_extra_it_says_what_to_install(
    env: dict[str, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "agent_swarm_worker.local_swarm.serve", None)
    assert main(["demo"]) == 78
    assert "agent-swarm-worker[local]" in capsys.readouterr().err
