"""One credential per pool for a session, and the reports on how it fared (API reference E29)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import ApiError
from agent_swarm_worker.guards.rate_limits import clamp_reset, is_rate_limited, parse_reset_time
from agent_swarm_worker.login.pools import Selection, select_credentials
from agent_swarm_worker.logs import Event
from agent_swarm_worker.reporting.port import WORKER_LANE
from agent_swarm_worker.swarm.queue import WriteKind
from agent_swarm_worker.swarm.wire import windows_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.contract import ProviderAdapter, ProviderResult
    from agent_swarm_worker.swarm.wire import Task
    from agent_swarm_worker.worker.context import Worker

UNKNOWN_LIMIT = timedelta(minutes=5)
"""How long a key rests that hit a limit of which no end is known."""


async def select_for(worker: Worker, adapter: ProviderAdapter, row: Task | None) -> list[Selection]:
    """Choose the session's credentials and report their use."""

    async def available(key_type: str, total: int) -> Sequence[int] | None:
        try:
            return await worker.client.keys.available(key_type, total)
        except ApiError:
            return None

    chosen = await select_credentials(
        adapter.traits.needs_credential, worker.environment.values(), available
    )
    for selection in chosen:
        worker.log.info(
            Event.CREDENTIAL_SELECTED,
            key=selection.key_type,
            index=selection.index,
            of=selection.total,
            all_limited=selection.is_fallback or None,
        )
        if row is not None:
            _put(worker, WriteKind.REPORT_USAGE, selection, {"task_id": row.id})
    return chosen


def report_limits(worker: Worker, chosen: Sequence[Selection], result: ProviderResult) -> None:
    """Report what the session learned of its credential's limits; the first one is the one used.

    A key that served a whole session is cleared; one that hit a limit rests until the time the
    vendor named, or for a while if none was (API reference section 5.8.3).
    """
    if not chosen:
        return
    used = chosen[0]
    now = worker.clock.now()
    if result.rate_limit_windows:
        windows = windows_body(result.rate_limit_windows, seen_at=wire_time(now))
        _put(worker, WriteKind.REPORT_WINDOWS, used, {"windows": windows})
    if not result.is_error:
        _put(worker, WriteKind.CLEAR_RATE_LIMIT, used, {})
        return
    until = _limited_until(result, now)
    if until is not None:
        worker.log.warning(Event.CREDENTIAL_LIMITED, key=used.key_type, until=wire_time(until))
        _put(worker, WriteKind.REPORT_RATE_LIMIT, used, {"until": wire_time(until)})


def _limited_until(result: ProviderResult, now: datetime) -> datetime | None:
    reason = result.failure_reason or ""
    if result.rate_limit_reset_at:
        try:
            return clamp_reset(datetime.fromisoformat(result.rate_limit_reset_at), now)
        except ValueError:
            return now + UNKNOWN_LIMIT
    if result.error_category not in {"rate_limit", "usage_limit"} and not is_rate_limited(reason):
        return None
    told = parse_reset_time(reason, now)
    return clamp_reset(told, now) if told else now + UNKNOWN_LIMIT


def _put(worker: Worker, kind: WriteKind, used: Selection, more: dict[str, object]) -> None:
    key = {"key_type": used.key_type, "suffix": used.suffix, "index": used.index}
    worker.outbox.put(WORKER_LANE, kind, {"key": key, **more})
