"""Clone a repository, and update a clone, in whatever state a task left it, without losing work.

A login in an address (``https://user:password@host/repo.git``) never becomes an argument or part
of ``.git/config``, where other users could read it. It is stored in a file of mode 0600 in the
clone's ``.git``, which git's credential helper reads, for the agent's pushes as well.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from anyio import to_thread

from agent_swarm_worker.errors import CloneStuck
from agent_swarm_worker.files import write_atomically
from agent_swarm_worker.workspace.clone_config import LOGIN_FILE, SPARSE, restore_config
from agent_swarm_worker.workspace.git import (
    CommandResult,
    GitSettings,
    is_safe_ref,
    is_safe_url,
    run,
    without_credentials,
)
from agent_swarm_worker.workspace.leftovers import (
    STASH_MARK,
    current_branch,
    is_dirty,
    is_sparse,
    move_nested,
    put_aside,
    submodules,
)

if TYPE_CHECKING:
    from agent_swarm_worker.workspace.git import Git

WITHOUT_LFS = (
    ("filter.lfs.smudge", ""),
    ("filter.lfs.process", ""),
    ("filter.lfs.required", "false"),
)
"""Configuration with which git checks out the pointers of git-lfs."""


_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_LFS_FILES = 1000


@dataclass(frozen=True, slots=True)
class Login:
    """A login of an address, and the host it is for."""

    host: str
    """Scheme, host and port, as git's ``credential.<url>`` takes them."""
    line: str = field(repr=False)
    """In the format of ``git credential-store``."""
    password: str = field(repr=False)


async def clone(git: Git, url: str, target: Path, *, branch: str | None, host: str | None) -> str:
    """Clone `url` to `target`, absent or empty; return a warning, empty on success.

    The clone is made next to `target` and then renamed, so `target` never holds half a clone. `url`
    is an address that git understands, or ``owner/repo`` on a `host`, ``github`` or ``gitlab``.
    `branch` is by default that of the remote's HEAD.
    """
    if not is_safe_url(url) or not (branch is None or is_safe_ref(branch)):
        return f"the repository address {url!r} or its branch {branch!r} cannot be used"
    address, (url, login) = url, split_login(url)
    staging = target.with_name(f".{target.name}.cloning")
    login_file = target.with_name(f".{target.name}.login")
    outcome = CommandResult(ok=False)
    # The host's tool would use its own login instead of the address's.
    host = None if login else host
    login_options = ("-c", f"credential.helper={_helper_option(login_file)}") if login else ()
    try:
        for argv in _clone_commands(git, url, staging, branch, host):
            why = await to_thread.run_sync(_clear_staging, staging, target)
            if why:
                return f"cannot clone to {target}: {why}"
            if login:
                _write_login(login_file, login)
            command = (argv[0], *login_options, *argv[1:])
            outcome = await run(command, env=git.env, timeout_s=git.clone_timeout_s)
            if outcome.ok:
                why = await _store_login(git, staging, login, target) if login else ""
                why = why or await to_thread.run_sync(_move, staging, target)
                return f"cannot clone to {target}: {why}" if why else ""
    finally:
        login_file.unlink(missing_ok=True)
        await to_thread.run_sync(lambda: shutil.rmtree(staging, ignore_errors=True))
    if "lfs" in outcome.why and "filter.lfs.smudge" not in git.env.values():
        git = git.configured(*WITHOUT_LFS)
        return await clone(git, address, target, branch=branch, host=host)
    return f"cannot clone {without_credentials(url)}: {outcome.why}"


def _clone_commands(
    git: Git, url: str, staging: Path, branch: str | None, host: str | None
) -> list[list[str]]:
    """Return the commands to try in turn; the host's own tool comes first, as it has a login."""
    flags = [*(("--branch", branch) if branch else ()), "--single-branch"]
    commands = []
    tool = {"github": "gh", "gitlab": "glab"}.get(host or "")
    if tool and shutil.which(tool, path=git.env.get("PATH")):
        commands.append([tool, "repo", "clone", url, str(staging), "--", *flags])
    url = full_address(git, url, host)
    commands.append([*git.argv, "clone", "--quiet", *flags, "--", url, str(staging)])
    return commands


