"""Conversations with a child process: messages, interrupt, and faulty children."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import pytest
from patience import HANG_S
from session_config import session_config

from agent_swarm_worker.clock import SystemClock
from agent_swarm_worker.contract import (
    Ending,
    ProviderEvent,
    ProviderResult,
    ProviderSessionConfig,
    SteerDelivery,
    ToolStart,
)
from agent_swarm_worker.providers.kit.cli_session import CliSession
from agent_swarm_worker.providers.kit.conversation import Conversation, SteerRequest
from agent_swarm_worker.providers.kit.launch import CliHarness, Launch
from agent_swarm_worker.sandboxes.local import LocalGuest

pytestmark = pytest.mark.anyio

# What every child below begins with. `say` prints an event, `hear` reads one line.
PRELUDE = """
import json, os, signal, sys, time
def say(**event): print(json.dumps(event), flush=True)
def hear():
    line = sys.stdin.readline()
    return json.loads(line) if line else None
"""
POLITE = """
hear(); say(up=1)
for event in iter(hear, None):
    if "message" in event: say(took=event["message"])
    if "stop" in event or event.get("message") == "finish": say(final="bye")
"""


class Toy:
    """A two-way protocol as small as one can be."""

    def __init__(self, prompt: str) -> None:
        self._out = [{"prompt": prompt}]
        self._open: dict[str, SteerRequest] = {}
        self._said = ""

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        if "took" in native:
            self._open.pop(native["took"]).delivery = SteerDelivery(True, "queue")
        self._said = native.get("final", self._said)
        if "up" in native:
            yield ToolStart("1", "up", {})

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        return ()

    feed_stderr = feed_text

    @property
    def is_final(self) -> bool:
        return bool(self._said)

    @property
    def is_input_over(self) -> bool:
        return self.is_final

    def outgoing(self) -> bytes:
        data = b"".join(json.dumps(line).encode() + b"\n" for line in self._out)
        self._out.clear()
        return data

    def steer(self, request: SteerRequest) -> None:
        self._open[request.text] = request
        self._out.append({"message": request.text})

    def interrupt(self) -> bool:
        self._out.append({"stop": "1"})
        return True

    def conclude(self, ending: Ending) -> ProviderResult:
        return ProviderResult(
            exit_code=ending.exit_code,
            is_error=not self._said,
            output=self._said,
            error_category="gone" if ending.exit_code == 7 else None,
            failure_reason="hung" if ending.hung_after_result else None,
        )


class Quick(SystemClock):
    """A clock on which time passes twenty times as fast."""

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / 20)


class SessionRig:
    """A session with one of the children, and what it did."""

    def __init__(self, place: Path, *children: str, prompt: str = "go", **config: Any) -> None:
        scripts = iter(children)
        self.up = anyio.Event()
        self.result: ProviderResult | None = None

        def make(config: ProviderSessionConfig) -> CliHarness:
            argv = (sys.executable, "-S", "-c", PRELUDE + next(scripts))
            launch = Launch(argv=argv, env={"PATH": "/usr/bin:/bin"}, cwd=place)
            return CliHarness(launch=launch, translator=Toy(prompt), stale_resume=("gone",))

        self.session = CliSession(
            session_config(place, prompt=prompt, **{"result_grace_s": 1.0, **config}),
            make,
            clock=Quick(),
        )
        self.session.on_event(lambda event: self.up.set() if event.type == "tool_start" else None)

    async def run(self) -> None:
        self.result = await self.session.wait_for_completion()

    async def steer(self, text: str) -> SteerDelivery:
        with anyio.fail_after(10):
            return await self.session.deliver_steering("queue", text)


async def run_beside(
    rig: SessionRig, act: Callable[[SessionRig], Any], *, within_s: float = 15
) -> Any:
    """Run the session, and something beside it from the moment the child is up."""
    with anyio.fail_after(within_s):
        async with anyio.create_task_group() as group:
            group.start_soon(rig.run)
            await rig.up.wait()
            done = await act(rig)
    return done


async def settled() -> None:
    """Let what was just started come to where it waits.

    `wait_all_tasks_blocked` looks ten times a second, and may find the session's clock, which wakes
    as often, awake each time.
    """
    await anyio.sleep(0.1)


def test_the_toy_is_a_conversation():
    assert isinstance(Toy(""), Conversation)


async def test_a_message_is_delivered_when_it_was_taken_in_and_not_before(tmp_path: Path):
    child = """
