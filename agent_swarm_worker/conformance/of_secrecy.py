"""Check the promises about secrets and the environment of a session."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from agent_swarm_worker.conformance.checks import NotApplicable, broken, session_check
from agent_swarm_worker.conformance.session_fixture import (
    API_KEY,
    SOON_S,
    ObservedSession,
    SessionFixture,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "conformance-secret-9876543210"  # noqa: S105 - worth nothing
INHERITED = "SWARM_CONFORMANCE_INHERITED"


@session_check
async def a_secret_is_said_to_nobody(fixture: SessionFixture) -> None:
    """A registered secret is in no event, result or journal, even if the agent prints it."""
    observed = await fixture.session(fixture.harness.answers(f"It is {SECRET}, isn't it?"))
    observed.config.redactor.add("SECRET", SECRET)
    await observed.finish()
    if not any("isn't it?" in repr(event) for event in observed.events):
        broken("the agent did not give the requested answer, so nothing can be checked")
    for event in observed.events:
        if SECRET in repr(event):
            broken(f"it is in a {type(event).__name__} event")
    if SECRET in repr(observed.result):
        broken("it is in the result")
    for path in observed.config.log_file.parent.glob("*.jsonl"):
        if SECRET.encode() in path.read_bytes():
            broken("it is in the journal")


@session_check
async def no_key_is_left_behind(fixture: SessionFixture) -> None:
    """After the end no file in the private or the working directory has the API key in it."""
    observed = await fixture.answered()
    folders = (str(observed.config.private_dir), str(observed.config.cwd))
    for path in await _output_of(observed, "grep", "-rlF", "-e", API_KEY, *folders):
        broken(f"{PurePath(path).relative_to(PurePath(folders[0]).parent)} has")


@session_check
async def private_files_are_private(fixture: SessionFixture) -> None:
    """While it runs, no file in the private directory can be read by others."""
    async with fixture.busy_session() as observed:
        # A file in a directory that others cannot enter may have any mode.
        closed_folders = ("-type", "d", "!", "-perm", "/077", "-prune")
        open_files = ("-type", "f", "-perm", "/077", "-printf", "%P has the mode %m\\n")
        folder = str(observed.config.private_dir)
        argv = ("find", folder, "-mindepth", "1", *closed_folders, "-o", *open_files)
        found = await _output_of(observed, *argv)
        await observed.session.abort()
    if found:
        broken(found[0])


@session_check
async def arguments_hold_no_secret(fixture: SessionFixture) -> None:
    """While it runs, no process has the API key among its arguments, which every user can list."""
    async with fixture.busy_session() as observed:
        arguments = [_read(pid, "cmdline") for pid in await _pids(observed)]
        await observed.session.abort()
    if any(API_KEY.encode() in argv for argv in arguments):
        broken("one has")


@session_check
async def the_environment_is_the_given_one(fixture: SessionFixture) -> None:
    """Processes of a session have the variables they are given, not those of the worker."""
    with _variable(INHERITED, "yes"):
        async with fixture.busy_session() as observed:
            environments = [_read(pid, "environ") for pid in await _pids(observed)]
            await observed.session.abort()
    if any(INHERITED.encode() in environment for environment in environments):
        broken("a variable of the worker's own reached a process")


async def _output_of(observed: ObservedSession, *argv: str) -> list[str]:
    """Run a command in the session's guest; return the lines it prints."""
    config = observed.config
    done = await config.guest.run(
        argv,
        env={"PATH": os.defpath},
        cwd=PurePath("/"),
        timeout_s=SOON_S,
        max_output=1 << 20,
        name="look",
    )
    return done.stdout.decode("utf-8", "replace").splitlines()


async def _pids(observed: ObservedSession) -> list[int]:
    if not await observed.has_processes():
        raise NotApplicable("it has no processes that can be looked at")
    return observed.processes()


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # the process has ended
        return b""


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
