"""Warn an agent in its next prompt that the server refused an edit of its profile.

The refusal comes after the session that made the edit. The warning is repeated until a later edit
of the field is stored (docs/api.md 3.7).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.prompts.render import Part, join
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from agent_swarm_worker.api.resources import Resources
    from agent_swarm_worker.api.wire.resources import StoredEvent
    from agent_swarm_worker.prompts.render import PromptBuild

_LABELS = {
    "soulMd": "SOUL.md",
    "identityMd": "IDENTITY.md",
    "toolsMd": "TOOLS.md",
    "claudeMd": "CLAUDE.md",
}
_LIMIT = 100
"""Of refusals read, over all fields."""
_TIMEOUT_S = 10.0
_GUIDANCE = (
    "Shorten the text below its budget; it is stored when the session ends. After a restart of the"
    " worker the file holds the stored text again, and yours is in the newest `.bak` beside it."
)


async def refused_edits_warning(
    build: PromptBuild,
    server: Resources,
    agent_id: str,
    stored_profile: Callable[[], Awaitable[Mapping[str, str]]],
) -> str:
    """Return one warning per field whose last edit was refused; usually empty.

    `stored_profile` reads the server's texts by field; it is called only if a refusal is open.
    """
    try:
        with anyio.fail_after(_TIMEOUT_S):
            refusals = await _open_refusals(server, agent_id, stored_profile)
    except (ApiError, TimeoutError):
        return ""
    parts = [
        Part("task.profile_sync_rejection", _variables(field, refusal))
        for field, refusal in refusals.items()
    ]
    return join(*await build.texts(parts))


async def _open_refusals(
    server: Resources,
    agent_id: str,
    stored_profile: Callable[[], Awaitable[Mapping[str, str]]],
) -> dict[str, StoredEvent]:
    """Return the refusals that no later successful edit of the same field has settled."""
    refused = _newest(
        await server.events("system.profile_sync_rejected", agent_id=agent_id, limit=_LIMIT)
    )
    unsettled = {}
    for field, event in refused.items():
        reconciled = await server.events(
            "system.profile_sync_reconciled", agent_id=agent_id, field=field, limit=1
        )
        settled = _newest(reconciled).get(field)
        if settled is None or event.created_at > settled.created_at:
            unsettled[field] = event
    if not unsettled:
        return {}
    stored = await stored_profile()
    return {
        field: event
        for field, event in unsettled.items()
        # A refusal is obsolete if the field was changed on the server since.
        if event.data.get("dbHash") in {None, _digest(stored.get(field, ""))}
    }


def _newest(events: Sequence[StoredEvent]) -> dict[str, StoredEvent]:
    by_field: dict[str, StoredEvent] = {}
    for event in events:
        field = event.data.get("field")
        if isinstance(field, str) and field in _LABELS:
            by_field.setdefault(field, event)
    return by_field


def _variables(field: str, refusal: StoredEvent) -> dict[str, str]:
    def number(key: str) -> str:
        value = refusal.data.get(key)
        return str(value) if isinstance(value, int) else "unknown"

    return {
        "timestamp": one_line(refusal.created_at),
        "field_label": _LABELS[field],
        "disk_size": number("diskSize"),
        "db_size": number("dbSize"),
        "budget": number("budget"),
        "delta": number("delta"),
        "event_id": one_line(refusal.id),
        "recovery_guidance": _GUIDANCE,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
