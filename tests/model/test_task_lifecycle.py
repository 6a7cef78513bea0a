"""Each change in the table of task states happens, with real workers and the local swarm.

`invariants.InvariantChecker` refuses changes that the table does not list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from machine import Story
from network import Fault
from task_lifecycle import LIFE, NEW, OPEN, TERMINAL, as_markdown

PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"
Row = tuple[str, str, str, str]

UNREACHABLE = {
    ("supersede", "worker", NEW, "unassigned"): "needs a worker that hands back and is offline",
    ("progress", "worker", "pending", "in_progress"): "needs a second process with the same id",
}
"""The contract allows them; nothing that one process per agent does leads there."""


@contextmanager
def told() -> Iterator[Story]:
    """A story told by hand; at its end all promises are checked, as at the end of any."""
    story = Story()
    try:
        yield story
        story.invariants_hold()
    finally:
        story.teardown()


def walked(*tell: Callable[[Story], None]) -> set[Row]:
    rows: set[Row] = set()
    for part in tell:
        with told() as story:
            part(story)
        rows |= story.watch.walked
    return rows


def submitted(story: Story, *, to: str = "Anna", then_s: float = 3) -> None:
    story.the_lead_submits_a_task(to=to, then_s=then_s)


def by_itself(story: Story) -> None:
    story.anna_starts(tasks=1)
    story.a_session_succeeds(which=0, then_s=3)
    submitted(story, to="the pool")
    story.a_session_fails(which=0)


def taken_by_hand(story: Story) -> None:
    story.anna_starts(tasks=2)
    story.the_lead_pauses(which=0)
    story.the_lead_resumes(which=0)
    story.the_lead_pauses(which=0)
    story.the_lead_cancels(which=0)
    story.the_lead_supersedes(which=0)  # Anna has not said for 30 s that she is active
    story.time_passes(seconds=20)
    story.the_lead_supersedes(which=0)
    story.the_lead_cancels(which=0)


def cancelled_before_it_began(story: Story) -> None:
    story.anna_starts(tasks=0)
    story.is_killed(name="Anna")
    submitted(story, to="the pool", then_s=0)
    story.the_lead_cancels(which=0)
    submitted(story, then_s=0)
    story.the_lead_cancels(which=0)


def messages(story: Story) -> None:
    story.anna_starts(tasks=2)
    story.the_lead_pauses(which=0)
    story.the_lead_sends_a_message_for(which=0)
    story.the_lead_sends_a_message_for(which=1)
    story.the_lead_cancels(which=1)


def messages_that_come_too_late(story: Story) -> None:
    story.anna_starts(tasks=1)
    story.a_session_turns_deaf(which=0)
    story.the_lead_sends_a_message_for(which=0)
    story.time_passes(seconds=5)
    story.the_api_goes_away(how=Fault.REFUSED)
    story.the_lead_sends_a_message_for(which=0)
    story.a_session_succeeds(which=0, then_s=0)
    story.the_api_comes_back()
    story.the_lead_sends_a_message_for(which=0)


def paused_instead_of_handed_back(story: Story) -> None:
    story.anna_starts(tasks=1)
    for _ in range(2):
        story.the_next(kind="supersede", fault=Fault.BROKEN)
    story.gets_sigterm(name="Anna")
    story.time_passes(seconds=20)
    story.starts(name="Anna")


def a_late_word(story: Story) -> None:
    story.anna_starts(tasks=1)
    story.the_api_goes_away(how=Fault.REFUSED)
    story.a_session_works(which=0, then_s=1.2)
    story.the_lead_pauses(which=0)
    story.the_api_comes_back()
    story.time_passes(seconds=20)


def never_begun(story: Story) -> None:
    story.anna_starts(tasks=0)
    story.the_next(kind="poll", fault=Fault.UNANSWERED)
    submitted(story, then_s=3)
    story.is_killed(name="Anna")
    story.time_passes(seconds=70)
    story.starts(name="Anna")


def shut_down(story: Story) -> None:
    story.anna_starts(tasks=1)
    story.gets_sigterm(name="Anna")
    story.time_passes(seconds=20)


def crashed_again_and_again(story: Story) -> None:
    story.anna_starts(tasks=1)
    for _ in range(4):
        story.is_killed(name="Anna")
        for _ in range(4):
            story.time_passes(seconds=320)
        story.starts(name="Anna")


def pool_for_one_who_is_away(story: Story) -> None:
    story.anna_starts(tasks=0)
    story.is_killed(name="Anna")
    submitted(story, to="the pool")
    story.time_passes(seconds=320)


def gone_without_handing_back(story: Story, then: Callable[[], None]) -> None:
    story.anna_starts(tasks=1)
    for way in ("supersede", "supersede", "pause"):
        story.the_next(kind=way, fault=Fault.BROKEN)
    story.gets_sigterm(name="Anna")
    story.time_passes(seconds=20)
    then()


def offline_and_swept(story: Story) -> None:
    gone_without_handing_back(story, lambda: [story.time_passes(320) for _ in range(2)] and None)


def offline_and_restarted(story: Story) -> None:
    gone_without_handing_back(story, lambda: story.the_api_restarts(down_s=3))


def restarted_under_a_dead_worker(story: Story) -> None:
    story.anna_starts(tasks=1)
    story.is_killed(name="Anna")
    story.the_api_restarts(down_s=20)


STORIES = (
    by_itself,
    taken_by_hand,
    cancelled_before_it_began,
    messages,
    messages_that_come_too_late,
    paused_instead_of_handed_back,
    a_late_word,
    never_begun,
    shut_down,
    crashed_again_and_again,
    pool_for_one_who_is_away,
    offline_and_swept,
    offline_and_restarted,
    restarted_under_a_dead_worker,
)


def test_every_change_of_the_table_happens_and_no_other():
    table = {(row.call, row.who, row.before, row.after) for row in LIFE}
    seen = walked(*STORIES)
    assert table - seen == set(UNREACHABLE)


def test_what_has_ended_stays_as_it_is():
    assert {row.before for row in LIFE} == {NEW, *OPEN}
    assert {row.after for row in LIFE} == {*OPEN, *TERMINAL}


def test_no_change_is_there_twice():
    rows = [(row.call, row.who, row.before, row.after) for row in LIFE]
    assert len(rows) == len(set(rows))


def test_the_page_has_this_table():
    """Renew it with ``python tests/model/task_lifecycle.py``."""
    assert f"\n{as_markdown()}\n" in PAGE.read_text(encoding="utf-8")


def test_a_change_that_is_not_in_the_table_is_noticed():
    story = Story()
    try:
        story.anna_starts(tasks=1)
        story.api.store.run("UPDATE tasks SET status = 'reviewing'")
        with pytest.raises(AssertionError, match="nothing allows this"):
            story.invariants_hold()
    finally:
        story.world.close()
