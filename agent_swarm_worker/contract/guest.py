"""The environment of one session, as adapters and tools see it: its processes and its files.

A guest is on this machine, in a container or on another host, and nothing here depends on that:
there is no process id and no file descriptor, and a path is a string that is valid inside only.
File operations that fail raise `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import PurePath

OnStep: TypeAlias = Callable[[str, float], None]
"""Called as each step of an end begins: its name, and the seconds since the first one."""
FileKind: TypeAlias = Literal["file", "directory", "link", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A process to start in a guest."""

    argv: tuple[str, ...]
    cwd: PurePath
    env: Mapping[str, str]
    """The complete environment; the program is looked up in its ``PATH``."""
    name: str = ""
    """Such as ``bash-3``. Ending a process ends all processes with its name; ending the one without
    a name ends every process of the guest."""
    stdin: bool = False
    """Whether `send` is used; otherwise standard input is empty."""
    durable: bool = False
    """Keep unread output over a crash of the worker, if the guest can."""


@dataclass(frozen=True, slots=True)
class Completed:
    """Output and end of a command."""

    stdout: bytes
    stderr: bytes
    exit_code: int | None
    """``None`` if unknown: the command hit its time limit, or the guest does not report it."""
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Grace:
    """How long each step of an end waits before the next, stronger one."""

    interrupt_s: float = 3.0
    """After SIGINT, on which a harness may write its final event; 0: it is not sent."""
    terminate_s: float = 4.0
    """After SIGTERM; 0: it is not sent."""


DEFAULT_GRACE = Grace()
NO_GRACE = Grace(0, 0)
"""Kill at once; also shortens an end that has begun."""


@dataclass(frozen=True, slots=True)
class EndReport:
    """The end of a process and of the processes it started."""

    exit_code: int | None = None
    """As in a shell, 128 + n after signal n; ``None`` if unknown."""
    steps: tuple[str, ...] = ()
    """None if the process had exited."""
    elapsed_s: float = 0.0
    killed: tuple[str, ...] = ()
    """Commands of remaining processes that were killed."""
    survivors: tuple[str, ...] = ()
    """Commands of processes that could not be ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestCapabilities:
    """Features of a guest."""

    durable_output: bool = False
    """`Command.durable` has an effect."""
    is_root: bool = False
    """Processes run as user 0, which some harnesses accept in a sandbox only."""
    python: str | None = None
    """Path of a Python interpreter inside (3.11 or newer, standard library), if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateFile:
    """A file that only the session's user can read."""

    path: PurePath
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """Metadata of a file."""

    kind: FileKind
    size: int = 0
    modified_ns: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a directory, in no order."""

    entries: tuple[tuple[str, FileKind], ...]
    """Names with their kinds; ``link`` for a link, whatever its target."""
    is_complete: bool = True


class Output(Protocol):
    """An output stream of a process."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes; raises ``EndOfStream`` or ``ClosedResourceError``."""

    def checkpoint(
        self, pending: int, journal_begin: int, journal_end: int, *, ends_inside: bool = False
    ) -> None:
        """Announce that all received bytes except the last `pending` are about to be journaled.

        Recovery compares the size of the journal with the sizes given here (before and with these
        bytes), to find which bytes are in it. Without durable output this does nothing. With
        `ends_inside` the bytes end inside a line of which the rest is discarded.
        """


class Process(AbstractAsyncContextManager["Process", None], Protocol):
    """A process of a guest. As a context manager it closes its pipes on exit, and does not end."""

    @property
    def label(self) -> str:
        """Its name in logs."""

    @property
    def returncode(self) -> int | None:
        """The exit code as `EndReport.exit_code`; ``None`` while it runs, or if unknown."""

    @property
    def stdout(self) -> Output:
        """Standard output."""

    @property
    def stderr(self) -> Output:
        """Standard error."""

    async def wait(self) -> int | None:
        """Return the exit code once it has exited, even if other processes have its pipes open."""

    async def send(self, data: bytes) -> bool:
        """Write to standard input; false if it is closed. Needs a time limit: it may block."""

    async def close_stdin(self) -> None:
        """Close standard input."""

    async def aclose(self) -> None:
        """Close the worker's ends of the pipes."""


class OpenFile(Protocol):
    """A regular file that is open for reading."""

    @property
    def size(self) -> int:
        """Its size in bytes when it was opened."""

    async def read(self, size: int, offset: int) -> bytes:
        """Return at most `size` bytes from `offset` on; empty at the end."""


class AppendFile(Protocol):
    """A file that one session at a time appends to."""

    async def read(self) -> bytes:
        """Return the content."""

    async def append(self, data: bytes) -> None:
        """Append to the file."""

    async def aclose(self) -> None:
        """Close and unlock the file."""


