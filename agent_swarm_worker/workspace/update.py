"""Bring a clone up to date, in whatever state an earlier task left it, without losing its work."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread

from agent_swarm_worker.errors import CloneStuck
from agent_swarm_worker.workspace.checkout import WITHOUT_LFS, login_option
from agent_swarm_worker.workspace.git import is_safe_ref, without_credentials
from agent_swarm_worker.workspace.leftovers import (
    STASH_MARK,
    is_dirty,
    is_sparse,
    move_nested,
    put_aside,
    submodules,
)

if TYPE_CHECKING:
    from agent_swarm_worker.workspace.git import Git

_ORIGIN = "swarm.origin"
_SPARSE = "swarm.sparse"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_LFS_FILES = 1000


async def reset_to_remote(git: Git, clone: Path, branch: str, *, url: str, stamp: str) -> list[str]:
    """Reset a clone to the remote's state of `branch`; return what is worth saying.

    What an earlier task left is kept by `put_aside`, with `stamp` in its name. `url` is used if the
    clone has lost its own.

    Raises:
        CloneStuck: it cannot be done; what could not be kept is unchanged.
    """
    said = await _restore_config(git, clone, url)
    git = git.in_clone(clone)
    await _fetch(git, branch)
    await _free_branch(git, branch)
    said += await put_aside(git, clone, branch, stamp=stamp)
    said += await _check_out(git, branch)
    said += await move_nested(git, clone, stamp=stamp)
    said += await _update_submodules(git, clone)
    return said + await fetch_lfs_files(git, clone)


async def fast_forward(git: Git, clone: Path, branch: str) -> list[str]:
    """Fetch, and fast-forward `branch` if it is checked out and clean; return warnings.

    Another branch, a detached HEAD and uncommitted changes of the earlier session are kept.
    """
    git = git.in_clone(clone)
    try:
        await _fetch(git, branch)
    except CloneStuck as error:
        return [error.why]
    current = (await git("symbolic-ref", "--quiet", "--short", "HEAD")).stdout.strip()
    if current != branch:
        return []
    if await is_dirty(git):
        return [f"{branch} has uncommitted changes of an earlier session and was not updated"]
    merged = await git("merge", "--quiet", "--ff-only", f"refs/remotes/origin/{branch}")
    return [] if merged.ok else [f"{branch} could not follow origin/{branch}: {merged.why}"]


async def default_branch(git: Git, clone: Path) -> str:
    """Return the branch that the remote's HEAD named at the clone; ``main`` if unknown."""
    head = await git.in_clone(clone)(
        "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"
    )
    return head.stdout.strip().removeprefix("origin/") or "main"


async def auto_stashes(git: Git, clone: Path) -> dict[str, str]:
    """Return the messages of stashes made by `reset_to_remote`, by git ref, newest first."""
    listed = await git.in_clone(clone)("stash", "list", "--format=%gs")
    return {
        f"stash@{{{index}}}": message
        for index, message in enumerate(listed.stdout.splitlines())
        if STASH_MARK in message
    }


async def remote_has(git: Git, clone: Path, url: str, branch: str) -> bool:
    """True if the remote answers and has `branch`; asked without the configuration of the clone."""
    options = ("ls-remote", "--exit-code", "--heads", "--", url, branch)
    return (await git(*login_option(clone), *options, cwd=clone.parent)).ok


async def remember_config(git: Git, clone: Path) -> None:
    """Note the address of a clone, and whether it is sparse, unless that was noted before."""
    git = git.in_clone(clone)
    origin = await git("config", "--get", "remote.origin.url")
    if (await git("config", "--local", "--get", _ORIGIN)).ok or not origin.ok:
        return
    await git("config", "--local", _SPARSE, str(await is_sparse(git)).lower())
    await git("config", "--local", _ORIGIN, without_credentials(origin.stdout.strip()))


