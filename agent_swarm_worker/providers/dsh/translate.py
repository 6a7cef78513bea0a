"""Translate the lines of ``dsh --json``: session, text, status, error, and the final text.

Success takes a final text and a turn that ended as completed; the exit code alone says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract import (
    Error,
    Message,
    Progress,
    ProviderEvent,
    Result,
    SessionInit,
)
from agent_swarm_worker.guards.error_classes import ErrorClass, classify_error
from agent_swarm_worker.providers.kit.launch import JsonTranslator
from agent_swarm_worker.providers.kit.lenient_json import MAX_QUOTED_CHARS, UNREADABLE, torn_event
from agent_swarm_worker.providers.kit.native import mapping, text
from agent_swarm_worker.providers.kit.outcome import (
    TranslationState,
    aborted,
    concluded,
    failure,
    reset_of,
    unfinished,
)
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.contract import Ending, ProviderResult, ProviderSessionConfig

FAILED = "turn_failed"
_ENDS = frozenset({"final", "error"})


class DshTranslator(JsonTranslator):
    """Turns the lines of one run into events and a result."""

    def __init__(self, config: ProviderSessionConfig, *, clock: Clock | None = None) -> None:
        self._state = TranslationState(config=config, clock=clock or SystemClock())
        self._final: str | None = None
        self._fatal: Error | None = None

    def feed(self, native: Any) -> Iterator[ProviderEvent]:
        """Take one line; an unknown one is skipped."""
        line = mapping(native)
        match line.get("type"):
            case "session" if session_id := text(line.get("sessionId")):
                self._state.session_id = session_id
                yield SessionInit(session_id, provider="dsh", model=text(line.get("model")) or None)
            case "text" if content := text(line.get("text")).strip():
                self._state.last_text = content
                yield Message("assistant", content)
            case "status" if phase := text(line.get("phase")):
                yield Progress(phase)
                if phase == "turn_end":
                    yield from self._turn_over(mapping(line.get("reason")))
            case "error" if message := text(line.get("message")):
                yield self._failed(message)
            case "final" if isinstance(line.get("text"), str):
                self._final = line["text"]
                yield Result(None, self._final, self._fatal is not None)

    def feed_text(self, line: str) -> Iterator[ProviderEvent]:
        """Take a line that cannot be read: a failure if it was to be the end."""
        if torn_event(line, tuple(_ENDS)) in _ENDS:
            yield self._failed(f"{UNREADABLE}: {one_line(line, MAX_QUOTED_CHARS)}")

    def _turn_over(self, reason: dict[str, Any]) -> Iterator[ProviderEvent]:
        kind = text(reason.get("kind"))
        if kind != "completed":
            message = text(mapping(reason.get("error")).get("message"))
            yield self._failed(message or f"the turn ended: {kind or 'no reason given'}")

    def _failed(self, message: str) -> Error:
        kind = classify_error(message)
        error = Error(message, FAILED if kind is ErrorClass.UNKNOWN else kind.value)
        self._fatal = self._fatal or error
        return error

    @property
    def is_final(self) -> bool:
        """True after the final text."""
        return self._final is not None

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result of the session."""
        state, failed = self._state, None
        if self._fatal is not None:
            failed = failure(self._fatal.category or FAILED, self._fatal.message)
        elif self._final is None:
            failed = aborted(ending) or unfinished(
                "dsh", ending, lambda message: classify_error(message).value
            )
        reset_at = None
        if failed is not None:
            reset_at = reset_of(failed.category, failed.reason, state.clock.now())
        return concluded(
            failed,
            exit_code=0 if failed is None else ending.exit_code or 1,
            session_id=state.session_id,
            output=self._final or state.last_text or None,
            reset_at=reset_at,
        )
