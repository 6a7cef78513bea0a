"""From pi's records to normalized events, and to the result at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    Error,
    Message,
    Progress,
    ProviderEvent,
    ProviderResult,
    RawStderr,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.providers.pi.native import FORMULA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent_swarm_worker.contract import CostData, ProviderSessionConfig
    from agent_swarm_worker.providers.launch import Ending
    from agent_swarm_worker.providers.pi.costs import CostBook
    from agent_swarm_worker.providers.pi.native import Record

ABORTED_EXIT = 130


class PiTranslator:
    """Knows what the records mean; they are ours, so their fields are there."""

    def __init__(self, config: ProviderSessionConfig, book: CostBook) -> None:
        self._config = config
        self._book = book
        self._session_id: str | None = None
        self._said = ""
        self._end: Record | None = None
        self._cost: CostData | None = None
        self.applied_effort: str | None = None

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Take one record, scrubbed."""
        read = _READERS.get(native["type"])
        return read(self, native) if read else ()

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        """Nothing: every record is JSON."""
        del line
        return ()

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:
        """Nothing: there is no standard error."""
        del line
        return ()

    @property
    def is_final(self) -> bool:
        """True once `agent_end` came."""
        return self._end is not None

    def conclude(self, ending: Ending) -> ProviderResult:
        """Say how the session went."""
        end = self._end or {"stopReason": "error", "errorMessage": "it never came to an end"}
        is_error = end["stopReason"] != "stop"
        return ProviderResult(
            exit_code=ending.exit_code,
            is_error=is_error,
            session_id=self._session_id,
            cost=self._cost,
            output=self._said or None,
            error_category=end.get("category"),
            failure_reason=end.get("errorMessage"),
            rate_limit_reset_at=end.get("resetAt"),
            applied_reasoning_effort=self.applied_effort,
        )

    def _session(self, native: Record) -> Iterator[ProviderEvent]:
        self._session_id = native["id"]
        yield SessionInit(native["id"], provider="pi", model=native["model"])
        if native["resumed"]:
            yield Progress("Continuing the earlier session")

    def _message(self, native: Record) -> Iterator[ProviderEvent]:
        message = native["message"]
        if message["role"] != "assistant":
            return
        said = "".join(part["text"] for part in message["content"] if part["type"] == "text")
        self._said = said.strip() or self._said
        yield Message("assistant", said)

    def _tool_start(self, native: Record) -> Iterator[ProviderEvent]:
        yield ToolStart(native["toolCallId"], native["toolName"], native["args"])

    def _tool_end(self, native: Record) -> Iterator[ProviderEvent]:
        text = native["result"]["content"][0]["text"]
        yield ToolEnd(native["toolCallId"], native["toolName"], text, native["isError"])

    def _context(self, native: Record) -> Iterator[ProviderEvent]:
        used, window = native["tokens"], native["contextWindow"]
        yield ContextUsage(
            context_used_tokens=used,
            context_total_tokens=window,
            context_percent=min(100.0, used / window * 100),
            output_tokens=native["output"],
            context_formula=FORMULA,
        )

    def _retry(self, native: Record) -> Iterator[ProviderEvent]:
        delay_s = native["delayMs"] / 1000
        attempt, why = native["attempt"], native["errorMessage"]
        yield Progress(f"Model request failed, trying again in {delay_s:.0f} s ({attempt}): {why}")

    def _compaction(self, native: Record) -> Iterator[ProviderEvent]:
        yield Compaction(native["tokensBefore"], "auto", native["contextWindow"])

    def _warning(self, native: Record) -> Iterator[ProviderEvent]:
        yield RawStderr(native["message"])

    def _agent_end(self, native: Record) -> Iterator[ProviderEvent]:
        self._end = native
        is_error = native["stopReason"] != "stop"
        self._cost = self._book.cost(
            self._config, is_error=is_error, duration_ms=native["durationMs"]
        )
        if is_error:
            yield Error(native["errorMessage"], native["category"])
        yield Result(self._cost, self._said or None, is_error, native.get("category"))


_READERS: dict[str, Callable[[PiTranslator, Record], Iterable[ProviderEvent]]] = {
    "session": PiTranslator._session,
    "message_end": PiTranslator._message,
    "tool_execution_start": PiTranslator._tool_start,
    "tool_execution_end": PiTranslator._tool_end,
    "context_usage": PiTranslator._context,
    "auto_retry_start": PiTranslator._retry,
    "compaction_end": PiTranslator._compaction,
    "warning": PiTranslator._warning,
    "agent_end": PiTranslator._agent_end,
}
