"""The model detects workers with one broken part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from invariants import InvariantViolated
from machine import Story
from network import Fault

from agent_swarm_worker.api.health import ApiHealth
from agent_swarm_worker.api.sessions import Records
from agent_swarm_worker.state.directory import StateDir
from agent_swarm_worker.worker.run import finishing
from agent_swarm_worker.worker.run.running_task import Slots


def nothing(*_: Any, **__: Any) -> None:
    pass


async def nobody_answers(*_: Any, **__: Any) -> None:
    pass


def crash(story: Story) -> None:
    story.anna_starts(tasks=1)
    story.is_killed(name="Anna")
    story.starts(name="Anna")


def restart_of_the_api(story: Story) -> None:
    story.anna_starts(tasks=1)
    for seconds in (20, 5, 5):  # till between two beats
        story.time_passes(seconds=seconds)
    story.the_api_restarts(down_s=3)


def answers_get_lost(story: Story) -> None:
    story.anna_starts(tasks=1)
    story.the_line_goes_bad(how=Fault.LOST)
    story.a_session_succeeds(which=0, then_s=3)


def too_late(story: Story) -> None:
    story.anna_starts(tasks=1)
    story.a_session_succeeds_too_late(which=0, how="cancel")


def much_to_do(story: Story) -> None:
    story.anna_starts(tasks=3)
    story.api.store.run("UPDATE agents SET maxTasks = 9")
    story.time_passes(seconds=5)


def a_lost_claim(story: Story) -> None:
    story.anna_starts(tasks=1)
    story.a_session_works(which=0, then_s=0.2)
    story.is_killed(name="Anna")


BROKEN = [
    ("log cursor", StateDir, ("set_log_offset", "_catch_up"), nothing, crash, "is there twice"),
    ("claims", StateDir, ("claim",), nothing, a_lost_claim, r"were lost|0\.0 arrived"),
    ("beat", ApiHealth, ("on_recovered",), nothing, restart_of_the_api, "was given up"),
    ("cost", Records, ("costs_of",), nobody_answers, answers_get_lost, "is there 2 times"),
    ("last look", finishing, ("_read_task",), nobody_answers, too_late, "had been taken"),
    ("slots", Slots, ("has_room",), True, much_to_do, "slots are taken"),
]


@pytest.mark.parametrize(
    ("where", "names", "instead", "tell", "finding"),
    [pytest.param(*row[1:], id=row[0]) for row in BROKEN],
)
def test_a_broken_worker_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    names: tuple[str, ...],
    instead: Any,
    tell: Callable[[Story], None],
    finding: str,
):
    for name in names:
        monkeypatch.setattr(where, name, instead)
    story = Story()
    with pytest.raises(InvariantViolated, match=finding) as found:
        _played(story, tell)
    assert any(note.startswith("The story: Anna starts, with ") for note in found.value.__notes__)


@pytest.mark.parametrize("tell", [row[4] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_sound_one_is_not(tell: Callable[[Story], None]):
    _played(Story(), tell)


def _played(story: Story, tell: Callable[[Story], None]) -> None:
    try:
        tell(story)
        story.invariants_hold()
    except BaseException:
        story.world.close()
        raise
    story.teardown()
