"""Making a clone, and bringing one up to date without losing anybody's work.

A task's first session starts from the remote's default branch; what lay in the way is stashed or
kept on a branch of its own. A follow-up finds the clone as its parent left it.

Addresses with a login in them: ``https://user:password@host/repo.git``.

As an argument everyone on the machine can read it, and so can they in ``.git/config``; git hands it
on to a helper program in the same way. So the login is kept in a file that only we can read, in
the clone's own folder, where git finds it for the agent's pushes as well.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from anyio import to_thread

from agent_swarm_worker.workspace.git import (
    GitSettings,
    Outcome,
    is_safe_ref,
    is_safe_url,
    run,
    without_credentials,
)

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.workspace.git import Git

STASH_MARK = "swarm-autostash"
_AUTOSAVE = "swarm-autosave"


@dataclass(frozen=True, slots=True)
class AutoStash:
    """Work that a refresh has put aside."""

    ref: str
    message: str


async def clone(git: Git, url: str, target: Path, *, branch: str | None, host: str | None) -> str:
    """Clone `url` to `target`; return a warning, or nothing if it worked.

    It is cloned next to the target and moved there, so half a clone is never taken for a whole one.

    Args:
        git: runs git.
        url: an address git understands, or ``owner/repo`` on a host.
        target: absent, or an empty directory.
        branch: what to check out; by default what the remote's HEAD names.
        host: ``github`` or ``gitlab`` if it is known to be one of them.
    """
    if not is_safe_url(url) or not (branch is None or is_safe_ref(branch)):
        return f"the repository address {url!r} or its branch {branch!r} cannot be used"
    url, login = split_login(url)
    staging = target.with_name(f".{target.name}.cloning")
    login_file = target.with_name(f".{target.name}.login")
    outcome = Outcome(ok=False)
    # With a login of its own an address needs no other.
    host = None if login else host
    logs_in = ("-c", f"credential.helper={helper_option(login_file)}") if login else ()
    try:
        for argv in _clone_commands(git, url, staging, branch, host):
            why = await to_thread.run_sync(_make_room, staging, target)
            if why:
                return f"cannot clone to {target}: {why}"
            if login:
                write_login(login_file, login)
            words = (argv[0], *logs_in, *argv[1:])
            outcome = await run(words, env=git.env, timeout_s=git.clone_timeout_s)
            if outcome.ok:
                why = await keep_login(git, staging, login, at=target) if login else ""
                why = why or await to_thread.run_sync(_move, staging, target)
                return f"cannot clone to {target}: {why}" if why else ""
    finally:
        login_file.unlink(missing_ok=True)
        await to_thread.run_sync(lambda: shutil.rmtree(staging, ignore_errors=True))
    return f"cannot clone {without_credentials(url)}: {outcome.why}"


async def start_afresh(git: Git, clone: Path, branch: str, *, stamp: str) -> list[str]:
    """Bring a clone to the remote's state of `branch`; return warnings.

    Uncommitted changes are stashed, commits that exist nowhere else get a branch. If any of this
    fails the clone is left alone.

    Args:
        git: runs git.
        clone: the work tree.
        branch: the branch to start from.
        stamp: the time, for the stash's message.
    """
    why = await _fetch(git, clone, branch)
    if why:
        return [why]
    current = (await git("symbolic-ref", "--quiet", "--short", "HEAD", cwd=clone)).stdout.strip()
    if await _is_dirty(git, clone):
        message = f"{STASH_MARK} {current or 'detached'} {stamp}"
        stashed = await git("stash", "push", "--include-untracked", "-m", message, cwd=clone)
        if not stashed.ok:
            return [f"uncommitted changes could not be stashed, so nothing changed: {stashed.why}"]
    warnings = []
    for ref in ("HEAD", f"refs/heads/{branch}"):
        commit = await _lone_commit(git, clone, ref, branch)
        if commit:
            kept = f"{_AUTOSAVE}-{commit[:12]}"
            saved = await git("branch", "--force", kept, commit, cwd=clone)
            if not saved.ok:
                return [f"local commits could not be kept, so nothing changed: {saved.why}"]
            warnings.append(f"commits that were only here are kept on the branch {kept}")
    remote = f"refs/remotes/origin/{branch}"
    switched = await git("checkout", "--quiet", "-B", branch, remote, cwd=clone)
    if switched.ok:
        switched = await git("reset", "--quiet", "--hard", remote, cwd=clone)
    return warnings if switched.ok else [*warnings, f"cannot check out {branch}: {switched.why}"]


async def catch_up(git: Git, clone: Path, branch: str) -> list[str]:
    """Fetch, and move `branch` forward if that disturbs nothing; return warnings.

    Another branch, a detached HEAD and uncommitted changes are what the earlier session left on
    purpose: they stay.
    """
    why = await _fetch(git, clone, branch)
    if why:
        return [why]
    current = (await git("symbolic-ref", "--quiet", "--short", "HEAD", cwd=clone)).stdout.strip()
    if current != branch:
        return []
    if await _is_dirty(git, clone):
        return [f"{branch} has uncommitted changes of an earlier session and was not updated"]
    merged = await git("merge", "--quiet", "--ff-only", f"refs/remotes/origin/{branch}", cwd=clone)
    return [] if merged.ok else [f"{branch} could not follow origin/{branch}: {merged.why}"]


async def default_branch(git: Git, clone: Path) -> str:
    """Return the branch the remote's HEAD named when it was cloned; ``main`` if unknown."""
    head = await git("symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD", cwd=clone)
    return head.stdout.strip().removeprefix("origin/") or "main"


