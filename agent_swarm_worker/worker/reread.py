"""Reading a journal again: what a session had come to when the worker that ran it was killed.

The journal is the system of record, so whether its lines hold the session's last word, and what
they cost, can be found out by another process: the same translator reads the same lines once more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from anyio.lowlevel import checkpoint

from agent_swarm_worker.contract import Message, ProviderResult, Result, ToolStart
from agent_swarm_worker.providers.kit.launch import Ending, TextTranslator
from agent_swarm_worker.reporting.costs import CostKeeper

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent_swarm_worker.contract import EventListener, ProviderEvent
    from agent_swarm_worker.providers.kit.launch import Translator

KILLED = 137
"""What a shell reports of a process that SIGKILL ended."""
WHY_KILLED = "the worker was killed"
_LINES_AT_ONCE = 500


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


async def reread(
    path: Path, translator: Translator, listener: EventListener, *, told: int, news: EventListener
) -> None:
    """Read a journal from its beginning to its end.

    Args:
        path: of the journal.
        translator: a fresh one of the harness.
        listener: takes every event.
        told: bytes of the journal whose events were reported already.
        news: takes the events of what lies behind.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as journal:
        journal.readline()  # the record that describes the run
        position = journal.tell()
        for number, line in enumerate(iter(journal.readline, b"")):
            position += len(line)
            for event in _events(line, translator):
                listener(event)
                if position > told:
                    news(event)
            if number % _LINES_AT_ONCE == 0:
                await checkpoint()


def _events(line: bytes, translator: Translator) -> Iterator[ProviderEvent]:
    """Undo what `BaseSession.take` did to lines that were not the harness's own JSON."""
    try:
        match native := orjson.loads(line):
            case {"type": "journal_limit", "max_bytes": _}:
                return  # the journal's own word on what it left out
            case {"type": "stdout", "content": str(words)}:
                yield from translator.feed_text(words)
            case {"type": "stderr", "content": str(words), "timestamp": _}:
                for said in words.splitlines():
                    yield from translator.feed_stderr(said)
            case _ if isinstance(translator, TextTranslator) and translator.is_text(native):
                yield from translator.feed_text(line.decode("utf-8", "replace").rstrip("\n"))
            case _:
                yield from translator.feed(native)
    except Exception:
        return  # as in a session: a line that is not understood is in the log, and that is all
