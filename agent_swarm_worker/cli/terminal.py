"""Reading from a person without being held up: every read can be cancelled, and takes no thread.

The terminal keeps collecting lines itself, so that editing and Ctrl-C work as people expect.
"""

from __future__ import annotations

import os
import sys
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.cli.output import write

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 64 * 1024


def is_terminal() -> bool:
    """True if a person can be asked: input and output are a terminal."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout))


class Lines:
    """The lines of standard input."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self._rest = b""
        self._is_over = False

    async def next(self) -> str | None:
        """Return the next line without its end; ``None`` if there is none any more."""
        while b"\n" not in self._rest and not self._is_over:
            try:
                await anyio.wait_readable(self._fd)
            except OSError:
                await anyio.lowlevel.checkpoint()  # a file, which is always readable
            try:
                chunk = os.read(self._fd, 4096)
            except OSError:
                chunk = b""  # the terminal has gone
            self._rest += chunk
            self._is_over = not chunk or len(self._rest) > MAX_LINE_BYTES
        line, found, self._rest = self._rest.partition(b"\n")
        if not found and not line:
            return None
        return line.decode("utf-8", "replace").rstrip("\r")


async def ask_hidden(question: str) -> str:
    """Ask on the terminal; what is typed is not shown.

    Returns:
        The answer; empty if there is none.
    """
    with _without_echo(sys.stdin.fileno()):
        write(question)
        answer = await Lines().next()
    write("\n")
    return (answer or "").strip()


@contextmanager
def _without_echo(fd: int) -> Iterator[None]:
    before = termios.tcgetattr(fd)
    hidden = termios.tcgetattr(fd)
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSAFLUSH, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