async def auto_stashes(git: Git, clone: Path) -> tuple[AutoStash, ...]:
    """Return what refreshes have put aside here, newest first."""
    listed = await git("stash", "list", "--format=%gs", cwd=clone)
    return tuple(
        AutoStash(f"stash@{{{index}}}", message)
        for index, message in enumerate(listed.stdout.splitlines())
        if STASH_MARK in message
    )


async def _fetch(git: Git, clone: Path, branch: str) -> str:
    if not is_safe_ref(branch):
        return f"the branch name {branch!r} cannot be used"
    # Spelled out, because a single-branch clone would not fetch any other branch.
    refspec = f"+refs/heads/{branch}:refs/remotes/origin/{branch}"
    fetched = await git("fetch", "--quiet", "origin", refspec, cwd=clone)
    return "" if fetched.ok else f"cannot fetch {branch}, the clone may be old: {fetched.why}"


async def _is_dirty(git: Git, clone: Path) -> bool:
    status = await git("status", "--porcelain", cwd=clone)
    return bool(status.stdout) or not status.ok


async def _lone_commit(git: Git, clone: Path, ref: str, branch: str) -> str:
    """Return the tip of `ref` if moving `branch` away would leave it to the garbage collector."""
    elsewhere = ("--not", "--remotes", f"--exclude={branch}", "--branches")
    lone = await git("rev-list", "--max-count=1", ref, *elsewhere, cwd=clone)
    return lone.stdout.strip()


def _clone_commands(
    git: Git, url: str, staging: Path, branch: str | None, host: str | None
) -> list[list[str]]:
    """Return the ways to clone, the best first: the host's own tool knows its login."""
    flags = [*(("--branch", branch) if branch else ()), "--single-branch"]
    bare = "://" not in url and url.count("/") == 1 and not url.startswith((".", "~"))
    bare = bare and ":" not in url
    commands = []
    tool = {"github": "gh", "gitlab": "glab"}.get(host or "")
    if tool and shutil.which(tool, path=git.env.get("PATH")):
        commands.append([tool, "repo", "clone", url, str(staging), "--", *flags])
    if bare:
        gitlab = GitSettings.load(git.env).gitlab_url or "https://gitlab.com"
        root = gitlab.rstrip("/") if host == "gitlab" else "https://github.com"
        url = f"{root}/{url.removesuffix('.git')}.git"
    commands.append([*git.argv, "clone", "--quiet", *flags, "--", url, str(staging)])
    return commands


def _make_room(staging: Path, target: Path) -> str:
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


LOGIN_FILE = "swarm-login"
"""In ``.git``."""


@dataclass(frozen=True, slots=True)
class Login:
    """A login, and where it is good for."""

    host: str
    """Scheme, host and port, as git names a group of addresses."""
    line: str = field(repr=False)
    """As ``git credential-store`` keeps it."""
    password: str = field(repr=False)


def split_login(url: str) -> tuple[str, Login | None]:
    """Return the address without its login, and the login; ``None`` if there is no password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, None
    user, at, place = parts.netloc.rpartition("@")
    if parts.scheme.lower() not in {"http", "https"} or not at or ":" not in user:
        return url, None
    plain = SplitResult(parts.scheme, place, parts.path, parts.query, parts.fragment).geturl()
    host = f"{parts.scheme}://{place}"
    line = f"{parts.scheme}://{user}@{place}"
    return plain, Login(host, line, user.partition(":")[2])


def helper_option(file: Path) -> str:
    """Return the helper that reads the file, as git's configuration wants it."""
    return f"store --file={shlex.quote(str(file))}"


def write_login(file: Path, login: Login) -> None:
    """Write the file anew, readable by nobody else from its first byte on.

    Raises:
        OSError: it cannot be written.
    """
    file.unlink(missing_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(f"{login.line}\n")


async def keep_login(git: Git, clone: Path, login: Login, *, at: Path | None = None) -> str:
    """Have the clone log in with this from now on; return a warning, or nothing.

    Args:
        git: runs git.
        clone: the work tree.
        login: replaces one that is there.
        at: where the clone will be moved to.
    """
    try:
        write_login(clone / ".git" / LOGIN_FILE, login)
    except OSError as error:
        return f"the login for {login.host} could not be kept: {error.strerror or error}"
    helper = helper_option((at or clone) / ".git" / LOGIN_FILE)
    key = f"credential.{login.host}.helper"
    outcome = await git("config", "--replace-all", key, helper, cwd=clone)
    return "" if outcome.ok else f"the login for {login.host} could not be kept: {outcome.why}"


async def take_login_out(git: Git, clone: Path, login: Login | None) -> list[str]:
    """Bring a clone's login up to date, and its address to one without; return warnings.

    Args:
        git: runs git.
        clone: the work tree.
        login: the one in force; ``None`` leaves what is there.
    """
    said = await git("config", "--get", "remote.origin.url", cwd=clone)
    plain, old = split_login(said.stdout.strip())
    kept = login or old
    if kept is None:
        return []
    warning = await keep_login(git, clone, kept)
    if old is not None:
        await git("remote", "set-url", "origin", plain, cwd=clone)
    return [warning] if warning else []
