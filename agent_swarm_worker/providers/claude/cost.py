"""What a run of Claude Code cost: its result events added up.

A process may print several results (a background task that ends wakes the agent again), and a
resumed session's ``total_cost_usd`` and ``modelUsage`` go on from where the earlier run stopped.
``model_usage_since_last_result`` is what *this* process newly spent, so that is what is added up:
nothing is billed twice, and the zeros of a result printed in a crash wipe nothing out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.providers.kit import costs
from agent_swarm_worker.providers.kit.costs import Spent, Tokens, added_up, cost_data
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
_USAGE = {
    "input": ("input_tokens",),
    "output": ("output_tokens",),
    "cache_read": ("cache_read_input_tokens",),
    "cache_write": ("cache_creation_input_tokens",),
}
FrameTokens: TypeAlias = tuple[int | None, int | None, int | None, int | None]
"""Tokens of one message: input, output, cache read, cache write; ``None``: not said."""
MAX_OPEN_MESSAGES = 64
"""Messages whose frames may still come in turns: those of helpers that work side by side."""


def frame_tokens(usage: dict[str, Any]) -> FrameTokens:
    """Read the tokens out of the ``usage`` of an assistant frame; done once for every frame."""
    get = usage.get
    return (
        count(get("input_tokens")),
        count(get("output_tokens")),
        count(get("cache_read_input_tokens")),
        count(get("cache_creation_input_tokens")),
    )


class CostBook(costs.CostBook):
    """Keeps the accounts of one process."""

    def __init__(self) -> None:
        super().__init__()
        self._frames: dict[str, tuple[int, int, int, int]] = {}
        """Per model: the tokens of its messages, until a result accounts for them."""
        self._recent: dict[str, tuple[str, FrameTokens]] = {}
        """The last messages by id, which may still be repeated: model and tokens."""
        self._turns: int | None = None
        self._duration_ms: int | None = None
        self._has_result = False

    def add_frame(self, message_id: str, model: str, tokens: FrameTokens) -> None:
        """Note an assistant frame; it only counts if no result follows.

        Its input is exact. Its output is what had been written when the frame was made, which is
        less than what is charged: a run that was killed has cost at least this.
        """
        if not message_id or not model:
            return
        self._recent[message_id] = (model, tokens)
        if len(self._recent) > MAX_OPEN_MESSAGES:
            self._settle(next(iter(self._recent)))

    def _settle(self, message_id: str) -> None:
        """Add up a message that is not repeated any more."""
        model, (new, out, read, written) = self._recent.pop(message_id)
        sums = self._frames.get(model, (0, 0, 0, 0))
        self._frames[model] = (
            sums[0] + (new or 0),
            sums[1] + (out or 0),
            sums[2] + (read or 0),
            sums[3] + (written or 0),
        )

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
                self.add(name, spent.tokens, spent.usd)
            return
        # An older CLI only has totals of the process: the last that is not zero stands.
        usage, usd = Tokens.read(result.get("usage"), _USAGE), number(result.get("total_cost_usd"))
        total = _from_model_usage(result.get("modelUsage")) or {model: Spent(usage, usd)}
        if not self.models or any(total.values()):
            self.models = total

    @property
    def is_empty(self) -> bool:
        """True if no model was asked anything."""
        return not any(self._with_frames().values())

    def cost(self, config: ProviderSessionConfig, *, model: str, is_error: bool) -> CostData | None:
        """Return the spend so far, or ``None`` if nothing is known of any.

        Args:
            config: the session.
            model: its main model, as the CLI named it.
            is_error: whether it has failed.
        """
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
            # Frames have no price, so with them what results said is a lower bound.
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
        everything = {name: Spent(one.tokens, one.usd) for name, one in self.models.items()}
        for name, sums in self._frames.items():
            tokens = Tokens(*sums)
            if tokens:
                everything.setdefault(name, Spent()).add(tokens, None)
        return everything


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
