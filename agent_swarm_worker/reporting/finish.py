"""How a task ends: completed with which output, or failed for which reason.

A decision and nothing else; the worker puts it into the queue behind the session's other writes.

What a session cost, told exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from agent_swarm_worker.api.wire import TERMINAL_STATUSES
from agent_swarm_worker.contract import CostData
from agent_swarm_worker.guards.hangs import with_retry_hint
from agent_swarm_worker.reporting.output_schema import Judge, Question, judge_apart
from agent_swarm_worker.text import clip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_swarm_worker.contract import ProviderResult, Redactor

NO_OUTPUT = "(The session ended without an error, but said nothing that could serve as output.)"
MAX_TEXT_CHARS = 30_000
"""Longest output that is made of the agent's words rather than given as output."""
MAX_REASON_CHARS = 12_000
MAX_KEPT_OUTPUT_CHARS = 10_000
MAX_LAST_WORDS_CHARS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishBody:
    """The end of a task, as ``POST /api/tasks/{id}/finish`` wants it (docs/api.md 7.1)."""

    status: Literal["completed", "failed"]
    output: str | None = None
    failure_reason: str | None = None
    note: str | None = None
    """What the operator may want to know of how this came about; not sent."""

    def args(self, task_id: str) -> dict[str, Any]:
        """The arguments of the ``finish`` write."""
        text = {"output": self.output, "failure_reason": self.failure_reason}
        known = {key: value for key, value in text.items() if value is not None}
        return {"task_id": task_id, "status": self.status, **known}


async def decide_finish(
    result: ProviderResult,
    *,
    harness: str,
    redactor: Redactor,
    last_text: str = "",
    task_status: str | None = None,
    existing_output: str | None = None,
    output_schema: Mapping[str, Any] | None = None,
    judge: Judge = judge_apart,
) -> FinishBody | None:
    """Decide how a task ends (docs/api.md 7.2).

    The output is the first of: what the harness gave as result, the agent's last words, what the
    agent stored on the task itself, a sentence saying that there is none.

    Args:
        result: how the session ended; ``is_error`` counts as much as the exit code.
        harness: name of the adapter, for messages.
        redactor: takes secrets out of what is sent.
        last_text: the last thing the agent said, never that of a helper it started.
        task_status: the task's present status, if it could be asked for.
        existing_output: output that is on the task already.
        output_schema: the shape the output must have, if the task demands one.
        judge: says whether an output has it.

    Returns:
        What to send, or nothing when the agent has ended the task itself: its word stands.
    """
    if task_status in TERMINAL_STATUSES:
        return None
    if has_failed(result):
        return _failed(_failure_reason(result, harness, redactor.text(last_text)), redactor)
    texts = [text for text in (result.output, last_text, existing_output) if _says(text)]
    if output_schema:
        return await _by_schema(output_schema, texts, redactor, judge)
    if not texts:
        return FinishBody(status="completed", output=NO_OUTPUT)
    # Scrubbed before it is cut; and only mere words are cut, never what was meant as output.
    output = redactor.text(texts[0])
    is_spoken = not _says(result.output) and _says(last_text)
    return FinishBody(
        status="completed", output=clip(output, MAX_TEXT_CHARS) if is_spoken else output
    )


def has_failed(result: ProviderResult) -> bool:
    """True if the session failed: some harnesses exit with 0 after an error."""
    return result.is_error or result.exit_code != 0


async def _by_schema(
    schema: Mapping[str, Any], texts: list[str], redactor: Redactor, judge: Judge
) -> FinishBody:
    """Decide by the first text that holds a fitting value."""
    if not texts:
        return _failed("The task demands output of a given shape, and there was none.", redactor)
    output = redactor.text(texts[0])
    verdict = await judge(Question(schema=schema, texts=texts, shown=output))
    if verdict.unusable:
        # Whoever wrote the task made this mistake, not the agent. A failure would throw its work
        # away and take every dependent task along, for something no second try could do better.
        why = f"outputSchema cannot be used, output not checked: {verdict.unusable}"
        return FinishBody(status="completed", output=output, note=why)
    if verdict.fitting:
        is_whole = any(verdict.fitting == text.strip() for text in texts)
        note = None if is_whole else "output taken out of a longer text"
        # Scrubbed only now, as JSON: a secret made of digits can be a number in it.
        fitting, _ = redactor.json_line(verdict.fitting.encode("utf-8", "replace"))
        return FinishBody(status="completed", output=fitting.decode("utf-8", "replace"), note=note)
    kept = clip(output, MAX_KEPT_OUTPUT_CHARS)
    reason = (
        f"The output does not fit the task's outputSchema: {verdict.why_not}\n\nOutput:\n{kept}"
    )
    return _failed(reason, redactor)


def _failed(reason: str, redactor: Redactor) -> FinishBody:
    return FinishBody(status="failed", failure_reason=clip(redactor.text(reason), MAX_REASON_CHARS))


def _failure_reason(result: ProviderResult, harness: str, last_words: str) -> str:
    reason = (result.failure_reason or "").strip()
    if not reason:
        reason = f"{harness} ended with an error (exit code {result.exit_code})"
        if _says(last_words):
            reason += f"; its last words: {clip(last_words.strip(), MAX_LAST_WORDS_CHARS)}"
    category = result.error_category
    told = f"{reason} [{category}]" if category and category not in reason else reason
    return with_retry_hint(told, category)


def _says(text: str | None) -> TypeGuard[str]:
    return bool(text and text.strip())


class CostKeeper:
    """Keeps the best of the cumulative costs a session reports.

    Harnesses report the running total again and again, and an error at the end often comes with
    one that is all zero. That must not wipe out the real one: budgets are enforced on it.
    """

    def __init__(self) -> None:
        self._kept: CostData | None = None

    def note(self, cost: CostData | None) -> None:
        """Take one cumulative cost; what is not one is passed over."""
        if isinstance(cost, CostData) and (self._kept is None or not _is_empty(cost)):
            self._kept = _keep_price(self._kept, cost)

    @property
    def cost(self) -> CostData | None:
        """The cost to report, if any was ever given."""
        return self._kept


def _keep_price(before: CostData | None, now: CostData) -> CostData:
    """A running total does not fall back to nothing, so an earlier price outlives a missing one."""
    if before is not None and before.total_cost_usd and not now.total_cost_usd:
        return replace(now, total_cost_usd=before.total_cost_usd)
    return now


def _is_empty(cost: CostData) -> bool:
    return not (
        cost.total_cost_usd
        or cost.input_tokens
        or cost.output_tokens
        or cost.cache_read_tokens
        or cost.cache_write_tokens
        or cost.models
    )
