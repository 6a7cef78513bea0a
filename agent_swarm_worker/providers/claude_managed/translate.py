"""Translate the events of a Managed Agents session, and decide when it is over.

Besides the records of `kit.vendor_records` come the vendor's events as they are, and the record
``usage`` (a ``system`` one) with the session's running totals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from agent_swarm_worker.contract import (
    Compaction,
    Custom,
    Helper,
    Message,
    Progress,
    ProviderEvent,
)
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.providers.claude_managed.spec import SPEC, ManagedOptions
from agent_swarm_worker.providers.kit import costs
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.native import items, mapping, number, text
from agent_swarm_worker.providers.kit.outcome import Failure, failure
from agent_swarm_worker.providers.kit.vendor_records import Record, VendorTranslator, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import HarnessSpec, ProviderSessionConfig

_USAGE: Final = {
    "input": ("input_tokens",),
    "output": ("output_tokens",),
    "cache_read": ("cache_read_input_tokens",),
    "cache_write": ("cache_creation_input_tokens",),
}
_ERRORS: Final[dict[str, ErrorClass]] = {
    "billing_error": ErrorClass.BILLING_ERROR,
    "model_overloaded_error": ErrorClass.OVERLOADED,
    "model_rate_limited_error": ErrorClass.RATE_LIMIT,
    "model_request_failed_error": ErrorClass.SERVER_ERROR,
    "compaction_limit_reached_error": ErrorClass.CONTEXT_OVERFLOW,
    "repository_authentication_error": ErrorClass.PERMISSION_DENIED,
    "repository_forbidden_error": ErrorClass.PERMISSION_DENIED,
}
"""Classes of the vendor's errors; the others are classified by their text."""
_SECONDS_PER_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Rest:
    """The session does not work any more."""

    failed: Failure | None = None
    is_gone: bool = False
    """It cannot be continued."""


