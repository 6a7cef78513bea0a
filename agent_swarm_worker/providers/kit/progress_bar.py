"""Find the newest state of a progress bar in a line of plain text that has not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_swarm_worker.processes.pipes import decode_line
from agent_swarm_worker.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.contract import Redactor

BAR_QUIET_S: Final = 0.5
"""After so long without output, what a progress bar wrote last is a whole state."""


def newest_state(states: Sequence[bytes], redactor: Redactor, *, is_quiet: bool) -> str:
    """Return the last state that is not blank, as scrubbed plain text; empty if it is no bar.

    What is behind the last return may be half a state, and half a secret, unless it is quiet.
    """
    if len(states) < 2:
        return ""
    shown = [plain(decode_line(state)).strip() for state in states[: None if is_quiet else -1]]
    return redactor.text(next(filter(None, reversed(shown)), ""))
