"""Prepare the clone of a task's repository, and describe it for the prompt.

A failure does not fail the task: it becomes a warning in the prompt (docs/api.md 15.1).

Each clone has two lock files, for the tasks of this process and for other workers on the same
disk. *Preparing* is exclusive: one task at a time clones or updates. *Using* is shared and lasts as
long as a session; a clone that another session uses is not updated. The files are never removed,
since unlinking a locked file would let two owners in.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote
from weakref import WeakValueDictionary

import anyio
from anyio import to_thread

from agent_swarm_worker.api.wire.resources import Guidelines, Repo
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import ApiError, CloneStuck
from agent_swarm_worker.files import try_lock
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.text import text_of_file
from agent_swarm_worker.workspace import checkout
from agent_swarm_worker.workspace.checkout import full_address, split_login, update_login
from agent_swarm_worker.workspace.clone_config import (
    remember_config,
    repository_name,
    restore_config,
)
from agent_swarm_worker.workspace.git import identity, run, without_credentials
from agent_swarm_worker.workspace.kept import MAX_AGE, prune
from agent_swarm_worker.workspace.leftovers import (
    commit_all,
    put_aside,
    remove_dead_locks,
    submodules,
)
from agent_swarm_worker.workspace.rules import Uncommitted  # noqa: TC001 - of dataclasses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.workspace.checkout import Login
    from agent_swarm_worker.workspace.git import Git

CONTAINER_WORKSPACE = Path("/workspace")
"""Prefix of the server's clone paths; replaced by this worker's workspace."""

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
        "deferred",
        "azure-devops-comment",
    }
)
_OPEN_STATUSES = frozenset({"pending", "in_progress", "offered", "paused"})
_MAX_NOTES_BYTES = 64 * 1024
_MAX_PATH_CHARS = 1000
_MAX_NAME_BYTES = 200
"""File systems take 255 for a name; the lock files add a prefix and a suffix."""
_LOCK_RETRY_S = 0.1
_CLONED = b"cloned"
"""Content of the lock file of a folder in which there was a clone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryRequest:
    """The repository that a task names."""

    vcs_repo: str
    vcs_provider: str | None = None
    first_kickoff: bool = True
    """True: start from the default branch. False: continue the work of an earlier task."""
    task_id: str = ""


@dataclass(slots=True)
class CloneReport:
    """What a session did to its clone; complete when the context has ended."""

    uncommitted: Uncommitted = "leave"
    """What to do with uncommitted changes at the end: set it once the session has ended."""
    before: str | None = None
    """The commit at which the clone stood; ``None`` if it is not known."""
    after: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoContext:
    """The repository as the session finds it, for its prompt."""

    clone_path: Path | None
    """``None`` if there is no clone to work in."""
    warning: str | None = None
    claude_md: str = ""
    auto_stashes: Mapping[str, str] = field(default_factory=dict)
    guidelines: Guidelines | None = None
    report: CloneReport = field(default_factory=CloneReport)


class RepositorySource(Protocol):
    """Lists repositories; implemented by `api.resources`."""

    async def repos(self, name: str) -> Sequence[Repo]:
        """Return the repositories of exactly this name."""


def is_first_kickoff(task_type: str | None, parent_status: str | None) -> bool:
    """True if a task does not continue the work of another task in the clone.

    `parent_status` is ``None`` without a parent, or if its status is not known.
    """
    return task_type not in CONTINUING_TASK_TYPES and parent_status not in _OPEN_STATUSES


