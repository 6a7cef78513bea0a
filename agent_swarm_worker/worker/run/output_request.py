"""Asks a session once more for output that fits the task's ``outputSchema`` (docs/api.md 7.2).

The same session is resumed, with a journal, a cost and a claim of its own, so that a crash in
between is recovered like one of any session. Harnesses that cannot resume are not asked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent_swarm_worker.api.wire.tasks import TaskAssigned
from agent_swarm_worker.journal.files import end_of
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.reporting.finish import has_failed
from agent_swarm_worker.text import clip
from agent_swarm_worker.worker.run.finishing import schema_mismatch
from agent_swarm_worker.worker.run.preparation import begin_journal, log_file
from agent_swarm_worker.worker.run.watchdog import SessionLimits

if TYPE_CHECKING:
    from agent_swarm_worker.api.wire.tasks import Task, Trigger
    from agent_swarm_worker.contract import ProviderResult
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.worker.boot.parts import RunParts
    from agent_swarm_worker.worker.run.finishing import SessionOutcome
    from agent_swarm_worker.worker.run.preparation import PreparedSession
    from agent_swarm_worker.worker.run.running_task import RunningTask

LIMIT_S = 300.0
"""How long the second run may take: it only has to put into form what is known."""
MAX_QUOTED_CHARS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRequest:
    """A session to run for the output of one that has ended."""

    setup: PreparedSession
    mismatch: str

    def answered(self, result: ProviderResult) -> ProviderResult:
        """Return the result of the task; a failed request fails it for the first mismatch, too."""
        if not has_failed(result):
            return result
        why = result.failure_reason or f"exit code {result.exit_code}"
        reason = f"Asked once more for fitting output, the session failed: {why}\n\n{self.mismatch}"
        return replace(result, failure_reason=reason)


async def output_request(
    worker: RunParts, task: RunningTask, trigger: Trigger, outcome: SessionOutcome, log: Log
) -> OutputRequest | None:
    """Return the session that asks for fitting output; ``None`` if there is no need or no way."""
    setup, row = outcome.setup, trigger.task if isinstance(trigger, TaskAssigned) else None
    if setup is None or outcome.reporter is None or row is None or not row.output_schema:
        return None
    session_id = outcome.result.session_id
    if not session_id or not adapter_spec(setup.adapter).capabilities.can_resume:
        return None
    if worker.shutdown.is_draining or task.ended_by is not None or has_failed(outcome.result):
        return None
    mismatch = await schema_mismatch(worker, task, row, outcome, log)
    if not mismatch or task.ended_by is not None:
        return None
    last_words = outcome.result.output or outcome.reporter.last_text
    config = replace(
        setup.config,
        session_uuid=worker.ids(),
        resume_session_id=session_id,
        prompt=_prompt(row, mismatch.partition("\n")[0]),
        fresh_prompt=_prompt(row, mismatch.partition("\n")[0], last_words=last_words),
        # Lines are ordered by this number: behind those of the first run.
        iteration=setup.config.iteration + end_of(setup.config.log_file),
    )
    config = replace(config, log_file=log_file(worker, task, config.session_uuid))
    limits = SessionLimits(
        wall_s=min(setup.limits.wall_s or LIMIT_S, LIMIT_S), silence_s=setup.limits.silence_s
    )
    again = replace(
        setup,
        config=config,
        limits=limits,
        metadata_bytes=begin_journal(worker, config, task),
    )
    return OutputRequest(setup=again, mismatch=mismatch)


def _prompt(row: Task, why: str, *, last_words: str = "") -> str:
    schema = json.dumps(row.output_schema, indent=2, ensure_ascii=False)
    context = (
        f"The task was:\n\n{clip(row.text, MAX_QUOTED_CHARS)}\n\nIt ended with these words:\n\n"
        f"{clip(last_words, MAX_QUOTED_CHARS)}\n\n"
        if last_words
        else ""
    )
    return (
        f"{context}The task must end with output that is JSON for its schema, and did not ({why})."
        " Do no further work. Answer with the JSON alone, made of what you have found:"
        f"\n\n```json\n{schema}\n```"
    )
