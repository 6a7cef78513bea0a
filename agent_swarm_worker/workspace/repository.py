"""The repository of a task: found, cloned or refreshed, and described for the prompt.

Nothing here fails a task. What goes wrong becomes a warning that the agent reads (docs/api.md
15.1).
"""

from __future__ import annotations

import os
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from anyio import to_thread

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.swarm.wire import Guidelines, Repo
from agent_swarm_worker.workspace import checkout, hooks
from agent_swarm_worker.workspace.commands import without_credentials
from agent_swarm_worker.workspace.locks import CloneLocks, using
from agent_swarm_worker.workspace.login_in_url import split_login, take_login_out

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.workspace.checkout import AutoStash
    from agent_swarm_worker.workspace.git import Git
    from agent_swarm_worker.workspace.login_in_url import Login

CONTAINER_WORKSPACE = Path("/workspace")
"""What the server's clone paths begin with, wherever this worker's workspace really is."""

CONTINUING_TASK_TYPES = frozenset(
    {
        "resume",
        "follow-up",
        "reroute-decision",
        "agentmail-reply",
        "github-comment",
        "github-review",
        "gitlab-comment",
        "gitlab-ci",
    }
)
_OPEN_STATUSES = frozenset({"pending", "in_progress", "offered", "paused"})
_MAX_NOTES_BYTES = 64 * 1024
_MAX_PATH_CHARS = 1000
_MAX_NAME_BYTES = 200
"""File systems take 255 for a name, and our locks need some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryRequest:
    """What a task says about its repository."""

    vcs_repo: str
    vcs_provider: str | None = None
    first_kickoff: bool = True
    """True: start from the default branch. False: continue what an earlier task left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoContext:
    """The repository as the session finds it."""

    clone_path: Path | None
    """``None`` if there is no clone to work in."""
    warning: str | None = None
    claude_md: str = ""
    auto_stashes: tuple[AutoStash, ...] = ()
    guidelines: Guidelines | None = None


class RepositorySource(Protocol):
    """The server, as far as repositories go. Raises `ApiError`."""

    async def repos(self, name: str) -> Sequence[Repo]:
        """Return the repositories of exactly this name."""
        ...


def is_first_kickoff(task_type: str | None, parent_status: str | None) -> bool:
    """True if a task starts on its own and does not continue another's work in the clone.

    Args:
        task_type: the task's type.
        parent_status: status of its parent; ``None`` without one or if it is not known.
    """
    return task_type not in CONTINUING_TASK_TYPES and parent_status not in _OPEN_STATUSES


