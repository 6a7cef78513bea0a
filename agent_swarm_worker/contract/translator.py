"""The interface of a translator, which turns a harness's output into events and a result.

A session feeds its translator while the harness runs; a replay feeds a new one from the journal.
Part of the interface for providers, re-exported by `providers.kit.launch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.contract.events import ProviderEvent
    from agent_swarm_worker.contract.session import ProviderResult, ProviderSessionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of the harness's process."""

    exit_code: int
    """As in a shell: 128 + n after signal n."""
    aborted: str | None = None
    """The reason given to `abort`, if it was called."""
    hung_after_result: bool = False
    """The process did not exit after its final event, and was killed."""
    truncated: bool = False
    """The last line had no line end."""
    stderr_tail: str = ""
    """The last few KiB of standard error, scrubbed."""
    duration_ms: int = 0


class Translator(Protocol):
    """Turns native events into normalized ones. Has state, does no I/O, is used once."""

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Translate one parsed line of standard output.

        A malformed or unknown line must not raise; it is skipped.
        """

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        """Translate one line of standard output that is not JSON."""

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:
        """Translate one line of standard error."""

    @property
    def is_final(self) -> bool:
        """True after the harness's final event; it should exit soon."""

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the session's result. Called once, after the last line.

        A session that failed because of an abort has the category ``aborted``.
        """


@runtime_checkable
class TextTranslator(Translator, Protocol):
    """A translator for programs that may print plain text, of which a line can look like JSON."""

    def is_text(self, native: Any) -> bool:
        """True to feed this JSON line, and blank lines, verbatim as text."""


@runtime_checkable
class ReplayableAdapter(Protocol):
    """An adapter whose sessions can be replayed; the tasks of others are handed back."""

    async def translator(self, config: ProviderSessionConfig) -> Translator | None:
        """Return a new translator for the lines of one journal; ``None`` if it has none.

        Args:
            config: task, agent, session and environment, without a prompt; its
                `resume_session_id` is set if the session continued another.
        """