class Repositories:
    """Prepares the clones of this worker, in `workspace_dir` if that exists, else `fallback_dir`.

    `on_secret` is called with the password of an address, before git gets the address.
    """

    def __init__(
        self,
        server: RepositorySource,
        git: Git,
        clock: Clock,
        *,
        workspace_dir: Path,
        fallback_dir: Path,
        lock_timeout_s: float = 960.0,
        git_wait_s: float = 10.0,
        on_secret: Callable[[str, str], None] | None = None,
    ) -> None:
        self._git_wait_s = git_wait_s
        self._server, self._git, self._clock = server, git, clock
        self._root = workspace_dir if workspace_dir.is_dir() else fallback_dir
        self._locks, self._lock_timeout_s = CloneLocks(), lock_timeout_s
        self._on_secret = on_secret
        self._log = Log()

    @asynccontextmanager
    async def prepared(self, request: RepositoryRequest) -> AsyncIterator[RepoContext]:
        """Clone or update the repository; the clone is in use until the context ends."""
        row, warnings = await self._find(request)
        clone, path_warnings = self._clone_path(row)
        warnings += path_warnings
        use: int | None = None
        async with AsyncExitStack() as held:
            try:
                await to_thread.run_sync(lambda: clone.parent.mkdir(parents=True, exist_ok=True))
                fd = held.enter_context(_open_lock_file(clone, "in-use"))
                warnings += await self._prepare(row, clone, request, fd)
                use = fd
            except OSError as error:  # includes the TimeoutError of a lock
                warnings.append(str(error))
            warnings = [without_credentials(warning) for warning in warnings]
            context = await self._describe(row, clone, warnings)
            for warning in warnings:
                self._log.warning(Event.REPOSITORY, clone=str(clone), why=warning)
            context.report.before = await self._head(context)
            try:
                yield context
            finally:
                with anyio.CancelScope(shield=True):
                    await self._leave(context, use, request.task_id)
                    context.report.after = await self._head(context)

    async def _head(self, context: RepoContext) -> str | None:
        if context.clone_path is None:
            return None
        git = self._git.in_clone(context.clone_path)
        return (await git("rev-parse", "--verify", "--quiet", "HEAD")).stdout.strip() or None

    async def _leave(self, context: RepoContext, use: int | None, task_id: str) -> None:
        """Commit the session's uncommitted changes or put them aside, as is wanted."""
        clone, report = context.clone_path, context.report
        if clone is None or use is None or report.uncommitted == "leave":
            return
        git = self._git.in_clone(clone, **identity(self._git.env))
        stamp = wire_time(self._clock.now())
        try:
            async with self._locks.preparing(clone, timeout_s=self._git_wait_s):
                if not try_lock(use):
                    report.notes.append("another task works in the clone: nothing was committed")
                    return
                locks, busy = await remove_dead_locks(clone / ".git", wait_s=self._git_wait_s)
                report.notes += _removed(locks)
                if busy:
                    raise CloneStuck(busy)  # noqa: TRY301 - the same note
                report.notes += await restore_config(self._git, clone, keeps_filters=True)
                if report.uncommitted == "commit":
                    message = f"Uncommitted work of task {task_id}"
                    report.notes += await commit_all(git, clone, message, stamp=stamp)
                else:
                    report.notes += await put_aside(git, clone, None, stamp=stamp)
        except (CloneStuck, OSError) as error:
            report.notes.append(f"uncommitted changes were left as they are: {error}")

    async def _find(self, request: RepositoryRequest) -> tuple[Repo, list[str]]:
        name = _name_of(request.vcs_repo)
        plain = Repo(url=request.vcs_repo, name=name)
        try:
            rows = await self._server.repos(name)
        except ApiError as error:
            return plain, [f"the swarm could not be asked about {name}: {error}"]
        wanted = repository_name(request.vcs_repo)
        best = next((row for row in rows if repository_name(row.url) == wanted), None)
        best = best or next((row for row in rows if request.vcs_repo in row.url), None)
        if best or not rows:
            return best or plain, []
        row = rows[0]
        return row, [f"the task names {request.vcs_repo}, the swarm knows {name} as {row.url}"]

    def _clone_path(self, row: Repo) -> tuple[Path, list[str]]:
        """Return the clone's real path, and warnings; the server's path is one in a container."""
        default = self._root / "personal" / "repos" / _name_of(row.name or row.url)
        asked = row.clone_path or ""
        if not asked.isprintable() or len(asked) > _MAX_PATH_CHARS or not asked:
            return _real(default), []
        relative = Path(os.path.normpath(asked))
        if relative.is_relative_to(CONTAINER_WORKSPACE):
            relative = relative.relative_to(CONTAINER_WORKSPACE)
        path = self._root / relative
        if _is_allowed(path, self._root):
            return _real(path), []
        why = f"its clone cannot be at {asked} on this machine, so it is at {default}"
        return _real(default), [why]

    async def _prepare(
        self, row: Repo, clone: Path, request: RepositoryRequest, use: int
    ) -> list[str]:
        async with self._locks.preparing(clone, timeout_s=self._lock_timeout_s):
            try:
                return await self._clone_or_update(row, clone, request, use)
            finally:
                if (clone / ".git").exists():
                    with suppress(OSError):  # another user's file
                        os.pwrite(use, _CLONED, 0)
                # Does not block: an exclusive lock is taken only while preparing.
                fcntl.flock(use, fcntl.LOCK_SH)

    async def _clone_or_update(
        self, row: Repo, clone: Path, request: RepositoryRequest, use: int
    ) -> list[str]:
        if (clone / ".git").is_file():  # in a clone of ours it is a directory
            why = "its .git leads to another repository"
            if request.first_kickoff and try_lock(use):
                return await self._replace(row, clone, request, CloneStuck(why))
            return [f"the clone was left as it is: {why}"]
        if (clone / ".git").exists():
            return await self._update(row, clone, request, alone=try_lock(use))
        if _was_clone(clone, use) and request.first_kickoff and try_lock(use):
            return await self._replace(row, clone, request, CloneStuck("it has lost its .git"))
        return await self._clone(row, clone, request)

    async def _clone(self, row: Repo, clone: Path, request: RepositoryRequest) -> list[str]:
        self._login_of(row)
        host = request.vcs_provider or _host(row.url)
        warning = await checkout.clone(
            self._git, row.url, clone, branch=row.default_branch or None, host=host
        )
        if warning:
            return [warning]
        self._log.info(Event.REPOSITORY, clone=str(clone), state="cloned")
        await remember_config(self._git, clone)
        hooks = await install_hooks(self._git, clone) if row.hooks_enabled else []
        bound = self._git.in_clone(clone)
        bare = await submodules(bound, clone, checked_out=False)
        why = "git submodule update --init --recursive does that, if they are needed"
        missing = [f"its submodules are not checked out ({why}): {' '.join(bare)}"] * bool(bare)
        return [*hooks, *missing, *await checkout.fetch_lfs_files(bound, clone)]

    async def _update(
        self, row: Repo, clone: Path, request: RepositoryRequest, *, alone: bool
    ) -> list[str]:
        if not alone:
            # Safe while another session uses the clone: git reads the login file at each call.
            warnings = await update_login(self._git, clone, self._login_of(row))
            return [*warnings, "another task is working in this clone, so it was left as it is"]
        locks, busy = await remove_dead_locks(clone / ".git", wait_s=self._git_wait_s)
        warnings = _removed(locks)
        warnings += await update_login(self._git, clone, self._login_of(row))
        if busy:
            return [*warnings, f"the clone was left as it is: {busy}"]
        await remember_config(self._git, clone)
        branch = row.default_branch or await checkout.default_branch(self._git, clone)
        if not request.first_kickoff:
            return warnings + await checkout.fast_forward(self._git, clone, branch)
        stamp = wire_time(self._clock.now())
        address = full_address(
            self._git, split_login(row.url)[0], request.vcs_provider or _host(row.url)
        )
        try:
            warnings += await checkout.reset_to_remote(
                self._git, clone, branch, url=address, stamp=stamp
            )
        except CloneStuck as error:
            if error.is_slow or not await checkout.remote_has(self._git, clone, address, branch):
                return [*warnings, error.why]
            warnings += await self._replace(row, clone, request, error)
        await self._prune(clone)
        return warnings

    async def _replace(
        self, row: Repo, clone: Path, request: RepositoryRequest, why: CloneStuck
    ) -> list[str]:
        """Make a new clone beside one that git cannot repair, which is kept."""
        stamp = wire_time(self._clock.now()).replace(":", "")
        kept = clone.with_name(f".{clone.name}.kept-{stamp}")
        await to_thread.run_sync(clone.rename, kept)
        try:
            warnings = await self._clone(row, clone, request)
        finally:
            if not (clone / ".git").exists():
                await to_thread.run_sync(kept.rename, clone)
        if not kept.exists():
            return [str(why), *warnings]
        return [f"the clone cannot be updated and is kept at {kept}: {why}", *warnings]

    async def _prune(self, clone: Path) -> None:
        removed = await prune(self._git.in_clone(clone), clone, now=self._clock.now())
        if removed:
            why = f"put aside more than {MAX_AGE.days} days ago, or too many"
            self._log.info(Event.REPOSITORY, clone=str(clone), removed=removed[:20], why=why)

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
            auto_stashes=await checkout.auto_stashes(self._git, clone) if exists else {},
            guidelines=row.guidelines,
        )


