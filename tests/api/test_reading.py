"""Reading the wire: whatever a server sends, nothing breaks and nothing climbs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_swarm_worker.api.values import is_identifier
from agent_swarm_worker.api.wire.resources import (
    Agent,
    ConfigRow,
    InstalledMcpServer,
    LogEntry,
    Memory,
    Repo,
    Skill,
    SkillFile,
    SteeringMessage,
    StoredEvent,
)
from agent_swarm_worker.api.wire.tasks import (
    Attachment,
    BudgetRefused,
    ChannelActivity,
    ChannelMessage,
    PoolTasksAvailable,
    Requester,
    Task,
    TaskAssigned,
    TaskLog,
    TaskOffered,
    UnknownTrigger,
    UnreadMentions,
    trigger_from_wire,
)

ROWS = (
    Agent,
    Attachment,
    ChannelMessage,
    ConfigRow,
    InstalledMcpServer,
    LogEntry,
    Memory,
    Repo,
    Requester,
    Skill,
    SkillFile,
    SteeringMessage,
    StoredEvent,
    Task,
    TaskLog,
)
KEYS = (  # noqa: SIM905 - easier to read than thirty quoted words
    "id name type task taskId status tags priority outputSchema attachments logs url path key "
    "value args headers resolvedEnv guidelines hooks content iteration messages cursorUpdates "
    "event data requestedBy comms enabledCapabilities channelId eventType similarity"
).split()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=12,
)
TYPES = ("task_assigned", "task_offered", "unread_mentions", "channel_activity", "budget_refused")
HARMFUL_IDS = ("", ".", "..", "a/b", "../x", "a\\b", "a\nb", "a\0b", "x" * 201, "ä" * 101, 7, None)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(KEYS), JSON) | JSON)
def test_no_row_breaks_on_anything(value: object) -> None:
    for row in ROWS:
        read = row.from_wire(value)  # type: ignore[attr-defined]
        assert read is None or isinstance(read, row)


@settings(max_examples=60)
@given(st.sampled_from(TYPES) | st.text(), JSON, JSON)
def test_no_trigger_breaks_on_anything(kind: str, task: object, rest: object) -> None:
    extra = rest if isinstance(rest, dict) else {}
    trigger = trigger_from_wire({**extra, "type": kind, "task": task, "messages": rest})
    if isinstance(trigger, TaskAssigned | TaskOffered):
        assert is_identifier(trigger.task.id)


@pytest.mark.parametrize("harmful", HARMFUL_IDS)
def test_harmful_identifiers_are_refused(harmful: object) -> None:
    assert not is_identifier(harmful)
    assert Task.from_wire({"id": harmful}) is None
    value = {"type": "task_assigned", "taskId": harmful, "task": {"id": harmful, "task": "x"}}
    assert isinstance(trigger_from_wire(value), UnknownTrigger)
    # Not even when only one of the two places is harmful; null is the same as absent.
    value["task"] = {"id": "good", "task": "x"}
    expected = TaskAssigned if harmful is None else UnknownTrigger
    assert isinstance(trigger_from_wire(value), expected)
    assert Task.from_wire({"id": "t", "parentTaskId": harmful}).parent_task_id is None  # type: ignore[union-attr]


def test_uuid_and_free_identifiers_are_fine() -> None:
    for value in ("0b9e7c1a-5f7a-4f2c-8d33-0d7c7d1c2b3a", "my custom id", "a.b:c_d"):
        assert is_identifier(value)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a/../b", ""])
def test_skill_files_stay_below_their_skill(path: str) -> None:
    assert SkillFile.from_wire({"path": path, "content": "x"}) is None
    assert SkillFile.from_wire({"path": "a/b.md", "content": "x"}) is not None


def test_a_task_in_full() -> None:
    task = Task.from_wire(
        {
            "id": "t-1",
            "task": "do it",
            "status": "in_progress",
            "tags": ["a", 1],
            "priority": 50.0,
            "outputSchema": {"type": "object"},
            "wasPaused": True,
            "claudeSessionId": "s",
            "attachments": [{"id": "a", "name": "f.txt", "sizeBytes": 3}, {"name": "no id"}],
            "logs": [{"eventType": "task_progress", "newValue": "50%"}],
            "modelTier": None,
            "unheardOf": 1,
        }
    )
    assert task is not None
    assert (task.text, task.tags, task.priority, task.was_paused) == ("do it", ("a",), 50, True)
    assert [attachment.name for attachment in task.attachments] == ["f.txt"]
    assert task.logs[0].new_value == "50%"
    assert task.raw["unheardOf"] == 1
    assert not task.is_terminal
    assert Task.from_wire({"id": "t", "status": "superseded"}).is_terminal  # type: ignore[union-attr]


def test_every_kind_of_trigger() -> None:
    assigned = trigger_from_wire(
        {
            "type": "task_assigned",
            "taskId": "t-1",
            "task": {"id": "t-1", "task": "x"},
            "requestedBy": {"name": "Ann", "comms": {"tone": "dry"}},
        }
    )
    assert isinstance(assigned, TaskAssigned)
    assert assigned.requested_by == Requester(name="Ann", tone="dry")
    offered = trigger_from_wire({"type": "task_offered", "taskId": "t-2", "task": None})
    assert isinstance(offered, TaskOffered)
    assert offered.task.id == "t-2"
    refused = trigger_from_wire({"type": "budget_refused", "cause": "agent", "resetAt": 5})
    assert refused == BudgetRefused(cause="agent")
    mentions = trigger_from_wire({"type": "unread_mentions", "claimedChannels": ["c"]})
    assert mentions == UnreadMentions(count=0)
    activity = trigger_from_wire(
        {
            "type": "channel_activity",
            "messages": [{"channelId": "c", "text": "hi"}, "junk"],
            "cursorUpdates": [{"channelId": "c", "ts": "1.5"}],
        }
    )
    assert isinstance(activity, ChannelActivity)
    assert (activity.count, activity.cursors[0].to_wire()) == (1, {"channelId": "c", "ts": "1.5"})
    assert trigger_from_wire({"type": "pool_tasks_available", "count": 3}) == PoolTasksAvailable(
        count=3
    )
    unknown = trigger_from_wire({"type": "tasks_finished"})
    assert isinstance(unknown, UnknownTrigger)
    assert unknown.type == "tasks_finished"


def test_older_servers_do_not_say_what_they_can() -> None:
    old, new = Agent.from_wire({"id": "a"}), Agent.from_wire({"id": "a", "enabledCapabilities": []})
    assert old is not None
    assert new is not None
    assert (old.enabled_capabilities, new.enabled_capabilities) == (None, ())


def test_documents_inside_strings() -> None:
    server = InstalledMcpServer.from_wire(
        {
            "name": "s",
            "args": '["-x", 1]',
            "headers": '{"A": "1", "B": 2}',
            "resolvedHeaders": {"A": "2"},
            "resolvedEnv": {"K": "v", "N": None},
            "isEnabled": True,
        }
    )
    assert server is not None
    assert (server.args, server.headers, server.env) == (("-x",), {"A": "2"}, {"K": "v"})
    assert server.is_usable
    broken = InstalledMcpServer.from_wire({"name": "s", "args": "{", "authError": "expired"})
    assert broken is not None
    assert (broken.args, broken.is_usable) == ((), False)


def test_a_repository_with_its_rules() -> None:
    repo = Repo.from_wire(
        {"url": "u", "hooks": {"enabled": True}, "guidelines": {"prChecks": ["lint"], "review": 1}}
    )
    assert repo is not None
    assert repo.guidelines is not None
    assert (repo.hooks_enabled, repo.guidelines.pr_checks, repo.guidelines.review) == (
        True,
        ("lint",),
        (),
    )
