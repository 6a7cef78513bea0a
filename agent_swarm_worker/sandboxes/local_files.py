"""Read and write files of this machine for a guest (`GuestFiles`)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import anyio.to_thread

from agent_swarm_worker.contract.guest import FileInfo, Listing
from agent_swarm_worker.files import make_private_dir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from agent_swarm_worker.contract.guest import FileKind, GuestFiles, OpenFile

T = TypeVar("T")

# O_PATH needs no permission to read a directory, only to pass through it.
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class _LocalFiles:
    """Implements `GuestFiles` with the system's own calls, in threads."""

    async def which(self, program: str, env: Mapping[str, str]) -> str | None:
        return await _in_thread(shutil.which, program, path=env.get("PATH"))

    async def info(self, path: str) -> FileInfo | None:
        return await _in_thread(_info, path)

    async def real_path(self, path: str) -> str:
        try:
            return await _in_thread(os.path.realpath, path)
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from None

    async def glob(self, folder: str, pattern: str) -> tuple[str, ...]:
        return await _in_thread(_glob, folder, pattern)

    async def list(self, path: str, *, within: str | None = None, limit: int) -> Listing:
        return await _in_thread(_list, path, within, limit)

    @asynccontextmanager
    async def open(self, path: str, *, within: str | None = None) -> AsyncIterator[OpenFile]:
        handle = await _in_thread(open_regular, path, within)
        try:
            yield _OpenFile(handle)
        finally:
            os.close(handle)

    async def write(self, path: str, content: bytes, *, within: str | None = None) -> bool:
        return await _in_thread(_write, path, content, within)

    async def make_dir(self, path: str) -> None:
        await _in_thread(make_private_dir, Path(path))

    async def link(self, path: str, target: str) -> None:
        await _in_thread(_link, path, target)

    async def remove(self, path: str) -> None:
        await _in_thread(Path(path).unlink, missing_ok=True)

    async def append_to(self, path: str, *, create: bool) -> _AppendFile:
        return _AppendFile(await _in_thread(_open_to_append, path, create))


LOCAL_FILES: Final[GuestFiles] = _LocalFiles()


class _OpenFile:
    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.size = os.fstat(handle).st_size

    async def read(self, size: int, offset: int) -> bytes:
        return await _in_thread(_read_fully, self._handle, size, offset)


class _AppendFile:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    async def read(self) -> bytes:
        size = os.fstat(self._handle).st_size
        return await _in_thread(_read_fully, self._handle, size, 0)

    async def append(self, data: bytes) -> None:
        await _in_thread(_append, self._handle, data)

    async def aclose(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600; an existing one, or a link in its place, is an `OSError`."""
    make_private_dir(path.parent)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)


def open_regular(path: str, within: str | None = None) -> int:
    """Open a regular file for reading without waiting; anything else is an `OSError`."""
    with contextlib.ExitStack() as opened:
        flags, directory, name = _READ, None, path
        if within is not None:
            directory, name = opened.enter_context(_parent(path, within))
            flags |= os.O_NOFOLLOW
        # Checked before it is opened: opening a device can have an effect.
        mode = os.stat(name, dir_fd=directory, follow_symlinks=within is None).st_mode
        _refuse_special(mode, path)
        handle = os.open(name, flags, dir_fd=directory)
    try:
        _refuse_special(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return handle


async def _in_thread(work: Callable[..., T], *args: object, **named: object) -> T:
    return await anyio.to_thread.run_sync(partial(work, *args, **named))


def _link(path: str, target: str) -> None:
    absolute = os.path.abspath(target)  # noqa: PTH100 - does not resolve links
    Path(path).symlink_to(absolute)


def _info(path: str) -> FileInfo | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a str may hold what a Path changes
    except (OSError, ValueError):
        return None
    return FileInfo(kind=_kind(found.st_mode), size=found.st_size, modified_ns=found.st_mtime_ns)


def _kind(mode: int) -> FileKind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


def _glob(folder: str, pattern: str) -> tuple[str, ...]:
    try:
        found = [path for path in Path(folder).glob(pattern) if path.is_file()]
        return tuple(str(path) for path in found if path.stat().st_size)
    except OSError:
        return ()


def _list(path: str, within: str | None, limit: int) -> Listing:
    if within is None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        with _directory(within, _parts(path, within)) as fd:
            # A descriptor that only passes through a directory cannot list it.
            handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    entries: list[tuple[str, FileKind]] = []
    try:
        with os.scandir(handle) as found:
            for entry in found:
                if len(entries) == limit:
                    return Listing(tuple(entries), is_complete=False)
                entries.append((entry.name, _kind_of_entry(entry)))
    finally:
        os.close(handle)
    return Listing(tuple(entries))


def _kind_of_entry(entry: os.DirEntry[str]) -> FileKind:
    if entry.is_symlink():
        return "link"
    if entry.is_dir():
        return "directory"
    return "file" if entry.is_file() else "other"


def _write(path: str, content: bytes, within: str | None) -> bool:
    if within is None:
        path, within = os.path.realpath(path), "/"
    with _parent(path, within, make=True) as (fd, name):
        mode = _mode_of(fd, name, path)
        temporary = f".{name[:100]}.{secrets.token_hex(6)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(temporary, flags, 0o666 if mode is None else 0o600, dir_fd=fd)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=fd)
            raise
        return mode is not None


def _mode_of(fd: int, name: str, path: str) -> int | None:
    try:
        mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    _refuse_special(mode, path)
    if not os.access(name, os.W_OK, dir_fd=fd):
        raise OSError(errno.EACCES, "the file is read-only", path)
    return mode & 0o777


def _read_fully(fd: int, size: int, position: int) -> bytes:
    """Read until `size` or the end: files of ``/proc`` return small pieces."""
    data = os.pread(fd, size, position)
    while data and len(data) < size:
        chunk = os.pread(fd, size - len(data), position + len(data))
        if not chunk:
            break
        data += chunk
    return data


def _open_to_append(path: str, create: bool) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    if create:
        make_private_dir(Path(path).parent)
        flags |= os.O_CREAT | os.O_EXCL
    handle = os.open(path, flags, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _append(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _parts(path: str, within: str) -> tuple[str, ...]:
    try:
        return Path(path).relative_to(within).parts
    except ValueError:
        raise OSError(errno.EXDEV, f"not below {within}", path) from None


@contextmanager
def _directory(root: str, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
    """Open a directory below `root`, as a descriptor for ``dir_fd``."""
    fd = os.open(root, _PASS & ~os.O_NOFOLLOW)
    try:
        for part in parts:
            below = _step(fd, part, make=make)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _parent(path: str, within: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """Open the directory that contains `path`; yield it and the name of `path` in it."""
    parts = _parts(path, within)
    if not parts:
        raise IsADirectoryError(errno.EISDIR, "it is a directory, not a file", path)
    with _directory(within, parts[:-1], make=make) as fd:
        yield fd, parts[-1]


def _step(fd: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _PASS, dir_fd=fd)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):  # another process made it
        os.mkdir(name, dir_fd=fd)
    return os.open(name, _PASS, dir_fd=fd)


def _refuse_special(mode: int, path: str) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory, not a file", path)
    kinds = (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISLNK, "a symbolic link that leads nowhere"),
    )
    kind = next((name for test, name in kinds if test(mode)), "a device")
    raise OSError(errno.EINVAL, f"it is {kind}, not a file", path)
