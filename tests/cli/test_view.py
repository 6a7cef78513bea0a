"""The view: a redrawn status line on a terminal, plain lines otherwise."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest
from patience import until_blocking

from agent_swarm_worker.cli.view import View
from agent_swarm_worker.text import columns

CLEAR = "\r\x1b[2K"
STYLES = re.compile(r"\x1b\[[0-9]m")


class Terminal:
    """The far end of a pseudo-terminal."""

    def __init__(self, width: int) -> None:
        self._far, near = os.openpty()
        fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.stream: TextIO = os.fdopen(near, "w", encoding="utf-8")
        self._said = b""

    def said(self) -> str:
        """Everything printed so far."""
        os.write(self.stream.fileno(), b"\x04")
        until_blocking(self._has_all)
        return self._said[:-1].decode()

    def _has_all(self) -> bool:
        self._said += os.read(self._far, 65536)
        return self._said.endswith(b"\x04")

    def close(self) -> None:
        self.stream.close()
        os.close(self._far)


@contextmanager
def terminal(width: int = 60) -> Iterator[Terminal]:
    end = Terminal(width)
    try:
        yield end
    finally:
        end.close()


@pytest.fixture(autouse=True)
def a_known_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_the_status_line_moves_and_goes():
    with terminal() as end:
        with View(end.stream) as view:
            view.now("thinking")
            view.tick()
            view.say("•", "something that stays")
            view.now("thinking on")
        first, second, *rest = end.said().split(CLEAR)[1:]
    assert first.endswith("thinking")
    assert second.endswith("thinking")
    assert first != second
    stays, status, end_of_it = rest
    assert STYLES.sub("", stays).endswith("s  • something that stays\r\n")
    assert status.endswith("thinking on")
    assert end_of_it == ""


@pytest.mark.parametrize("width", [8, 20, 60])
@pytest.mark.parametrize("words", ["x" * 200, "日本語" * 50, "👩‍💻" * 50])
def test_the_status_line_never_wraps(width: int, words: str):
    # A line that wraps cannot be cleared, and would fill the screen.
    with terminal(width) as end:
        View(end.stream).now(words)
        status = end.said().removeprefix(CLEAR)
    assert 0 < columns(status) < width


def test_a_terminal_that_does_not_know_its_width_has_one_all_the_same():
    with terminal(0) as end:
        View(end.stream).now("x" * 200)
        assert columns(end.said().removeprefix(CLEAR)) == 99


def test_no_status_line_where_something_else_prints():
    with terminal() as end:
        with View(end.stream, has_status_line=False) as view:
            view.now("thinking")
            view.say("•", "stays")
        assert CLEAR not in end.said()


def test_a_dumb_terminal_gets_no_escapes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "dumb")
    with terminal() as end:
        with View(end.stream) as view:
            view.now("thinking")
            view.say("•", "stays")
            view.block("Title", "text")
        assert "\x1b" not in end.said()


def test_plain_lines_anywhere_else():
    stream = io.StringIO()
    with View(stream) as view:
        view.now("thinking")
        view.tick()
        view.say("•", "stays\nin one line")
        view.block("Output", "two\r\nlines\x1b[31m")
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r" +\d\.\ds  • stays in one line", lines[0])
    assert lines[1:] == ["", "Output", "  two", "  lines[31m"]
