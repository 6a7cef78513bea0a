"""Show progress: a status line that is redrawn on a terminal, plain lines otherwise."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

from agent_swarm_worker.cli.output import fit_line, plain, write
from agent_swarm_worker.settings import SettingsModel, boot, process_env
from agent_swarm_worker.settings.base import Stripped  # noqa: TC001 - pydantic reads it

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_CLEAR_LINE = "\r\x1b[2K"
_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_DEFAULT_COLUMNS = 100
_MIN_COLUMNS = 40
"""Permanent lines are not truncated below this; a narrower terminal wraps them."""


class View:
    """Prints permanent lines, and on a terminal a status line below them.

    Args:
        stream: standard output by default.
        has_status_line: false if another part prints to the same terminal.
    """

    def __init__(self, stream: TextIO | None = None, *, has_status_line: bool = True) -> None:
        self._out = stream or sys.stdout
        self._is_terminal = (
            self._out.isatty() and TerminalSettings.load(process_env()).term != "dumb"
        )
        self._has_status_line = self._is_terminal and has_status_line
        self._started_at_s = time.monotonic()
        self._now = ""
        self._turn = 0
        self._is_drawn = False

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self._wipe()

    def say(self, mark: str, text: str) -> None:
        """Print one permanent line."""
        self._wipe()
        stamp = f"{time.monotonic() - self._started_at_s:6.1f}s"
        if self._is_terminal:
            stamp = f"{_DIM}{stamp}{_RESET}"
        line = fit_line(text, max(_MIN_COLUMNS, self._columns()) - 12)
        write(f"{stamp}  {mark} {line}\n", self._out)

    def block(self, title: str, text: str) -> None:
        """Print several permanent lines under a title."""
        self._wipe()
        heading = f"{_BOLD}{title}{_RESET}" if self._is_terminal else title
        body = "\n".join(f"  {line}" for line in plain(text).splitlines())
        write(f"\n{heading}\n{body}\n", self._out)

    def now(self, text: str) -> None:
        """Set the text of the status line."""
        self._now = text
        self.tick()

    def tick(self) -> None:
        """Redraw the status line, on a terminal."""
        if not self._has_status_line or not self._now:
            return
        self._turn += 1
        spinner = _SPINNER[self._turn % len(_SPINNER)]
        elapsed_s = time.monotonic() - self._started_at_s
        prefix, room = f"{spinner} {elapsed_s:5.0f}s  ", self._columns() - 1
        line = prefix + fit_line(self._now, room - len(prefix))
        self._is_drawn = True
        write(_CLEAR_LINE + line[:room], self._out)

    def _wipe(self) -> None:
        if self._is_drawn:
            self._is_drawn = False
            write(_CLEAR_LINE, self._out)

    def _columns(self) -> int:
        """Return the terminal's width: a wrapped status line could not be cleared."""
        try:
            return os.get_terminal_size(self._out.fileno()).columns or _DEFAULT_COLUMNS
        except (OSError, ValueError):
            return _DEFAULT_COLUMNS


class TerminalSettings(SettingsModel):
    """Variables of the terminal."""

    # --- the terminal
    term: str = boot("TERM", default="", is_native=True)
    """With ``dumb`` no status line is drawn."""


class EarlyLogSettings(SettingsModel):
    """Log settings before the settings are validated; no value is refused."""

    log_level: Stripped = boot("SWARM_LOG_LEVEL", default="info", is_shared=True)
    log_format: str = boot("SWARM_LOG_FORMAT", default="", is_shared=True)
