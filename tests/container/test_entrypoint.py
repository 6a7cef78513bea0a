"""The entrypoint script: which command it runs."""

from __future__ import annotations

import pytest
from container_rig import ENTRYPOINT, KEY, Box

ECHO = '#!/bin/sh\nprintf "%s|" "$@"\n'


@pytest.mark.parametrize(
    ("role", "words", "expected"),
    [
        (None, [], "prepare|--|agent-swarm-worker|worker|"),
        ("lead", [], "prepare|--|agent-swarm-worker|lead|"),
        ("", [], "prepare|--|agent-swarm-worker|worker|"),
        ("coder", [], "prepare|--|agent-swarm-worker|run|"),
        ("two words", ["--yolo"], "prepare|--|agent-swarm-worker|run|--yolo|"),
        (None, ["--yolo"], "prepare|--|agent-swarm-worker|worker|--yolo|"),
        ("lead", ["worker", "-m", "a b"], "prepare|--|agent-swarm-worker|worker|-m|a b|"),
        (None, ["lead"], "prepare|--|agent-swarm-worker|lead|"),
        (None, ["bash", "-c", "a; 'b' \"$c\""], "prepare|--offline|--|bash|-c|a; 'b' \"$c\"|"),
        (None, ["agent-swarm", "version"], "prepare|--offline|--|agent-swarm|version|"),
    ],
)
def test_what_is_run(box: Box, role: str | None, words: list[str], expected: str):
    box.program("agent-swarm-worker", ECHO)
    more = {} if role is None else {"AGENT_ROLE": role}
    assert box.call([str(ENTRYPOINT), *words], **more).out == expected


def test_it_is_short_enough_to_read():
    assert len(ENTRYPOINT.read_text().splitlines()) <= 40


def test_another_command_needs_neither_an_api_nor_usable_settings(box: Box):
    done = box.prepare(
        "--offline",
        command=("echo", "here"),
        MCP_BASE_URL="http://127.0.0.1:9",
        API_KEY="",
        AGENT_ROLE="nonsense",
        WORKER_API_READY_TIMEOUT_SECONDS="0",
    )
    assert (done.code, done.out) == (0, "here\n"), done.err


@pytest.mark.parametrize("role", ["two\nlines", "R" * 101])
def test_a_role_that_is_none_is_told_before_anything_happens(box: Box, role: str):
    done = box.prepare(AGENT_ROLE=role)
    assert done.code == 78
    assert "AGENT_ROLE" in done.err
    assert "Traceback" not in done.err


def test_the_exit_code_of_the_command_is_the_containers(box: Box):
    assert box.prepare("--offline", command=("sh", "-c", "exit 42")).code == 42


def test_nothing_of_the_preparation_is_left_beside_the_command(box: Box):
    """The command takes the place of the process, so that signals reach it."""
    script = 'test "$(cat /proc/$$/comm)" = sh && echo "$PPID"'
    import os

    assert box.prepare("--offline", command=("sh", "-c", script)).out.strip() == str(os.getpid())


def test_no_argument_of_the_process_holds_the_key(box: Box):
    done = box.prepare(command=("cat", "/proc/self/cmdline"))
    assert KEY not in done.out
