"""The output of ``codex exec --json`` as normalized events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import Error, ProviderEvent, Result
from agent_swarm_worker.providers.codex import items, outcome
from agent_swarm_worker.providers.codex.errors import STALE_SESSION, is_gone, read_error
from agent_swarm_worker.providers.codex.usage import read_tokens
from agent_swarm_worker.providers.kit.native import mapping, text
from agent_swarm_worker.providers.kit.translator import JsonTranslator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_swarm_worker.contract import ProviderResult
    from agent_swarm_worker.providers.codex.state import TranslationState
    from agent_swarm_worker.providers.kit.launch import Ending


class ExecTranslator(JsonTranslator):
    """Turns the lines of one process into events, and at the end into a result."""

    def __init__(self, state: TranslationState) -> None:
        self._state = state

    def feed(self, native: Any) -> Sequence[ProviderEvent]:
        """Take one native event."""
        return list(self._translated(mapping(native)))

    def feed_stderr(self, line: str) -> Sequence[ProviderEvent]:
        """Of standard error only one line matters: that there is no such session."""
        if self._state.thread_id is None and self._state.config.resume_session_id and is_gone(line):
            self._state.fatal = Error(line, STALE_SESSION)
        return ()

    @property
    def is_final(self) -> bool:
        """True once the one turn is over."""
        return self._state.is_final

    def conclude(self, ending: Ending) -> ProviderResult:
        """Say how the session went."""
        return outcome.conclude(self._state, ending)

    def _translated(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        state, item = self._state, mapping(event.get("item"))
        kind = text(event.get("type"))
        if kind != "error":
            state.got_on()
        match kind:
            case "thread.started":
                yield from state.begin_thread(text(event.get("thread_id")), state.plan.model)
            case "turn.started":
                state.costs.turns += 1
                state.turn = "running"
            case "item.started":
                yield from items.started(item)
            case "item.updated":
                yield from items.updated(item)
            case "item.completed":
                yield from items.completed(state, item, subagent=False)
            case "turn.completed":
                yield from self._turn_completed(event)
            case "turn.failed":
                error = read_error(mapping(event.get("error")))
                state.end(error)
                yield Result(state.cost(is_error=True), None, True, error.category)
            case "error":
                yield from state.take_error(read_error(event), is_retried=False)

    def _turn_completed(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        state = self._state
        if isinstance(event.get("usage"), dict):
            total = read_tokens(event["usage"])
            # All calls of the turn together: the context holds no more than this.
            grown = state.costs.take_total(state.thread_id or "", total, state.model)
            yield state.take_context(grown, "peak-proxy")
        if not state.is_final:
            state.turn, state.is_final = "completed", True
        is_error = state.turn != "completed"
        yield Result(state.cost(is_error=is_error), state.last_text or None, is_error)
