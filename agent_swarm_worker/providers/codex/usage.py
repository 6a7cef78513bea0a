"""What a session used. The CLI counts a thread from its first day, so only growth is new."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Self

from agent_swarm_worker.contract import CostData
from agent_swarm_worker.providers.kit import prices
from agent_swarm_worker.providers.kit.native import count, mapping

VENDOR = "openai"
_NAMES = {
    "read": ("inputTokens", "input_tokens"),
    "cached": ("cachedInputTokens", "cached_input_tokens"),
    "stored": ("cacheWriteInputTokens", "cache_write_input_tokens"),
    "written": ("outputTokens", "output_tokens"),
    "reasoned": ("reasoningOutputTokens", "reasoning_output_tokens"),
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """Counts of one model call, or of many."""

    read: int = 0
    """Everything the model read; cached tokens are part of it."""
    cached: int = 0
    stored: int = 0
    written: int = 0
    """Everything the model wrote; reasoning is part of it."""
    reasoned: int = 0

    @classmethod
    def read_from(cls, native: Any) -> Self:
        """Take the counts from either transport's usage."""
        usage = mapping(native)
        return cls(
            **{
                name: next((n for key in keys if (n := count(usage.get(key))) is not None), 0)
                for name, keys in _NAMES.items()
            }
        )

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def since(self, before: Tokens) -> Tokens:
        """Return the growth; a count that shrank was started anew."""
        if self.read < before.read or self.written < before.written:
            return self
        return Tokens(
            *(max(0, getattr(self, f.name) - getattr(before, f.name)) for f in fields(self))
        )

    @property
    def is_nothing(self) -> bool:
        """True if no model was asked anything."""
        return self == Tokens()


@dataclass(slots=True)
class CostBook:
    """Keeps the accounts of one process: its thread, and those of the helpers it starts."""

    totals: dict[str, Tokens] = field(default_factory=dict)
    """Per thread: the last total it reported."""
    spent: Tokens = field(default_factory=Tokens)
    turns: int = 0
    _usd: float | None = 0.0
    _is_known: bool = False

    def begin(self, thread_id: str, before: Tokens) -> None:
        """Note what a thread had used before this process."""
        self.totals.setdefault(thread_id, before)

    def take_total(self, thread_id: str, total: Tokens, model: str) -> None:
        """Take a thread's total: what it grew by is one call's worth, and priced as one."""
        grown = total.since(self.totals.get(thread_id, Tokens()))
        self.totals[thread_id] = total
        self._is_known = True
        if grown.is_nothing:
            return
        self.spent += grown
        usd = prices.usd(
            model,
            provider=VENDOR,
            input_tokens=grown.read,
            cached_tokens=grown.cached,
            cache_write_tokens=grown.stored,
            output_tokens=grown.written,
        )
        self._usd = None if usd is None or self._usd is None else self._usd + usd

    def cost(self, *, model: str, is_error: bool, task_id: str, agent_id: str) -> CostData | None:
        """Return the spend so far, or ``None`` if the CLI has reported none."""
        if not self._is_known:
            return None
        return CostData(
            task_id=task_id,
            agent_id=agent_id,
            total_cost_usd=self._usd,
            input_tokens=self.spent.read,
            output_tokens=self.spent.written,
            cache_read_tokens=self.spent.cached,
            cache_write_tokens=self.spent.stored,
            reasoning_output_tokens=self.spent.reasoned,
            num_turns=self.turns or None,
            model=model,
            is_error=is_error,
            provider="codex",
        )
