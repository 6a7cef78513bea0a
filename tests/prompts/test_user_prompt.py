"""The user prompt for each kind of trigger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from prompts_doubles import RenderServer

from agent_swarm_worker.api.wire.tasks import Task, trigger_from_wire
from agent_swarm_worker.prompts.render import Renderer
from agent_swarm_worker.prompts.user import (
    compose,
    directory_note,
    paused_prompt,
    trigger_prompt,
)

pytestmark = pytest.mark.anyio

TASK = {"id": "task-1", "task": "Fix the login page"}


def assigned(**task):
    return trigger_from_wire(
        {"type": "task_assigned", "taskId": "task-1", "task": {**TASK, **task}}
    )


def offered(**more):
    return trigger_from_wire({"type": "task_offered", "taskId": "task-1", "task": TASK, **more})


async def test_an_assigned_task(local, harness):
    trigger = trigger_from_wire(
        {
            "type": "task_assigned",
            "taskId": "task-1",
            "task": TASK,
            "requestedBy": {"name": "Grace", "email": "g@example.org"},
        }
    )
    lines = (await trigger_prompt(local, trigger, harness)).splitlines()
    assert lines[0] == "/work-on-task task-1"
    assert 'Task: "Fix the login page"' in lines
    assert "Requested by: Grace <g@example.org>" in lines
    assert "`store-progress`" in lines[-1]


async def test_without_tools_there_is_no_command_and_no_tool_is_named(local, harness):
    text = await trigger_prompt(local, assigned(), replace(harness, has_mcp=False))
    assert text == 'Task: "Fix the login page"'


async def test_a_switched_off_template_does_not_leave_a_task_without_its_text(
    library, clock, harness
):
    server = RenderServer(skipped=["task.trigger.assigned"])
    build = Renderer(library, clock=clock, server=server).build()
    assert "Fix the login page" in await trigger_prompt(build, assigned(), harness)


async def test_an_output_schema_is_quoted_whatever_it_holds(local, harness):
    schema = {"type": "object", "description": "``` breaks a fence \x1b"}
    text = await trigger_prompt(local, assigned(outputSchema=schema), harness)
    assert "````json\n{\n" in text
    assert "valid JSON for this schema" in text
    assert "\x1b" not in text


async def test_an_offered_task(local, harness):
    text = await trigger_prompt(local, offered(), harness)
    assert text.startswith("/review-offered-task task-1\n")
    assert '"Fix the login page"' in text
    assert "reject" in text


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ({"type": "unread_mentions", "mentionsCount": 0}, "You have unread mentions"),
        ({"type": "unread_mentions", "mentionsCount": 2}, "You have 2 mentions"),
        ({"type": "pool_tasks_available", "count": 4}, "pool: 4."),
        ({"type": "channel_activity", "count": 1}, "`slack-read`"),
    ],
)
async def test_triggers_without_a_task(local, harness, trigger, expected):
    assert expected in await trigger_prompt(local, trigger_from_wire(trigger), harness)


async def test_channel_messages_are_one_line_each(local, harness):
    messages = [
        {"channelId": "C1", "channelName": "ops", "user": "U1", "text": "down\nagain " + "x" * 500},
        {"channelId": "C2", "user": "", "text": ""},
    ]
    trigger = trigger_from_wire({"type": "channel_activity", "count": 2, "messages": messages})
    text = await trigger_prompt(local, trigger, harness)
    [first, second] = [line for line in text.splitlines() if line.startswith("- **#")]
    assert first.startswith("- **#ops** (user: U1): down again xxx")
    assert len(first) < 250
    assert second == "- **#C2** (user: unknown): (no text)"


@pytest.mark.parametrize("trigger", [{"type": "budget_refused"}, {"type": "from-the-future"}])
async def test_a_trigger_that_makes_no_session_makes_no_prompt(local, harness, trigger):
    assert await trigger_prompt(local, trigger_from_wire(trigger), harness) == ""


async def test_a_task_of_a_mebibyte_arrives_whole_and_clean(local, harness):
    text = "é\x00\x1b{{task_id}}\n" * (2**20 // 10)
    prompt = await trigger_prompt(local, assigned(task=text), harness)
    assert prompt.count("é{{task_id}}\n") == 2**20 // 10
    assert "\0" not in prompt
    assert "\x1b" not in prompt


async def test_a_task_keeps_its_blank_lines(local, harness):
    body = await trigger_prompt(local, assigned(task="a\n\n\n\n\nb"), harness)
    assert "a\n\n\n\n\nb" in compose(body, harness)


async def test_paused_tasks_continue_or_start_over(local, harness):
    with_progress = Task(id="task-1", text="Fix it", progress="half done\x00")
    text = await paused_prompt(local, with_progress, harness)
    assert text.startswith("/work-on-task task-1\n")
    assert "half done\n" in text
    fresh = await paused_prompt(local, Task(id="task-1", text="Fix it", progress=" "), harness)
    assert "from the beginning" in fresh
    mute = await paused_prompt(local, with_progress, replace(harness, has_mcp=False))
    assert mute.startswith("A deployment interrupted this task.")
    assert "store-progress" not in mute


def test_the_command_stays_on_the_first_line_whatever_is_prepended(harness):
    body = '/work-on-task task-1\n\nTask: "x"'
    text = compose(
        body, harness, warning="WARNING", preamble="BEFORE", memories="KNOWN", note="NOTE"
    )
    assert text.split("\n\n") == [
        "/work-on-task task-1",
        "WARNING",
        "BEFORE",
        'Task: "x"',
        "KNOWN",
        "NOTE",
    ]


def test_a_prompt_without_a_command_begins_with_what_is_prepended(harness):
    mute = replace(harness, has_mcp=False)
    assert compose('Task: "x"', mute, preamble="BEFORE") == 'BEFORE\n\nTask: "x"'
    assert compose("plain", harness) == "plain"


def test_the_directory_note_tells_why():
    assert directory_note(Path("/w"), "process") == ""
    assert "set on the task" in directory_note(Path("/w"), "task")
    assert "clone" in directory_note(Path("/w"), "clone")