hear(); say(up=1); message = hear()["message"]
open("read", "w"); hold = time.monotonic() + 10
while not os.path.exists("go on") and time.monotonic() < hold: time.sleep(0.01)
say(took=message); say(final="bye"); hear()
"""
    outcomes: list[SteerDelivery] = []

    async def act(rig: SessionRig) -> None:
        async def deliver() -> None:
            outcomes.append(await rig.steer("look left"))

        async with anyio.create_task_group() as group:
            group.start_soon(deliver)
            while not (tmp_path / "read").exists():
                await anyio.sleep(0.01)
            await settled()
            assert outcomes == []
            (tmp_path / "go on").touch()

    rig = SessionRig(tmp_path, child)
    await run_beside(rig, act)
    assert outcomes == [SteerDelivery(True, "queue")]
    assert rig.result is not None
    assert (rig.result.output, rig.result.exit_code) == ("bye", 0)


async def test_a_message_that_comes_before_the_start_waits_for_it(tmp_path: Path):
    rig = SessionRig(tmp_path, POLITE)
    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:

            async def early() -> None:
                assert (await rig.steer("finish")).delivered

            group.start_soon(early)
            await anyio.wait_all_tasks_blocked()
            await rig.run()
    assert rig.result is not None
    assert rig.result.output == "bye"


async def test_two_at_once_are_told_apart(tmp_path: Path):
    async def act(rig: SessionRig) -> list[str]:
        order: list[str] = []

        async def deliver(text: str) -> None:
            assert (await rig.steer(text)).delivered
            order.append(text)

        async with anyio.create_task_group() as group:
            for text in ("one", "two"):
                group.start_soon(deliver, text)
        await deliver("finish")
        return order

    assert sorted(await run_beside(SessionRig(tmp_path, POLITE), act)) == ["finish", "one", "two"]


async def test_what_a_session_that_is_gone_left_goes_to_its_successor(tmp_path: Path):
    stale = "hear(); say(up=1); hear(); sys.exit(7)"
    rig = SessionRig(tmp_path, stale, POLITE, resume_session_id="gone")
    assert (await run_beside(rig, lambda s: s.steer("finish"))).delivered
    assert rig.result is not None
    assert rig.result.output == "bye"


HOSTILE = {
    "never reads": "say(up=1); time.sleep(1); say(final='bye')",
    "dies": "hear(); say(up=1); hear(); os.kill(os.getpid(), signal.SIGKILL)",
    "ends": "hear(); say(up=1); hear(); say(final='bye')",
    "takes no notice": "hear(); say(up=1); hear(); say(other=1); time.sleep(0.3); say(final='x')",
}


@pytest.mark.parametrize("child", HOSTILE.values(), ids=HOSTILE)
async def test_a_message_that_nobody_took_in_is_not_delivered(tmp_path: Path, child: str):
    # The prompt is larger than any pipe, so a child that never reads keeps us from writing.
    rig = SessionRig(tmp_path, child, prompt="x" * (1 << 20) if "hear" not in child else "go")
    outcome = await run_beside(rig, lambda s: s.steer("are you there?"))
    assert not outcome.delivered
    assert "ended" in outcome.reason
    assert rig.result is not None


async def test_a_child_that_closed_its_input_is_offered_nothing_more(tmp_path: Path):
    child = """
hear(); os.close(0); say(up=1); hold = time.monotonic() + 10
while not os.path.exists("go on") and time.monotonic() < hold: time.sleep(0.01)
say(final="bye")
"""

    async def act(rig: SessionRig) -> SteerDelivery:
        outcomes: list[SteerDelivery] = []

        async def first() -> None:  # finds out; what was handed over may still be confirmed
            outcomes.append(await rig.steer("one"))

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            with anyio.fail_after(5):
                while (second := await _soon(rig, "two")) is None:
                    pass
            (tmp_path / "go on").touch()
        assert not outcomes[0].delivered
        return second

    rig = SessionRig(tmp_path, child)
    assert "no more input" in str((await run_beside(rig, act)).reason)
    assert rig.result is not None
    assert rig.result.output == "bye"


async def _soon(rig: SessionRig, text: str) -> SteerDelivery | None:
    with anyio.move_on_after(0.2):
        return await rig.steer(text)
    return None


async def test_a_flood_does_not_keep_a_message_out(tmp_path: Path):
    child = """
