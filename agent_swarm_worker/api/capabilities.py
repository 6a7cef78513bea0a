"""What this server can do: routes it lacks are found out by asking, once.

An older server answers an unknown route with plain text (docs/api.md 2.2). The feature is
then left out for a while instead of failing over and over; servers get upgraded, so it is asked
again later.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import anyio

from agent_swarm_worker.errors import RouteMissing
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.clock import Clock

T = TypeVar("T")

REPROBE_S = 600.0
MAX_FAULTS = 5
"""Failures in a row of a route that is of use, but not worth to be waited for."""
BLIP_S = 15.0
"""A route that has answered before is rather hidden by a proxy for a moment than gone."""


class Feature(StrEnum):
    """What a server generation may lack, by the route that shows it."""

    PROVIDER_SESSIONS = "tasks/session"
    SUPERSEDE = "tasks/supersede"
    ACTIVE_SESSIONS = "active-sessions"
    SESSION_LIST = "active-sessions/list"
    SESSION_HEARTBEAT = "active-sessions/heartbeat"
    SESSION_RECOVERY = "active-sessions/recover-orphaned-tasks"
    ACTIVITY = "agents/activity"
    CREDENTIAL_STATUS = "agents/credential-status"
    CANCELLED_TASKS = "cancelled-tasks"
    CHANNEL_CURSORS = "channel-activity"
    KEYS = "keys"
    REFRESH_LOCKS = "oauth/refresh-locks"
    STEERING = "steering-messages"
    AGENT_CREDENTIALS = "fs/agent-credentials"
    SWEEP = "heartbeat/sweep"
    TEMPLATES = "prompt-templates/render"
    MEMORY = "memory/search"
    REPOS = "repos"
    MCP_SERVERS = "agents/mcp-servers"
    SETUP_SCRIPTS = "agents/setup-script"
    SKILLS = "agents/skills"
    SKILLS_SIGNATURE = "agents/skills/signature"
    STORED_EVENTS = "events/stored"
    STORED_TASK = "tasks/stored"
    STORED_CONTEXT = "tasks/context/stored"
    STORED_LOGS = "tasks/session-logs/stored"
    STORED_KEYS = "keys/stored"
    STORED_COSTS = "session-costs/stored"
    COSTS = "session-costs"


class ServerCapabilities:
    """Remembers the features that the server at hand does not have."""

    def __init__(self, clock: Clock, log: Log | None = None) -> None:
        self._clock = clock
        self._log = log or Log()
        self._off_until: dict[str, float] = {}
        self._announced: set[str] = set()
        self._proven: set[str] = set()
        self._first_calls: dict[str, anyio.Event] = {}
        self._answers: dict[str, int] = {}
        self._faults: dict[str, int] = {}

    def has(self, feature: str) -> bool:
        """True unless the server was found to lack `feature` not long ago."""
        return self._clock.monotonic() >= self._off_until.get(feature, 0.0)

    def is_proven(self, feature: str) -> bool:
        """True if it has worked in this process."""
        return feature in self._proven

    def works(self, feature: str) -> None:
        """Note that the server has `feature`."""
        self._proven.add(feature)
        self._faults.pop(feature, None)
        self._off_until.pop(feature, None)
        self._announced.discard(feature)

    def off(self, feature: str) -> None:
        """Note that the server lacks `feature`; it is left out until it is time to ask again."""
        pause_s = BLIP_S if self.is_proven(feature) else REPROBE_S
        self._off_until[feature] = self._clock.monotonic() + pause_s
        if feature not in self._announced:
            self._announced.add(feature)
            self._log.info(Event.FEATURE_OFF, feature=str(feature))

    def is_worth_waiting_for(self, feature: str, *, answers: int) -> bool:
        """Note that `feature` failed; false if it does so again and again, so that it is off.

        Args:
            feature: what failed.
            answers: how many the API has given to anybody. While it gives none it is away, which
                says nothing about the feature.
        """
        before, self._answers[feature] = self._answers.get(feature, answers), answers
        if answers == before:
            return True
        faults = self._faults.get(feature, 0) + 1
        self._faults[feature] = faults % MAX_FAULTS
        if faults < MAX_FAULTS:
            return True
        self.off(feature)
        return False

    async def attempt(self, feature: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Make a call of an optional feature; ``None`` if the server lacks it.

        While it is not known whether the server has the feature, the first call goes alone: those
        made meanwhile wait for its end, so that a server which lacks it is asked once.

        Args:
            feature: what the call needs.
            call: makes it; not called at all while the feature is off.
        """
        if not self.has(feature):
            return None
        if (first := self._first_calls.get(feature)) is not None:
            await first.wait()
            if not self.has(feature):
                return None
        if self.is_proven(feature) or feature in self._first_calls:
            return await self._attempt(feature, call)
        first = self._first_calls[feature] = anyio.Event()
        try:
            return await self._attempt(feature, call)
        finally:
            del self._first_calls[feature]
            first.set()

    async def _attempt(self, feature: str, call: Callable[[], Awaitable[T]]) -> T | None:
        try:
            result = await call()
        except RouteMissing:
            self.off(feature)
            return None
        self.works(feature)
        return result
