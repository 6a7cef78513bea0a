"""How a session went: what the CLI said of its turns, and how its process ended.

Success takes a turn that was completed. A process that merely exits with 0 has done nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.contract import ProviderResult
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.guards.rate_limits import LIMITS, clamp_reset, parse_reset_time
from agent_swarm_worker.providers.codex.spec import SPEC
from agent_swarm_worker.providers.kit.failures import Failure, failure, how_it_ended, one_line

if TYPE_CHECKING:
    from agent_swarm_worker.providers.codex.seen import Seen
    from agent_swarm_worker.providers.kit.launch import Ending


def conclude(seen: Seen, ending: Ending) -> ProviderResult:
    """Say how the session went, from its output and the end of its process."""
    failed = _judge(seen, ending)
    cost = seen.cost(is_error=failed is not None)
    return ProviderResult(
        exit_code=_exit_code(ending, failed),
        is_error=failed is not None,
        session_id=seen.thread_id,
        cost=replace(cost, duration_ms=ending.duration_ms) if cost else None,
        output=seen.last_text or None,
        error_category=failed.category if failed else None,
        failure_reason=failed.reason if failed else None,
        rate_limit_reset_at=_reset_at(seen, failed),
        rate_limit_windows=dict(seen.limits.windows),
        applied_reasoning_effort=seen.plan.applied_effort,
    )


def _judge(seen: Seen, ending: Ending) -> Failure | None:
    if seen.turn == "completed" and seen.is_final:
        return None
    if seen.fatal is not None:
        return failure(seen.fatal.category or "turn_failed", seen.fatal.message)
    if ending.aborted is not None:
        return Failure("aborted", one_line(f"Aborted: {ending.aborted}"))
    if seen.turn == "interrupted":
        return failure("interrupted")
    return _unfinished(seen, ending)


def _unfinished(seen: Seen, ending: Ending) -> Failure:
    how = f"Codex {how_it_ended(ending.exit_code)} before it was finished"
    if seen.unanswered:
        how += f", without an answer to {seen.unanswered}"
    if seen.last_error is not None:
        category = seen.last_error.category or "crashed"
        return Failure(category, one_line(f"{how}; before that: {seen.last_error.message}"))
    if ending.truncated:
        return Failure("truncated", f"{how}; its output was cut off")
    tail = " ".join(ending.stderr_tail.split())[-250:]
    category = classify_error(tail, also=SPEC.error_texts) if tail else ErrorClass.UNKNOWN
    if category is ErrorClass.UNKNOWN:
        crashed = "killed" if ending.exit_code > 128 else "crashed"
        return Failure(crashed, one_line(f"{how}: {tail}" if tail else how))
    return Failure(category.value, one_line(f"{how}: {tail}"))


def _exit_code(ending: Ending, failed: Failure | None) -> int:
    """The app server ends with 0 whatever happened."""
    return 0 if failed is None else ending.exit_code or 1


def _reset_at(seen: Seen, failed: Failure | None) -> str | None:
    if failed is None or failed.category not in LIMITS:
        return None
    now = seen.clock.now()
    moment = parse_reset_time(failed.reason, now) or seen.limits.resets_at
    return wire_time(clamp_reset(moment, now)) if moment else None
