"""How long a session may run, and how long it may say nothing: by default, by harness, by task.

The task has the last word, in its tags (the API has no field for it): ``timeout:45m`` and
``silence:15m``. It may always ask for less than the operator allows. More it gets up to
``SWARM_TASK_LIMIT_MAX_S``, so that no task can switch the guard off by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_swarm_worker.clock import seconds_of
from agent_swarm_worker.logs import Event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """The limits of one session, in seconds; 0 = none."""

    wall_s: float = 0.0
    silence_s: float = 0.0


def limits_of(settings: Settings, *, harness: str, tags: Iterable[str], log: Log) -> SessionLimits:
    """Return the limits of a session.

    Args:
        settings: what the operator allows.
        harness: name of the adapter.
        tags: of the task; those that are no limits mean nothing here.
        log: told of tags that cannot be used, or not as they are.
    """
    wall_s = settings.session_timeout_by_harness.get(harness, settings.session_timeout_s)
    silence_s = settings.session_silence_by_harness.get(harness, settings.session_silence_s)
    asked = _Asked(tags, settings.task_limit_max_s, log)
    return SessionLimits(
        wall_s=asked.limit("timeout", own_s=wall_s),
        silence_s=asked.limit("silence", own_s=silence_s),
    )


class _Asked:
    """What a task asks for."""

    def __init__(self, tags: Iterable[str], max_s: float, log: Log) -> None:
        self._tags, self._max_s, self._log = tuple(tags), max_s, log

    def limit(self, name: str, *, own_s: float) -> float:
        """Return the limit the last tag of a name asks for, as far as it is allowed."""
        limit_s = own_s
        for tag in self._tags:
            key, colon, text = tag.partition(":")
            if not colon or key.strip().lower() != name:
                continue
            try:
                asked_s = seconds_of(text)
            except ValueError as error:
                self._log.warning(Event.LIMIT_IGNORED, tag=tag[:100], why=str(error)[:200])
                continue
            limit_s = min(asked_s or math.inf, self._most(own_s))
            if limit_s != (asked_s or math.inf):
                why = f"SWARM_TASK_LIMIT_MAX_S allows {limit_s:g} s"
                self._log.warning(Event.LIMIT_IGNORED, tag=tag[:100], why=why)
        return 0.0 if limit_s == math.inf else limit_s

    def _most(self, own_s: float) -> float:
        """What every session may have, a task may ask for."""
        return max(own_s or math.inf, self._max_s or math.inf)
