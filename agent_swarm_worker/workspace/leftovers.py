"""Put aside what an earlier task left in a clone: changes, commits, operations, dead locks.

Nothing is lost: changes become a stash, commits a branch, repositories within the clone are moved
to ``.git/swarm-kept``. Return a list of notes for the prompt and the log.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from agent_swarm_worker.errors import CloneStuck
from agent_swarm_worker.processes import procfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.workspace.git import Git

STASH_MARK = "swarm-autostash"
AUTOSAVE = "swarm-autosave"
KEPT = "swarm-kept"
_UNDER_WAY = {
    "merge": ("MERGE_HEAD", "MERGE_MSG", "MERGE_MODE", "MERGE_RR", "AUTO_MERGE", "SQUASH_MSG"),
    "rebase": ("rebase-merge", "rebase-apply", "REBASE_HEAD"),
    "cherry-pick": ("CHERRY_PICK_HEAD",),
    "revert": ("REVERT_HEAD",),
    "cherry-pick or revert": ("sequencer",),
    "bisect": (
        "BISECT_START",
        "BISECT_LOG",
        "BISECT_NAMES",
        "BISECT_TERMS",
        "BISECT_EXPECTED_REV",
        "BISECT_ANCESTORS_OK",
        "BISECT_FIRST_PARENT",
        "BISECT_HEAD",
        "BISECT_RUN",
    ),
}
"""Files in which git keeps an operation that is not finished."""
_SILENT = frozenset(
    {"MERGE_MSG", "MERGE_MODE", "MERGE_RR", "AUTO_MERGE", "SQUASH_MSG", "REBASE_HEAD"}
)
"""Also there when nothing is under way."""
_AUTOSTASHES = ("rebase-merge/autostash", "rebase-apply/autostash", "MERGE_AUTOSTASH")
_IDENTITY = (("user.name", "swarm-worker"), ("user.email", "swarm-worker@localhost"))

_SKIPPED = re.compile(r"[0-9a-f]{2}|pack|hooks|lfs|swarm-kept")
"""Folders with no locks and with many files, or with files that are not git's."""
_SERVICES = (b"fsmonitor--daemon", b"credential-cache--daemon")
"""Gits that stay, and hold no lock."""
_RETRY_S = 0.1


async def put_aside(git: Git, tree: Path, branch: str | None, *, stamp: str) -> list[str]:
    """Leave the work tree `tree` clean and without an operation under way; return what was found.

    Args:
        git: bound to `tree`.
        tree: a clone or a submodule.
        branch: the local branch that is about to be reset, if any.
        stamp: part of the names under which things are kept.

    Raises:
        CloneStuck: something cannot be kept; nothing that was not kept is changed.
    """
    git_dir = await _git_dir(git, tree)
    said = await _move_nested(git, tree, git_dir, stamp)
    for path in await submodules(git, tree):
        inner = git.in_clone(tree / path)
        before = await _last_stash(inner)
        found = await put_aside(inner, tree / path, None, stamp=stamp)
        if await _last_stash(inner) != before:  # the caller lists those of the clone itself
            found.append("uncommitted changes are kept there as stash@{0}")
        said += [f"in {path}: {what}" for what in found]
    await _show_hidden_changes(git)
    said += [f"a {name} was under way and was ended" for name in _under_way(git_dir)]
    said += await _keep_changes(git, git_dir, stamp)
    await _end_operations(git, git_dir)
    for ref in ("HEAD", *((f"refs/heads/{branch}",) if branch else ())):
        said += await _keep_commits(git, ref, branch)
    return said


async def commit_all(git: Git, tree: Path, message: str, *, stamp: str) -> list[str]:
    """Commit all changes on the branch that is checked out; else put them aside, and say why.

    Raises:
        CloneStuck: neither can be done.
    """
    git_dir = await _git_dir(git, tree)
    if not await is_dirty(git):
        return []
    why = next((f"a {name} is under way" for name in _under_way(git_dir)), "")
    if not why:
        known = await git("var", "GIT_COMMITTER_IDENT")
        author = git if known.ok else git.configured(*_IDENTITY)
        nested = await _nested(git)  # git would commit no more of them than a commit's name
        done = await author("add", "--all", *_all_but(nested))
        if done.ok:
            done = await author("commit", "--quiet", "--no-verify", "-m", message)
        if done.ok:
            said = [f"the repository {path} within it was not" for path in nested]
            return ["; ".join(["uncommitted changes were committed", *said])]
        why = done.why
    said = await put_aside(git, tree, None, stamp=stamp)
    return [f"uncommitted changes were put aside, not committed: {why}", *said]


async def move_nested(git: Git, tree: Path, *, stamp: str) -> list[str]:
    """Move repositories that a checkout has left untracked; return what was moved."""
    return await _move_nested(git, tree, await _git_dir(git, tree), stamp)


async def is_dirty(git: Git) -> bool:
    """True if there are changes; those inside of other repositories do not count."""
    options = ("--porcelain", "-z", "--untracked-files=all", "--ignore-submodules=all")
    status = await git("status", *options)
    found = status.stdout.split("\0")
    return not status.ok or any(line and not line.endswith("/") for line in found)


