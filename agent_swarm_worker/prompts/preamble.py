"""What a follow-up task is told about the tasks it follows (API reference section 6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.prompts.history import (
    CHARS_PER_TOKEN,
    WALK_TIMEOUT_S,
    TaskSource,
    ancestors,
    artifact_lines,
    scrubbed,
)
from agent_swarm_worker.prompts.texts import cut, join, one_line

if TYPE_CHECKING:
    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.swarm.wire import Task

MAX_ANCESTORS = 5
_PARENT_CHARS = 600
_ANCESTOR_CHARS = 200
_OUTCOME_SHARE = 0.55
_NOTICE = "[Earlier history is left out here; `get-task-details` has it.]"


async def follow_up_preamble(
    source: TaskSource, task: Task, redactor: Redactor, *, max_tokens: int, app_url: str = ""
) -> str:
    """Return the section on prior tasks; empty if there is no parent or it cannot be read.

    Args:
        source: the server.
        task: the follow-up.
        redactor: takes out secrets, before anything is cut.
        max_tokens: what the section may cost; a token is taken for four characters.
        app_url: base URL for links to artifacts.
    """
    chain: list[Task] = []
    with anyio.move_on_after(WALK_TIMEOUT_S):
        await ancestors(source, task, chain, limit=MAX_ANCESTORS)
    if not chain:
        return ""
    budget = max_tokens * CHARS_PER_TOKEN
    text = _parent_section(chain[0], redactor, app_url, budget)
    older = [
        f"- `{ancestor.id}`: {one_line(scrubbed(redactor, ancestor.text), _ANCESTOR_CHARS)}"
        for ancestor in chain[1:]
    ]
    while older:
        whole = join(text, "Older tasks in this line, the nearest first:\n\n" + "\n".join(older))
        if len(whole) <= budget:
            return whole
        older.pop()
    if len(text) <= budget:
        return text
    return f"{cut(text, max(0, budget - len(_NOTICE) - 1))}\n{_NOTICE}"


def _parent_section(parent: Task, redactor: Redactor, app_url: str, budget: int) -> str:
    outcome = scrubbed(redactor, parent.output or parent.failure_reason or parent.progress)
    room = int(budget * _OUTCOME_SHARE)
    if len(outcome) > room:
        outcome = f"{cut(outcome, room)}\n(Cut; `get-task-details` has all of it.)"
    artifacts = artifact_lines(parent, redactor, app_url)
    return join(
        "## Prior Conversation Context",
        "This task follows an earlier one. Build on it and do not repeat it.",
        f"Previous task `{parent.id}`: {one_line(scrubbed(redactor, parent.text), _PARENT_CHARS)}",
        f"Outcome:\n{outcome}" if outcome else "It has no recorded outcome yet.",
        "Artifacts:\n" + "\n".join(artifacts) if artifacts else "",
        f'More: `get-task-details` with the ID "{parent.id}".',
    )