class ManagedTranslator(VendorTranslator):
    """Translates the events of one session."""

    spec: ClassVar[HarnessSpec] = SPEC
    title: ClassVar[str] = "The managed agent"

    def __init__(self, config: ProviderSessionConfig, *, clock: Clock | None = None) -> None:
        super().__init__(config, clock=clock)
        self._options = ManagedOptions.load(config.env)
        self.seen: set[str] = set()
        """Ids of the events that were taken."""
        self.last_at = ""
        """When the last of them was processed, as the vendor writes it."""
        self.rest: Rest | None = None
        """Set while the session does not work."""
        self._has_worked_there = False
        self._active_s: float | None = None
        self._requests = 0

    def provider_meta(self, first: Record) -> Record:
        """Return what tells these sessions from local ones."""
        self.last_at = text(first.get("after")) or self.last_at
        self.seen.update(map(text, items(first.get("old"))))
        return {"managed": True}

    def read_native(self, kind: str, event: Record) -> Iterator[ProviderEvent]:
        """Translate one event; unknown ones and echoes of ours are skipped."""
        if kind == "system":
            self._usage(mapping(event.get("usage")))
            return
        if event_id := text(event.get("id")):
            self.seen.add(event_id)
        self.last_at = text(event.get("processed_at")) or self.last_at
        family, _, what = kind.partition(".")
        if family == "agent":
            yield from self._agent(what, event)
        elif family == "session":
            yield from self._session(what, event)
        elif kind == "span.model_request_end":
            self._begins()
            yield from self._model_request(parsed(event, "model_usage"))

    def _begins(self) -> None:
        self._has_worked_there, self.rest = True, None

    def _agent(self, what: str, event: Record) -> Iterator[ProviderEvent]:
        self._begins()
        thread = text(event.get("session_thread_id"))
        helper = self.state.helpers.setdefault(thread, Helper(thread)) if thread else None
        match what:
            case "message":
                blocks = map(mapping, items(event.get("content")))
                content = "".join(text(block.get("text")) for block in blocks)
                if helper is None and content.strip():
                    self.state.last_text = content
                    self.state.last_error = None
                yield Message("assistant", content, helper is not None, helper)
            case "tool_use" | "mcp_tool_use" | "custom_tool_use":
                name, server = text(event.get("name")), text(event.get("mcp_server_name"))
                name = f"mcp__{server}__{name}" if server else name
                yield self.state.start_of(text(event.get("id")), name, event.get("input"), helper)
            case "tool_result" | "mcp_tool_result":
                call_id = text(event.get("tool_use_id")) or text(event.get("mcp_tool_use_id"))
                is_error = event.get("is_error") is True
                result = _content(event.get("content"))
                yield self.state.end_of(call_id, result, is_error=is_error, helper=helper)
            case "thinking":
                times = {"id": event.get("id"), "processedAt": event.get("processed_at")}
                yield Custom("claude-managed.thinking", times)
            case "thread_context_compacted":
                before = number(event.get("pre_compaction_tokens"))
                used = self.costs.spent.tokens
                tokens = int(before) if before is not None else used.input + used.cache_read
                yield Compaction(tokens, "auto-inferred", self.state.window)

    def _session(self, what: str, event: Record) -> Iterator[ProviderEvent]:
        match what:
            case "status_running":
                self._begins()
                yield Progress("The managed agent works")
            case "status_rescheduled":
                yield Progress("The managed agent is started again after a failure")
            case "status_idle" if self._has_worked_there:
                self.rest = self._at_rest(parsed(event, "stop_reason"))
            case "status_terminated" | "deleted":
                last = self.state.last_error
                kind = (last.category if last else None) or "terminated"
                said = f": {last.message}" if last else ""
                failed = Failure(kind, f"The session was terminated at the vendor{said}")
                self.rest = Rest(failed, is_gone=True)
            case "error":
                yield from self._error(parsed(event, "error"))
            case "usage":
                self._usage(parsed(event, "usage"))
            case "thread_created":
                thread = text(event.get("session_thread_id"))
                self.state.helpers[thread] = Helper(thread, text(event.get("agent_name")))

    def _at_rest(self, reason: Record) -> Rest:
        last = self.state.last_error
        match text(reason.get("type")):
            case "" | "end_turn":
                return Rest()
            case "retries_exhausted":
                message = last.message if last else "all retries failed"
                kind = (last.category if last else None) or ErrorClass.SERVER_ERROR
                return Rest(failure(kind, message))
            case "requires_action":
                waiting = ", ".join(
                    self.state.tools[call][0]
                    for call in map(text, items(reason.get("event_ids")))
                    if call in self.state.tools
                )
                why = f"The agent waits for a confirmation or a result from outside: {waiting}"
                return Rest(Failure("requires_action", why.removesuffix(": ")))
            case "budget_reached":
                why = "The session reached its budget at the vendor"
                return Rest(Failure("budget_reached", why))
            case "refusal":
                return Rest(Failure("refusal", "The model refused to answer"))
            case unknown:
                why = f"The agent stopped for an unknown reason: {unknown}"
                return Rest(Failure("unfinished", why))

    def _error(self, error: Record) -> Iterator[ProviderEvent]:
        kind, message = text(error.get("type")), text(error.get("message")) or "unknown error"
        found = self.error(message)
        if (known := _ERRORS.get(kind)) is not None:
            found = type(found)(message, known.value)
            self.state.last_error = found
        if text(parsed(error, "retry_status").get("type")) == "retrying":
            yield Progress(f"The vendor tries again: {message}")
        else:
            yield found

    def _model_request(self, usage: Record) -> Iterator[ProviderEvent]:
        tokens = Tokens.read(usage, _USAGE)
        usd = None
        if usage.get("speed") in {None, "standard"}:
            usd = costs.usd(
                self.state.model,
                provider="anthropic",
                input_tokens=tokens.input + tokens.cache_read + tokens.cache_write,
                cached_tokens=tokens.cache_read,
                cache_write_tokens=tokens.cache_write,
                output_tokens=tokens.output,
            )
        self._requests += 1
        self.costs.add(self.state.model, tokens, usd)
        used = tokens.input + tokens.cache_read + tokens.cache_write + tokens.output
        if used:
            yield self.state.context_usage(used, tokens.output, "input-cache-output")

    def _usage(self, usage: Record) -> None:
        total_s = number(usage.get("active_seconds"))
        if total_s is not None:
            self._active_s = max(0.0, total_s - (number(self.first.get("active_s")) or 0.0))

    def cost_details(self) -> dict[str, Any]:
        """Return the sum with the fee for the time, the duration and the number of turns."""
        usd, seconds = self.costs.spent.usd, self._active_s
        if seconds is None and self.duration_ms is not None:
            seconds = self.duration_ms / 1000
        fee = None
        if seconds is not None:
            fee = seconds / _SECONDS_PER_HOUR * self._options.runtime_usd_per_hour
        total = None if usd is None or fee is None else usd + fee
        return {
            **super().cost_details(),
            "total_cost_usd": total,
            "num_turns": self._requests,
        }


def _content(content: Any) -> Any:
    """Return the text of a tool's result; its blocks if it is not only text."""
    blocks = [mapping(block) for block in items(content)]
    if all(block.get("type") == "text" for block in blocks):
        return "\n".join(text(block.get("text")) for block in blocks)
    return content
