"""Claude Code's ``stream-json`` output as normalized events.

A kind or a shape that is not known is skipped: the line is in the journal, and a newer CLI must
not break an older worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract import ProviderEvent, Result
from agent_swarm_worker.providers.claude import messages, outcome, session_events
from agent_swarm_worker.providers.claude.state import TranslationState
from agent_swarm_worker.providers.kit.limits import LimitWindows
from agent_swarm_worker.providers.kit.native import count, mapping, text
from agent_swarm_worker.providers.kit.translator import JsonTranslator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_swarm_worker.contract import ProviderResult, ProviderSessionConfig
    from agent_swarm_worker.providers.kit.launch import Ending


class ClaudeTranslator(JsonTranslator):
    """Turns the lines of one CLI process into events, and at the end into a result.

    Args:
        config: the session it belongs to.
        clock: tells the time by which reset times are judged.
    """

    def __init__(self, config: ProviderSessionConfig, *, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self._state = TranslationState(config=config, clock=clock, limits=LimitWindows(clock))

    def feed(self, native: Any) -> Sequence[ProviderEvent]:
        """Take one native event."""
        event = mapping(native)
        translate = _KINDS.get(text(event.get("type")))
        events = translate(self._state, event) if translate else ()
        return events if isinstance(events, list) else list(events)

    @property
    def is_final(self) -> bool:
        """True when the last turn is over and nothing is under way that would start another."""
        return self._state.is_final

    def conclude(self, ending: Ending) -> ProviderResult:
        """Say how the session went."""
        return outcome.conclude(self._state, ending)


def _result(state: TranslationState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``result``: the end of a turn, and of the session unless something starts another."""
    state.result = event
    state.turn_is_over = True
    state.session_id = state.session_id or text(event.get("session_id")) or None
    main = mapping(mapping(event.get("modelUsage")).get(state.model))
    state.window = count(main.get("contextWindow")) or state.window
    state.costs.add_result(event, state.model or state.config.model or "unknown")
    failure = outcome.judge_result(state)
    yield Result(
        state.cost(is_error=failure is not None),
        outcome.output(state, failure),
        failure is not None,
        failure.category if failure else None,
    )


_KINDS = {
    "system": session_events.system,
    "command_lifecycle": session_events.command_lifecycle,
    "rate_limit_event": session_events.rate_limit,
    "error": session_events.error,
    "assistant": messages.assistant,
    "user": messages.user,
    "result": _result,
}
