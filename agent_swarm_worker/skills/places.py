"""The folders that harnesses look into for skills, and the lock that keeps writers apart."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agent_swarm_worker.settings import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent_swarm_worker.contract import HarnessSpec

COMMON_FOLDER = ".agents/skills"
"""Where any agent may look, below the home directory (docs/skills.md)."""

BUILDING = ".swarm-building-"
"""How folders begin in which a skill is being built."""

_LOCK_TIMEOUT_S = 5.0
"""Writers are done in milliseconds; whoever takes longer must not hold up every task."""


def skill_folders(specs: Iterable[HarnessSpec]) -> tuple[str, ...]:
    """Return the folders that installed skills are written to, below the home directory."""
    named = [folder for spec in specs for folder in spec.skills.folders]
    return tuple(dict.fromkeys([*named, COMMON_FOLDER]))


def command_folders(spec: HarnessSpec, env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Return where a harness's own commands are looked up, the first place first.

    Args:
        spec: of one that does not know commands itself.
        env: the session's environment; a variable may name another folder.
        home: the home directory of the user that the harness runs as.
    """
    skills = spec.skills
    variable = skills.folder_variable or f"{spec.name.upper().replace('-', '_')}_SKILLS_DIR"
    other = named(env, variable).strip()
    if other:
        return (Path(other),)
    return tuple(
        home / folder for folder in dict.fromkeys([f".{spec.name}/skills", *skills.folders])
    )


def skill_roots(
    home: Path, folders: Iterable[str], errors: list[str], skipped: list[str], *, create: bool
) -> list[Path]:
    """Return the harnesses' real folders; links are followed only to places inside `home`.

    Args:
        home: the home directory of the user that the harnesses run as.
        folders: where the harnesses look, below it.
        errors: gets what went wrong with a folder.
        skipped: gets the folders that are not to be written to.
        create: whether to make those that are missing.
    """
    # Not `Path.resolve`: that raises for a loop of links, which here is one more thing in the way.
    real_home = os.path.realpath(home)
    roots: dict[Path, None] = {}
    for place in folders:
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
