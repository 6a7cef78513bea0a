"""Translate what Devin's API tells of a session, and decide when the session is over.

Besides the records of `kit.vendor_records`:

    system          status: the session as the API has it, under ``provider_meta``
    assistant, user a message of the session, with its ``event_id``
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agent_swarm_worker.contract import CostData, Custom, Message, Progress, ProviderEvent
from agent_swarm_worker.providers.devin.spec import SPEC, DevinOptions
from agent_swarm_worker.providers.kit.native import items, mapping, number, text
from agent_swarm_worker.providers.kit.outcome import Failure, failure
from agent_swarm_worker.providers.kit.vendor_records import Record, VendorTranslator, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import HarnessSpec, ProviderSessionConfig

OUTPUT_SCHEMA: Record = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "enum": ["working", "done", "needs_input", "error"]},
        "summary": {"type": "string", "description": "One or two sentences for people."},
        "output": {"type": "string", "description": "The complete result of the task."},
    },
    "required": ["status"],
}
"""What Devin is asked to keep up to date while it works."""
_FIELDS = (
    "status",
    "status_detail",
    "acus_consumed",
    "structured_output",
    "pull_requests",
    "updated_at",
)
_BEGINS = frozenset({"new", "creating", "claimed", "resuming"})
_NEEDS_PERSON = {
    "waiting_for_user": "an answer of a person",
    "waiting_for_approval": "an approval of a person",
}
_COST_LIMITS = frozenset(
    {
        "usage_limit_exceeded",
        "out_of_credits",
        "out_of_quota",
        "no_quota_allocation",
        "payment_declined",
        "org_usage_limit_exceeded",
    }
)
_SUSPENDED = {"inactivity": "suspended_inactivity", "user_request": "suspended_user"}


def status_record(session: Record) -> Record:
    """Return the record of a session as the API has it."""
    known = {name: session[name] for name in _FIELDS if name in session}
    meta = {"provider": "devin", "kind": "status", **known}
    message = {"role": "system", "content": ""}
    return {"type": "system", "subtype": "status", "message": message, "provider_meta": meta}


def message_record(entry: Record) -> Record:
    """Return the record of one message."""
    role = "user" if entry.get("source") == "user" else "assistant"
    message = {"role": role, "content": text(entry.get("message"))}
    return {"type": role, "message": message, "event_id": text(entry.get("event_id"))}


@dataclass(frozen=True, slots=True)
class State:
    """How far a session is; `failed` only counts if it is over."""

    is_over: bool = False
    failed: Failure | None = None
    runs_there: bool = True
    """It may go on to work at the vendor."""
    waits_for: str = ""
    """What a person has to give."""


class DevinTranslator(VendorTranslator):
    """Translates the records of one session."""

    spec: ClassVar[HarnessSpec] = SPEC
    title: ClassVar[str] = "Devin"

    def __init__(self, config: ProviderSessionConfig, *, clock: Clock | None = None) -> None:
        super().__init__(config, clock=clock)
        self._options = DevinOptions.load(config.env)
        self.session: Record = {}
        """The session as the API had it last."""
        self.seen: set[str] = set()
        """Ids of the messages that were taken."""
        self.has_begun = True
        """False for a resumed session until it works on the new message."""
        self.old_output: Any = None
        """The structured output of the earlier work, if the session is resumed."""
        self._acus_before = 0.0
        self.spoken = 0
        """How many messages the agent has sent."""

    def provider_meta(self, first: Record) -> Record:
        """Return the address of the session and the terms of its cost."""
        meta = {"sessionUrl": text(first.get("url")), "acuCostUsd": self._options.acu_cost_usd}
        limit = self._options.max_acu_limit
        self.has_begun = first.get("resumed") is not True
        self.old_output = first.get("structured_output")
        self._acus_before = number(first.get("acus_consumed")) or 0.0
        return meta if limit is None else {**meta, "maxAcuLimit": limit}

    def read_native(self, kind: str, event: Record) -> Iterator[ProviderEvent]:
        """Translate a message or a status."""
        if kind in {"assistant", "user"}:
            self.seen.add(text(event.get("event_id")))
            content = text(parsed(event, "message").get("content"))
            if kind == "assistant":
                self.has_begun = True
                self.spoken += 1
                self.state.last_text = content or self.state.last_text
                yield Message("assistant", content)
            else:
                yield Message("user", content)
        elif event.get("subtype") == "status":
            yield from self._status(parsed(event, "provider_meta"))

    def _status(self, session: Record) -> Iterator[ProviderEvent]:
        before, self.session = self.session, session
        status, detail = text(session.get("status")), text(session.get("status_detail"))
        if (status, detail) != (text(before.get("status")), text(before.get("status_detail"))):
            shown = f"{status} ({detail.replace('_', ' ')})" if detail else status
            yield Progress(f"Devin: {shown or 'unknown'}")
        if status in _BEGINS or detail == "working":
            self.has_begun = True
        output = session.get("structured_output")
        if output is not None and output != before.get("structured_output"):
            yield Custom("devin.structured_output", output)
        known = items(before.get("pull_requests"))
        for request in items(session.get("pull_requests")):
            if request not in known:
                yield Custom("devin.pull_request", request)

    @property
    def structured(self) -> Record:
        """The structured output of this work; empty if there is none yet."""
        output = self.session.get("structured_output")
        return {} if output == self.old_output else mapping(output)

    def progress(self) -> State:
        """Return how far the session is, by its last status."""
        status, detail = text(self.session.get("status")), text(self.session.get("status_detail"))
        told = text(self.structured.get("status"))
        match status:
            case "exit" if self.has_begun:
                return State(True, self._told_failure(at_exit=True), runs_there=False)
            case "exit":
                gone = failure("stale_session", "it had ended before the message arrived")
                return State(True, gone, runs_there=False)
            case "error":
                message = self.state.last_text or "it gave no reason"
                failed = Failure("devin_error", f"Devin failed: {message}")
                return State(True, failed, runs_there=False)
            case "suspended":
                return State(True, self._suspended(detail), runs_there=False)
        if told == "done":
            return State(is_over=True, runs_there=False)
        if told == "error":
            return State(True, self._told_failure())
        if detail == "finished" and self.has_begun:
            return State(is_over=True, runs_there=False)
        return State(waits_for=_NEEDS_PERSON.get(detail, "") if self.has_begun else "")

    def _told_failure(self, *, at_exit: bool = False) -> Failure | None:
        told = text(self.structured.get("status"))
        if told == "error":
            return Failure("devin_error", f"Devin failed: {self.output() or 'it gave no reason'}")
        if at_exit and told in {"working", "needs_input"}:
            return Failure("unfinished", f"Devin ended while its work was marked as {told!r}")
        return None

    def _suspended(self, detail: str) -> Failure:
        if detail in _COST_LIMITS:
            return failure("billing_error", f"Devin was suspended ({detail})")
        why = f" ({detail})" if detail else ""
        return Failure(_SUSPENDED.get(detail, "suspended"), f"Devin was suspended{why}")

    def output(self) -> str:
        """Return the result: the structured one, else the last message."""
        told = self.structured
        parts = [part for name in ("summary", "output") if (part := text(told.get(name)).strip())]
        if parts:
            return "\n\n".join(parts)
        return self.state.last_text or (json.dumps(told) if told else "")

    def finish(self, failed: Failure | None = None) -> Iterator[ProviderEvent]:
        """Take the outcome; the output of a success is the structured one."""
        if failed is None:
            self.state.last_text = self.output()
        return super().finish(failed)

    def cost(self, *, is_error: bool) -> CostData | None:
        """Return the compute units of this work at their price; unknown ones have no price."""
        config = self.state.config
        if self.state.session_id is None:
            return None
        acus = number(self.session.get("acus_consumed"))
        used = None if acus is None else max(0.0, acus - self._acus_before)
        return CostData(
            task_id=config.task_id,
            agent_id=config.agent_id,
            total_cost_usd=None if used is None else used * self._options.acu_cost_usd,
            model="devin",
            is_error=is_error,
            provider=SPEC.server_name,
            duration_ms=self.duration_ms,
        )