hear(); say(up=1)
import threading
def flood():
    while True: sys.stdout.write(json.dumps({"noise": "x" * 5000}) + "\\n")
threading.Thread(target=flood, daemon=True).start()
message = hear()["message"]
sys.stdout.write("\\n" + json.dumps({"took": message}) + "\\n" + json.dumps({"final": "bye"}))
sys.stdout.write("\\n"); sys.stdout.flush(); hear(); os._exit(0)
"""
    rig = SessionRig(tmp_path, child)
    assert (await run_beside(rig, lambda s: s.steer("enough"))).delivered


async def test_after_the_end_nothing_is_taken(tmp_path: Path):
    rig = SessionRig(tmp_path, POLITE)
    await run_beside(rig, lambda s: s.steer("finish"))
    assert await rig.steer("more") == SteerDelivery(False, reason="the session has ended")


async def test_a_program_that_does_not_start_leaves_no_message_waiting(tmp_path: Path):
    def make(config: ProviderSessionConfig) -> CliHarness:
        launch = Launch(argv=("no-such-program",), env={}, cwd=tmp_path)
        return CliHarness(launch=launch, translator=Toy(""))

    rig = SessionRig(tmp_path, POLITE)
    session = CliSession(rig.session.config, make)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:

            async def early() -> None:
                assert not (await session.deliver_steering("queue", "hello?")).delivered

            group.start_soon(early)
            await anyio.wait_all_tasks_blocked()
            assert (await session.wait_for_completion()).exit_code == 127


async def test_a_harness_that_is_only_listened_to_says_so_at_once(tmp_path: Path):
    class Plain:
        def __init__(self) -> None:
            self._toy = Toy("")
            self.feed, self.conclude = self._toy.feed, self._toy.conclude
            self.feed_text = self.feed_stderr = self._toy.feed_text

        @property
        def is_final(self) -> bool:
            return self._toy.is_final

    child = PRELUDE + 'say(up=1); time.sleep(0.5); say(final="bye")'

    def make(config: ProviderSessionConfig) -> CliHarness:
        launch = Launch(argv=(sys.executable, "-S", "-c", child), env={}, cwd=tmp_path)
        return CliHarness(launch=launch, translator=Plain())

    rig = SessionRig(tmp_path, POLITE)
    rig.session = CliSession(rig.session.config, make)
    rig.session.on_event(lambda event: rig.up.set() if event.type == "tool_start" else None)

    async def act(rig: SessionRig) -> SteerDelivery:
        outcome = await rig.steer("hello?")
        assert rig.result is None
        return outcome

    assert "takes no messages" in str((await run_beside(rig, act)).reason)


async def test_an_abort_asks_first_and_keeps_the_last_word(tmp_path: Path):
    child = POLITE.replace(
        "hear(); say(up=1)", "signal.signal(2, lambda *_: os._exit(9))\n" + "hear(); say(up=1)"
    )
    rig = SessionRig(tmp_path, child)
    await run_beside(rig, lambda s: s.session.abort("cancelled"))
    assert rig.result is not None
    # The toy takes its last word for a success; that it was asked for it, the session knows.
    assert (rig.result.output, rig.result.is_error) == ("bye", True)
    assert rig.result.error_category == "aborted"
    assert rig.result.failure_reason == "Aborted: cancelled"


async def test_a_result_that_was_there_before_the_abort_stays(tmp_path: Path):
    child = "hear(); say(final='bye'); say(up=1); time.sleep(60)"
    rig = SessionRig(tmp_path, child, result_grace_s=10_000.0)
    await run_beside(rig, lambda s: s.session.abort("cancelled"))
    assert rig.result is not None
    assert (rig.result.output, rig.result.is_error) == ("bye", False)


async def test_a_result_that_nobody_had_read_before_the_abort_stays_too(tmp_path: Path):
    child = """
