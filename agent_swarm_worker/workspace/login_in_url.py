"""Addresses with a login in them: ``https://user:password@host/repo.git``.

As an argument everyone on the machine can read it, and so can they in ``.git/config``; git hands it
on to a helper program in the same way. So the login is kept in a file that only we can read, in
the clone's own folder, where git finds it for the agent's pushes as well.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.workspace.git import Git

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