def _removed(locks: Sequence[str]) -> list[str]:
    return [f"lock files of a git that was killed were removed: {' '.join(locks)}"] if locks else []


def _is_allowed(path: Path, root: Path) -> bool:
    """True for a path below `root` that is not hidden and not within another clone.

    A clone may contain symbolic links to any path of this machine.
    """
    if path == root or not path.is_relative_to(root):
        return False
    parts = path.relative_to(root).parts
    if any(part.startswith(".") or len(part.encode()) > _MAX_NAME_BYTES for part in parts):
        return False
    return not any((parent / ".git").exists() for parent in path.parents[: len(parts) - 1])


def _was_clone(clone: Path, use: int) -> bool:
    return clone.is_dir() and os.pread(use, len(_CLONED), 0) == _CLONED


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _name_of(vcs_repo: str) -> str:
    """Return the last path segment, safe as the name of a directory."""
    last = re.split(r"[/:]", vcs_repo.rstrip("/"))[-1].removesuffix(".git")
    return re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".-")[:_MAX_NAME_BYTES] or "repository"


def _host(url: str) -> str | None:
    if "github.com" in url or re.fullmatch(r"[\w.-]+/[\w.-]+", url):
        return "github"
    return "gitlab" if "gitlab" in url else None


def _read_notes(clone: Path) -> str:
    """Return the repository's CLAUDE.md, unless it is a link that leads out of the clone."""
    path = clone / "CLAUDE.md"
    if not path.is_file() or not path.resolve().is_relative_to(clone):
        return ""
    try:
        with path.open("rb") as file:
            return text_of_file(file.read(_MAX_NOTES_BYTES))
    except OSError:
        return ""


