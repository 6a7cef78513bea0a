"""The preambles of follow-up and resume tasks."""

from __future__ import annotations

import json

import pytest
from prompts_doubles import SECRET, TaskStore

from agent_swarm_worker.api.wire.resources import LogEntry, SteeringMessage
from agent_swarm_worker.api.wire.tasks import Task
from agent_swarm_worker.errors import ApiUnreachable
from agent_swarm_worker.guards import tokens
from agent_swarm_worker.prompts.preambles import follow_up_preamble, resume_preamble

pytestmark = pytest.mark.anyio

CHILD = Task(id="child", parent_task_id="t1", text="go on")


def line(number, **parents):
    return [
        {"id": f"t{index}", "task": f"task {index}", "parentTaskId": f"t{index + 1}", **parents}
        for index in range(1, number + 1)
    ]


# --- follow-ups


async def test_the_parent_and_five_ancestors_at_most(redactor):
    store = TaskStore(*line(9))
    text = await follow_up_preamble(store, CHILD, redactor, max_tokens=2000)
    assert text.startswith("## Prior Conversation Context")
    assert "Previous task `t1`: task 1" in text
    assert "- `t5`: task 5" in text
    assert "t6" not in text
    assert "no recorded outcome" in text


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"output": "all done", "progress": "half"}, "all done"),
        ({"failureReason": "no access", "progress": "half"}, "no access"),
        ({"progress": "half"}, "half"),
    ],
)
async def test_the_outcome_is_the_best_there_is(redactor, fields, outcome):
    store = TaskStore({"id": "t1", "task": "x", **fields})
    text = await follow_up_preamble(store, CHILD, redactor, max_tokens=2000)
    assert f"Outcome:\n{outcome}" in text


async def test_without_a_readable_parent_there_is_no_preamble(redactor):
    assert await follow_up_preamble(TaskStore(), CHILD, redactor, max_tokens=2000) == ""
    assert await follow_up_preamble(TaskStore(), Task(id="x"), redactor, max_tokens=2000) == ""


async def test_a_circle_of_parents_ends(redactor):
    store = TaskStore(
        {"id": "t1", "task": "a", "parentTaskId": "t2"},
        {"id": "t2", "task": "b", "parentTaskId": "child"},
    )
    text = await follow_up_preamble(store, CHILD, redactor, max_tokens=2000)
    assert "- `t2`: b" in text
    assert store.read == ["t1", "t2"]


async def test_the_budget_holds_and_oldest_history_goes_first(redactor):
    rows = line(5)
    rows[0]["output"] = "o" * 50_000
    for row in rows:
        row["task"] = "w " * 1000
    text = await follow_up_preamble(TaskStore(*rows), CHILD, redactor, max_tokens=500)
    assert len(text) <= 2000
    assert "(Cut; `get-task-details` has all of it.)" in text
    assert "- `t5`" not in text
    tiny = await follow_up_preamble(TaskStore(*rows), CHILD, redactor, max_tokens=50)
    assert len(tiny) <= 200
    assert "left out here" in tiny


async def test_budgets_are_tokens_and_not_characters(redactor, monkeypatch):
    monkeypatch.setattr(tokens, "_measure", len)  # a token for each character
    rows = line(5)
    rows[0]["output"] = "o" * 50_000
    text = await follow_up_preamble(TaskStore(*rows), CHILD, redactor, max_tokens=500)
    assert 400 < len(text) <= 500
    logs = [log(use("Bash", command=f"step {n} " + "x" * 60), number=n) for n in range(50)]
    store = TaskStore({"id": "r1", "task": "brief"}, logs={"r1": logs})
    text = await resume_preamble(store, RESUME, redactor, max_tokens=900)
    assert "Bash step" in text
    assert len(text) <= 900


async def test_an_agent_without_the_swarms_tools_is_not_sent_to_one(redactor):
    rows = line(2)
    rows[0]["output"] = "o" * 50_000
    text = await follow_up_preamble(
        TaskStore(*rows), CHILD, redactor, max_tokens=900, has_mcp=False
    )
    text += await resume_preamble(
        TaskStore(*CHAIN), RESUME, redactor, max_tokens=900, has_mcp=False
    )
    assert "the original brief" in text
    assert "(Cut.)" in text
    assert "get-task-details" not in text


