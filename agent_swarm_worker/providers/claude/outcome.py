"""Decide the outcome of a Claude Code session; hold the state of its translation.

Success takes a result event that reports it. Neither the exit code nor the event's ``subtype`` is
enough: a failed request ends as ``subtype: success``, an interrupted run with exit code 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import Error
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.claude.cost import ClaudeCosts
from agent_swarm_worker.providers.claude.effort import applied_effort
from agent_swarm_worker.providers.claude.spec import SPEC
from agent_swarm_worker.providers.kit.event_stream import CallState
from agent_swarm_worker.providers.kit.native import count, items, says_failure, text
from agent_swarm_worker.providers.kit.outcome import (
    LABELS,
    MAX_REASON_CHARS,
    Failure,
    aborted,
    concluded,
    failure,
    reset_of,
    unfinished,
)
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from agent_swarm_worker.contract import CostData, Ending, ProviderResult

_BY_SUBTYPE = {
    "error_max_turns": "max_turns",
    "error_max_budget_usd": "max_budget",
    "error_max_structured_output_retries": "invalid_output",
}
_BY_TERMINAL_REASON = {
    "aborted_streaming": "interrupted",
    "aborted_tools": "interrupted",
    "prompt_too_long": ErrorClass.CONTEXT_OVERFLOW.value,
}
_LABELS = {
    **LABELS,
    "invalid_output": "No output that fits the schema",
    "max_budget": "Budget limit exceeded",
    "max_turns": "Max turns exceeded",
}


def result_failure(state: ClaudeState) -> Failure | None:
    """Return the failure that the last result event reports, or ``None`` for a success."""
    result = state.result or {}
    if not _is_error(result):
        return None if _has_asked_model(state) else _empty_run(state)
    message = _message(state, result)
    return failure(_category(state, result, message), message, _LABELS)


def conclude(state: ClaudeState, ending: Ending) -> ProviderResult:
    """Return the result of the session."""
    failed = _failure(state, ending)
    reset_at = None
    if failed is not None:
        now = state.clock.now()
        reset_at = reset_of(failed.category, failed.reason, now, state.limits.resets_at)
    return concluded(
        failed,
        exit_code=ending.exit_code if failed else 0,
        session_id=state.session_id,
        cost=state.cost(is_error=failed is not None),
        output=output(state, failed),
        reset_at=reset_at,
        windows=state.limits.windows,
        applied_effort=applied_effort(state.model, state.config.reasoning_effort),
    )


def output(state: ClaudeState, failure: Failure | None) -> str | None:
    """Return the agent's answer; of a failed run its last message, never the error's text."""
    final = text((state.result or {}).get("result")) if failure is None else ""
    return final or state.last_text or None


def _failure(state: ClaudeState, ending: Ending) -> Failure | None:
    failed = result_failure(state) if state.result else None
    if state.result and not failed and _is_over(state, ending):
        return None
    if failed and not (ending.aborted is not None and failed.category == "interrupted"):
        return failed
    error = state.last_error
    if error is not None:
        error = Error(error.message, _class_of(error.message, error))
    return aborted(ending) or unfinished("Claude", ending, _class_of, last_error=error)


def _is_over(state: ClaudeState, ending: Ending) -> bool:
    """True if the process ended by itself, or after its last turn."""
    if ending.hung_after_result or (ending.exit_code == 0 and ending.aborted is None):
        return True
    return state.is_final and (ending.exit_code == 0 or ending.exit_code > 128)


def _message(state: ClaudeState, result: dict[str, Any]) -> str:
    """Return the CLI's reason for an error, without its internal diagnostics."""
    errors = [text(error) for error in items(result.get("errors"))]
    message = "; ".join(error for error in errors if error and not _is_diagnostic(error))
    last_error = state.last_error.message if state.last_error else ""
    return message or text(result.get("result")) or last_error


def _is_error(result: dict[str, Any]) -> bool:
    errors = [error for error in items(result.get("errors")) if not _is_diagnostic(text(error))]
    if says_failure({**result, "errors": errors}):
        return True
    return "is_error" not in result and result.get("subtype") != "success"


def _is_diagnostic(error: str) -> bool:
    return error.startswith("[ede_")


def _has_asked_model(state: ClaudeState) -> bool:
    if state.has_model_message:
        return True
    had_no_turn = (state.result or {}).get("num_turns") == 0
    is_empty = state.costs.is_empty and (state.has_cli_message or had_no_turn)
    return not (is_empty or state.local_command)


def _empty_run(state: ClaudeState) -> Failure:
    """Return the failure of a prompt that the CLI answered itself (``/help``, ``/compact``)."""
    taken_as = f"took the prompt as {state.local_command}" if state.local_command else "ended"
    answer = text((state.result or {}).get("result")) or state.last_text
    reason = f"Claude {taken_as} without asking a model"
    return Failure(
        "empty_run", one_line(f"{reason}: {answer}" if answer else reason, MAX_REASON_CHARS)
    )


def _category(state: ClaudeState, result: dict[str, Any], message: str) -> str:
    for table, key in ((_BY_SUBTYPE, "subtype"), (_BY_TERMINAL_REASON, "terminal_reason")):
        category = table.get(text(result.get(key)))
        if category:
            return category
    category = _class_of(message, state.last_error, count(result.get("api_error_status")))
    return "error_during_execution" if category == ErrorClass.UNKNOWN else category


def _class_of(message: str, error: Error | None = None, status: int | None = None) -> str:
    category = error.category if error else None
    return classify_error(message, category=category, status=status, also=SPEC.error_texts).value


@dataclass(slots=True, kw_only=True)
class ClaudeState(CallState):
    """The state of a translation: `translate` writes it, `outcome` reads it."""

    costs: ClaudeCosts = field(default_factory=ClaudeCosts)
    result: dict[str, Any] | None = None
    """The last result event."""
    has_model_message: bool = False
    has_cli_message: bool = False
    """The CLI wrote an assistant message itself."""
    local_command: str = ""
    """A command of the CLI that consumed the prompt, so that no model got it."""
    last_message_id: str = ""
    turn_is_over: bool = False
    background_tasks: int = 0
    wakeup_is_set: bool = False

    @property
    def is_final(self) -> bool:
        """True when the last turn is over and nothing is pending that would start another."""
        if self.result is None or not self.turn_is_over:
            return False
        queued = count(self.result.get("queued_turn_count"))
        return not (self.background_tasks or self.wakeup_is_set or queued)

    @property
    def waits_for_background(self) -> bool:
        """True when only a background task, which may never end, would start another turn."""
        return self.turn_is_over and bool(self.background_tasks) and not self.wakeup_is_set

    def cost(self, *, is_error: bool) -> CostData | None:
        """Return the spend so far."""
        return self.costs.cost(self.config, model=self.model, is_error=is_error)
