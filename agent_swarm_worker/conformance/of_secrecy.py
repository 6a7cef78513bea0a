"""Promises about what a session is given and what it lets out."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from agent_swarm_worker.conformance.checks import NotApplicable, broken, in_fixture
from agent_swarm_worker.conformance.session_fixture import API_KEY, SOON_S, SessionFixture, Watched

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "conformance-secret-9876543210"  # noqa: S105 - worth nothing
INHERITED = "SWARM_CONFORMANCE_INHERITED"


@in_fixture
async def a_secret_is_said_to_nobody(fixture: SessionFixture) -> None:
    """A registered secret is in no event, no result and no journal, even if the agent says it."""
    watched = await fixture.session(fixture.harness.answers(f"It is {SECRET}, isn't it?"))
    watched.config.redactor.add("SECRET", SECRET)
    await watched.finish()
    if not any("isn't it?" in repr(event) for event in watched.events):
        broken("the agent did not say what it was to say, so nothing can be seen")
    for event in watched.events:
        if SECRET in repr(event):
            broken(f"it is in a {type(event).__name__} event")
    if SECRET in repr(watched.result):
        broken("it is in the result")
    for path in watched.config.log_file.parent.glob("*.jsonl"):
        if SECRET.encode() in path.read_bytes():
            broken("it is in the journal")


@in_fixture
async def no_key_is_left_behind(fixture: SessionFixture) -> None:
    """After the end no file in the private or the working directory has the API key in it."""
    watched = await fixture.answered()
    folders = (str(watched.config.private_dir), str(watched.config.cwd))
    for path in await _said(watched, "grep", "-rlF", "-e", API_KEY, *folders):
        broken(f"{PurePath(path).relative_to(PurePath(folders[0]).parent)} has")


@in_fixture
async def private_files_are_private(fixture: SessionFixture) -> None:
    """While it runs, no file in the private directory can be read by others."""
    async with fixture.at_work() as watched:
        # What is in a folder that nobody else can enter may have any mode.
        locked_away = ("-type", "d", "!", "-perm", "/077", "-prune")
        open_files = ("-type", "f", "-perm", "/077", "-printf", "%P has the mode %m\\n")
        folder = str(watched.config.private_dir)
        words = ("find", folder, "-mindepth", "1", *locked_away, "-o", *open_files)
        found = await _said(watched, *words)
        await watched.session.abort()
    if found:
        broken(found[0])


@in_fixture
async def arguments_hold_no_secret(fixture: SessionFixture) -> None:
    """While it runs, no process has the API key among its arguments, where everyone sees it."""
    async with fixture.at_work() as watched:
        arguments = [_read(pid, "cmdline") for pid in await _processes_of(watched)]
        await watched.session.abort()
    if any(API_KEY.encode() in words for words in arguments):
        broken("one has")


@in_fixture
async def the_environment_is_the_given_one(fixture: SessionFixture) -> None:
    """Processes of a session have the variables they are given, not those of the worker."""
    with _variable(INHERITED, "yes"):
        async with fixture.at_work() as watched:
            environments = [_read(pid, "environ") for pid in await _processes_of(watched)]
            await watched.session.abort()
    if any(INHERITED.encode() in environment for environment in environments):
        broken("a variable of the worker's own reached a process")


async def _said(watched: Watched, *argv: str) -> list[str]:
    """Run a command where the session's files are; return the lines it prints."""
    config = watched.config
    done = await config.guest.run(
        argv,
        env={"PATH": os.defpath},
        cwd=PurePath("/"),
        timeout_s=SOON_S,
        max_output=1 << 20,
        name="look",
    )
    return done.stdout.decode("utf-8", "replace").splitlines()


async def _processes_of(watched: Watched) -> list[int]:
    if not await watched.has_processes():
        raise NotApplicable("it has no processes that can be looked at")
    return watched.processes()


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has gone
        return b""


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
