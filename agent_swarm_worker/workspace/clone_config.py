"""Undo what was set in a clone's configuration that leads git elsewhere or makes it run programs.

An agent may write anything into ``.git/config``, and the worker's own git would follow it: to files
outside of the clone (``core.worktree``), to another server (``url.*.insteadOf``), or into programs
(``core.sshCommand``). The address of the remote and the login are the worker's own settings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from anyio import to_thread

from agent_swarm_worker.text import one_line
from agent_swarm_worker.workspace.git import without_credentials
from agent_swarm_worker.workspace.leftovers import is_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent_swarm_worker.workspace.git import Git

ORIGIN = "swarm.origin"
"""The address that the clone was made from."""
SPARSE = "swarm.sparse"
LOGIN_FILE = "swarm-login"
MAX_MODULES = 500
MAX_VALUE_CHARS = 80
_PLACES = re.compile(r"core\.(?:worktree|bare)")
_UNSAFE = re.compile(
    r"core\.(?:sshcommand|gitproxy|askpass|alternaterefscommand|fsmonitor|editor|pager)"
    r"|sequence\.editor|include\.path|includeif\..*|url\..*\.(?:push)?insteadof"
    r"|remote\..*\.(?:vcs|proxy|uploadpack|receivepack)|credential\.(?:.*\.)?helper"
    r"|diff\.external|gpg\.(?:.*\.)?program|submodule\..*\.update|trailer\..*\.(?:command|cmd)",
    re.DOTALL,
)
_FILTERS = re.compile(
    r"filter\..*\.(?:clean|smudge|process|required)|merge\..*\.driver"
    r"|diff\..*\.(?:command|textconv)",
    re.DOTALL,
)
_LFS = re.compile(r"git-lfs [a-z-]+(?: --skip)?(?: -- %f)?|true|false|")


async def restore_config(
    git: Git, clone: Path, *, url: str = "", keeps_filters: bool = False
) -> list[str]:
    """Remove unsafe settings of a clone and its submodules; return notes on what was removed.

    `url` becomes the remote's address if the clone has lost its own. Filters stay for a task that
    continues another one: its files may need them.
    """
    git_dir = clone / ".git"
    said = []
    for file in (git_dir / "config", git_dir / "config.worktree"):
        said += await _clean(git, file, keeps_filters=keeps_filters)
    for file in await to_thread.run_sync(lambda: list(_module_configs(git_dir / "modules"))):
        said += await _clean(git, file, keeps_filters=keeps_filters, module_of=clone)
    return said + await _restore_origin(git, git_dir / "config", url)


async def remember_config(git: Git, clone: Path) -> None:
    """Note the address of a clone, and whether it is sparse, unless that was noted before."""
    git = git.in_clone(clone)
    origin = await git("config", "--get", "remote.origin.url")
    if (await git("config", "--local", "--get", ORIGIN)).ok or not origin.ok:
        return
    await git("config", "--local", SPARSE, str(await is_sparse(git)).lower())
    await git("config", "--local", ORIGIN, without_credentials(origin.stdout.strip()))


async def _clean(
    git: Git, file: Path, *, keeps_filters: bool, module_of: Path | None = None
) -> list[str]:
    """Remove the unsafe settings of one file; return a note for each kind of setting."""
    if not await to_thread.run_sync(file.is_file):
        return []
    listed = await git("config", "--file", str(file), "--no-includes", "--list", "-z")
    found: dict[str, str] = {}
    for entry in listed.stdout.split("\0"):
        key, _, value = entry.partition("\n")
        # The work tree of a submodule is set by git, as a path below the clone.
        if module_of and key == "core.worktree" and _is_below(file.parent / value, module_of):
            continue
        if _is_unsafe(key, value, keeps_filters=keeps_filters):
            found.setdefault(key, value)
    said = []
    for key, value in found.items():
        removed = await git("config", "--file", str(file), "--unset-all", key)
        shown = one_line(without_credentials(value), MAX_VALUE_CHARS)
        where = "a submodule's" if module_of else "its"
        said.append(
            f"{where} setting {key}={shown} was removed"
            if removed.ok
            else f"{where} setting {key} cannot be removed: {removed.why}"
        )
    return said


def _is_unsafe(key: str, value: str, *, keeps_filters: bool) -> bool:
    """True for a setting that leads git elsewhere or names a program; keys are as git lists them.

    Git writes sections and names in lower case, but subsections as they are.
    """
    if _PLACES.fullmatch(key):
        return key == "core.worktree" or value != "false"
    if _FILTERS.fullmatch(key):
        return not keeps_filters and not _LFS.fullmatch(value)
    return bool(_UNSAFE.fullmatch(key)) and LOGIN_FILE not in value and value != "false"


def _is_below(path: Path, clone: Path) -> bool:
    return path.resolve().is_relative_to(clone.resolve())


def _module_configs(modules: Path) -> Iterator[Path]:
    """Yield the configuration files of the repositories of submodules, nested ones too."""
    pending, seen = [modules], 0
    while pending and seen < MAX_MODULES:
        folder = pending.pop()
        seen += 1
        if folder.is_symlink() or not folder.is_dir():
            continue
        if (folder / "HEAD").is_file():
            yield from (folder / "config", folder / "config.worktree")
            pending.append(folder / "modules")
        else:
            pending += folder.iterdir()


async def _restore_origin(git: Git, file: Path, url: str) -> list[str]:
    if not await to_thread.run_sync(file.is_file):
        return []
    config = ("config", "--file", str(file))
    origin = (await git(*config, "--get", "remote.origin.url")).stdout.strip()
    noted = (await git(*config, "--get", ORIGIN)).stdout.strip()
    wanted = noted or ("" if origin else url)
    if not wanted or repository_name(origin) == repository_name(wanted):
        return []
    await git(*config, "--replace-all", "remote.origin.url", wanted)
    if not (await git(*config, "--get", "remote.origin.fetch")).ok:
        await git(*config, "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    was = without_credentials(origin) or "missing"
    return [f"its remote origin was {was}, and is {wanted} again"]


def repository_name(url: str) -> str:
    """Return ``owner/name``, the part that different spellings of an address share."""
    plain = url.rstrip("/").removesuffix("/.git").removesuffix(".git")
    return "/".join(re.split(r"[/:]", plain)[-2:]).lower()
