"""Check the promises of a session: its course, abort, messages while it runs, secrets."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.conformance.checks import session_check
from agent_swarm_worker.conformance.session_fixture import (
    ABORT_S,
    API_KEY,
    SESSION_S,
    SOON_S,
    NotApplicable,
    ObservedSession,
    SessionFixture,
    broken,
    described,
    within,
)
from agent_swarm_worker.contract import (
    Message,
    RawLog,
    Result,
    SessionInit,
    SteerableSession,
    SteerDelivery,
    ToolStart,
)
from agent_swarm_worker.errors import ConfigError, ProviderError
from agent_swarm_worker.providers.registry import adapter_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = "The heron stands in the reeds."
LONG = "ein Reiher, 鷺 🪶 \u2028 " * 10_000
"""More than 300 KB: too long for a command line, and for the buffer of a pipe."""


@session_check
async def it_answers(fixture: SessionFixture) -> None:
    """A session succeeds with the agent's answer as its output."""
    observed = await fixture.answered(WORDS)
    result = observed.result
    if result.is_error or (result.output or "").strip() != WORDS:
        broken(f"asked to answer {WORDS!r}, it {described(result)}")


@session_check
async def it_introduces_itself_once_and_first(fixture: SessionFixture) -> None:
    """`SessionInit` comes once, before anything the agent says or does, with the session's id."""
    observed = await fixture.answered()
    inits = observed.of(SessionInit)
    if len(inits) != 1 or not inits[0].session_id:
        broken(f"it was emitted {len(inits)} times: {inits}")
    if not isinstance(observed.of(SessionInit, Message, ToolStart)[0], SessionInit):
        broken("a message or a tool call came before it")
    ids = {inits[0].session_id, observed.session.session_id, observed.result.session_id}
    if len(ids) != 1:
        broken(f"the session has several ids: {ids}")


@session_check
async def what_is_told_is_on_disk(fixture: SessionFixture) -> None:
    """A line is in the journal before a listener is called for it."""
    observed = await fixture.session(fixture.harness.answers(WORDS))
    missing: list[str] = []

    def look(event: object) -> None:
        if isinstance(event, RawLog):
            journal = observed.config.log_file.read_text(encoding="utf-8", errors="replace")
            missing.extend([event.content] if event.content not in journal else [])

    observed.session.on_event(look)
    await observed.finish()
    if missing:
        broken(f"{len(missing)} lines came first, such as {missing[0][:200]!r}")
    if not observed.of(RawLog):
        broken("there was no RawLog at all, so the journal has nothing of the session")


@session_check
async def a_late_listener_hears_it_all(fixture: SessionFixture) -> None:
    """The first listener gets all earlier events; the second one gets none of them."""
    session = await fixture.adapter.create_session(
        await fixture.config(fixture.harness.answers(WORDS))
    )
    await within(60, "the session did not end", session.wait_for_completion)
    first: list[object] = []
    second: list[object] = []
    session.on_event(first.append)
    session.on_event(second.append)
    if not any(isinstance(event, SessionInit) for event in first):
        broken(f"the first listener got {len(first)} events and no SessionInit")
    if second:
        broken(f"the second listener got {len(second)} old events")


@session_check
async def a_broken_listener_breaks_nothing(fixture: SessionFixture) -> None:
    """A listener that raises ends neither the session nor the calls of other listeners."""

    def fail(event: object) -> None:
        raise RuntimeError(f"an error in a listener of {type(event).__name__}")

    observed = await fixture.session(fixture.harness.answers(WORDS))
    observed.session.on_event(fail)
    await observed.finish()
    if observed.result.is_error or observed.answer.strip() != WORDS:
        broken(f"it {described(observed.result)}")


@session_check
async def its_events_and_its_result_agree(fixture: SessionFixture) -> None:
    """The last `Result` event, the last message and the result agree."""
    observed = await fixture.answered(WORDS)
    if observed.answer.strip() != WORDS:
        broken(f"the agent's last message was {observed.answer!r}")
    results = observed.of(Result)
    if results and results[-1].is_error != observed.result.is_error:
        broken(f"the last Result event says {results[-1]}, it {described(observed.result)}")
    spent = observed.result.cost
    if spent is not None and spent.task_id != observed.config.task_id:
        broken(f"the cost is that of task {spent.task_id!r}")


@session_check
async def its_end_can_be_awaited_again(fixture: SessionFixture) -> None:
    """`wait_for_completion` of a session that has ended returns the same result at once."""
    observed = await fixture.answered()
    again = await within(SOON_S, "it did not return", observed.session.wait_for_completion)
    if again != observed.result:
        broken(f"first it {described(observed.result)}, then it {described(again)}")


@session_check
async def a_long_prompt_arrives_whole(fixture: SessionFixture) -> None:
    """A prompt of 300 KB with any characters reaches the agent unchanged."""
    prompt = f"{LONG}\n{fixture.harness.answers(WORDS)}"
    observed = await fixture.session(prompt)
    await observed.finish()
    if observed.result.is_error:
        broken(f"it {described(observed.result)}")
    if not any(LONG.strip() in text for text in fixture.harness.heard()):
        sizes = [len(text) for text in fixture.harness.heard()]
        broken(f"of {len(prompt)} characters the agent got, in each text: {sizes}")


