"""Tell a session what the swarm knows and does: similar memories, and to a lead, what is under way.

See docs/api.md 15.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.prompts.render import clean, join
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.api.resources import Resources
    from agent_swarm_worker.api.values import Row
    from agent_swarm_worker.api.wire.tasks import Task
    from agent_swarm_worker.contract import Redactor

MIN_SIMILARITY = 0.4
LIMIT = 5
INTENT = "pre-task memory recall"
_CONTENT_CHARS = 300
_QUERY_CHARS = 8000
"""Embedding models read no more."""
_TIMEOUT_S = 10.0
_RATER = "explicit-self"
MAX_ITEMS = 20
_LISTS = {
    "recentTaskDelegations": ("Delegated recently", "task", 120),
    "activeSwarmTasks": ("In progress", "task", 100),
    "processingInboxMessages": ("Messages that another session handles", "content", 120),
}
"""By list: its heading, the field of the text, and how much of that is shown."""


async def memories_section(
    server: Resources,
    task: Task,
    redactor: Redactor,
    *,
    raters: Sequence[str] = (),
    has_mcp: bool = True,
) -> str:
    """Return the section on past knowledge; empty if nothing similar is known or the search fails.

    `raters` is the ``MEMORY_RATERS`` setting; without `has_mcp` the text names no swarm tools.
    """
    query = redactor.text(clean(task.text)).strip()[:_QUERY_CHARS]
    if not query:
        return ""
    try:
        with anyio.fail_after(_TIMEOUT_S):
            found = await server.memory_search(
                query, intent=INTENT, limit=LIMIT, task_id=task.id, context_key=task.context_key
            )
    except (ApiError, TimeoutError) as error:
        Log().debug(Event.PROMPT_FALLBACK, left_out="memories", why=str(error))
        return ""
    lines = [
        f"- **{one_line(redactor.text(memory.name), 200)}** (id: {one_line(memory.id, 100)}):"
        f" {one_line(redactor.text(memory.content), _CONTENT_CHARS)}"
        for memory in found
        if memory.similarity > MIN_SIMILARITY
    ]
    if not lines:
        return ""
    pointer = "`memory-get` with the id gives the whole text."
    hint = "Rate two to five of those you look at with `memory_rate` (`useful`: true or false)."
    return join(
        "### Relevant Past Knowledge",
        pointer if has_mcp else "",
        "\n".join(lines),
        hint if has_mcp and _RATER in raters else "",
    )


async def concurrent_work(server: Resources, redactor: Redactor, *, own_task: str) -> str:
    """Return the section on the swarm's other work; empty if there is none, or it is unknown."""
    try:
        with anyio.fail_after(_TIMEOUT_S):
            context = await server.concurrent_context()
    except (ApiError, TimeoutError) as error:
        Log().debug(Event.PROMPT_FALLBACK, left_out="concurrent work", why=str(error))
        return ""
    sections = []
    for name, (heading, field, max_chars) in _LISTS.items():
        rows = [row for row in context.get(name, ()) if row.text("id") not in {"", own_task}]
        lines = [_line(row, redactor.text(row.text(field)), max_chars) for row in rows[:MAX_ITEMS]]
        if lines:
            sections.append(join(f"{heading}:", "\n".join(lines)))
    if not sections:
        return ""
    advice = "Other sessions of yours may have begun these. Do not delegate the same work again."
    return join("### Concurrent Work", advice, *sections)


def _line(row: Row, text: str, max_chars: int) -> str:
    who = one_line(row.text("agentName") or row.text("agentId"), 100)
    details = ", ".join(filter(None, (one_line(row.text("status"), 40), who)))
    return f"- {one_line(row.text('id'), 100)}: {one_line(text, max_chars)}" + (
        f" ({details})" if details else ""
    )
