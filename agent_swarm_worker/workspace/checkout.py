"""Clone a repository, with its login.

A login in an address (``https://user:password@host/repo.git``) never becomes an argument or part
of ``.git/config``, where other users could read it. It is stored in a file of mode 0600 in the
clone's ``.git``, which git's credential helper reads, for the agent's pushes as well.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from anyio import to_thread

from agent_swarm_worker.files import write_atomically
from agent_swarm_worker.workspace.git import (
    CommandResult,
    GitSettings,
    is_safe_ref,
    is_safe_url,
    run,
    without_credentials,
)

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.workspace.git import Git

_LOGIN_FILE = "swarm-login"
WITHOUT_LFS = (
    ("filter.lfs.smudge", ""),
    ("filter.lfs.process", ""),
    ("filter.lfs.required", "false"),
)
"""Configuration with which git checks out the pointers of git-lfs."""


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
    file = clone / ".git" / _LOGIN_FILE
    return ("-c", f"credential.helper={_helper_option(file)}") if file.is_file() else ()


def _helper_option(file: Path) -> str:
    return f"store --file={shlex.quote(str(file))}"


def _write_login(file: Path, login: Login) -> None:
    write_atomically(file, f"{login.line}\n".encode(errors="surrogateescape"), mode=0o600)


async def _store_login(git: Git, clone: Path, login: Login, moved_to: Path) -> str:
    """Configure a clone that will be at `moved_to` to use `login`; return a warning or nothing."""
    try:
        _write_login(clone / ".git" / _LOGIN_FILE, login)
    except OSError as error:
        return f"the login for {login.host} could not be kept: {error.strerror or error}"
    helper = _helper_option(moved_to / ".git" / _LOGIN_FILE)
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
