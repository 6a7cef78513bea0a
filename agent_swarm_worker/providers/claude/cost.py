"""Add up what a process of Claude Code spent, from its result events.

A process may print several results (the end of a background task starts a new turn), and the
``total_cost_usd`` and ``modelUsage`` of a resumed session include earlier processes.
``model_usage_since_last_result`` is the new spend of this process, so that is added up: nothing is
billed twice, and the zeros of a result printed in a crash erase nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.providers.kit.costs import CostBook, Spent, Tokens, added_up, cost_data
from agent_swarm_worker.providers.kit.native import count, mapping, number

if TYPE_CHECKING:
    from agent_swarm_worker.contract import CostData, ProviderSessionConfig

_MODEL_USAGE = {
    "input": ("inputTokens",),
    "output": ("outputTokens",),
    "cache_read": ("cacheReadInputTokens",),
    "cache_write": ("cacheCreationInputTokens",),
    "cache_write_5m": ("cacheCreationEphemeral5mInputTokens",),
    "cache_write_1h": ("cacheCreationEphemeral1hInputTokens",),
    "thinking": ("thinkingTokens",),
    "web_searches": ("webSearchRequests",),
}
FrameTokens: TypeAlias = tuple[int | None, int | None, int | None, int | None]
"""Tokens of one message: input, output, cache read, cache write; ``None`` if not reported."""
MAX_OPEN_MESSAGES = 64
"""Messages whose frames may be interleaved, as those of parallel subagents are."""


def frame_tokens(usage: dict[str, Any]) -> FrameTokens:
    """Read the tokens of a ``usage`` object; called for every assistant frame, so it is fast."""
    get = usage.get
    return (
        count(get("input_tokens")),
        count(get("output_tokens")),
        count(get("cache_read_input_tokens")),
        count(get("cache_creation_input_tokens")),
    )


class ClaudeCosts(CostBook):
    """Adds up the spend of one process."""

    def __init__(self) -> None:
        super().__init__()
        self._frames: dict[str, tuple[int, int, int, int]] = {}
        """Per model: the tokens of its messages since the last result."""
        self._recent: dict[str, tuple[str, FrameTokens]] = {}
        """Model and tokens of the last messages, by id: a message has several frames."""
        self._turns: int | None = None
        self._duration_ms: int | None = None
        self._has_result = False

    def add_frame(self, message_id: str, model: str, tokens: FrameTokens) -> None:
        """Add an assistant frame; it counts only if no result follows.

        Its input is exact, its output less than what is charged: a lower bound for a killed run.
        """
        if not message_id or not model:
            return
        self._recent[message_id] = (model, tokens)
        if len(self._recent) > MAX_OPEN_MESSAGES:
            self._settle(next(iter(self._recent)))

    def _settle(self, message_id: str) -> None:
        model, (new, out, read, written) = self._recent.pop(message_id)
        sums = self._frames.get(model, (0, 0, 0, 0))
        self._frames[model] = (
            sums[0] + (new or 0),
            sums[1] + (out or 0),
            sums[2] + (read or 0),
            sums[3] + (written or 0),
        )

    def add_result(self, result: dict[str, Any], model: str) -> None:
        """Take a result event; usage without a model is charged to `model`."""
        self._has_result = True
        self._frames.clear()
        self._recent.clear()
        self._turns = _plus(self._turns, count(result.get("num_turns")))
        self._duration_ms = _plus(self._duration_ms, _rounded(result.get("duration_ms")))
        new = result.get("model_usage_since_last_result")
        if isinstance(new, dict):
            for name, spent in _from_model_usage(new).items():
                self.add(name, spent.tokens, spent.usd)
            return
        # An older CLI reports totals of the process only; the last that is not zero counts.
        tokens = Tokens(*(tokens or 0 for tokens in frame_tokens(mapping(result.get("usage")))))
        total = _from_model_usage(result.get("modelUsage")) or {
            model: Spent(tokens, number(result.get("total_cost_usd")))
        }
        if not self.models or any(total.values()):
            self.models = total

    @property
    def is_empty(self) -> bool:
        """True if no model has used any tokens."""
        return not any(self._with_frames().values())

    def cost(self, config: ProviderSessionConfig, *, model: str, is_error: bool) -> CostData | None:
        """Return the spend so far, or ``None`` if the CLI has reported none."""
        per_model = self._with_frames()
        if not self._has_result and not per_model:
            return None
        tokens = added_up(per_model).tokens
        split_is_known = tokens.cache_write_5m + tokens.cache_write_1h == tokens.cache_write
        return cost_data(
            config,
            {name: spent for name, spent in per_model.items() if spent},
            provider="claude",
            model=model,
            is_error=is_error,
            counts_searches=True,
            # Frames have no price: with them the sum of the results is a lower bound.
            total_cost_usd=self.spent.usd if self._has_result else None,
            cache_write_5m_tokens=tokens.cache_write_5m if split_is_known else None,
            cache_write_1h_tokens=tokens.cache_write_1h if split_is_known else None,
            thinking_tokens=tokens.thinking if self._has_result else None,
            duration_ms=self._duration_ms,
            num_turns=self._turns,
        )

    def _with_frames(self) -> dict[str, Spent]:
        for message_id in tuple(self._recent):
            self._settle(message_id)
        models = {name: Spent(one.tokens, one.usd) for name, one in self.models.items()}
        for name, sums in self._frames.items():
            tokens = Tokens(*sums)
            if tokens:
                models.setdefault(name, Spent()).add(tokens, None)
        return models


def _from_model_usage(usage: Any) -> dict[str, Spent]:
    return {
        name: Spent(Tokens.read(entry, _MODEL_USAGE), number(mapping(entry).get("costUSD")))
        for name, entry in mapping(usage).items()
    }


def _plus(sum_so_far: int | None, more: int | None) -> int | None:
    return sum_so_far if more is None else (sum_so_far or 0) + more


def _rounded(value: Any) -> int | None:
    real = number(value)
    return None if real is None else round(real)
