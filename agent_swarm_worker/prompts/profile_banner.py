"""Telling an agent that an edit of its profile was refused, until that is settled.

Otherwise it never learns: the refusal comes when its session has ended (docs/api.md 3.7).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import anyio

from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.prompts.texts import join
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from agent_swarm_worker.api.wire import StoredEvent
    from agent_swarm_worker.prompts.render import PromptBuild

_LABELS = {
    "soulMd": "SOUL.md",
    "identityMd": "IDENTITY.md",
    "toolsMd": "TOOLS.md",
    "claudeMd": "CLAUDE.md",
}
_LIMIT = 100
"""Newest refusals looked at, of all fields; an agent that tries often makes several of one."""
_TIMEOUT_S = 10.0
_GUIDANCE = (
    "Shorten the text below its budget; it is stored when the session ends. After a restart of the"
    " worker the file holds the stored text again, and yours is in the newest `.bak` beside it."
)


class EventSource(Protocol):
    """The server, as far as stored events go; `api.resources` is one. Raises `ApiError`."""

    async def events(
        self, event: str, *, agent_id: str, field: str | None = None, limit: int = 1
    ) -> Sequence[StoredEvent]:
        """Return events, newest first (docs/api.md 9.4)."""
        ...


async def profile_banner(
    build: PromptBuild,
    source: EventSource,
    agent_id: str,
    stored_profile: Callable[[], Awaitable[Mapping[str, str]]],
) -> str:
    """Return a warning per field whose last edit was refused; usually there is none.

    Costs one request as long as nothing was ever refused.

    Args:
        build: renders the warning.
        source: the server.
        agent_id: whose profile.
        stored_profile: reads what the server has now, by field; called only if it matters.
    """
    try:
        with anyio.fail_after(_TIMEOUT_S):
            open_ones = await _open_refusals(source, agent_id, stored_profile)
    except (ApiError, TimeoutError):
        return ""
    banners = [
        await build.text("task.profile_sync_rejection", _variables(field, refusal))
        for field, refusal in open_ones.items()
    ]
    return join(*banners)


async def _open_refusals(
    source: EventSource,
    agent_id: str,
    stored_profile: Callable[[], Awaitable[Mapping[str, str]]],
) -> dict[str, StoredEvent]:
    refused = _newest(
        await source.events("system.profile_sync_rejected", agent_id=agent_id, limit=_LIMIT)
    )
    if not refused:
        return {}
    still_open = {}
    for field, event in refused.items():
        reconciled = await source.events(
            "system.profile_sync_reconciled", agent_id=agent_id, field=field, limit=1
        )
        settled = _newest(reconciled).get(field)
        if settled is None or event.created_at > settled.created_at:
            still_open[field] = event
    if not still_open:
        return {}
    stored = await stored_profile()
    return {
        field: event
        for field, event in still_open.items()
        # Somebody else may have changed the field since, which makes the refusal history.
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