class Repositories:
    """Prepares the clones of this worker."""

    def __init__(
        self,
        source: RepositorySource,
        git: Git,
        clock: Clock,
        *,
        workspace_dir: Path,
        spare: Path,
        lock_timeout_s: float = 960.0,
        on_secret: Callable[[str, str], None] | None = None,
    ) -> None:
        """Set up.

        Args:
            source: the server.
            git: runs git.
            clock: dates the stashes.
            workspace_dir: where clones go if it exists.
            spare: where they go otherwise.
            lock_timeout_s: how long to wait for another task that prepares the same clone.
            on_secret: told the passwords inside addresses, before anything can print them.
        """
        self._source, self._git, self._clock = source, git, clock
        self._root = workspace_dir if workspace_dir.is_dir() else spare
        self._locks, self._lock_timeout_s = CloneLocks(), lock_timeout_s
        self._on_secret = on_secret
        self._log = Log()

    @asynccontextmanager
    async def prepared(self, request: RepositoryRequest) -> AsyncIterator[RepoContext]:
        """Have the clone ready for a session; hold the context until the session is over.

        While one session uses a clone no other task's start moves its files.
        """
        row, warnings = await self._find(request)
        clone, misplaced = self._place(row)
        warnings += misplaced
        async with AsyncExitStack() as held:
            try:
                await to_thread.run_sync(lambda: clone.parent.mkdir(parents=True, exist_ok=True))
                warnings += await self._prepare(row, clone, request, held)
            except OSError as error:  # a lock that took too long is one as well
                warnings.append(str(error))
            warnings = [without_credentials(warning) for warning in warnings]
            context = await self._describe(row, clone, warnings)
            for warning in warnings:
                self._log.warning(Event.REPOSITORY, clone=str(clone), why=warning)
            yield context

    async def _find(self, request: RepositoryRequest) -> tuple[Repo, list[str]]:
        name = _name_of(request.vcs_repo)
        plain = Repo(url=request.vcs_repo, name=name)
        try:
            rows = await self._source.repos(name)
        except ApiError as error:
            return plain, [f"the swarm could not be asked about {name}: {error}"]
        wanted = _tail(request.vcs_repo)
        best = next((row for row in rows if _tail(row.url) == wanted), None)
        best = best or next((row for row in rows if request.vcs_repo in row.url), None)
        if best or not rows:
            return best or plain, []
        known = rows[0]
        return known, [f"the task names {request.vcs_repo}, the swarm knows {name} as {known.url}"]

    def _place(self, row: Repo) -> tuple[Path, list[str]]:
        """Return the clone's real path; the server's paths are meant for its own containers."""
        default = self._root / "personal" / "repos" / _name_of(row.name or row.url)
        asked = row.clone_path or ""
        if not asked.isprintable() or len(asked) > _MAX_PATH_CHARS or not asked:
            return _real(default), []
        said = Path(os.path.normpath(asked))
        if said.is_relative_to(CONTAINER_WORKSPACE):
            said = said.relative_to(CONTAINER_WORKSPACE)
        path = self._root / said
        if _is_fit_for_clones(path, self._root):
            return _real(path), []
        why = f"its clone cannot be at {asked} on this machine, so it is at {default}"
        return _real(default), [why]

    async def _prepare(
        self, row: Repo, clone: Path, request: RepositoryRequest, held: AsyncExitStack
    ) -> list[str]:
        async with self._locks.preparing(clone, timeout_s=self._lock_timeout_s):
            use = held.enter_context(using(clone))
            try:
                if not (clone / ".git").exists():
                    return await self._clone(row, clone, request)
                return await self._refresh(row, clone, request, alone=use.is_alone())
            finally:
                use.share()

    async def _clone(self, row: Repo, clone: Path, request: RepositoryRequest) -> list[str]:
        self._login_of(row)
        host = request.vcs_provider or _host(row.url)
        warning = await checkout.clone(
            self._git, row.url, clone, branch=row.default_branch or None, host=host
        )
        if warning:
            return [warning]
        self._log.info(Event.REPOSITORY, clone=str(clone), state="cloned")
        return await hooks.install(self._git, clone) if row.hooks_enabled else []

    async def _refresh(
        self, row: Repo, clone: Path, request: RepositoryRequest, *, alone: bool
    ) -> list[str]:
        # Whoever else works here: git reads the file anew each time.
        warnings = await take_login_out(self._git, clone, self._login_of(row))
        if not alone:
            return [*warnings, "another task is working in this clone, so it was left as it is"]
        branch = row.default_branch or await checkout.default_branch(self._git, clone)
        if request.first_kickoff:
            stamp = wire_time(self._clock.now())
            return warnings + await checkout.start_afresh(self._git, clone, branch, stamp=stamp)
        return warnings + await checkout.catch_up(self._git, clone, branch)

    def _login_of(self, row: Repo) -> Login | None:
        login = split_login(row.url)[1]
        if login and self._on_secret:
            for password in {login.password, unquote(login.password)}:
                self._on_secret("repository_password", password)
        return login

    async def _describe(self, row: Repo, clone: Path, warnings: list[str]) -> RepoContext:
        exists = (clone / ".git").exists()
        return RepoContext(
            clone_path=clone if exists else None,
            warning="; ".join(warnings) or None,
            claude_md=await to_thread.run_sync(_read_notes, clone) if exists else "",
            auto_stashes=await checkout.auto_stashes(self._git, clone) if exists else (),
            guidelines=row.guidelines,
        )


def _is_fit_for_clones(path: Path, root: Path) -> bool:
    """True for a place of its own below `root`: not hidden, and not within another clone.

    A clone may bring links along, which would lead anywhere on this machine.
    """
    if path == root or not path.is_relative_to(root):
        return False
    parts = path.relative_to(root).parts
    if any(part.startswith(".") or len(part.encode()) > _MAX_NAME_BYTES for part in parts):
        return False
    return not any((parent / ".git").exists() for parent in path.parents[: len(parts) - 1])


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _name_of(vcs_repo: str) -> str:
    """Return the last path segment, safe as the name of a directory."""
    last = re.split(r"[/:]", vcs_repo.rstrip("/"))[-1].removesuffix(".git")
    return re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".-")[:_MAX_NAME_BYTES] or "repository"


def _tail(url: str) -> str:
    """Return ``owner/name``, which is what different spellings of an address share."""
    parts = re.split(r"[/:]", url.rstrip("/").removesuffix(".git"))
    return "/".join(parts[-2:]).lower()


def _host(url: str) -> str | None:
    if "github.com" in url or re.fullmatch(r"[\w.-]+/[\w.-]+", url):
        return "github"
    return "gitlab" if "gitlab" in url else None


def _read_notes(clone: Path) -> str:
    """Return the repository's CLAUDE.md, unless it is a link to somewhere else on this machine."""
    path = clone / "CLAUDE.md"
    if not path.is_file() or not path.resolve().is_relative_to(clone):
        return ""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_NOTES_BYTES).decode(errors="replace")
    except OSError:
        return ""
