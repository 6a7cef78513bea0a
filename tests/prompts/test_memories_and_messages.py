"""Memories, the steering envelope, and the warning about a refused profile edit."""

from __future__ import annotations

import hashlib

import anyio
import pytest
from prompts_doubles import SECRET, RenderServer

from agent_swarm_worker.api.wire.resources import Memory, StoredEvent
from agent_swarm_worker.api.wire.tasks import Task
from agent_swarm_worker.errors import ApiUnreachable
from agent_swarm_worker.prompts import memories
from agent_swarm_worker.prompts.memories import memories_section
from agent_swarm_worker.prompts.refused_edits import refused_edits_warning
from agent_swarm_worker.prompts.render import Renderer
from agent_swarm_worker.prompts.user import delivery_text

pytestmark = pytest.mark.anyio

DOWN = ApiUnreachable("u", "refused", ambiguous=False)
TASK = Task(id="task-1", text="fix the login", context_key="slack:C1")


class Memories:
    def __init__(self, *found, error=None, hangs=False):
        self.found, self.error, self.hangs = found, error, hangs
        self.asked = None

    async def memory_search(self, query, *, intent, limit, task_id, context_key):
        self.asked = (query, intent, limit, task_id, context_key)
        if self.hangs:
            await anyio.sleep_forever()
        if self.error:
            raise self.error
        return self.found


def memory(similarity, content="what we know", name="logins"):
    return Memory(id="m-1", name=name, content=content, similarity=similarity)


async def test_only_memories_that_are_near_enough_are_shown(redactor):
    source = Memories(memory(0.4), memory(0.41, name="near"), memory(0.9, name="nearer"))
    text = await memories_section(source, TASK, redactor)
    assert text.startswith("### Relevant Past Knowledge")
    assert [line for line in text.splitlines() if line.startswith("- ")] == [
        "- **near** (id: m-1): what we know",
        "- **nearer** (id: m-1): what we know",
    ]
    assert source.asked == (TASK.text, "pre-task memory recall", 5, "task-1", "slack:C1")
    assert await memories_section(Memories(memory(0.4)), TASK, redactor) == ""


async def test_memories_are_cut_on_one_line_and_scrubbed(redactor):
    content = "a\n" + "b" * 280 + f" {SECRET} " + "c" * 5000
    text = await memories_section(Memories(memory(0.9, content)), TASK, redactor)
    [line] = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(line) < 340
    assert SECRET[:6] not in line


async def test_rating_is_asked_for_only_where_raters_are_on(redactor):
    source = Memories(memory(0.9))
    assert "memory_rate" not in await memories_section(source, TASK, redactor, raters=("llm",))
    assert "memory_rate" in await memories_section(
        source, TASK, redactor, raters=("explicit-self",)
    )


async def test_an_agent_without_the_swarms_tools_is_told_of_none(redactor):
    source = Memories(memory(0.9))
    text = await memories_section(source, TASK, redactor, raters=("explicit-self",), has_mcp=False)
    assert "**logins** (id: m-1): what we know" in text
    assert "`memory" not in text


async def test_memories_never_hold_up_a_task(redactor, monkeypatch):
    assert await memories_section(Memories(error=DOWN), TASK, redactor) == ""
    monkeypatch.setattr(memories, "_TIMEOUT_S", 0.01)
    with anyio.fail_after(1):
        assert await memories_section(Memories(hangs=True), TASK, redactor) == ""


async def test_a_huge_or_blank_task_makes_a_small_query_or_none(redactor):
    source = Memories()
    await memories_section(source, Task(id="t", text="x" * 2**20), redactor)
    assert len(source.asked[0]) == 8000
    blank = Memories(memory(0.9))
    assert await memories_section(blank, Task(id="t", text=" \0 "), redactor) == ""
    assert blank.asked is None


async def test_the_envelope_names_the_message_and_what_to_do(local):
    text = await delivery_text(local, "msg-1", "stop {{body}}\x1b")
    assert text.splitlines()[0] == "[steering msg-1] stop {{body}}"
    assert "`accept-steer` with the ID msg-1" in text


@pytest.mark.parametrize(
    "server",
    [
        RenderServer(skipped=["system.agent.steering.delivery"]),
        RenderServer({"system.agent.steering.delivery": "  \n"}),
    ],
)
async def test_a_message_arrives_even_without_its_envelope(library, clock, server):
    build = Renderer(library, clock=clock, server=server).build()
    assert await delivery_text(build, "msg-1", "stop") == "stop"


class Events:
    def __init__(self, refused=(), settled=(), error=None):
        self.rows = {
            "system.profile_sync_rejected": refused,
            "system.profile_sync_reconciled": settled,
        }
        self.error, self.asked = error, []

    async def events(self, event, *, agent_id, field=None, limit=1):
        self.asked.append(event)
        if self.error:
            raise self.error
        rows = [row for row in self.rows[event] if field in {None, row.data["field"]}]
        return rows[:limit]


def event(field, at, **data):
    return StoredEvent(id=f"e-{at}", event="x", created_at=at, data={"field": field, **data})


async def stored():
    return {"soulMd": "on the server"}


async def test_without_refusals_one_question_is_enough(local):
    source = Events()
    assert await refused_edits_warning(local, source, "agent-1", stored) == ""
    assert source.asked == ["system.profile_sync_rejected"]


async def test_a_refusal_is_shown_until_it_is_settled(local):
    refused = [
        event("soulMd", "2026-02", diskSize=12000, dbSize=900, budget=10000, delta=2000),
        event("soulMd", "2026-01"),
        event("toolsMd", "2026-01"),
        event("unheard-of", "2026-03"),
    ]
    text = await refused_edits_warning(local, Events(refused), "agent-1", stored)
    assert "Your SOUL.md was not saved" in text
    assert "12000 characters, 2000 more than the 10000" in text
    assert "Your TOOLS.md was not saved" in text
    settled = [event("soulMd", "2026-03"), event("toolsMd", "2025-12")]
    rest = await refused_edits_warning(local, Events(refused, settled), "agent-1", stored)
    assert "SOUL.md" not in rest
    assert "TOOLS.md" in rest


async def test_many_edits_of_one_field_do_not_hide_what_became_of_another(local):
    refused = [*(event("toolsMd", f"2026-03-{day}") for day in range(10, 60))]
    refused.append(event("soulMd", "2026-01"))
    settled = [*(event("claudeMd", f"2026-04-{day}") for day in range(10, 60))]
    settled.append(event("soulMd", "2026-02"))
    text = await refused_edits_warning(local, Events(refused, settled), "agent-1", stored)
    assert "TOOLS.md" in text
    assert "SOUL.md" not in text
    text = await refused_edits_warning(local, Events(refused, settled[:-1]), "agent-1", stored)
    assert "SOUL.md" in text


async def test_a_refusal_is_history_once_somebody_else_changed_the_field(local):
    now = hashlib.sha256(b"on the server").hexdigest()
    same = Events([event("soulMd", "2026-02", dbHash=now)])
    assert "SOUL.md" in await refused_edits_warning(local, same, "agent-1", stored)
    other = Events([event("soulMd", "2026-02", dbHash="other")])
    assert await refused_edits_warning(local, other, "agent-1", stored) == ""


async def test_a_server_without_events_gives_no_warning(local):
    assert await refused_edits_warning(local, Events(error=DOWN), "agent-1", stored) == ""