def full_address(git: Git, url: str, host: str | None) -> str:
    """Return the address that git understands for an address or ``owner/repo`` on a `host`."""
    if ":" in url or url.count("/") != 1 or url.startswith((".", "~")):
        return url
    gitlab = GitSettings.load(git.env).gitlab_url or "https://gitlab.com"
    root = gitlab.rstrip("/") if host == "gitlab" else "https://github.com"
    return f"{root}/{url.removesuffix('.git')}.git"


def _clear_staging(staging: Path, target: Path) -> str:
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            return "there is something else"
        shutil.rmtree(staging, ignore_errors=True)
        staging.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _move(staging: Path, target: Path) -> str:
    try:
        os.rename(staging, target)  # noqa: PTH104 - replaces an empty directory, as rename(2) says
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        return error.strerror or str(error)
    return ""


def split_login(url: str) -> tuple[str, Login | None]:
    """Return the address without its login, and the login; ``None`` without a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, None
    user, at, server = parts.netloc.rpartition("@")
    if parts.scheme.lower() not in {"http", "https"} or not at or ":" not in user:
        return url, None
    plain = SplitResult(parts.scheme, server, parts.path, parts.query, parts.fragment).geturl()
    line = f"{parts.scheme}://{user}@{server}"
    return plain, Login(f"{parts.scheme}://{server}", line, user.partition(":")[2])


def login_option(clone: Path) -> tuple[str, ...]:
    """Return the options with which git outside of `clone` uses its login, if it has one."""
    file = clone / ".git" / LOGIN_FILE
    return ("-c", f"credential.helper={_helper_option(file)}") if file.is_file() else ()


def _helper_option(file: Path) -> str:
    return f"store --file={shlex.quote(str(file))}"


def _write_login(file: Path, login: Login) -> None:
    write_atomically(file, f"{login.line}\n".encode(errors="surrogateescape"), mode=0o600)


async def _store_login(git: Git, clone: Path, login: Login, moved_to: Path) -> str:
    """Configure a clone that will be at `moved_to` to use `login`; return a warning or nothing."""
    try:
        _write_login(clone / ".git" / LOGIN_FILE, login)
    except OSError as error:
        return f"the login for {login.host} could not be kept: {error.strerror or error}"
    helper = _helper_option(moved_to / ".git" / LOGIN_FILE)
    key = f"credential.{login.host}.helper"
    outcome = await git.in_clone(clone)("config", "--local", "--replace-all", key, helper)
    return "" if outcome.ok else f"the login for {login.host} could not be kept: {outcome.why}"


async def update_login(git: Git, clone: Path, login: Login | None) -> list[str]:
    """Store `login`, else the one in the remote's address, and take that out of the address."""
    remote = await git.in_clone(clone)("config", "--local", "--get", "remote.origin.url")
    plain, old = split_login(remote.stdout.strip())
    current = login or old
    if current is None:
        return []
    warning = await _store_login(git, clone, current, clone)
    if old is not None:
        await git.in_clone(clone)("remote", "set-url", "origin", plain)
    return [warning] if warning else []


async def reset_to_remote(git: Git, clone: Path, branch: str, *, url: str, stamp: str) -> list[str]:
    """Reset a clone to the remote's state of `branch`; return what is worth saying.

    What an earlier task left is kept by `put_aside`, with `stamp` in its name. `url` is used if the
    clone has lost its own.

    Raises:
        CloneStuck: it cannot be done; what could not be kept is unchanged.
    """
    said = await restore_config(git, clone, url=url)
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
    said = await restore_config(git, clone, keeps_filters=True)
    git = git.in_clone(clone)
    try:
        await _fetch(git, branch)
    except CloneStuck as error:
        return [*said, error.why]
    if await current_branch(git) != branch:
        return said
    if await is_dirty(git):
        why = f"{branch} has uncommitted changes of an earlier session and was not updated"
        return [*said, why]
    merged = await git("merge", "--quiet", "--ff-only", f"refs/remotes/origin/{branch}")
    if not merged.ok:
        said.append(f"{branch} could not follow origin/{branch}: {merged.why}")
    return said


async def default_branch(git: Git, clone: Path) -> str:
    """Return the branch that the remote's HEAD named at the clone; ``main`` if unknown."""
    # Not shortened by git, which writes remotes/origin/main if there is a tag origin/main.
    head = await git.in_clone(clone)("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD")
    return head.stdout.strip().removeprefix("refs/remotes/origin/") or "main"


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
    noted = await git("config", "--local", "--type=bool", "--get", SPARSE)
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
