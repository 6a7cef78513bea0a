"""The end of the process, whatever else happens.

The shutdown keeps its budget as long as the event loop turns. It may not: a disk that hangs, an
expression without end; and when all is done, the interpreter still waits for threads, of which one
may sit in a name server that does not answer. A thread of our own, on which nothing waits, ends
the process then. What is undelivered is on disk, and the next start sees to it.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from agent_swarm_worker import logs

if TYPE_CHECKING:
    from collections.abc import Callable

OVERTIME_S = 2.0
"""How long after the budget the shutdown is taken to hang."""
FLUSH_S = 0.2
"""How long the last lines of the log may wait for a stream that takes nothing."""
LEAVE_WITHIN_S = 1.0
"""How long the interpreter may take to end when all is done."""


class Backstop:
    """Ends this process after a time; only for a process that is the worker's alone."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def end_within(
        self, seconds: float, *, exit_code: int, last_act: Callable[[], None] | None = None
    ) -> None:
        """End the process after so many seconds; replaces what was asked for before.

        Args:
            seconds: from now.
            exit_code: of the process.
            last_act: done before, without waiting.
        """
        if self._timer is not None:
            self._timer.cancel()

        def end() -> None:
            try:
                if last_act is not None:
                    last_act()
            finally:
                logs.flush(wait_s=FLUSH_S)
                os._exit(exit_code)

        self._timer = threading.Timer(seconds, end)
        self._timer.daemon = True
        self._timer.start()