async def _restore_config(git: Git, clone: Path, url: str) -> list[str]:
    """Undo changes of the clone's configuration that lead git elsewhere."""
    file = clone / ".git" / "config"
    if not file.is_file():
        return []
    config = ("config", "--file", str(file))
    said = []
    for key, harmful in (("core.worktree", ""), ("core.bare", "true")):
        found = await git(*config, "--get", key)
        if found.ok and found.stdout.strip().endswith(harmful):
            await git(*config, "--unset-all", key)
            said.append(f"its setting {key}={found.stdout.strip()} was removed")
    origin = (await git(*config, "--get", "remote.origin.url")).stdout.strip()
    noted = (await git(*config, "--get", _ORIGIN)).stdout.strip()
    wanted = noted or ("" if origin else url)
    if wanted and repository_name(origin) != repository_name(wanted):
        await git(*config, "--replace-all", "remote.origin.url", wanted)
        refspec = await git(*config, "--get", "remote.origin.fetch")
        if not refspec.ok:
            await git(*config, "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
        was = without_credentials(origin) or "missing"
        said.append(f"its remote origin was {was}, and is {wanted} again")
    return said


def repository_name(url: str) -> str:
    """Return ``owner/name``, the part that different spellings of an address share."""
    plain = url.rstrip("/").removesuffix("/.git").removesuffix(".git")
    return "/".join(re.split(r"[/:]", plain)[-2:]).lower()


async def _fetch(git: Git, branch: str) -> None:
    if not is_safe_ref(branch):
        raise CloneStuck(f"the branch name {branch!r} cannot be used")
    # A full refspec, because a single-branch clone would not fetch any other branch.
    refspec = f"+refs/heads/{branch}:refs/remotes/origin/{branch}"
    fetched = await git("fetch", "--quiet", "origin", refspec)
    if not fetched.ok:
        why = f"cannot fetch {branch}, the clone may be old: {fetched.why}"
        raise CloneStuck(why, is_slow=fetched.timed_out)


async def _free_branch(git: Git, branch: str) -> None:
    """Detach other work trees of the clone from `branch`, without touching their files."""
    await git("worktree", "prune")
    listed = (await git("worktree", "list", "--porcelain")).stdout
    for block in listed.split("\n\n")[1:]:
        lines = block.splitlines()
        if f"branch refs/heads/{branch}" in lines:
            other = git.in_clone(Path(lines[0].removeprefix("worktree ")))
            await other("update-ref", "--no-deref", "HEAD", f"refs/heads/{branch}")


async def _check_out(git: Git, branch: str) -> list[str]:
    remote = f"refs/remotes/origin/{branch}"
    command = ("checkout", "--quiet", "--force", "--ignore-other-worktrees", "-B", branch, remote)
    done = await git(*command)
    if not done.ok and "lfs" in done.why:
        git = git.configured(*WITHOUT_LFS)
        done = await git(*command)
    if done.ok:
        done = await git("reset", "--quiet", "--hard", remote)
    if not done.ok:
        raise CloneStuck(f"cannot check out {branch}: {done.why}", is_slow=done.timed_out)
    noted = await git("config", "--local", "--type=bool", "--get", _SPARSE)
    if noted.stdout.strip() != "false" or not await is_sparse(git):
        return []
    whole = await git("sparse-checkout", "disable")
    return [f"its sparse checkout was ended{'' if whole.ok else f', but: {whole.why}'}"]


async def _update_submodules(git: Git, clone: Path) -> list[str]:
    """Update the submodules that are checked out; commands of the configuration do not run."""
    if not await submodules(git, clone):
        return []
    await git("submodule", "--quiet", "sync", "--recursive")
    command = ("submodule", "--quiet", "update", "--force", "--checkout", "--recursive")
    updated = await git(*command, timeout_s=git.clone_timeout_s)
    return [] if updated.ok else [f"its submodules may be old: {updated.why}"]


async def fetch_lfs_files(git: Git, clone: Path) -> list[str]:
    """Replace the pointers of git-lfs by their files; return why it cannot be done."""
    pointers = await _lfs_pointers(git, clone)
    if not pointers:
        return []
    if shutil.which("git-lfs", path=git.env.get("PATH")) is None:
        why = "git-lfs is not installed"
    else:
        why = (await git("lfs", "pull", timeout_s=git.clone_timeout_s)).why
        pointers = await _lfs_pointers(git, clone)
    what = f"{len(pointers)} files of git-lfs are only pointers, such as"
    return [f"{what} {pointers[0]}: {why or 'git lfs pull left them'}"] if pointers else []


async def _lfs_pointers(git: Git, clone: Path) -> list[str]:
    listed = await git("ls-files", "-z", "--", ":(attr:filter=lfs)")
    paths = [path for path in listed.stdout.split("\0")[:_MAX_LFS_FILES] if path]
    return await to_thread.run_sync(lambda: [path for path in paths if _is_pointer(clone / path)])


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(len(_LFS_POINTER)) == _LFS_POINTER
    except OSError:
        return False