class GuestFiles(Protocol):
    """The files of a guest.

    With `within` an operation is confined: `path` must be below that directory and without links.
    It is opened component by component, so that a link created meanwhile is not followed.
    """

    async def which(self, program: str, env: Mapping[str, str]) -> str | None:
        """Return the path of an executable program in ``PATH`` of `env`."""

    async def info(self, path: str) -> FileInfo | None:
        """Return metadata, links followed; ``None`` if there is no file."""

    async def real_path(self, path: str) -> str:
        """Return a path with all links resolved; it need not exist. Raises `ValueError`."""

    async def glob(self, folder: str, pattern: str) -> tuple[str, ...]:
        """Return the paths of regular, non-empty files below a folder; none if it is missing.

        The pattern is one shell pattern per level, joined by slashes.
        """

    async def list(self, path: str, *, within: str | None = None, limit: int) -> Listing:
        """Return at most `limit` entries of a directory."""

    def open(
        self, path: str, *, within: str | None = None
    ) -> AbstractAsyncContextManager[OpenFile]:
        """Open a regular file without blocking; anything else is an `OSError`."""

    async def write(self, path: str, content: bytes, *, within: str | None = None) -> bool:
        """Replace a file atomically, keeping its mode; return whether it existed.

        Missing directories are created.
        """

    async def make_dir(self, path: str) -> None:
        """Create a directory with mode 0700, and missing parents likewise."""

    async def link(self, path: str, target: str) -> None:
        """Create a symbolic link to `target`."""

    async def remove(self, path: str) -> None:
        """Remove a file or a link if it exists."""

    async def append_to(self, path: str, *, create: bool) -> AppendFile:
        """Open a file for appending, and lock it until it is closed; a link is an error.

        With `create` it must not exist, and is created with mode 0600, as are missing directories.
        """


class Guest(Protocol):
    """The environment of one session: its processes and its files."""

    @property
    def handle(self) -> str:
        """Identifies the guest to the sandbox after a restart of the worker."""

    @property
    def capabilities(self) -> GuestCapabilities:
        """Its features."""

    @property
    def files(self) -> GuestFiles:
        """Its files."""

    def path(self, host_path: PurePath) -> str:
        """Return the path inside of a directory or file of the worker's machine.

        Raises:
            ProviderError: it is not available inside.
        """

    def environment(self, env: Mapping[str, str], needed: Iterable[str] = ()) -> dict[str, str]:
        """Return the environment for the session's processes, from one of the worker's machine.

        The variables in `needed` are never removed.
        """

    async def put(self, files: Iterable[PrivateFile]) -> None:
        """Create files with mode 0600, which must not exist, and missing directories with 0700."""

    async def read(self, path: PurePath | str, *, max_bytes: int) -> bytes:
        """Return the first `max_bytes` bytes of a regular file; links are followed."""

    async def exists(self, path: PurePath | str) -> bool:
        """True if the path exists."""

    async def run(
        self,
        argv: tuple[str, ...],
        *,
        env: Mapping[str, str],
        cwd: PurePath,
        timeout_s: float,
        max_output: int,
        name: str = "run",
        stdin: bytes = b"",
        keep_end: bool = False,
    ) -> Completed:
        """Run a command to its end; end all processes that it leaves.

        It gets `stdin`. Of each stream the first `max_output` bytes are kept, or with `keep_end`
        the last.

        Raises:
            BinaryMissing: the program does not exist or cannot be executed.
            ProviderError: it cannot be started for another reason.
        """

    async def start(self, command: Command) -> Process:
        """Start a process; raises as `run`."""

    async def end(
        self, process: Process, grace: Grace = DEFAULT_GRACE, *, on_step: OnStep | None = None
    ) -> EndReport:
        """End a process and the processes it started, even if it has exited itself.

        May be called repeatedly and concurrently. Call it shielded from cancellation.
        """

    async def end_all(self) -> EndReport:
        """Kill every process of the guest."""


class WriteIntent(Protocol):
    """The size of the journal before and after the last bytes announced by a checkpoint."""

    @property
    def journal_begin(self) -> int:
        """The size without them."""

    @property
    def journal_end(self) -> int:
        """The size with them."""


class UnreadOutput(Protocol):
    """Output of one stream of a process, some of which is not in the journal."""

    @property
    def write_intent(self) -> WriteIntent | None:
        """The last checkpoint; ``None`` if unknown."""

    def unjournaled(self, journal_size: int) -> bytes:
        """Return the bytes that are not in the journal, given its size."""

    def checkpoint(self, journal_begin: int, journal_end: int) -> None:
        """Announce that all of it is about to be journaled."""


class Unread(Protocol):
    """Unread output of a crashed worker's session, by process and in no order."""

    @property
    def stdout(self) -> tuple[UnreadOutput, ...]:
        """The standard outputs."""

    @property
    def stderr(self) -> tuple[UnreadOutput, ...]:
        """The standard errors."""