hear(); say(up=1)
while not os.path.exists("go on"): time.sleep(0.01)
say(final="bye"); open("said", "w"); time.sleep(60)
"""

    async def act(rig: SessionRig) -> None:
        await anyio.sleep(0.1)  # the reader waits for more by now
        (tmp_path / "go on").touch()
        gives_up_at_s = time.monotonic() + HANG_S
        while not (tmp_path / "said").exists() and time.monotonic() < gives_up_at_s:
            time.sleep(0.01)  # noqa: ASYNC251 - so that nobody reads meanwhile
        await rig.session.abort("cancelled")

    rig = SessionRig(tmp_path, child, result_grace_s=10_000.0)
    await run_beside(rig, act, within_s=2 * HANG_S)
    assert rig.result is not None
    assert (rig.result.output, rig.result.is_error) == ("bye", False)


class Immortal:
    """A process of which nobody ever hears that it has ended."""

    returncode = None

    def __init__(self, child: Any) -> None:
        self.child = child

    def __getattr__(self, name: str) -> Any:
        return getattr(self.child, name)

    async def wait(self) -> None:
        await anyio.sleep_forever()

    async def __aenter__(self) -> Immortal:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.child.aclose()


class GuestOfImmortals(LocalGuest):
    async def start(self, command: Any) -> Any:
        return Immortal(await super().start(command))

    async def end(self, process: Any, *args: Any, **named: Any) -> Any:
        return await super().end(process.child, *args, **named)


async def test_after_an_abort_nobody_waits_for_a_process_that_survives_everything(tmp_path: Path):
    guest = GuestOfImmortals(f"immortal-{time.monotonic_ns()}")
    rig = SessionRig(tmp_path, POLITE, guest=guest)
    await run_beside(rig, lambda s: s.session.abort("cancelled"), within_s=HANG_S)
    assert rig.result is not None
    assert (rig.result.exit_code, rig.result.error_category) == (255, "aborted")


IGNORANT = {
    "does not answer": "hear(); say(up=1); time.sleep(60)",
    "never reads": "say(up=1); time.sleep(60)",
    "closed its input": "hear(); os.close(0); say(up=1); time.sleep(60)",
}


@pytest.mark.long
@pytest.mark.parametrize("child", IGNORANT.values(), ids=IGNORANT)
async def test_an_abort_that_is_ignored_ends_in_time_all_the_same(tmp_path: Path, child: str):
    rig = SessionRig(tmp_path, child, prompt="x" * (1 << 20) if "hear" not in child else "go")
    began = time.monotonic()

    async def act(rig: SessionRig) -> None:
        async with anyio.create_task_group() as group:

            async def deliver() -> None:
                assert not (await rig.steer("are you there?")).delivered

            group.start_soon(deliver)
            await settled()
            await rig.session.abort("cancelled")
            await rig.session.abort("again")

    await run_beside(rig, act)
    assert time.monotonic() - began < HANG_S
    assert rig.result is not None
    assert rig.result.is_error


async def test_who_gives_up_waiting_disturbs_nobody(tmp_path: Path):
    child = POLITE.replace(
        'say(took=event["message"])', 'event["message"] == "lost" or say(took=event["message"])'
    )

    async def act(rig: SessionRig) -> SteerDelivery:
        with anyio.move_on_after(0.3) as patience:
            await rig.session.deliver_steering("queue", "lost")
        assert patience.cancelled_caught
        return await rig.steer("finish")

    assert (await run_beside(SessionRig(tmp_path, child), act)).delivered


async def test_a_session_that_is_cancelled_answers_who_waits(tmp_path: Path):
    rig = SessionRig(tmp_path, "hear(); say(up=1); time.sleep(60)")
    outcomes: list[SteerDelivery] = []

    async def deliver() -> None:
        outcomes.append(await rig.steer("hello?"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as outer, anyio.create_task_group() as group:
            group.start_soon(rig.run)
            await rig.up.wait()
            outer.start_soon(deliver)
            await settled()
            group.cancel_scope.cancel()
    assert [outcome.delivered for outcome in outcomes] == [False]


async def test_a_harness_that_stays_after_its_last_word_reads_the_end_and_is_ended(tmp_path: Path):
    child = (
        'hear(); say(up=1); say(final="bye"); print(repr(hear()), file=sys.stderr); time.sleep(60)'
    )
    rig = SessionRig(tmp_path, child)

    async def nothing(rig: SessionRig) -> None: ...

    await run_beside(rig, nothing)
    assert rig.result is not None
    assert rig.result.failure_reason == "hung"
    assert rig.session.stderr_tail.startswith("None")