async def is_sparse(git: Git) -> bool:
    """True if only a part of the files is checked out."""
    sparse = await git("config", "--type=bool", "--get", "core.sparseCheckout")
    return sparse.stdout.strip() == "true"


async def _git_dir(git: Git, tree: Path) -> Path:
    found = await git("rev-parse", "--absolute-git-dir")
    if not found.ok:
        raise CloneStuck(f"{tree} is no usable repository: {found.why}")
    return Path(found.stdout.removesuffix("\n"))


async def _move_nested(git: Git, tree: Path, git_dir: Path, stamp: str) -> list[str]:
    """Move untracked repositories out of the way; linked work trees of this one stay."""
    worktrees = await git("worktree", "list", "--porcelain")
    linked = {
        line.removeprefix("worktree ")
        for line in worktrees.stdout.splitlines()
        if line.startswith("worktree ")
    }
    said = []
    for path in await _nested(git):
        source = tree / path
        if str(source) in linked:
            continue
        kept = git_dir / KEPT / stamp.replace(":", "") / path
        try:
            await to_thread.run_sync(_move, source, kept)
        except OSError as error:
            raise CloneStuck(f"{path} cannot be moved: {error.strerror or error}") from error
        said.append(f"the repository {path} within it was moved to {kept}")
    return said


async def _nested(git: Git) -> list[str]:
    """Return the paths of untracked repositories and linked work trees, each with a final slash."""
    listed = await git("ls-files", "--others", "--exclude-standard", "-z")
    return [path for path in listed.stdout.split("\0") if path.endswith("/")]


def _all_but(paths: list[str]) -> tuple[str, ...]:
    """Return the pathspecs of all files except those below `paths`; none if there are none."""
    return ("--", ".", *(f":(exclude,literal){path}" for path in paths)) if paths else ()


