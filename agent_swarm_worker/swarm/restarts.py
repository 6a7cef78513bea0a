"""Whether the machine was started anew since the last process of this agent.

A process that is killed leaves the kernel with all it has written. A machine without power has only
what the disk was told to keep (`Database.run_for_good`): writes that had arrived wait in the outbox
again, and the cursors are where they were some time ago.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_swarm_worker.swarm.database import Database

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Another one after each boot of the kernel, the same in all containers on it."""
NOTE = "boot_id"


def was_restarted(database: Database) -> bool:
    """Compare this boot with the last process's, and note it; false where nobody can tell."""
    try:
        boot = BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return False
    rows = database.run("SELECT value FROM notes WHERE name = ?", NOTE)
    if rows == [(boot,)]:
        return False
    database.run("INSERT OR REPLACE INTO notes VALUES (?, ?)", NOTE, boot)
    return bool(rows)


def doubt_everything(database: Database) -> None:
    """Have every write that waits looked for on the server before it is sent."""
    database.run("UPDATE outbox SET uncertain = 1")
