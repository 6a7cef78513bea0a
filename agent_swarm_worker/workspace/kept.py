"""Remove what was put aside in a clone (`leftovers`) when it is old, or more than enough.

The newest of each kind always stays, as does anything of which the time is not known.
"""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyio import to_thread

from agent_swarm_worker.workspace.leftovers import AUTOSAVE, KEPT, STASH_MARK, submodules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.workspace.git import Git

MAX_AGE: Final = timedelta(days=30)
MAX_KEPT: Final = 50
"""Stashes, branches, and times at which repositories within the clone were moved."""
MAX_CLONES: Final = 3
"""Whole clones beside the new one."""
_BRANCH: Final = re.compile(AUTOSAVE + "-[0-9a-f]{12}")
_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z")


async def prune(git: Git, clone: Path, *, now: datetime) -> list[str]:
    """Remove what was put aside in and beside a clone, beyond the limits; return what was."""
    name = f".{clone.name}.kept-"
    beside = [path for path in clone.parent.iterdir() if path.name.startswith(name)]
    clones = [(_stamp(path.name), path) for path in beside]
    return await _remove_folders(clones, now, MAX_CLONES) + await _prune_within(git, clone, now)


async def _prune_within(git: Git, tree: Path, now: datetime) -> list[str]:
    removed = []
    for path in await submodules(git, tree):
        removed += await _prune_within(git.in_clone(tree / path), tree / path, now)
    found = await git("rev-parse", "--absolute-git-dir")
    if not found.ok:
        return removed
    git_dir = Path(found.stdout.removesuffix("\n"))
    within = [(_stamp(path.name), path) for path in (git_dir / KEPT).glob("*")]
    removed += await _remove_folders(within, now, MAX_KEPT)
    removed += await _drop_stashes(git, now)
    return removed + await _delete_branches(git, git_dir, now)


def surplus(times: Sequence[float], now: datetime, most: int) -> list[int]:
    """Return the indexes of those that are too old or too many; never that of the newest."""
    newest_first = sorted(range(len(times)), key=lambda index: -times[index])
    oldest = (now - MAX_AGE).timestamp()
    return [
        index
        for place, index in enumerate(newest_first)
        if place and (place >= most or times[index] < oldest)
    ]


async def _remove_folders(
    found: list[tuple[float | None, Path]], now: datetime, most: int
) -> list[str]:
    known = [(time, path) for time, path in found if time is not None]
    paths = [known[index][1] for index in surplus([time for time, _ in known], now, most)]
    for path in paths:
        await to_thread.run_sync(partial(shutil.rmtree, path, ignore_errors=True))
    return [str(path) for path in paths if not path.exists()]


async def _drop_stashes(git: Git, now: datetime) -> list[str]:
    listed = await git("stash", "list", "--format=%ct %gs")
    lines = [line.partition(" ") for line in listed.stdout.splitlines()]
    ours = [number for number, (_, _, what) in enumerate(lines) if STASH_MARK in what]
    times = [float(lines[number][0]) for number in ours]
    numbers = [ours[index] for index in surplus(times, now, MAX_KEPT)]
    return [
        lines[number][2]
        for number in sorted(numbers, reverse=True)  # a drop renumbers those behind it
        if (await git("stash", "drop", "--quiet", f"stash@{{{number}}}")).ok
    ]


async def _delete_branches(git: Git, git_dir: Path, now: datetime) -> list[str]:
    listed = await git("for-each-ref", "--format=%(refname:short)", f"refs/heads/{AUTOSAVE}-*")
    known = []
    for branch in listed.stdout.split():
        log = git_dir / "logs/refs/heads" / branch
        if _BRANCH.fullmatch(branch) and log.is_file():  # the commit itself may be older
            known.append((log.stat().st_mtime, branch))
    branches = [known[index][1] for index in surplus([at for at, _ in known], now, MAX_KEPT)]
    return [branch for branch in branches if (await git("branch", "-D", branch)).ok]


def _stamp(name: str) -> float | None:
    found = _STAMP.search(name)
    if found is None:
        return None
    try:
        moment = datetime.strptime(found[0], "%Y-%m-%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp()
