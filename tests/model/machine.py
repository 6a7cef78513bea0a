"""A Hypothesis state machine: a random but repeatable mix of events in a swarm.

Each rule is one event, and its name the sentence for it. A run that breaks a check is shrunk to
the shortest story that still breaks it, and that story is printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from api_side import Api
from fake_harness import FakeSession
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from invariants import InvariantChecker, check, check_quiescent, check_reported
from network import AMBIGUOUS, OUTAGES, Fault
from world import AGENTS, DRAIN_S, Process, World

MAX_TASKS = 6
PATIENCE_S = 2400.0
"""How long everything may take to come to its end when all is well: the server's sweeps are slow.
A session row is stale after 15 minutes, and a sweep cleans up after 30."""

KINDS = (
    "request",
    "poll",
    "poll",
    "finish",
    "supersede",
    "look",
    "beat",
    "announce",
    "session",
    "resume",
    "row away",
    "orphans",
    "progress",
    "read back logs",
    "read back costs",
)
names = st.sampled_from(sorted(AGENTS))
some = st.integers(0, 3)


class Story(RuleBasedStateMachine):
    """One story."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.api: Api = self.world.api
        self.watch = InvariantChecker(self.world)
        self.sentences: list[str] = []
        self.world.book.on_start = self.watch.starts

    # --- telling
    def tell(self, sentence: str, *, then_s: float = 0.5) -> None:
        """Note what has just happened, and see what comes of it."""
        self.sentences.append(sentence)
        self.told(lambda: self.world.wait(then_s))

    def told(self, step: Callable[[], None]) -> None:
        """Do something; if a check breaks, say in which story."""
        try:
            step()
        except Exception as error:
            story = " · ".join(self.sentences)
            error.add_note(f"The story: {story}.")
            if os.environ.get("MODEL_LOG"):
                error.add_note(self.world.log.getvalue())
            raise

    # --- who can be spoken of
    def open_tasks(self, *statuses: str) -> list[str]:
        wanted = statuses or ("unassigned", "pending", "in_progress", "paused")
        rows = self.api.rows("SELECT id, status FROM tasks ORDER BY rowid")
        return [task_id for task_id, status in rows if status in wanted]

    def number(self, task_id: str) -> int:
        rows = self.api.rows("SELECT id FROM tasks ORDER BY rowid")
        return [row[0] for row in rows].index(task_id) + 1

    def process(self, name: str) -> Process:
        return self.world.processes[name]

    def up(self) -> list[Process]:
        return [p for p in self.world.processes.values() if p.is_up]

    def speaker(self, which: int) -> FakeSession | None:
        speakers = self.world.speakers()
        return speakers[which % len(speakers)] if speakers else None

    # --- the beginning
    @initialize(tasks=st.integers(0, 3))
    def anna_starts(self, tasks: int) -> None:
        self.process("Anna").start()
        for _ in range(tasks):
            self.api.ask("POST", "/api/tasks", {"task": "Do it", "agentId": AGENTS["Anna"]})
        self.tell(f"Anna starts, with {tasks} tasks to do", then_s=4)

    # --- the lead
    @precondition(lambda self: len(self.api.rows("SELECT 1 FROM tasks")) < MAX_TASKS)
    @rule(to=st.sampled_from(["Anna", "Anna", "Bert", "the pool"]), then_s=st.sampled_from([0, 3]))
    def the_lead_submits_a_task(self, to: str, then_s: float) -> None:
        body: dict[str, Any] = {"task": "Do something"}
        if to != "the pool" and self.process(to).starts:
            body["agentId"] = AGENTS[to]
        self.api.ask("POST", "/api/tasks", body)
        self.tell(f"the lead submits a task for {to}", then_s=then_s)

    @precondition(lambda self: len(self.open_tasks()) and len(self.open_tasks()) < MAX_TASKS)
    @rule(which=some)
    def the_lead_delegates_a_part(self, which: int) -> None:
        parent = self._task(which)
        body = {"task": "A part of it", "agentId": AGENTS["Anna"], "parentTaskId": parent}
        self.api.ask("POST", "/api/tasks", body)
        self.tell(f"the lead delegates a part of task {self.number(parent)}")

    @precondition(lambda self: self.open_tasks())
    @rule(which=some)
    def the_lead_cancels(self, which: int) -> None:
        self._change(which, "cancel", "cancels")

    @precondition(lambda self: self.open_tasks("in_progress"))
    @rule(which=some)
    def the_lead_pauses(self, which: int) -> None:
        self._change(which, "pause", "pauses", "in_progress")

    @precondition(lambda self: self.open_tasks("paused"))
    @rule(which=some)
    def the_lead_resumes(self, which: int) -> None:
        self._change(which, "resume", "resumes", "paused")

    @precondition(lambda self: self.open_tasks("in_progress"))
    @rule(which=some)
    def the_lead_supersedes(self, which: int) -> None:
        self._change(which, "supersede", "supersedes", "in_progress", reason="manual_supersede")

    @precondition(lambda self: self.open_tasks("in_progress", "paused", "completed"))
    @rule(which=some)
    def the_lead_sends_a_message_for(self, which: int) -> None:
        words = f"message {len(self.sentences)}"
        where = ("in_progress", "paused", "completed")
        self._change(which, "steer", "sends a message for", *where, message=words)

    def _task(self, which: int, *statuses: str) -> str:
        tasks = self.open_tasks(*statuses)
        return tasks[which % len(tasks)]

    def _change(self, which: int, call: str, does: str, *statuses: str, **body: str) -> None:
        task_id = self._task(which, *statuses)
        self.api.ask("POST", f"/api/tasks/{task_id}/{call}", body)
        self.tell(f"the lead {does} task {self.number(task_id)}")

    # --- the sessions
    @precondition(lambda self: self.world.speakers())
    @rule(which=some, then_s=st.sampled_from([0.2, 1.2, 6]))
    def a_session_works(self, which: int, then_s: float) -> None:
        session = self.speaker(which)
        assert session is not None
        session.work()
        self.tell(f"{session.fake} works", then_s=then_s)

    @precondition(lambda self: self.world.speakers())
    @rule(which=some, then_s=st.sampled_from([0, 0.005, 3]))
    def a_session_succeeds(self, which: int, then_s: float) -> None:
        session = self.speaker(which)
        assert session is not None
        session.succeed()
        self.tell(f"{session.fake} succeeds", then_s=then_s)

    @precondition(lambda self: self.world.speakers())
    @rule(which=some, how=st.sampled_from(["cancel", "supersede"]))
    def a_session_succeeds_too_late(self, which: int, how: str) -> None:
        session = self.speaker(which)
        assert session is not None
        reason = {"reason": "manual_supersede"}
        self.api.ask("POST", f"/api/tasks/{session.fake.task_id}/{how}", reason)
        self.tell(f"the lead decides to {how} the task of {session.fake}", then_s=1.1)
        session.succeed()
        self.tell(f"{session.fake} succeeds", then_s=3)

    @precondition(lambda self: self.world.speakers())
    @rule(which=some)
    def a_session_fails(self, which: int) -> None:
        session = self.speaker(which)
        assert session is not None
        session.fail()
        self.tell(f"{session.fake} fails")

    @precondition(lambda self: self.world.speakers())
    @rule(which=some)
    def a_session_turns_deaf(self, which: int) -> None:
        session = self.speaker(which)
        assert session is not None
        session.fake.is_stubborn = True
        self.tell(f"{session.fake} turns deaf", then_s=0)

    # --- the API and the way to it
    @precondition(lambda self: self.world.conditions.outage is None)
    @rule(how=st.sampled_from(OUTAGES))
    def the_api_goes_away(self, how: Fault) -> None:
        self.world.conditions.outage = how
        self.tell(f"the API goes away: every request is {how.value}", then_s=0)

    @precondition(lambda self: self.world.conditions.every_other is None)
    @rule(how=st.sampled_from(AMBIGUOUS))
    def the_line_goes_bad(self, how: Fault) -> None:
        self.world.conditions.every_other = how
        self.tell(f"the line goes bad: every other write is {how.value}", then_s=0)

    @precondition(lambda self: self.world.conditions.outage or self.world.conditions.every_other)
    @rule()
    def the_api_comes_back(self) -> None:
        self.world.conditions.clear_up()
        self.tell("the API comes back", then_s=3)

    @precondition(lambda self: self.world.conditions.outage is None)
    @rule(down_s=st.sampled_from([3, 20, 100]))
    def the_api_restarts(self, down_s: float) -> None:
        self.api.stop()
        self.world.conditions.outage = Fault.REFUSED
        self.tell(f"the API restarts and is away for {down_s} s", then_s=down_s)
        self.world.conditions.clear_up()
        self.api.boot()
        self.tell("it is back, and sweeps", then_s=8)

    @rule(kind=st.sampled_from(KINDS), fault=st.sampled_from(Fault))
    def the_next(self, kind: str, fault: Fault) -> None:
        self.world.conditions.coming.append((kind, fault))
        self.tell(f"the next {kind} is {fault.value}", then_s=0)

    # --- the workers
    @precondition(lambda self: any(p.task is None for p in self.world.processes.values()))
    @rule(name=names)
    def starts(self, name: str) -> None:
        process = self.process(name)
        if process.task is None:
            process.start()
            self.tell(f"{name} starts", then_s=2)

    @precondition(lambda self: self.up())
    @rule(name=names)
    def is_killed(self, name: str) -> None:
        if self.process(name).is_up:
            self.process(name).kill()
            self.tell(f"{name} is killed", then_s=0)

    @precondition(lambda self: self.up())
    @rule(name=names, instants=st.integers(0, 40))
    def will_be_killed(self, name: str, instants: int) -> None:
        process = self.process(name)
        if process.is_up and process.kill_points_left is None:
            process.kill_points_left = instants
            self.tell(f"{name} has {instants} more instants to live", then_s=0)

    @precondition(lambda self: self.up())
    @rule(name=names)
    def gets_sigterm(self, name: str) -> None:
        process = self.process(name)
        if process.works:
            process.stop()
            self.tell(f"{name} gets SIGTERM")

    # --- time
    @rule(seconds=st.sampled_from([1, 5, 20, 70, 320]))
    def time_passes(self, seconds: float) -> None:
        self.tell(f"{seconds} s pass", then_s=seconds)

    # --- what must hold
    @invariant()
    def invariants_hold(self) -> None:
        self.told(self.watch.look)

    def teardown(self) -> None:
        try:
            self.told(self._come_to_an_end)
        finally:
            self.world.close()

    def _come_to_an_end(self) -> None:
        """Let everything be well, and see that it comes to its end with nothing lost."""
        if not self.world.processes["Anna"].starts:
            return
        self.world.conditions.clear_up()
        self.world.book.ends_by_itself = True
        for session in self.world.speakers():
            session.succeed()
        for process in self.world.processes.values():
            process.kill_points_left = None
        self._until_quiet()
        check_reported(self.world)
        for process in self.up():
            process.stop()
        self.world.wait(DRAIN_S)
        self.watch.look()
        check(not self.up(), "a worker stays although it was told to go")

    def _until_quiet(self) -> None:
        until_s = self.world.loop.time() + PATIENCE_S
        while self.world.loop.time() < until_s:
            for process in self.world.processes.values():
                if process.task is None and process.starts:
                    process.start()
            for task_id in self.open_tasks("paused"):
                self.api.ask("POST", f"/api/tasks/{task_id}/resume")
            self.world.wait(10)
            self.watch.look()
            if check_quiescent(self.world):
                return
        waiting = self.api.rows(
            "SELECT id, status FROM tasks WHERE status NOT IN"
            " ('completed', 'failed', 'cancelled', 'superseded')"
        )
        check(False, f"it does not come to an end: {waiting}")
