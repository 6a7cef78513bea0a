"""Which configuration rows become variables of set-up scripts and other commands.

They go from memory into an environment: no file is written and no shell reads them, so there is
nothing in a value that would have to be quoted. The worker is not given them: it lays the rows
over its environment by itself, and follows them when they change.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_swarm_worker.login.pools import withheld_from_all
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.contract import HarnessSpec
    from agent_swarm_worker.swarm.wire import ConfigRow

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NEVER = "HARNESS_PROVIDER"
"""The harness is chosen anew all the time."""


def exportable(
    rows: Iterable[ConfigRow], specs: Iterable[HarnessSpec], log: Log
) -> tuple[ConfigRow, ...]:
    """Return the rows that a shell could have as variables; the others are named in the log.

    Args:
        rows: all rows.
        specs: of the installed harnesses; what one withholds from all sessions is for it alone.
        log: where rows are named that no shell could have.
    """
    is_withheld = withheld_from_all(spec.credentials for spec in specs)
    kept = []
    for row in rows:
        if row.key == _NEVER or is_withheld(row.key):
            continue
        if _IDENTIFIER.fullmatch(row.key):
            kept.append(row)
        else:
            log.warning(Event.CONFIG_IGNORED, key=row.key, why="no shell variable has such a name")
    return tuple(kept)