async def test_artifacts_are_named_with_a_pointer(redactor):
    attachments = [
        {"id": "a1", "name": "site", "kind": "url", "url": "https://example.org"},
        {"id": "a2", "name": "report", "kind": "page", "pageId": "p/../x", "intent": "to read"},
        {"id": "a3", "name": "data", "kind": "agent-fs", "path": "/d.csv", "description": "rows"},
        {"id": "a4", "name": "log", "kind": "shared-fs"},
        *({"id": f"b{index}", "name": f"more {index}"} for index in range(20)),
    ]
    store = TaskStore({"id": "t1", "task": "x", "attachments": attachments})
    text = await follow_up_preamble(store, CHILD, redactor, max_tokens=2000, app_url="http://app/")
    assert "- site: https://example.org" in text
    assert "- data: agent-fs:/d.csv (rows)" in text
    assert "- log: http://app/api/fs/tasks/t1/files/a4/raw" in text
    assert "more 5" in text
    assert "more 6" not in text


async def test_secrets_are_taken_out_before_anything_is_cut(redactor):
    # The cut at 600 characters would leave the first half of the secret standing.
    text = "x" * 590 + SECRET
    store = TaskStore({"id": "t1", "task": text, "output": f"used {SECRET}"})
    preamble = await follow_up_preamble(store, CHILD, redactor, max_tokens=2000)
    assert SECRET[:8] not in preamble
    assert "used [REDACTED:OPERATOR_KEY]" in preamble


# --- resumes


def log(content, *, at="2026-11-20T10:00:00.000Z", number=0):
    text = content if isinstance(content, str) else json.dumps(content)
    return LogEntry(session_id="s", iteration=1, line_number=number, content=text, created_at=at)


def use(name, **inputs):
    block = {"type": "tool_use", "name": name, "input": inputs}
    return {"type": "assistant", "message": {"content": [block]}}


RESUME = Task(id="r2", parent_task_id="r1", task_type="resume", text="resume")
CHAIN = (
    {"id": "r1", "task": "short", "taskType": "resume", "parentTaskId": "o"},
    {"id": "o", "task": "the original brief", "parentTaskId": "older"},
    {"id": "older", "task": "not of interest"},
)


async def test_the_original_is_found_through_the_chain(redactor):
    store = TaskStore(*CHAIN)
    text = await resume_preamble(store, RESUME, redactor, max_tokens=4000)
    assert text.startswith("## Resuming Interrupted Task")
    assert "### Original Task Description\n\nthe original brief" in text
    assert "interrupted 2 times" in text
    assert store.read == ["r1", "o"]


async def test_a_circle_of_resumes_ends_and_depth_is_limited(redactor):
    circle = TaskStore(
        {"id": "r1", "task": "a", "taskType": "resume", "parentTaskId": "r3"},
        {"id": "r3", "task": "b", "taskType": "resume", "parentTaskId": "r1"},
    )
    assert "b" in await resume_preamble(circle, RESUME, redactor, max_tokens=4000)
    rows = [
        {"id": f"r{n}", "task": f"n{n}", "taskType": "resume", "parentTaskId": f"r{n + 1}"}
        for n in range(1, 40)
    ]
    deep = TaskStore(*[{**row, "id": row["id"]} for row in rows])
    await resume_preamble(deep, RESUME, redactor, max_tokens=4000)
    assert len(deep.read) <= 10


