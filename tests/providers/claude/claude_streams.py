"""Feed recorded output of the real CLI (`tests/e2e/record_streams.py`) to the translator."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from session_config import session_config

from agent_swarm_worker.contract import Ending
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator

if TYPE_CHECKING:
    from agent_swarm_worker.contract import ProviderEvent, ProviderResult

STREAMS = Path(__file__).parent / "streams"
NAMES = sorted(path.stem for path in STREAMS.glob("*.jsonl"))
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class FixedClock:
    """It is always `NOW`."""

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here may wait")


@dataclass(frozen=True)
class TranslatedStream:
    """A stream after it went through the translator."""

    translator: ClaudeTranslator
    events: list[ProviderEvent]

    def of(self, *types: type) -> list[Any]:
        """The events of these classes, in order."""
        return [event for event in self.events if isinstance(event, types)]

    def conclude(self, exit_code: int = 0, **more: Any) -> ProviderResult:
        """The result for a process that ended like this."""
        return self.translator.conclude(Ending(exit_code=exit_code, **more))


def natives(name: str) -> list[dict[str, Any]]:
    """The parsed lines of one recording."""
    return [json.loads(line) for line in (STREAMS / f"{name}.jsonl").read_text().splitlines()]


def translate(lines: str | list[Any], *, reasoning_effort: str | None = None) -> TranslatedStream:
    """Feed a recording, or lines made by hand, to a fresh translator."""
    config = session_config(reasoning_effort=reasoning_effort)
    translator = ClaudeTranslator(config, clock=FixedClock())
    events: list[ProviderEvent] = []
    for native in natives(lines) if isinstance(lines, str) else lines:
        events.extend(translator.feed(native))
    return TranslatedStream(translator, events)
