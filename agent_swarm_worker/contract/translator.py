"""What a harness's output means: the protocol between a translator and whoever feeds it.

A session feeds its translator while the harness runs; a replay feeds a fresh one from the journal.
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
    """What the process layer knows about the end of the child."""

    exit_code: int
    """As a shell reports it: 128 + n for a death by signal n."""
    aborted: str | None = None
    """The reason given to `abort`, if it was."""
    hung_after_result: bool = False
    """The final event came, the process did not go, and it was killed for that."""
    truncated: bool = False
    """The last line had no end: output was cut off."""
    stderr_tail: str = ""
    """The last few KiB of standard error, scrubbed."""
    duration_ms: int = 0


class Translator(Protocol):
    """Turns native events into normalized ones. Holds state, does no I/O, is used once."""

    def feed(self, native: Any) -> Iterable[ProviderEvent]:
        """Take one parsed line of standard output.

        A malformed one must not raise: what is not understood is skipped (it is in the log).
        """
        ...

    def feed_text(self, line: str) -> Iterable[ProviderEvent]:
        """Take one line of standard output that is not JSON."""
        ...

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:
        """Take one line of standard error."""
        ...

    @property
    def is_final(self) -> bool:
        """True once the harness said its last word; it should exit soon after."""
        ...

    def conclude(self, ending: Ending) -> ProviderResult:
        """Say how the session went. Called once, after the last line.

        One that failed because it was aborted has the category ``aborted``.
        """
        ...


@runtime_checkable
class TextTranslator(Translator, Protocol):
    """A translator for programs that may speak plain words; JSON can be such words too."""

    def is_text(self, native: Any) -> bool:
        """True if this JSON line is to be fed as text, to the letter, and so are blank lines."""
        ...


@runtime_checkable
class Rereads(Protocol):
    """An adapter whose sessions' journals can be read again. Optional: others are handed back."""

    async def translator(self, config: ProviderSessionConfig) -> Translator | None:
        """Return a fresh translator for the lines of one journal; ``None`` if there is none.

        Args:
            config: names task, agent, session and environment; it has no prompt, and its
                `resume_session_id` says whether the session continued another.
        """
        ...
