"""What a session had come to when the worker that ran it was killed: a listener of its replay."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import Message, ProviderResult, Result, ToolStart
from agent_swarm_worker.contract.translator import Ending
from agent_swarm_worker.reporting.costs import CostKeeper

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.contract import ProviderEvent
    from agent_swarm_worker.contract.translator import Translator

KILLED = 137
"""What a shell reports of a process that SIGKILL ended."""
WHY_KILLED = "the worker was killed"


class NoTranslator:
    """Stands in for the translator of a harness that cannot be asked any more."""

    is_final = False

    def feed(self, native: Any) -> Iterable[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Understand nothing."""
        return ()

    feed_text = feed_stderr = feed

    def conclude(self, ending: Ending) -> ProviderResult:
        """Say that it was killed."""
        return ProviderResult(
            exit_code=ending.exit_code,
            is_error=True,
            error_category="aborted",
            failure_reason=WHY_KILLED,
        )


class LastWord:
    """Follows a session to know whether the harness has said its last word. A listener."""

    def __init__(self, translator: Translator) -> None:
        self._translator = translator
        self._costs = CostKeeper()
        self._is_said = False
        self.last_text = ""
        """The last thing the agent itself said."""

    def on_event(self, event: ProviderEvent) -> None:
        """Take one event: what comes after a result is another turn."""
        match event:
            case Result():
                self._costs.note(event.cost)
                self._is_said = True
            case Message(role="assistant", subagent=False):
                self.last_text = event.content if event.content.strip() else self.last_text
                self._is_said = False
            case ToolStart():
                self._is_said = False

    @property
    def is_said(self) -> bool:
        """True if the session was over, so that its task needs no second run."""
        return self._is_said and self._translator.is_final

    def conclude(self) -> ProviderResult:
        """Say how the session ended; of one that had not, what it was worth until then."""
        over = Ending(exit_code=0, hung_after_result=True)
        killed = Ending(exit_code=KILLED, aborted=WHY_KILLED)
        result = self._translator.conclude(over if self.is_said else killed)
        self._costs.note(result.cost)
        return replace(result, cost=self._costs.cost)
