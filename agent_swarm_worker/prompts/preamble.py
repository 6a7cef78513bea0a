"""What a follow-up task is told about the tasks it follows (docs/api.md 7.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.guards.tokens import count_tokens, truncate_to_tokens
from agent_swarm_worker.prompts.history import (
    WALK_TIMEOUT_S,
    TaskSource,
    ancestors,
    artifact_lines,
    scrubbed,
)
from agent_swarm_worker.prompts.texts import join, one_line

if TYPE_CHECKING:
    from agent_swarm_worker.contract import Redactor
    from agent_swarm_worker.swarm.wire import Task

MAX_ANCESTORS = 5
_PARENT_CHARS = 600
_ANCESTOR_CHARS = 200
_OUTCOME_SHARE = 0.55
_NOTICE = "[Earlier history is left out here.]"


async def follow_up_preamble(
    source: TaskSource,
    task: Task,
    redactor: Redactor,
    *,
    max_tokens: int,
    app_url: str = "",
    has_mcp: bool = True,
) -> str:
    """Return the section on prior tasks; empty if there is no parent or it cannot be read.

    Args:
        source: the server.
        task: the follow-up.
        redactor: takes out secrets, before anything is cut.
        max_tokens: what the section may cost.
        app_url: base URL for links to artifacts.
        has_mcp: whether the agent has the swarm's tools, so that one can be pointed to.
    """
    chain: list[Task] = []
    with anyio.move_on_after(WALK_TIMEOUT_S):
        await ancestors(source, task, chain, limit=MAX_ANCESTORS)
    if not chain:
        return ""
    outcome = _outcome(chain[0], redactor, int(max_tokens * _OUTCOME_SHARE), has_mcp=has_mcp)
    text = _parent_section(chain[0], redactor, app_url, outcome, has_mcp=has_mcp)
    older = [
        f"- `{ancestor.id}`: {one_line(scrubbed(redactor, ancestor.text), _ANCESTOR_CHARS)}"
        for ancestor in chain[1:]
    ]
    while older:
        whole = join(text, "Older tasks in this line, the nearest first:\n\n" + "\n".join(older))
        if count_tokens(whole) <= max_tokens:
            return whole
        older.pop()
    return truncate_to_tokens(text, max_tokens, notice=_NOTICE)


def _outcome(parent: Task, redactor: Redactor, max_tokens: int, *, has_mcp: bool) -> str:
    outcome = scrubbed(redactor, parent.output or parent.failure_reason or parent.progress)
    if not outcome:
        return "It has no recorded outcome yet."
    notice = "(Cut; `get-task-details` has all of it.)" if has_mcp else "(Cut.)"
    return f"Outcome:\n{truncate_to_tokens(outcome, max_tokens, notice=notice)}"


def _parent_section(
    parent: Task, redactor: Redactor, app_url: str, outcome: str, *, has_mcp: bool
) -> str:
    artifacts = artifact_lines(parent, redactor, app_url)
    return join(
        "## Prior Conversation Context",
        "This task follows an earlier one. Build on it and do not repeat it.",
        f"Previous task `{parent.id}`: {one_line(scrubbed(redactor, parent.text), _PARENT_CHARS)}",
        outcome,
        "Artifacts:\n" + "\n".join(artifacts) if artifacts else "",
        f'More: `get-task-details` with the ID "{parent.id}".' if has_mcp else "",
    )