@session_check
async def an_empty_prompt_ends(fixture: SessionFixture) -> None:
    """A session without a prompt ends, and if it fails it gives a reason."""
    try:
        observed = await fixture.session("")
    except (ProviderError, ConfigError):
        return
    await observed.finish()
    if observed.result.is_error and not (observed.result.failure_reason or "").strip():
        broken("it failed without a reason")


@session_check
async def an_unknown_model_is_no_riddle(fixture: SessionFixture) -> None:
    """With an unknown model a session ends, and if it fails it gives a reason, not a traceback."""
    try:
        observed = await fixture.answered(model="no-such-model-4711")
    except (ProviderError, ConfigError) as error:
        if not str(error):
            broken("it raised an error without a message")
        return
    reason = (observed.result.failure_reason or "").strip()
    if observed.result.is_error and (not reason or "Traceback" in reason):
        broken(f"it {described(observed.result)}")


@session_check
async def two_sessions_do_not_mix(fixture: SessionFixture) -> None:
    """Sessions that run at the same time have outputs and ids of their own."""
    one = await fixture.session(fixture.harness.answers("This is one."))
    two = await fixture.session(fixture.harness.answers("This is two."))
    async with anyio.create_task_group() as group:
        group.start_soon(one.finish)
        group.start_soon(two.finish)
    outputs = [(observed.result.output or "").strip() for observed in (one, two)]
    if outputs != ["This is one.", "This is two."]:
        broken(f"their outputs are {outputs}")
    if one.session.session_id == two.session.session_id:
        broken(f"both are called {one.session.session_id}")


@session_check
async def an_abort_ends_it_and_all_it_started(fixture: SessionFixture) -> None:
    """After `abort` a session ends as ``aborted`` within 20 s, and its processes are gone."""
    async with fixture.busy_session() as observed:
        await observed.has_processes()
        await observed.abort()
        await observed.ended(ABORT_S, "did not end after an abort")
    result = observed.result
    if not result.is_error or result.error_category != "aborted":
        broken(f"it ended otherwise than as aborted: {described(result)}")
    if left := observed.processes():
        broken(f"{len(left)} of its processes are left")


@session_check
async def an_abort_can_be_repeated(fixture: SessionFixture) -> None:
    """`abort` may be called repeatedly; the first reason counts."""
    async with fixture.busy_session() as observed:
        await observed.abort("the first reason")
        for _ in range(2):
            again = partial(observed.session.abort, "another one")
            await within(SOON_S, "a second abort did not return", again)
        await observed.ended(ABORT_S, "did not end after an abort")
    if "the first reason" not in (observed.result.failure_reason or "the first reason"):
        broken(f"it {described(observed.result)}")


@session_check
async def an_abort_after_the_end_changes_nothing(fixture: SessionFixture) -> None:
    """`abort` of a session that has ended returns, and its result stays."""
    observed = await fixture.answered()
    await within(SOON_S, "abort did not return", observed.session.abort)
    again = await within(SOON_S, "it did not return", observed.session.wait_for_completion)
    if again != observed.result:
        broken(f"first it {described(observed.result)}, then it {described(again)}")


BUSY_S = 4.0
MESSAGE = "By the way: the heron has flown."


@session_check
async def a_session_takes_what_the_spec_says(fixture: SessionFixture) -> None:
    """With `steer_modes` a message is delivered in one of them, and reaches the agent once."""
    modes = adapter_spec(fixture.adapter).capabilities.steer_modes
    async with fixture.busy_session(BUSY_S) as observed:
        if modes and not isinstance(observed.session, SteerableSession):
            broken(f"its spec names {modes}, its sessions cannot be sent any message")
        deliver = partial(observed.steerable.deliver_steering, "queue", MESSAGE)
        outcome = await observed.answer_to(SESSION_S, "a message", deliver)
    heard = [text for text in fixture.harness.heard() if MESSAGE in text]
    if not modes:
        if outcome.delivered or not outcome.reason:
            broken(f"its spec names no steer mode, and yet: {outcome}")
    elif not outcome.delivered or outcome.mode not in modes:
        broken(
            f"its spec names {modes}, the delivery of a message is {outcome}; {observed.summary()}"
        )
    elif len(heard) != 1:
        broken(f"it was delivered, and reached the agent {len(heard)} times")


@session_check
async def a_session_that_has_ended_takes_none(fixture: SessionFixture) -> None:
    """A message for a session that has ended is refused at once, with a reason."""
    observed = await fixture.answered()
    session = observed.steerable
    outcome = await within(
        SOON_S, "there was no answer", lambda: session.deliver_steering("queue", MESSAGE)
    )
    if outcome.delivered or not (outcome.reason or "").strip():
        broken(f"its delivery is {outcome}")


@session_check
async def an_abort_answers_who_waits(fixture: SessionFixture) -> None:
    """An abort settles every message that is still open."""
    outcome: list[SteerDelivery] = []
    async with fixture.busy_session() as observed:
        session, is_open = observed.steerable, anyio.Event()

        async def deliver() -> SteerDelivery:
            is_open.set()
            return await session.deliver_steering("queue", MESSAGE)

        async def wait_for_it() -> None:
            what = "a message that was open at the abort"
            outcome.append(await observed.answer_to(SESSION_S, what, deliver))

        async with anyio.create_task_group() as group:
            group.start_soon(wait_for_it)
            await is_open.wait()
            await observed.abort()
            await observed.ended(ABORT_S, "did not end after an abort")
    if not isinstance(outcome[0], SteerDelivery):
        broken(f"the answer is {outcome[0]!r}")


# --- secrets and the environment
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