async def install_hooks(git: Git, clone: Path) -> list[str]:
    """Install the repository's own commit hooks for the agent's commits; return warnings.

    A repository that has set ``core.hooksPath`` stays as it is; nothing is downloaded.
    """
    git = git.in_clone(clone)
    configured = await git("config", "--local", "--get", "core.hooksPath")
    if configured.ok:
        return []
    if (clone / ".githooks").is_dir():
        set_up = await git("config", "--local", "core.hooksPath", ".githooks")
        return [] if set_up.ok else [f"the repository's hooks are not installed: {set_up.why}"]
    uses_prek = any((clone / name).is_file() for name in (".pre-commit-config.yaml", "prek.toml"))
    if uses_prek and shutil.which("prek", path=git.env.get("PATH")):
        installed = await run(["prek", "install"], env=git.env, cwd=clone, timeout_s=git.timeout_s)
        return [] if installed.ok else [f"prek could not install the hooks: {installed.why}"]
    return []


class CloneLocks:
    """The exclusive locks of all clones, within this process and between processes."""

    def __init__(self) -> None:
        self._in_process: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def preparing(self, clone: Path, *, timeout_s: float) -> AsyncIterator[None]:
        """Hold the exclusive lock; an `OSError` if another task holds it for too long."""
        lock = self._in_process.setdefault(str(clone), anyio.Lock())
        with _open_lock_file(clone, "lock") as fd, ExitStack() as held:
            try:
                with anyio.fail_after(timeout_s):
                    await lock.acquire()
                    held.callback(lock.release)
                    # flock has no event to wait for, and a thread in it cannot be stopped
                    while not try_lock(fd):  # noqa: ASYNC110
                        await anyio.sleep(_LOCK_RETRY_S)
            except TimeoutError:
                why = f"another task has been preparing {clone} for {timeout_s:g} s"
                raise TimeoutError(why) from None
            yield


@contextmanager
def _open_lock_file(clone: Path, kind: str) -> Iterator[int]:
    flags = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    beside = clone.parent / f".{clone.name}.{kind}"
    digest = hashlib.sha256(os.fsencode(clone)).hexdigest()[:16]
    elsewhere = Path(tempfile.gettempdir()) / f".swarm-clone-{digest}.{kind}"
    # A readable file can be locked, so workers of different users can share a clone.
    for path, access in ((beside, os.O_RDWR), (beside, os.O_RDONLY), (elsewhere, os.O_RDWR)):
        with suppress(PermissionError):
            fd = os.open(path, access | flags, 0o644)
            break
    else:
        fd = os.open(elsewhere, os.O_RDONLY | flags, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)
