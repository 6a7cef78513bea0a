"""Decide how a task ends: completed with which output, or failed for which reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from agent_swarm_worker.api.wire.tasks import TERMINAL_STATUSES
from agent_swarm_worker.contract import CostData
from agent_swarm_worker.guards.hangs import with_retry_hint
from agent_swarm_worker.reporting.output_schema import Checker, OutputCheck, check_isolated
from agent_swarm_worker.text import clip, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import ProviderResult, Redactor

NO_OUTPUT = "(The session ended without an error, but said nothing that could serve as output.)"
MAX_MESSAGE_CHARS = 30_000
MAX_REASON_CHARS = 12_000
MAX_QUOTED_OUTPUT_CHARS = 10_000
MAX_QUOTED_MESSAGE_CHARS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishBody:
    """The body of ``POST /api/tasks/{id}/finish`` (docs/api.md 7.1)."""

    status: Literal["completed", "failed"]
    output: str | None = None
    failure_reason: str | None = None
    note: str | None = None
    """A remark for the worker's log; not sent."""
    must_fit: bool = False
    """True if the output fits a schema, so that it is of no use cut or masked."""

    def args(self, task_id: str) -> dict[str, Any]:
        """Return the arguments of the ``finish`` write."""
        text = {"output": self.output, "failure_reason": self.failure_reason}
        known = {key: value for key, value in text.items() if value is not None}
        fits = {"must_fit": True} if self.must_fit else {}
        return {"task_id": task_id, "status": self.status, **known, **fits}


async def decide_finish(
    result: ProviderResult,
    *,
    harness: str,
    redactor: Redactor,
    last_text: str = "",
    task_status: str | None = None,
    existing_output: str | None = None,
    output_schema: Mapping[str, Any] | None = None,
    checker: Checker = check_isolated,
) -> FinishBody | None:
    """Return how a task ends (docs/api.md 7.2); nothing if the agent has ended it itself.

    The output is the first that is not blank of: the harness's result, the agent's last message
    (`last_text`), the output that the agent stored on the task itself, `NO_OUTPUT`.
    """
    if task_status in TERMINAL_STATUSES:
        return None
    if has_failed(result):
        return _failed(_failure_reason(result, harness, redactor.text(last_text)), redactor)
    said = [plain(text) for text in (result.output, last_text, existing_output) if text]
    texts = [text for text in said if _has_text(text)]
    if output_schema:
        return await _by_schema(output_schema, texts, redactor, checker)
    if not texts:
        return FinishBody(status="completed", output=NO_OUTPUT)
    # Scrubbed before it is cut; and only a message is cut, never a result.
    output = redactor.text(texts[0])
    is_message = not _has_text(result.output) and _has_text(last_text)
    return FinishBody(
        status="completed", output=clip(output, MAX_MESSAGE_CHARS) if is_message else output
    )


def has_failed(result: ProviderResult) -> bool:
    """True if the session failed: some harnesses exit with 0 after an error."""
    return result.is_error or result.exit_code != 0


async def _by_schema(
    schema: Mapping[str, Any], texts: list[str], redactor: Redactor, checker: Checker
) -> FinishBody:
    if not texts:
        return _failed("The task demands output of a given shape, and there was none.", redactor)
    output = redactor.text(texts[0])
    outcome = await checker(OutputCheck(schema=schema, texts=texts, shown=output))
    if outcome.unusable:
        # The author of the task made this mistake, not the agent. A failure would discard its work
        # and fail every dependent task, and no retry could do better.
        why = f"outputSchema cannot be used, output not checked: {outcome.unusable}"
        return FinishBody(status="completed", output=output, note=why)
    if outcome.fitting:
        is_whole = any(outcome.fitting == text.strip() for text in texts)
        note = None if is_whole else "output taken out of a longer text"
        # Scrubbed as JSON: a secret made of digits can be a number in it.
        fitting, _ = redactor.json_line(outcome.fitting.encode("utf-8", "replace"))
        return FinishBody(
            status="completed",
            output=fitting.decode("utf-8", "replace"),
            note=note,
            must_fit=True,
        )
    quoted = clip(output, MAX_QUOTED_OUTPUT_CHARS)
    reason = (
        f"The output does not fit the task's outputSchema: {outcome.mismatch}\n\nOutput:\n{quoted}"
    )
    return _failed(reason, redactor)


def _failed(reason: str, redactor: Redactor) -> FinishBody:
    return FinishBody(
        status="failed", failure_reason=clip(redactor.text(plain(reason)), MAX_REASON_CHARS)
    )


def _failure_reason(result: ProviderResult, harness: str, last_text: str) -> str:
    reason = (result.failure_reason or "").strip()
    if not reason:
        reason = f"{harness} ended with an error (exit code {result.exit_code})"
        if _has_text(last_text):
            reason += f"; its last words: {clip(last_text.strip(), MAX_QUOTED_MESSAGE_CHARS)}"
    category = result.error_category
    if category and category not in reason:
        reason = f"{reason} [{category}]"
    return with_retry_hint(reason, category)


def _has_text(text: str | None) -> TypeGuard[str]:
    return bool(text and text.strip())


class LatestCost:
    """Selects the cost to report from the cumulative costs of a session.

    Harnesses report the running total repeatedly. An all-zero one, as errors often have, must not
    replace it: budgets are enforced on it.
    """

    def __init__(self) -> None:
        self.cost: CostData | None = None

    def add(self, cost: CostData | None) -> None:
        """Take one cumulative cost; other values are ignored."""
        before = self.cost
        if not isinstance(cost, CostData) or (before is not None and _is_empty(cost)):
            return
        if before is not None and before.total_cost_usd and not cost.total_cost_usd:
            cost = replace(cost, total_cost_usd=before.total_cost_usd)
        self.cost = cost


def _is_empty(cost: CostData) -> bool:
    return not (
        cost.total_cost_usd
        or cost.input_tokens
        or cost.output_tokens
        or cost.cache_read_tokens
        or cost.cache_write_tokens
        or cost.models
    )
