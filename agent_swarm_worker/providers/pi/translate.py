"""Translate pi's native records into normalized events, and sum up what the session cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import (
    Compaction,
    ContextUsage,
    Error,
    Message,
    Progress,
    ProviderEvent,
    RawStderr,
    Reasoning,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.providers.kit import costs
from agent_swarm_worker.providers.kit.launch import JsonTranslator
from agent_swarm_worker.providers.kit.outcome import Failure, concluded
from agent_swarm_worker.providers.pi.native import usage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent_swarm_worker.contract import (
        CostData,
        Ending,
        ProviderResult,
        ProviderSessionConfig,
    )
    from agent_swarm_worker.providers.kit.costs import Tokens
    from agent_swarm_worker.providers.pi.models import ModelChoice
    from agent_swarm_worker.providers.pi.native import Record


_PRICED_AS = {"amazon-bedrock": "aws"}


class CostBook(costs.CostBook):
    """Sums up the requests of one session; their input does not include cached tokens."""

    def __init__(self, choice: ModelChoice) -> None:
        super().__init__()
        self._choice = choice
        self.requests = 0
        self.spent_usd = 0.0
        """Known cost so far; a lower bound if a price is unknown."""

    def count(self, model: str | None, usage: Tokens, *, reported_usd: float | None = None) -> None:
        """Add one request: the model that answered, and its cost if the service reports it."""
        self.requests += 1
        name = model or self._choice.model
        usd = self._usd(name, usage) if reported_usd is None else reported_usd
        self.add(f"{self._choice.provider}/{name}", usage, usd)
        self.spent_usd += usd or 0.0

    def cost(
        self, config: ProviderSessionConfig, *, is_error: bool, duration_ms: int
    ) -> CostData | None:
        """Return the cost so far; ``None`` if there was no request."""
        if not self.requests:
            return None
        total = self.spent.tokens
        is_anthropic = self._choice.api == "anthropic-messages"
        long = total.cache_write_1h
        return costs.cost_data(
            config,
            self.models,
            provider="pi",
            model=self._choice.name,
            is_error=is_error,
            cache_write_5m_tokens=total.cache_write - long if is_anthropic else None,
            cache_write_1h_tokens=long if is_anthropic else None,
            reasoning_output_tokens=total.reasoning or None,
            duration_ms=duration_ms,
            num_turns=self.requests,
        )

    def _usd(self, model: str, usage: Tokens) -> float | None:
        price = self._choice.price
        if price is not None:
            millionths = (
                usage.input * price.input
                + usage.output * price.output
                + usage.cache_read * price.cache_read
                + usage.cache_write * price.cache_write
            )
            return millionths / 1_000_000
        provider = self._choice.provider
        return costs.usd(
            model,
            provider=_PRICED_AS.get(provider, provider),
            input_tokens=usage.input + usage.cache_read + usage.cache_write,
            cached_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
            output_tokens=usage.output,
        )


class PiTranslator(JsonTranslator):
    """Translates the records of `native`, whose fields can be relied on."""

    def __init__(self, config: ProviderSessionConfig, book: CostBook) -> None:
        self._config = config
        self._book = book
        self._session_id: str | None = None
        self._output = ""
        self._calls: dict[str, tuple[str, Any]] = {}
        """The calls of the last turn."""
        self._end: Record | None = None
        self._cost: CostData | None = None
        self.applied_effort: str | None = None

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Translate one scrubbed record."""
        translate = _TRANSLATE.get(native.get("subtype")) or _TRANSLATE.get(native["type"])
        return translate(self, native) if translate else ()

    @property
    def is_final(self) -> bool:
        """Whether the record ``result`` was read."""
        return self._end is not None

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result of the session."""
        end = self._end or {"subtype": "error", "error": "the session has no end"}
        is_error = end["subtype"] != "stop"
        return concluded(
            Failure(end.get("category"), end["error"]) if is_error else None,
            exit_code=ending.exit_code,
            session_id=self._session_id,
            cost=self._cost,
            output=self._output or None,
            reset_at=end.get("rate_limit_reset_at"),
            applied_effort=self.applied_effort,
        )

    def _init(self, native: Record) -> Iterator[ProviderEvent]:
        self._session_id = native["session_id"]
        yield SessionInit(native["session_id"], provider="pi", model=native["model"])
        if native["resumed"]:
            yield Progress("Continuing the earlier session")

    def _assistant(self, native: Record) -> Iterator[ProviderEvent]:
        blocks = native["message"]["content"]
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        self._output = text.strip() or self._output
        self._calls = {
            block["id"]: (block["name"], block["input"])
            for block in blocks
            if block["type"] == "tool_use"
        }
        for block in blocks:
            if block["type"] == "thinking":
                yield Reasoning(block["thinking"])
        yield Message("assistant", text)

    def _tool_start(self, native: Record) -> Iterator[ProviderEvent]:
        call_id = native["tool_use_id"]
        yield ToolStart(call_id, *self._calls[call_id])

    def _user(self, native: Record) -> Iterator[ProviderEvent]:
        for block in native["message"]["content"]:
            if block["type"] == "tool_result":
                call_id = block["tool_use_id"]
                name, _ = self._calls[call_id]
                yield ToolEnd(call_id, name, block["content"], block["is_error"])

    def _context(self, native: Record) -> Iterator[ProviderEvent]:
        used, window = native["tokens"], native["context_window"]
        yield ContextUsage(
            context_used_tokens=used,
            context_total_tokens=window,
            context_percent=min(100.0, used / window * 100),
            output_tokens=native["output_tokens"],
            context_formula="input-cache-output",
        )

    def _retry(self, native: Record) -> Iterator[ProviderEvent]:
        retry = f"trying again in {native['delay_ms'] / 1000:.0f} s ({native['attempt']})"
        yield Progress(f"Model request failed, {retry}: {native['error']}")

    def _compaction(self, native: Record) -> Iterator[ProviderEvent]:
        yield Compaction(native["tokens_before"], "auto", native["context_window"])

    def _warning(self, native: Record) -> Iterator[ProviderEvent]:
        yield RawStderr(native["content"])

    def _result(self, native: Record) -> Iterator[ProviderEvent]:
        self._end = native
        is_error = native["subtype"] != "stop"
        self._cost = self._book.cost(
            self._config, is_error=is_error, duration_ms=native["duration_ms"]
        )
        if is_error:
            yield Error(native["error"], native["category"])
        yield Result(self._cost, self._output or None, is_error, native.get("category"))


_TRANSLATE: dict[Any, Callable[[PiTranslator, Record], Iterable[ProviderEvent]]] = {
    "init": PiTranslator._init,
    "assistant": PiTranslator._assistant,
    "tool_progress": PiTranslator._tool_start,
    "user": PiTranslator._user,
    "context_usage": PiTranslator._context,
    "auto_retry_start": PiTranslator._retry,
    "compaction_end": PiTranslator._compaction,
    "stderr": PiTranslator._warning,
    "result": PiTranslator._result,
}


class PiReplay(PiTranslator):
    """Translates the journal of an orphaned session, and sums up its cost.

    The cost comes from the price list: prices that the service reported are not in the journal.
    """

    def __init__(self, config: ProviderSessionConfig, choice: ModelChoice) -> None:
        super().__init__(config, CostBook(choice))

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Translate one record and add its tokens."""
        if native["type"] == "assistant":
            self._book.count(native["message"]["model"], usage_of(native["message"]))
        return super().feed(native)

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result of the session, which may have been cut off."""
        if not self.is_final:
            self._cost = self._book.cost(self._config, is_error=True, duration_ms=0)
        return super().conclude(ending)
