"""Find the command; errors and unwritable output become exit codes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_rig import COMMAND, bare_env, call, scripted_api
from patience import WAIT_S

from agent_swarm_worker import __version__
from agent_swarm_worker.cli.app import COMMANDS, main

NOWHERE = "http://127.0.0.1:9"
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("words", [[], ["help"], ["-h"], ["--help"]])
def test_help_names_every_command(words: list[str], env: dict[str, str], capsys: Capture):
    assert main(words) == 0
    said = capsys.readouterr()
    assert not said.err
    for name, command in COMMANDS.items():
        assert f"  {name} " in said.out
        assert command.summary in said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, env: dict[str, str], capsys: Capture):
    assert main([name, "--help"]) == 0
    first = capsys.readouterr().out
    assert first.startswith(f"usage: swarm-worker {name} ")
    assert main(["help", name]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("words", [["nonesuch"], ["help", "nonesuch"], ["--nonesuch"], [""]])
def test_an_unknown_command_is_refused(words: list[str], env: dict[str, str], capsys: Capture):
    assert main(words) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.count("\n") == 1
    assert "swarm-worker help" in said.err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_flag_is_refused(name: str, env: dict[str, str], capsys: Capture):
    assert main([name, "--nonesuch"]) == 2
    assert not capsys.readouterr().out


@pytest.mark.parametrize("word", ["version", "-V", "--version"])
def test_version(word: str, env: dict[str, str], capsys: Capture):
    assert main([word]) == 0
    assert capsys.readouterr().out == f"swarm-worker v{__version__}\n"
    assert main([word, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == __version__


def test_the_module_is_the_program(tmp_path: Path):
    code, said, errors = call("version", env=bare_env(tmp_path))
    assert (code, said, errors) == (0, f"swarm-worker v{__version__}\n", "")


def test_only_the_daemon_splits_at_two_dashes(env: dict[str, str], capsys: Capture):
    env["MCP_BASE_URL"] = NOWHERE
    # Elsewhere they mean what they always do: the next word is no flag.
    assert main(["task", "show", "--", "--strange-id"]) == 1
    assert "/api/tasks/--strange-id" in capsys.readouterr().err


# --- what others say
def test_a_servers_message_cannot_drive_the_terminal(env: dict[str, str], capsys: Capture):
    hostile = "\x1b[2Jbad \x9b31m \u202ething\r\nswarm-worker: all is well"
    with scripted_api(lambda _: (400, {"error": hostile})) as url:
        env["MCP_BASE_URL"] = url
        assert main(["task", "show", "some-task"]) == 1
    said = capsys.readouterr().err
    assert "bad" in said
    assert said.rstrip("\n").isprintable()
    assert said.count("\n") == 1


# --- output that nobody takes
def also_long(*values: Any) -> list[Any]:
    """More of the same, each of which starts a program: for the long suite."""
    return [pytest.param(value, marks=pytest.mark.long) for value in values]


def closed_pipe() -> int:
    read_end, write_end = os.pipe()
    os.close(read_end)
    return write_end


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    [["help"], ["providers"], *also_long(["version", "--json"], ["task", "--help"], ["demo"])],
)
def test_a_reader_that_leaves_ends_it_quietly(words: list[str], tmp_path: Path):
    write_end = closed_pipe()
    code, _, errors = call(*words, env=bare_env(tmp_path), stdout=write_end)
    os.close(write_end)
    assert (code, errors) == (141, "")
    assert not list((tmp_path / "tmp").iterdir())


@needs_full
@pytest.mark.parametrize("words", [["help"], *also_long(["version", "--json"], ["task", "--help"])])
def test_a_full_disk_is_said_in_one_line(words: list[str], tmp_path: Path):
    with FULL.open("wb") as full:
        code, _, errors = call(*words, env=bare_env(tmp_path), stdout=full)
    assert code == 1
    assert errors == "swarm-worker: cannot write the output: No space left on device\n"


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a worker that starts, logs something, and ends with exit code 1."""
    with scripted_api(lambda _: (401, {"error": "Unauthorized"})) as url:
        env = {"MCP_BASE_URL": url, "HARNESS_PROVIDER": "subprocess", "HARNESS_COMMAND": "cat"}
        yield bare_env(tmp_path, **env, API_KEY="short", SWARM_LOG_LEVEL="debug")


@pytest.mark.long
def test_the_log_goes_to_standard_error(refused: dict[str, str]):
    code, said, errors = call("run", env=refused)
    assert (code, said) == (1, "")
    first, *_, last, _ = errors.splitlines()
    assert json.loads(first)["event"] == "secret.too_short"
    assert last.startswith("swarm-worker: http://127.0.0.1")


@needs_full
def test_a_message_that_nobody_takes_changes_nothing(tmp_path: Path):
    with FULL.open("wb") as full:
        assert call("nonesuch", env=bare_env(tmp_path), stderr=full)[0] == 2


def test_a_message_is_one_line_whatever_it_quotes(env: dict[str, str], capsys: Capture):
    assert main(["task", "submit", "--output-schema", "no\nsuch\x1b[2Jfile", "do it"]) == 78
    assert capsys.readouterr().err == (
        "swarm-worker: cannot read no such[2Jfile: No such file or directory\n"
    )


@pytest.mark.long
@needs_full
def test_a_full_disk_under_the_log_changes_nothing(refused: dict[str, str]):
    with FULL.open("wb") as full:
        assert call("run", env=refused, stderr=full)[0] == 1


@pytest.mark.long
@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", *also_long("2>&-")])
def test_streams_that_are_closed_change_nothing(
    closed: str, refused: dict[str, str], tmp_path: Path
):
    script = f"exec {shlex.join(COMMAND)} run {closed}"
    done = subprocess.run(["/bin/sh", "-c", script], env=refused, timeout=WAIT_S, check=False)
    assert done.returncode == 1
    # Nothing that was written to a stream landed in a file that got its number.
    state = tmp_path / "home/.local/state/swarm-worker"
    files = [path for path in state.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert b"swarm-worker: " not in path.read_bytes()


def test_a_closed_output_is_no_error(tmp_path: Path):
    script = f"exec {shlex.join(COMMAND)} version --json >&-"
    done = subprocess.run(
        ["/bin/sh", "-c", script], env=bare_env(tmp_path), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_without_unicode_gets_what_it_can_show(tmp_path: Path):
    env = bare_env(tmp_path, PYTHONIOENCODING="ascii", MCP_BASE_URL=NOWHERE)
    code, said, errors = call("doctor", env=env)
    assert code == 1
    assert not errors
    assert f"no answer from {NOWHERE}" in said
