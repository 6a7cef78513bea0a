"""How a session went: what the CLI said of itself, and how its process ended.

Success takes a final event that says so; neither the exit code nor the event's ``subtype`` alone
means anything (a failed request ends as ``subtype: success``, an interrupted run with exit code 0).

What the output of one CLI process has said so far.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import Error
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.claude.cost import CostBook
from agent_swarm_worker.providers.claude.launch import applied_effort
from agent_swarm_worker.providers.claude.spec import SPEC
from agent_swarm_worker.providers.kit.native import count, items, text
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
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import CostData, ProviderResult, ProviderSessionConfig
    from agent_swarm_worker.providers.kit.launch import Ending
    from agent_swarm_worker.providers.kit.outcome import LimitWindows

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


def judge_result(state: TranslationState) -> Failure | None:
    """Say what is wrong with the last result event, or ``None`` if it reports success."""
    result = state.result or {}
    if not _is_error(result):
        return None if _asked_a_model(state) else _empty_run(state)
    said = _said(state, result)
    category = _category(state, result, said)
    return failure(category, said, _LABELS)


def conclude(state: TranslationState, ending: Ending) -> ProviderResult:
    """Say how the session went, from its output and the end of its process."""
    failed = _judge(state, ending)
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


def output(state: TranslationState, failure: Failure | None) -> str | None:
    """Return the agent's answer; of a failed run its last words, never the error's text."""
    final = text((state.result or {}).get("result")) if failure is None else ""
    return final or state.last_text or None


def _judge(state: TranslationState, ending: Ending) -> Failure | None:
    failed = judge_result(state) if state.result else None
    if state.result and not failed and _is_over(state, ending):
        return None
    if failed and not (ending.aborted is not None and failed.category == "interrupted"):
        return failed
    error = state.last_error
    if error is not None:
        error = Error(error.message, _class_of(error.message, error))
    return aborted(ending) or unfinished("Claude", ending, _class_of, last_error=error)


def _is_over(state: TranslationState, ending: Ending) -> bool:
    """True if the process ended by itself, or was ended when there was nothing left to do."""
    if ending.hung_after_result or (ending.exit_code == 0 and ending.aborted is None):
        return True
    return state.is_final and (ending.exit_code == 0 or ending.exit_code > 128)


def _said(state: TranslationState, result: dict[str, Any]) -> str:
    """What the CLI gives as the reason; its internal diagnostics are none."""
    errors = [text(error) for error in items(result.get("errors"))]
    said = "; ".join(error for error in errors if error and not error.startswith("[ede_"))
    return (
        said or text(result.get("result")) or (state.last_error.message if state.last_error else "")
    )


def _is_error(result: dict[str, Any]) -> bool:
    said = result.get("is_error")
    return said if isinstance(said, bool) else result.get("subtype") != "success"


def _asked_a_model(state: TranslationState) -> bool:
    if state.model_spoke:
        return True
    had_no_turn = (state.result or {}).get("num_turns") == 0
    is_empty = state.costs.is_empty and (state.cli_spoke or had_no_turn)
    return not (is_empty or state.local_command)


def _empty_run(state: TranslationState) -> Failure:
    """The CLI answers some prompts itself (``/help``, ``/compact``); that does no task."""
    taken_as = f"took the prompt as {state.local_command}" if state.local_command else "ended"
    said = text((state.result or {}).get("result")) or state.last_text
    reason = f"Claude {taken_as} without asking a model"
    return Failure("empty_run", one_line(f"{reason}: {said}" if said else reason, MAX_REASON_CHARS))


def _category(state: TranslationState, result: dict[str, Any], said: str) -> str:
    for table, key in ((_BY_SUBTYPE, "subtype"), (_BY_TERMINAL_REASON, "terminal_reason")):
        category = table.get(text(result.get(key)))
        if category:
            return category
    category = _class_of(said, state.last_error, count(result.get("api_error_status")))
    return "error_during_execution" if category == ErrorClass.UNKNOWN else category


def _class_of(said: str, error: Error | None = None, status: int | None = None) -> str:
    category = error.category if error else None
    kind = classify_error(said, category=category, status=status, also=SPEC.error_texts)
    return kind.value


@dataclass(slots=True, kw_only=True)
class TranslationState:
    """The state of a translation; its parts write it, `outcome` reads it."""

    config: ProviderSessionConfig
    clock: Clock
    limits: LimitWindows
    costs: CostBook = field(default_factory=CostBook)
    session_id: str | None = None
    model: str = ""
    window: int | None = None
    """Tokens the main model's context holds."""
    result: dict[str, Any] | None = None
    """The last result event."""
    last_text: str = ""
    """The main agent's last words."""
    last_error: Error | None = None
    """The model API's last error, if it has not answered since; a retried one included."""
    model_spoke: bool = False
    cli_spoke: bool = False
    """The CLI answered in the model's place."""
    local_command: str = ""
    """A command of the CLI's own that took the prompt, so that no model saw it."""
    last_message_id: str = ""
    tools: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Name and arguments of each tool that has not answered yet, by the id of the call."""

    turn_is_over: bool = False
    background_tasks: int = 0
    wakeup_is_set: bool = False

    @property
    def is_final(self) -> bool:
        """True when the last turn is over and nothing is under way that would start another."""
        if self.result is None or not self.turn_is_over:
            return False
        waits = (
            self.background_tasks
            or self.wakeup_is_set
            or count(self.result.get("queued_turn_count"))
        )
        return not waits

    @property
    def waits_for_background(self) -> bool:
        """True when only a background task, which may never end, would start another turn."""
        return self.turn_is_over and bool(self.background_tasks) and not self.wakeup_is_set

    def cost(self, *, is_error: bool) -> CostData | None:
        """Return the spend so far."""
        return self.costs.cost(self.config, model=self.model, is_error=is_error)