async def test_recent_tool_calls_of_the_whole_chain_in_order_of_time(redactor):
    logs = {
        "o": [log(use("Read", file_path="/a.py"), at="2026-11-20T09:00:01.000Z")],
        "r1": [
            log({"type": "tool_use", "name": "Bash", "input": {"command": "make\ntest"}},
                at="2026-11-20T10:00:02.000Z"),
            log("plain text " + "x" * 500, at="2026-11-20T10:00:03.000Z"),
            log({"type": "tool_start", "toolName": "shell", "args": {"command": "ls"}},
                at="2026-11-20T10:00:04.000Z"),
            log({"type": "tool_use", "input": 7}, at="2026-11-20T10:00:05.000Z"),
            log(use("Think"), at=""),
        ],
    }  # fmt: skip
    text = await resume_preamble(TaskStore(*CHAIN, logs=logs), RESUME, redactor, max_tokens=4000)
    calls = text[text.index("### Recent Tool Calls") :].splitlines()
    assert calls[2:5] == ["[--:--:--] Think", "[09:00:01] Read /a.py", "[10:00:02] Bash make test"]
    assert calls[5].startswith("[10:00:03] plain text xxx")
    assert len(calls[5]) < 140
    assert calls[6] == "[10:00:04] shell ls"
    assert calls[7].startswith('[10:00:05] {"type":"tool_use"')


async def test_a_description_longer_than_its_share_takes_room_from_logs_and_artifacts(redactor):
    attachments = [{"id": f"a{n}", "name": f"file {n} " + "n" * 80} for n in range(10)]
    logs = {"o": [log(use("Bash", command=f"step {n} " + "x" * 60), number=n) for n in range(50)]}

    async def shown(description):
        chain = ({"id": "r1", "task": description, "attachments": attachments},)
        store = TaskStore(*chain, logs={"r1": logs["o"]})
        text = await resume_preamble(store, RESUME, redactor, max_tokens=2000)
        assert description in text
        return text

    short = await shown("brief")
    longer = await shown("d" * 4500)
    assert len(short) <= 8000
    assert len(longer) <= 8000
    assert longer.count("Bash step") < short.count("Bash step")
    for length in range(7000, 7700, 50):
        assert len(await shown("d" * length)) <= 8000
    # The oldest lines go first.
    assert "step 49 " in longer
    assert "step 0 " not in short


async def test_the_original_description_is_never_cut(redactor):
    description = "é" * 2**20
    logs = {"r1": [log(use("Bash", command="ls"))]}
    store = TaskStore({"id": "r1", "task": description}, logs=logs)
    text = await resume_preamble(store, RESUME, redactor, max_tokens=4000)
    assert description in text
    assert "### Recent Tool Calls" not in text
    assert '`get-task-details` with the ID "r1"' in text


async def test_undelivered_messages_are_shown_newest_kept(redactor):
    def message(number, status):
        return SteeringMessage(
            id=f"m{number}", body=f"say {number}", status=status, created_at=f"2026-01-0{number}"
        )

    messages = {
        "r1": [message(2, "promoted"), message(3, "handled")],
        "o": [message(1, "pending"), message(4, "delivered")],
    }
    store = TaskStore(*CHAIN, messages=messages)
    text = await resume_preamble(store, RESUME, redactor, max_tokens=4000, steering=store)
    assert "### Undelivered Steering Messages\n\n- say 1\n- say 2\n" in text
    assert "say 3" not in text
    off = await resume_preamble(store, RESUME, redactor, max_tokens=4000)
    assert "Undelivered" not in off


async def test_secrets_leave_neither_logs_nor_messages(redactor):
    logs = {
        "r1": [
            log(use("Bash", command="x" * 110 + SECRET)),
            log("y" * 110 + SECRET),
            log({"text": "z" * 100 + SECRET}),
        ]
    }
    messages = {"r1": [SteeringMessage(id="m", body=f"use {SECRET}", status="pending")]}
    store = TaskStore({"id": "r1", "task": f"with {SECRET}"}, logs=logs, messages=messages)
    text = await resume_preamble(store, RESUME, redactor, max_tokens=4000, steering=store)
    assert "Bash" in text
    assert SECRET[:6] not in text


async def test_a_server_that_has_no_logs_still_gives_a_preamble(redactor):
    class Without(TaskStore):
        async def session_logs(self, task_id, *, limit):
            raise ApiUnreachable("u", "reset", ambiguous=False)

        of_task = session_logs

    store = Without(*CHAIN)
    text = await resume_preamble(store, RESUME, redactor, max_tokens=4000)
    assert "the original brief" in text
    assert await resume_preamble(TaskStore(), RESUME, redactor, max_tokens=4000) == ""
