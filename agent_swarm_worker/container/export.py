"""Which configuration rows become variables of set-up scripts and other commands.

They go from memory into an environment: no file is written and no shell reads them, so there is
nothing in a value that would have to be quoted. The worker is not given them: it lays the rows
over its environment by itself, and follows them when they change.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.swarm.wire import ConfigRow

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_KEPT_BACK = re.compile(r"codex_oauth(_\d+)?|HARNESS_PROVIDER", re.ASCII)
"""Logins are for their harness alone; the harness is chosen anew all the time."""


def exportable(rows: Iterable[ConfigRow], log: Log) -> tuple[ConfigRow, ...]:
    """Return the rows that a shell could have as variables; the others are named in the log."""
    kept = []
    for row in rows:
        if _KEPT_BACK.fullmatch(row.key):
            continue
        if _IDENTIFIER.fullmatch(row.key):
            kept.append(row)
        else:
            log.warning(Event.CONFIG_IGNORED, key=row.key, why="no shell variable has such a name")
    return tuple(kept)
