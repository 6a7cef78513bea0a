"""One simple story, with a SIGKILL at each of its points.

An instant is each moment between two things that others can see or that stay: before and after a
write to disk, before and after a request is carried out, before its answer is heard.
"""

from __future__ import annotations

from machine import Story
from network import Fault


def killed_after(instants: int, *, line: Fault | None = None) -> bool:
    """Tell of a task whose worker is killed after so many instants, and then started again.

    Args:
        instants: counted from the moment the task is submitted.
        line: what happens to every other write meanwhile.

    Returns:
        True if it was killed; false if everything was over before that.

    Raises:
        InvariantViolated: something was lost, done twice or left behind.
    """
    story = Story()
    story.anna_starts(tasks=0)
    try:
        anna = story.process("Anna")
        anna.kill_points_left = instants
        story.sentences.append(f"Anna has {instants} more instants to live")
        if line is not None:
            story.the_line_goes_bad(how=line)
        story.the_lead_submits_a_task(to="Anna", then_s=3)
        if story.world.speakers():
            story.a_session_works(which=0, then_s=1.2)
        if story.world.speakers():
            story.a_session_succeeds(which=0, then_s=3)
        story.invariants_hold()
        was_killed = not anna.is_up
        story.starts(name="Anna")
        story.invariants_hold()
    finally:
        story.teardown()
    return was_killed
