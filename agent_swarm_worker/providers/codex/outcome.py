"""How a session went: what the CLI said of its turns, and how its process ended.

Success takes a turn that was completed. A process that merely exits with 0 has done nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.guards.error_classes import classify_error
from agent_swarm_worker.guards.rate_limits import parse_reset_time
from agent_swarm_worker.providers.codex.spec import SPEC
from agent_swarm_worker.providers.kit.outcome import (
    aborted,
    concluded,
    failure,
    reset_of,
    unfinished,
)

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderResult
    from agent_swarm_worker.providers.codex.seen import Seen
    from agent_swarm_worker.providers.kit.launch import Ending
    from agent_swarm_worker.providers.kit.outcome import Failure


def conclude(seen: Seen, ending: Ending) -> ProviderResult:
    """Say how the session went, from its output and the end of its process."""
    failed = _judge(seen, ending)
    cost = seen.cost(is_error=failed is not None)
    reset_at = None
    if failed is not None:
        now = seen.clock.now()
        said = parse_reset_time(failed.reason, now)
        reset_at = reset_of(failed.category, "", now, said, seen.limits.resets_at)
    return concluded(
        failed,
        # The app server ends with 0 whatever happened.
        exit_code=0 if failed is None else ending.exit_code or 1,
        session_id=seen.thread_id,
        cost=replace(cost, duration_ms=ending.duration_ms) if cost else None,
        output=seen.last_text or None,
        reset_at=reset_at,
        windows=seen.limits.windows,
        applied_effort=seen.plan.applied_effort,
    )


def _judge(seen: Seen, ending: Ending) -> Failure | None:
    if seen.turn == "completed" and seen.is_final:
        return None
    if seen.fatal is not None:
        return failure(seen.fatal.category or "turn_failed", seen.fatal.message)
    if ending.aborted is None and seen.turn == "interrupted":
        return failure("interrupted")
    return aborted(ending) or unfinished(
        "Codex",
        ending,
        lambda said: classify_error(said, also=SPEC.error_texts).value,
        last_error=seen.last_error,
        waiting_for=seen.unanswered,
    )
