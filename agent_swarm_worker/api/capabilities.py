"""Finds out which optional features a server has, and leaves out those it lacks.

An older server answers an unknown route with plain text (docs/api.md 2.2). The feature is then
not requested for `REPROBE_S`, after which it is tried again: servers get upgraded. The first
such answer may be a proxy's, so the second try comes sooner.
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from agent_swarm_worker.errors import RouteMissing
from agent_swarm_worker.logs import Event, Log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.api.http import Http
    from agent_swarm_worker.clock import Clock

T = TypeVar("T")

REPROBE_S = 600.0
REPROBE_PROVEN_S = 15.0
"""The same for a route that has answered before, or that was missing only once: it is more likely
hidden by a proxy for a moment than gone."""
MAX_FAULTS = 5
"""Failures in a row after which a feature that is only used for reading back is left out."""


class Feature(StrEnum):
    """An optional feature, named after the route that shows whether a server has it."""

    PROVIDER_SESSIONS = "tasks/session"
    SUPERSEDE = "tasks/supersede"
    ACTIVE_SESSIONS = "active-sessions"
    SESSION_LIST = "active-sessions/list"
    SESSION_HEARTBEAT = "active-sessions/heartbeat"
    SESSION_RECOVERY = "active-sessions/recover-orphaned-tasks"
    SESSION_TOKENS = "sessions/tokens"
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
    CONCURRENT_CONTEXT = "concurrent-context"
    REPOS = "repos"
    MCP_SERVERS = "agents/mcp-servers"
    SETUP_SCRIPTS = "agents/setup-script"
    SKILLS = "agents/skills"
    SKILLS_SIGNATURE = "agents/skills/signature"
    APPROVALS = "approval-requests"
    STORED_EVENTS = "events/stored"
    STORED_TASK = "tasks/stored"
    STORED_CONTEXT = "tasks/context/stored"
    STORED_LOGS = "tasks/session-logs/stored"
    STORED_KEYS = "keys/stored"
    STORED_MEMORIES = "memory/list"
    STORED_COSTS = "session-costs/stored"
    COSTS = "session-costs"


class ServerCapabilities:
    """Remembers which features the server lacks."""

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
        """True unless `feature` was found missing and is not due for another try."""
        return self._clock.monotonic() >= self._off_until.get(feature, 0.0)

    def is_proven(self, feature: str) -> bool:
        """True if `feature` has worked in this process."""
        return feature in self._proven

    def mark_present(self, feature: str) -> None:
        """Note that the server has `feature`."""
        self._proven.add(feature)
        self._faults.pop(feature, None)
        self._off_until.pop(feature, None)
        self._announced.discard(feature)

    def mark_missing(self, feature: str) -> None:
        """Note that the server lacks `feature`; it is left out until it is due for another try.

        That is soon for the first time, since one answer may be a proxy's.
        """
        is_repeated = feature in self._announced or self._faults.get(feature) == 0
        is_sure = is_repeated and not self.is_proven(feature)
        pause_s = REPROBE_S if is_sure else REPROBE_PROVEN_S
        self._off_until[feature] = self._clock.monotonic() + pause_s
        if feature not in self._announced:
            self._announced.add(feature)
            self._log.info(Event.FEATURE_OFF, feature=str(feature))

    def is_worth_waiting_for(self, feature: str, *, answers: int) -> bool:
        """Count a failure of `feature`; false if it has failed `MAX_FAULTS` times, and is left out.

        While the API answers no request at all (`ApiHealth.answers` stays), a failure says nothing
        about the feature and is not counted.
        """
        before, self._answers[feature] = self._answers.get(feature, answers), answers
        if answers == before:
            return True
        faults = self._faults.get(feature, 0) + 1
        self._faults[feature] = faults % MAX_FAULTS
        if faults < MAX_FAULTS:
            return True
        self.mark_missing(feature)
        return False

    async def attempt(self, feature: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Make a call of an optional feature; return ``None`` if the server lacks it.

        While it is unknown whether the server has the feature, one call is made and the others
        wait for it to end, so that a server without the feature gets one request.
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
            self.mark_missing(feature)
            return None
        self.mark_present(feature)
        return result


class Endpoints:
    """Base of the API clients: requests, and requests that need an optional feature."""

    def __init__(self, http: Http, capabilities: ServerCapabilities) -> None:
        self._http, self._capabilities = http, capabilities

    async def _call_if(
        self, feature: Feature, method: str, path: str, **options: Any
    ) -> dict[str, Any] | None:
        """Do as `Http.call`; return ``None`` if the server lacks `feature`."""
        call = partial(self._http.call, method, path, **options)
        return await self._capabilities.attempt(feature, call)

    async def _request_if(self, feature: Feature, method: str, path: str, **options: Any) -> None:
        """Do as `Http.request` unless the server lacks `feature`; the answer is not used."""
        call = partial(self._http.request, method, path, **options)
        await self._capabilities.attempt(feature, call)
