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
    from agent_swarm_worker.providers.codex.state import TranslationState
    from agent_swarm_worker.providers.kit.launch import Ending
    from agent_swarm_worker.providers.kit.outcome import Failure


def conclude(state: TranslationState, ending: Ending) -> ProviderResult:
    """Say how the session went, from its output and the end of its process."""
    failed = _judge(state, ending)
    cost = state.cost(is_error=failed is not None)
    reset_at = None
    if failed is not None:
        now = state.clock.now()
        said = parse_reset_time(failed.reason, now)
        reset_at = reset_of(failed.category, "", now, said, state.limits.resets_at)
    return concluded(
        failed,
        # The app server ends with 0 whatever happened.
        exit_code=0 if failed is None else ending.exit_code or 1,
        session_id=state.thread_id,
        cost=replace(cost, duration_ms=ending.duration_ms) if cost else None,
        output=state.last_text or None,
        reset_at=reset_at,
        windows=state.limits.windows,
        applied_effort=state.plan.applied_effort,
    )


def _judge(state: TranslationState, ending: Ending) -> Failure | None:
    if state.turn == "completed" and state.is_final:
        return None
    if state.fatal is not None:
        return failure(state.fatal.category or "turn_failed", state.fatal.message)
    if ending.aborted is None and state.turn == "interrupted":
        return failure("interrupted")
    return aborted(ending) or unfinished(
        "Codex",
        ending,
        lambda said: classify_error(said, also=SPEC.error_texts).value,
        last_error=state.last_error,
        waiting_for=state.unanswered,
    )
