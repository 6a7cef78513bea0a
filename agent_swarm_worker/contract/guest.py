"""The place where a session runs, as adapters and tools see it.

A guest starts processes and reads and writes files somewhere: on this machine, in a container, on
another host. Nothing here depends on where: there is no process id, no file descriptor, and a path
is a string that means something inside only. File operations that fail raise `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import PurePath
    from types import TracebackType
    from typing import Self

OnStep: TypeAlias = Callable[[str, float], None]
"""Told each step of an end as it begins: its name, and the seconds since the first one."""
FileKind: TypeAlias = Literal["file", "directory", "link", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A process to start in a guest."""

    argv: tuple[str, ...]
    cwd: PurePath
    """Inside the guest."""
    env: Mapping[str, str]
    """The complete environment. Its ``PATH`` is where the program is looked up."""
    name: str = ""
    """Which of the session's processes this is, such as ``bash-3``. Ending a process ends all that
    has its name; ending the one without a name ends everything in the guest."""
    stdin: bool = False
    """Whether there is something to `send`. If not, standard input is empty: many a harness waits
    for the end of an open pipe before it starts."""
    durable: bool = False
    """Whether unread output is to survive a crash of the worker, where the guest can do that."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command said, and how it ended."""

    stdout: bytes
    stderr: bytes
    exit_code: int | None
    """``None`` if it is not known: the command was ended for taking too long, or the guest cannot
    tell."""
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Grace:
    """How long a process may take to follow a request before a stronger one is made."""

    interrupt_s: float = 3.0
    """After an interrupt, on which a harness may still write its final event; 0: none is sent."""
    terminate_s: float = 4.0
    """After a request to terminate; 0: none is sent."""


DEFAULT_GRACE = Grace()
NO_GRACE = Grace(0, 0)
"""Kill at once; also cuts short an end that is under way."""


@dataclass(frozen=True, slots=True)
class EndReport:
    """How a process and all it had started ended."""

    exit_code: int | None = None
    """As a shell gives it, 128 + n after signal n; ``None`` if it is not known."""
    steps: tuple[str, ...] = ()
    """What had to be done; nothing if the process had exited before."""
    elapsed_s: float = 0.0
    killed: tuple[str, ...] = ()
    """Commands of other processes that were left behind and were killed."""
    survivors: tuple[str, ...] = ()
    """Commands of processes that could not be ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestCapabilities:
    """What a guest can do, and what is to be known of it."""

    durable_output: bool = False
    """`Command.durable` has an effect: unread output survives a crash of the worker."""
    is_root: bool = False
    """Processes run as user 0 there, which some harnesses accept in a sandbox only."""
    python: str | None = None
    """A Python interpreter inside (3.11 or newer, standard library only), if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateFile:
    """A file for the session's user alone."""

    path: PurePath
    """Inside the guest."""
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """What a guest tells of a file."""

    kind: FileKind
    size: int = 0
    modified_ns: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a directory, in no order."""

    entries: tuple[tuple[str, FileKind], ...]
    """Names with their kinds; ``link`` for a link, whatever it leads to."""
    is_complete: bool = True
    """False if there are more than were asked for."""


class Output(Protocol):
    """What a process writes."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes; raises ``EndOfStream`` or ``ClosedResourceError``."""
        ...

    def checkpoint(
        self, pending: int, journal_begin: int, journal_end: int, *, ends_inside: bool = False
    ) -> None:
        """Say that all that was received, but the last `pending` bytes, is about to be recorded.

        Recovery compares the size of the record with the last checkpoint, to tell what got there.
        Without durable output this does nothing.

        Args:
            pending: how many bytes belong to a line that is not complete yet.
            journal_begin: size of the record before.
            journal_end: its size when they are in it.
            ends_inside: whether they end in the middle of a line of which the rest is not wanted.
        """
        ...


