"""The folders that harnesses look into for skills, and the lock that keeps writers apart."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.settings import skills_dir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SKILL_FOLDERS = (
    ".claude/skills",
    ".pi/agent/skills",
    ".codex/skills",
    ".opencode/skills",
    ".agents/skills",
)
"""Where the harnesses look, below the home directory (prompt reference section 3.4)."""

BUILDING = ".swarm-building-"
"""How folders begin in which a skill is being built."""

_LOCK_TIMEOUT_S = 5.0
"""Writers are done in milliseconds; whoever takes longer must not hold up every task."""


def command_folder(harness: str, env: Mapping[str, str], home: Path) -> Path:
    """Return a harness's own folder of commands: ``CODEX_SKILLS_DIR``, else ``~/.codex/skills``.

    Args:
        harness: one that does not know commands itself.
        env: the session's environment; a variable may name another folder.
        home: the home directory of the user that the harness runs as.
    """
    return skills_dir(harness, env) or home / f".{harness}" / "skills"


def skill_roots(home: Path, errors: list[str], skipped: list[str], *, create: bool) -> list[Path]:
    """Return the harnesses' real folders; links are followed only to places inside `home`.

    Args:
        home: the home directory of the user that the harnesses run as.
        errors: gets what went wrong with a folder.
        skipped: gets the folders that are not to be written to.
        create: whether to make those that are missing.
    """
    # Not `Path.resolve`: that raises for a loop of links, which here is one more thing in the way.
    real_home = os.path.realpath(home)
    roots: dict[Path, None] = {}
    for place in SKILL_FOLDERS:
        root = Path(os.path.realpath(home / place))
        if not root.is_relative_to(real_home):
            skipped.append(f"{home / place}: leads out of the home directory")
            continue
        try:
            if create:
                root.mkdir(parents=True, exist_ok=True)
            if root.is_dir():
                roots[root] = None
        except OSError as error:
            errors.append(f"{root}: {error.strerror or error}")
    return list(roots)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep other workers of this machine out; the lock is on the folder itself.

    Raises:
        OSError: it is busy for too long, or cannot be opened.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        give_up_at_s = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_at_s:
                    raise
                time.sleep(0.05)
        for leftover in root.glob(f"{BUILDING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        os.close(fd)
