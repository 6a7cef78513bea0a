"""What a run of Claude Code cost: its result events added up.

A process may print several results (a background task that ends wakes the agent again), and a
resumed session's ``total_cost_usd`` and ``modelUsage`` go on from where the earlier run stopped.
``model_usage_since_last_result`` is what *this* process newly spent, so that is what is added up:
nothing is billed twice, and the zeros of a result printed in a crash wipe nothing out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from agent_swarm_worker.contract import CostData, ModelCost
from agent_swarm_worker.providers.kit.native import count, mapping, number, text

_COUNTERS = (
    "inputTokens",
    "outputTokens",
    "cacheReadInputTokens",
    "cacheCreationInputTokens",
    "cacheCreationEphemeral5mInputTokens",
    "cacheCreationEphemeral1hInputTokens",
    "thinkingTokens",
    "webSearchRequests",
)
_USAGE_NAMES = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheReadInputTokens": "cache_read_input_tokens",
    "cacheCreationInputTokens": "cache_creation_input_tokens",
}
MAX_OPEN_MESSAGES = 64
"""Messages whose frames may still come in turns: those of helpers that work side by side."""


@dataclass(slots=True)
class _Spent:
    """What one model used; `usd` is ``None`` if nobody said its price."""

    tokens: Counter[str] = field(default_factory=Counter)
    usd: float | None = 0.0

    def add(self, other: _Spent) -> None:
        self.tokens.update(other.tokens)
        known = self.usd is not None and other.usd is not None
        self.usd = (self.usd or 0.0) + (other.usd or 0.0) if known else None


class CostBook:
    """Keeps the accounts of one process."""

    def __init__(self) -> None:
        self._models: dict[str, _Spent] = {}
        self._frames: dict[str, _Spent] = {}
        """Per model: the tokens of its messages, until a result accounts for them."""
        self._recent: dict[str, tuple[str, dict[str, Any]]] = {}
        """The last messages by id, which may still be repeated: model and usage."""
        self._turns: int | None = None
        self._duration_ms: int | None = None
        self._has_result = False

    def add_frame(self, message: dict[str, Any]) -> None:
        """Note an assistant frame; it only counts if no result follows.

        Its input is exact. Its output is what had been written when the frame was made, which is
        less than what is charged: a run that was killed has cost at least this.
        """
        message_id, model = text(message.get("id")), text(message.get("model"))
        usage = message.get("usage")
        if not message_id or not model or not isinstance(usage, dict):
            return
        self._recent[message_id] = (model, usage)
        if len(self._recent) > MAX_OPEN_MESSAGES:
            self._settle(next(iter(self._recent)))

    def _settle(self, message_id: str) -> None:
        """Add up a message that is not repeated any more."""
        model, usage = self._recent.pop(message_id)
        spent = self._frames.get(model)
        if spent is None:
            spent = self._frames[model] = _Spent(usd=None)
        tokens = spent.tokens
        for ours, name in _USAGE_NAMES.items():
            if used := count(usage.get(name)):
                tokens[ours] += used

    def add_result(self, result: dict[str, Any], model: str) -> None:
        """Take a result event; `model` is charged for what the event assigns to none."""
        self._has_result = True
        self._frames.clear()
        self._recent.clear()
        self._turns = _plus(self._turns, count(result.get("num_turns")))
        self._duration_ms = _plus(self._duration_ms, _rounded(result.get("duration_ms")))
        newly_spent = result.get("model_usage_since_last_result")
        if isinstance(newly_spent, dict):
            for name, spent in _from_model_usage(newly_spent).items():
                self._models.setdefault(name, _Spent()).add(spent)
            return
        # An older CLI only has totals of the process: the last that is not zero stands.
        total = _from_model_usage(mapping(result.get("modelUsage"))) or {
            model: _from_usage(result.get("usage"), usd=number(result.get("total_cost_usd")))
        }
        if not self._models or any(spent.tokens.total() or spent.usd for spent in total.values()):
            self._models = total

    @property
    def is_empty(self) -> bool:
        """True if no model was asked anything."""
        spent = self._with_frames().values()
        return not any(one.tokens.total() or one.usd for one in spent)

    def cost(self, *, model: str, is_error: bool, task_id: str, agent_id: str) -> CostData | None:
        """Return the spend so far, or ``None`` if nothing is known of any.

        Args:
            model: the session's main model, as the CLI named it.
            is_error: whether the session has failed.
            task_id: the task it ran for.
            agent_id: whose agent it is.
        """
        per_model = self._with_frames()
        if not self._has_result and not per_model:
            return None
        tokens: Counter[str] = Counter()
        for spent in per_model.values():
            tokens.update(spent.tokens)
        short = tokens["cacheCreationEphemeral5mInputTokens"]
        long = tokens["cacheCreationEphemeral1hInputTokens"]
        split_is_known = short + long == tokens["cacheCreationInputTokens"]
        return CostData(
            task_id=task_id,
            agent_id=agent_id,
            total_cost_usd=self._total_usd(),
            input_tokens=tokens["inputTokens"],
            output_tokens=tokens["outputTokens"],
            cache_read_tokens=tokens["cacheReadInputTokens"],
            cache_write_tokens=tokens["cacheCreationInputTokens"],
            cache_write_5m_tokens=short if split_is_known else None,
            cache_write_1h_tokens=long if split_is_known else None,
            thinking_tokens=tokens["thinkingTokens"] if self._has_result else None,
            models=tuple(
                _model_cost(name, spent)
                for name, spent in per_model.items()
                if spent.tokens.total() or spent.usd
            ),
            duration_ms=self._duration_ms,
            num_turns=self._turns,
            model=model,
            is_error=is_error,
            provider="claude",
        )

    def _with_frames(self) -> dict[str, _Spent]:
        for message_id in tuple(self._recent):
            self._settle(message_id)
        everything = {
            name: _Spent(Counter(one.tokens), one.usd) for name, one in self._models.items()
        }
        for name, spent in self._frames.items():
            if spent.tokens.total():
                everything.setdefault(name, _Spent()).add(spent)
        return everything

    def _total_usd(self) -> float | None:
        """Sum of what results said; frames have no price, so with them it is a lower bound."""
        prices = [spent.usd for spent in self._models.values()]
        if not self._has_result or None in prices:
            return None
        return sum((price for price in prices if price is not None), 0.0)


def _from_model_usage(usage: dict[str, Any]) -> dict[str, _Spent]:
    return {name: _spent(mapping(entry)) for name, entry in usage.items()}


def _spent(entry: dict[str, Any]) -> _Spent:
    tokens = Counter({name: count(entry.get(name)) or 0 for name in _COUNTERS})
    return _Spent(tokens, number(entry.get("costUSD")))


def _from_usage(usage: Any, *, usd: float | None) -> _Spent:
    named = mapping(usage)
    tokens = Counter({ours: count(named.get(name)) or 0 for ours, name in _USAGE_NAMES.items()})
    return _Spent(tokens, usd)


def _model_cost(model: str, spent: _Spent) -> ModelCost:
    return ModelCost(
        model=model,
        input_tokens=spent.tokens["inputTokens"],
        output_tokens=spent.tokens["outputTokens"],
        cache_read_tokens=spent.tokens["cacheReadInputTokens"],
        cache_write_tokens=spent.tokens["cacheCreationInputTokens"],
        web_search_requests=spent.tokens["webSearchRequests"],
        harness_cost_usd=spent.usd,
    )


def _plus(sum_so_far: int | None, more: int | None) -> int | None:
    return sum_so_far if more is None else (sum_so_far or 0) + more


def _rounded(value: Any) -> int | None:
    real = number(value)
    return None if real is None else round(real)