class Process(Protocol):
    """A process that was started. Leaving it as a context manager closes its pipes, no more."""

    @property
    def label(self) -> str:
        """What a log calls it."""
        ...

    @property
    def returncode(self) -> int | None:
        """The exit code as `EndReport.exit_code`; ``None`` while it runs, or if it is unknown."""
        ...

    @property
    def stdout(self) -> Output:
        """Its standard output."""
        ...

    @property
    def stderr(self) -> Output:
        """Its standard error."""
        ...

    async def wait(self) -> int | None:
        """Return the exit code once it has exited, whoever may still hold its pipes."""
        ...

    async def send(self, data: bytes) -> bool:
        """Write to standard input; false if the process takes no more. May block: bound it."""
        ...

    async def close_stdin(self) -> None:
        """Let it read the end of its input."""
        ...

    async def aclose(self) -> None:
        """Close our ends of the pipes."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class OpenFile(Protocol):
    """A regular file that is open for reading."""

    @property
    def size(self) -> int:
        """Its size in bytes when it was opened."""
        ...

    async def read(self, size: int, offset: int) -> bytes:
        """Return at most `size` bytes from `offset` on; none at the end."""
        ...


class AppendFile(Protocol):
    """A file that one session at a time appends to."""

    async def read(self) -> bytes:
        """Return what is in it."""
        ...

    async def append(self, data: bytes) -> None:
        """Write at its end."""
        ...

    async def aclose(self) -> None:
        """Close it and let others have it."""
        ...


class GuestFiles(Protocol):
    """The files of a guest.

    With `within` an operation is confined: `path` must have no link in it and lie below that
    directory, and is opened from there step by step, so that a link which is put in the way
    meanwhile leads nowhere.
    """

    async def which(self, program: str, env: Mapping[str, str]) -> str | None:
        """Return the path of a program that can be executed, looked up in ``PATH`` of `env`."""
        ...

    async def info(self, path: str) -> FileInfo | None:
        """Return what there is, links followed; ``None`` if there is nothing."""
        ...

    async def real_path(self, path: str) -> str:
        """Return a path with all its links resolved; the rest of it may not exist.

        Raises:
            ValueError: it is no path at all.
        """
        ...

    async def glob(self, folder: str, pattern: str) -> tuple[str, ...]:
        """Return the paths of regular files below a folder that have something in them.

        Args:
            folder: if it is missing, there are none.
            pattern: shell patterns for names, joined by slashes.
        """
        ...

    async def list(self, path: str, *, within: str | None = None, limit: int) -> Listing:
        """Return at most `limit` entries of a directory."""
        ...

    def open(
        self, path: str, *, within: str | None = None
    ) -> AbstractAsyncContextManager[OpenFile]:
        """Open a regular file; never waits for a writer. Anything else is an `OSError`."""
        ...

    async def write(self, path: str, content: bytes, *, within: str | None = None) -> bool:
        """Put `content` in the place of a file, keeping its mode; missing directories are made.

        A reader finds the old content or the new one, never a part.

        Returns:
            Whether there was a file before.
        """
        ...

    async def make_dir(self, path: str) -> None:
        """Make a directory for its owner alone, and those above it that are missing."""
        ...

    async def link(self, path: str, target: str) -> None:
        """Make a symbolic link to `target`."""
        ...

    async def remove(self, path: str) -> None:
        """Remove a file or a link, if there is one."""
        ...

    async def append_to(self, path: str, *, create: bool) -> AppendFile:
        """Open a file to append to; nobody else has it until it is closed.

        Args:
            path: where; a link in its place is an error.
            create: whether it is made, mode 0600, with its directories; then it must not exist.
        """
        ...


class Guest(Protocol):
    """Where one session runs: its processes and its files."""

    @property
    def handle(self) -> str:
        """By which the sandbox finds this guest again after a restart of the worker."""
        ...

    @property
    def capabilities(self) -> GuestCapabilities:
        """What it can do."""
        ...

    @property
    def files(self) -> GuestFiles:
        """Its files."""
        ...

    def path(self, host_path: PurePath) -> str:
        """Return where a directory or file of the worker's machine is inside.

        Raises:
            ProviderError: it is not inside.
        """
        ...

    def environment(self, env: Mapping[str, str], needed: Iterable[str] = ()) -> dict[str, str]:
        """Return the environment for the session's processes.

        Args:
            env: what the worker would give to a process on its own machine.
            needed: names of variables that the session needs; they get through.
        """
        ...

    async def put(self, files: Iterable[PrivateFile]) -> None:
        """Write files with mode 0600 that must not exist yet, and missing directories with 0700."""
        ...

    async def read(self, path: PurePath | str, *, max_bytes: int) -> bytes:
        """Return the first `max_bytes` of a regular file; links are followed."""
        ...

    async def exists(self, path: PurePath | str) -> bool:
        """True if there is something."""
        ...

    async def run(
        self,
        argv: tuple[str, ...],
        *,
        env: Mapping[str, str],
        cwd: PurePath,
        timeout_s: float,
        max_output: int,
        name: str = "run",
    ) -> Completed:
        """Run a command to its end; nothing of it is left afterwards.

        Raises:
            BinaryMissing: the program does not exist there or cannot be executed.
            ProviderError: anything else that kept it from starting.
        """
        ...

    async def start(self, command: Command) -> Process:
        """Start a process; raises as `run` does."""
        ...

    async def end(
        self, process: Process, grace: Grace = DEFAULT_GRACE, *, on_step: OnStep | None = None
    ) -> EndReport:
        """End a process and all it started.

        May be called again, also at the same time, and for a process that has exited: what it left
        behind is still ended. Call it shielded from cancellation.
        """
        ...

    async def end_all(self) -> EndReport:
        """End everything that was started in this guest, at once."""
        ...


class WriteIntent(Protocol):
    """Where the journal ended before and after the last bytes that were about to be recorded."""

    @property
    def journal_begin(self) -> int:
        """The size of the journal without them."""
        ...

    @property
    def journal_end(self) -> int:
        """Its size with them."""
        ...


class UnreadOutput(Protocol):
    """What one stream of a process had written that is not in the journal yet."""

    @property
    def write_intent(self) -> WriteIntent | None:
        """What was about to be recorded; ``None`` if it is not known."""
        ...

    def unjournaled(self, journal_size: int) -> bytes:
        """Return what is not in the journal, of which the size is given."""
        ...

    def checkpoint(self, journal_begin: int, journal_end: int) -> None:
        """Say that all of it is about to be recorded."""
        ...


class Unread(Protocol):
    """Output of a crashed worker's session: of each process that had some, in no order."""

    @property
    def stdout(self) -> tuple[UnreadOutput, ...]:
        """Of the standard outputs."""
        ...

    @property
    def stderr(self) -> tuple[UnreadOutput, ...]:
        """Of the standard errors."""
        ...