def _move(source: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    source.rename(kept)


async def current_branch(git: Git) -> str:
    """Return the branch that is checked out; empty for a detached HEAD."""
    head = await git("symbolic-ref", "--quiet", "HEAD")
    return head.stdout.strip().removeprefix("refs/heads/")


async def submodules(git: Git, tree: Path, *, checked_out: bool = True) -> list[str]:
    """Return the paths of submodules that are checked out; or of those that are not."""
    listed = await git("ls-files", "--stage", "-z")
    links = [line.partition("\t")[2] for line in listed.stdout.split("\0") if line[:6] == "160000"]
    return [path for path in dict.fromkeys(links) if (tree / path / ".git").exists() == checked_out]


async def _last_stash(git: Git) -> str:
    return (await git("rev-parse", "--verify", "--quiet", "refs/stash")).stdout.strip()


async def _show_hidden_changes(git: Git) -> None:
    """Clear the flags that hide changes of a file, but not those of a sparse checkout."""
    flagged: dict[str, list[str]] = {"--no-skip-worktree": [], "--no-assume-unchanged": []}
    sparse = await is_sparse(git)
    listed = await git("ls-files", "-v", "-z")
    for line in listed.stdout.split("\0"):
        flag, _, path = line.partition(" ")
        if flag.islower():
            flagged["--no-assume-unchanged"].append(path)
        if flag.upper() == "S" and not sparse:
            flagged["--no-skip-worktree"].append(path)
    for option, paths in flagged.items():
        for begin in range(0, len(paths), 500):
            await git("update-index", option, "--", *paths[begin : begin + 500])


async def _keep_changes(git: Git, git_dir: Path, stamp: str) -> list[str]:
    if not await is_dirty(git):
        return []
    current = await current_branch(git)
    message = f"{STASH_MARK} {current or 'detached'} {stamp}"
    stashed = await git("stash", "push", "--include-untracked", "-m", message)
    if stashed.ok:
        return []
    if stashed.timed_out:
        raise CloneStuck(stashed.why, is_slow=True)
    # Without a commit, with conflicts and with paths added by intent only, git cannot stash.
    try:
        return await _snapshot(git, git_dir, message)
    except CloneStuck as error:
        why = f"uncommitted changes could not be stashed: {stashed.why}; nor saved: {error}"
        raise CloneStuck(why) from error


async def _snapshot(git: Git, git_dir: Path, message: str) -> list[str]:
    """Save all files as a stash, else as a branch; then remove the changes."""
    index = git_dir / "swarm-index"
    head = (await git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")).stdout.strip()
    parents = ("-p", head) if head else ()
    own = git.configured(*_IDENTITY, ("advice.addEmbeddedRepo", "false"))
    own.env["GIT_INDEX_FILE"] = str(index)
    try:
        await to_thread.run_sync(_copy, git_dir / "index", index)
        added = await own("add", "--all")
        if not added.ok:  # the index is damaged
            index.unlink(missing_ok=True)
            await own("read-tree", head or "--empty")
            await _must(own, "add", "--all")
        tree = await _must(own, "write-tree")
    finally:
        index.unlink(missing_ok=True)
    commit = await _must(own, "commit-tree", tree, *parents, "-m", message)
    if head:
        commit = await _must(own, "commit-tree", tree, *parents, "-p", commit, "-m", message)
        await _must(git, "stash", "store", "-m", message, commit)
        await _must(git, "reset", "--quiet", "--hard")
        where = "a stash"
    else:
        where = await _kept_branch(git, commit)
        await _must(git, "read-tree", "--empty")
    await _must(git, "clean", "--quiet", "-d", "--force")
    return [f"its files, which git could not stash, are kept as {where}: {message}"]


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    if source.is_file():
        shutil.copyfile(source, target)


def _under_way(git_dir: Path) -> list[str]:
    return [
        name
        for name, files in _UNDER_WAY.items()
        if any((git_dir / file).exists() for file in files if file not in _SILENT)
    ]


async def _end_operations(git: Git, git_dir: Path) -> None:
    """Remove the state of unfinished operations; their files and commits are kept elsewhere."""
    for name in _AUTOSTASHES:
        if (git_dir / name).is_file():
            commit = (git_dir / name).read_text(errors="replace").strip()
            await _must(git, "stash", "store", "-m", f"{STASH_MARK} {name}", commit)
            (git_dir / name).unlink(missing_ok=True)
    for file in (file for files in _UNDER_WAY.values() for file in files):
        await to_thread.run_sync(_delete, git_dir / file)
    refs = await git("for-each-ref", "--format=%(refname)", "refs/bisect/", "refs/rewritten/")
    for ref in refs.stdout.split():
        await git("update-ref", "-d", ref)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


async def _keep_commits(git: Git, ref: str, branch: str | None) -> list[str]:
    """Keep the tip of `ref` on a branch, if no ref but `branch` holds it."""
    tip = await git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if not tip.ok:
        return []
    excluded = (f"--exclude={branch}",) if branch else ()
    options = ("--max-count=1", ref, "--not", "--remotes", *excluded, "--branches")
    commit = (await _must(git, "rev-list", *options)).strip()
    if not commit:
        return []
    kept = await _kept_branch(git, commit)
    return [f"commits that were only here are kept on {kept}"]


async def _kept_branch(git: Git, commit: str) -> str:
    kept = f"{AUTOSAVE}-{commit[:12]}"
    await _must(git, "branch", "--force", kept, commit)
    return f"the branch {kept}"


async def _must(git: Git, *args: str) -> str:
    outcome = await git(*args)
    if not outcome.ok:
        raise CloneStuck(f"git {args[0]}: {outcome.why}", is_slow=outcome.timed_out)
    return outcome.stdout.strip()


async def remove_dead_locks(git_dir: Path, *, wait_s: float) -> tuple[list[str], str]:
    """Remove dead lock files below `git_dir`, and wait for living ones.

    A lock is dead if no process has it open and no git works in the clone; without ``/proc`` the
    clone's own lock file, which the caller holds, has to do.

    Returns:
        The removed files, relative to `git_dir`; and why there are others still, else empty.
    """
    holder = ""
    with anyio.move_on_after(wait_s):
        while True:
            locks = await to_thread.run_sync(_locks, git_dir)
            holder = await to_thread.run_sync(_holder, git_dir, locks) if locks else ""
            if not holder:
                removed = await to_thread.run_sync(_remove, git_dir, locks)
                return removed, ""
            await anyio.sleep(_RETRY_S)
    return [], f"{holder} is still at work in it"


def _locks(git_dir: Path) -> list[Path]:
    return sorted(_walk(git_dir))


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if not _SKIPPED.fullmatch(entry.name):
                yield from _walk(Path(entry.path))
        elif entry.name.endswith(".lock"):
            yield Path(entry.path)


def _remove(git_dir: Path, locks: list[Path]) -> list[str]:
    for lock in locks:
        lock.unlink(missing_ok=True)
    return [str(lock.relative_to(git_dir)) for lock in locks]


def _holder(git_dir: Path, locks: list[Path]) -> str:
    """Return the command of a process that may hold one of the locks; empty without one."""
    held = {os.path.realpath(lock) for lock in locks}
    worktree = os.path.realpath(git_dir.parent)
    for pid in procfs.pids() - {os.getpid()}:
        process = Path("/proc", str(pid))
        try:
            command = (process / "cmdline").read_bytes()
            is_git = os.path.basename(command.partition(b"\0")[0]).startswith(b"git")  # noqa: PTH119
            is_service = any(name in command for name in _SERVICES)
            if is_git and not is_service and _is_below(str((process / "cwd").readlink()), worktree):
                return procfs.command_line(pid)
            descriptors = list(os.scandir(process / "fd"))
        except OSError:  # it has ended, or is another user's
            continue
        if any(_target(entry.path) in held for entry in descriptors):
            return procfs.command_line(pid)
    return ""


def _target(link: str) -> str:
    try:
        return str(Path(link).readlink())
    except OSError:
        return ""


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")
