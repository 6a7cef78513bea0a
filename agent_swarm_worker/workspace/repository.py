"""The repository of a task: found, cloned or refreshed, and described for the prompt.

Nothing here fails a task. What goes wrong becomes a warning that the agent reads (docs/api.md
15.1).

Installing a repository's own commit hooks, where the swarm asks for them.

They run when the agent commits, never in our own git calls. A repository that has set
``core.hooksPath`` is left as it is; nothing is downloaded.

Two locks per clone, for the tasks of this process and for other workers on the same disk.

*Preparing* is exclusive: only one task at a time clones or refreshes. *Using* is shared and lasts
as long as a session works in the clone; a refresh that would move files under a running session is
refused as long as anybody else uses the clone. The files carry no data and are never removed:
unlinking a locked file would let two owners in.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote
from weakref import WeakValueDictionary

import anyio
from anyio import to_thread

from agent_swarm_worker.api.wire import Guidelines, Repo
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.workspace import checkout
from agent_swarm_worker.workspace.checkout import split_login, take_login_out
from agent_swarm_worker.workspace.git import run, without_credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.workspace.checkout import AutoStash, Login
    from agent_swarm_worker.workspace.git import Git

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
        return await install(self._git, clone) if row.hooks_enabled else []

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


async def install(git: Git, clone: Path) -> list[str]:
    """Install the hooks found in `clone`; return warnings."""
    configured = await git("config", "--local", "--get", "core.hooksPath", cwd=clone)
    if configured.ok:
        return []
    if (clone / ".githooks").is_dir():
        set_up = await git("config", "--local", "core.hooksPath", ".githooks", cwd=clone)
        return [] if set_up.ok else [f"the repository's hooks are not installed: {set_up.why}"]
    uses_prek = any((clone / name).is_file() for name in (".pre-commit-config.yaml", "prek.toml"))
    if uses_prek and shutil.which("prek", path=git.env.get("PATH")):
        installed = await run(["prek", "install"], env=git.env, cwd=clone, timeout_s=git.timeout_s)
        return [] if installed.ok else [f"prek could not install the hooks: {installed.why}"]
    return []


_RETRY_S = 0.1


class CloneLocks:
    """Hands out the locks of every clone this worker touches."""

    def __init__(self) -> None:
        self._in_process: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def preparing(self, clone: Path, *, timeout_s: float) -> AsyncIterator[None]:
        """Hold the exclusive lock for cloning or refreshing.

        Raises:
            TimeoutError: somebody else held it for `timeout_s` seconds.
            OSError: no lock file can be made.
        """
        lock = self._in_process.setdefault(str(clone), anyio.Lock())
        with _open_lock_file(clone, "lock") as fd:
            try:
                with anyio.fail_after(timeout_s):
                    await lock.acquire()
                    try:
                        # flock has no event to wait for, and a thread in it cannot be stopped
                        while not _try_lock(fd, fcntl.LOCK_EX):  # noqa: ASYNC110
                            await anyio.sleep(_RETRY_S)
                    except BaseException:
                        lock.release()
                        raise
            except TimeoutError:
                msg = f"another task has been preparing {clone} for {timeout_s:g} s"
                raise TimeoutError(msg) from None
            try:
                yield
            finally:
                lock.release()


class CloneUse:
    """One session's share of the clone, held from before the refresh to the session's end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def is_alone(self) -> bool:
        """True if nobody else uses the clone; stays true until `share`."""
        return _try_lock(self._fd, fcntl.LOCK_EX)

    def share(self) -> None:
        """Let others use the clone as well. Call it while still preparing."""
        # Does not block: others lock it exclusively only while preparing, and now we are.
        fcntl.flock(self._fd, fcntl.LOCK_SH)


@contextmanager
def using(clone: Path) -> Iterator[CloneUse]:
    """Open a session's share of the clone; it ends with the context."""
    with _open_lock_file(clone, "in-use") as fd:
        yield CloneUse(fd)


@contextmanager
def _open_lock_file(clone: Path, kind: str) -> Iterator[int]:
    # Readable is enough to lock, so workers under different users can share a clone.
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(clone.parent / f".{clone.name}.{kind}", flags, 0o644)
    except PermissionError:
        digest = hashlib.sha256(os.fsencode(clone)).hexdigest()[:16]
        fd = os.open(Path(tempfile.gettempdir()) / f".swarm-clone-{digest}.{kind}", flags, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


def _try_lock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
