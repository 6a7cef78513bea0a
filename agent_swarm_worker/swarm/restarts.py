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
    """True until `note_boot` in each new boot; false where nobody can tell."""
    rows = database.run("SELECT value FROM notes WHERE name = ?", NOTE)
    if not rows:
        note_boot(database)
    return bool(rows) and rows != [(_boot_id(),)]


def note_boot(database: Database) -> None:
    """Note that what the last boot had left is in order."""
    database.run("INSERT OR REPLACE INTO notes VALUES (?, ?)", NOTE, _boot_id())


def doubt_everything(database: Database) -> None:
    """Have every write that waits looked for on the server before it is sent."""
    database.run("UPDATE outbox SET uncertain = 1")


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
