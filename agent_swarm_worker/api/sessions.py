"""The list of active sessions, and uploads of logs, costs and events (docs/api.md 6, 8-10).

No upload is safe to repeat; `outbox.delivery` says how each is retried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.api.capabilities import Endpoints, Feature
from agent_swarm_worker.api.http import RETRIED_STATUSES
from agent_swarm_worker.api.values import Identifier, Row, read_row, segment, verbatim
from agent_swarm_worker.api.wire.bodies import NEAREST
from agent_swarm_worker.api.wire.tasks import Task
from agent_swarm_worker.errors import ApiGarbled, ApiRefused, GatewayRefused, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


MAX_DESCRIPTION_CHARS = 200
_BASE = "/api/active-sessions"
_TOKENS = "/api/sessions/tokens"
TOKEN_MS = 24 * 3600 * 1000
"""How long a token is valid that nobody revokes."""
_REFUSALS = (400, 413, 422, *RETRIED_STATUSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One session on the server's list."""

    id: Identifier
    task_id: Identifier | None = None
    session_uuid: str | None = None
    """``runnerSessionId`` on the wire: the id given by the worker that runs the session."""
    started_at: str = ""
    """By the server's clock."""

    @classmethod
    def from_wire(cls, value: object) -> SessionRow | None:
        """Read one row; ``None`` if it has no usable id."""
        return read_row(cls, value, session_uuid=Row(value).maybe_text("runnerSessionId"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionToken:
    """A key for one session, which is valid for its agent and its task only."""

    id: str
    secret: str = field(repr=False)


class Sessions(Endpoints):
    """The list of active sessions, which shows that a task is being worked on (docs/api.md 6)."""

    async def create(
        self,
        *,
        agent_id: str,
        trigger_type: str,
        task_id: str | None = None,
        description: str | None = None,
        session_uuid: str | None = None,
    ) -> None:
        """Announce a session (docs/api.md 6.2), right after the claim and before its preparation.

        A task has one row at most. An earlier session's row keeps its old heartbeat and makes the
        server refuse the new one, so it is replaced.
        """
        body = self._body(agent_id, trigger_type, task_id, description, session_uuid)
        await self._capabilities.attempt(
            Feature.ACTIVE_SESSIONS, lambda: self._create(body, task_id)
        )

    async def reserve(
        self, *, agent_id: str, trigger_type: str, task_id: str, session_uuid: str
    ) -> SessionRow | None:
        """Announce a session unless its task has one; of concurrent requests one succeeds.

        ``None`` if the task has another session, or the server keeps no list.
        """
        body = self._body(agent_id, trigger_type, task_id, None, session_uuid)
        try:
            answer = await self._call_if(Feature.ACTIVE_SESSIONS, "POST", _BASE, body=body)
        except ApiRefused as refusal:
            if not _is_taken(refusal):
                raise
            return None
        if answer is None:
            return None
        row = SessionRow.from_wire(answer.get("session"))
        if row is None:
            raise ApiGarbled(_BASE, "not a session")
        return row

    async def list(self, agent_id: str) -> tuple[SessionRow, ...] | None:
        """Return the sessions of an agent; ``None`` if the server lacks the route."""
        answer = await self._call_if(
            Feature.SESSION_LIST, "GET", _BASE, params={"agentId": agent_id}
        )
        return None if answer is None else Row(answer).rows("sessions", SessionRow.from_wire)

    async def withdraw(self, row_id: str) -> None:
        """Delete this row, and no other row of the same task."""
        path = f"{_BASE}/{segment(row_id)}"
        await self._request_if(Feature.SESSION_LIST, "DELETE", path)

    async def create_token(self, agent_id: str, task_id: str) -> SessionToken | None:
        """Issue a token for a session; ``None`` if the server has none."""
        body = {"agentId": agent_id, "taskId": task_id, "ttlMs": TOKEN_MS}
        answer = await self._call_if(Feature.SESSION_TOKENS, "POST", _TOKENS, body=body)
        if answer is None:
            return None
        token_id, secret = Row(answer).maybe_text("tokenId"), Row(answer).maybe_text("plaintext")
        if token_id is None or secret is None:
            raise ApiGarbled(_TOKENS, "not a token")
        return SessionToken(id=token_id, secret=secret)

    async def revoke_token(self, token_id: str) -> None:
        """End the validity of a token."""
        await self._request_if(Feature.SESSION_TOKENS, "DELETE", f"{_TOKENS}/{segment(token_id)}")

    def _body(
        self,
        agent_id: str,
        trigger_type: str,
        task_id: str | None,
        description: str | None,
        session_uuid: str | None,
    ) -> dict[str, Any]:
        return {
            "agentId": agent_id,
            "taskId": task_id,
            "triggerType": trigger_type,
            "taskDescription": (description or "")[:MAX_DESCRIPTION_CHARS] or None,
            "runnerSessionId": session_uuid,
            "runtimeInstanceId": self._http.runtime_instance_id,
        }

    async def _create(self, body: dict[str, Any], task_id: str | None) -> None:
        try:
            await self._http.request("POST", _BASE, body=body)
        except GatewayRefused:
            # Without a row the server takes the task for abandoned; the text is only for readers.
            if body.get("taskDescription") is None:
                raise
            await self._create(body | {"taskDescription": None}, task_id)
        except ApiRefused as refusal:
            if task_id is None or not _is_taken(refusal):
                raise
            await self._http.request("DELETE", _by_task(task_id))
            await self._http.request("POST", _BASE, body=body)

    async def delete(self, task_id: str) -> None:
        """Delete the row of a task (docs/api.md 6.5)."""
        path = _by_task(task_id)
        await self._request_if(Feature.ACTIVE_SESSIONS, "DELETE", path)

    async def heartbeat(self, task_id: str) -> bool:
        """Report that the session lives (docs/api.md 6.3).

        False if the server has no such session: it was reaped, or its task has ended. True also if
        the server has no heartbeats.
        """
        path = f"{_BASE}/heartbeat/{segment(task_id)}"
        answer = await self._call_if(Feature.SESSION_HEARTBEAT, "PUT", path)
        return Row(answer).flag("updated", default=True)

    async def provider_session(self, task_id: str, provider_session_id: str) -> bool:
        """Store the harness's session id (docs/api.md 6.4); False if the task has no row (yet)."""
        path = f"{_BASE}/provider-session/{segment(task_id)}"
        body = {"providerSessionId": provider_session_id}
        answer = await self._call_if(Feature.ACTIVE_SESSIONS, "PUT", path, body=body)
        return Row(answer).flag("updated", default=True)

    async def recover_orphaned(self, agent_id: str, *, min_age_s: int = 60) -> tuple[Task, ...]:
        """Put this agent's claimed but never started tasks back in the queue (docs/api.md 6.7).

        Call it only while nothing runs: a running task without a stored session is put back too.
        """
        body = {"agentId": agent_id, "minAgeSeconds": min_age_s}
        answer = await self._call_if(
            Feature.SESSION_RECOVERY, "POST", f"{_BASE}/recover-orphaned-tasks", body=body
        )
        return Row(answer).rows("tasks", Task.from_wire)

    async def cleanup(self, agent_id: str) -> None:
        """Delete all rows of this agent (docs/api.md 6.6); only at boot."""
        await self._request_if(
            Feature.ACTIVE_SESSIONS, "POST", f"{_BASE}/cleanup", body={"agentId": agent_id}
        )


def _is_taken(refusal: ApiRefused) -> bool:
    return "UNIQUE" in refusal.message


def _by_task(task_id: str) -> str:
    return f"{_BASE}/by-task/{segment(task_id)}"


def _owner(task_id: str | None, agent_id: str | None) -> dict[str, str | None]:
    return {"taskId": task_id} if task_id else {"agentId": agent_id}


class Records(Endpoints):
    """Records of sessions: log lines, costs and events (docs/api.md 8-10)."""

    async def session_logs(
        self,
        lines: Sequence[str],
        *,
        session_uuid: str,
        iteration: int,
        task_id: str | None = None,
        cli: str | None = None,
    ) -> None:
        """Upload log lines (docs/api.md 8.1). The server numbers them within this request."""
        body = {
            "sessionId": session_uuid,
            "iteration": iteration,
            # Lines of the journal or the outbox are clean already.
            "lines": verbatim(list(lines)),
            "taskId": task_id,
            "cli": cli,
        }
        await self._store("/api/session-logs", body=body)

    async def cost(self, row: Mapping[str, Any]) -> None:
        """Upload the cost of a session (docs/api.md 10.1); the row comes from `wire.cost_body`.

        A server that refuses the harness's name gets the nearest one.
        """
        nearest, body = row.get(NEAREST), {**row, NEAREST: None}
        try:
            await self._store("/api/session-costs", body=body)
        except ApiRefused as refusal:
            if nearest is None or refusal.status != 400 or isinstance(refusal, GatewayRefused):
                raise
            await self._store("/api/session-costs", body={**body, "provider": nearest})

    async def costs_of(
        self, *, task_id: str | None, agent_id: str | None = None
    ) -> tuple[dict[str, Any], ...] | None:
        """Return the newest costs of a task or agent; ``None`` if the server lacks the route."""
        query = {**_owner(task_id, agent_id), "limit": 500}
        answer = await self._call_if(Feature.COSTS, "GET", "/api/session-costs", params=query)
        return None if answer is None else Row(answer).objects("costs")

    async def stored_events(
        self, *, task_id: str | None, agent_id: str | None, limit: int
    ) -> tuple[dict[str, Any], ...]:
        """Return the newest stored events of a task, or of an agent (docs/api.md 9.4)."""
        query = {**_owner(task_id, agent_id), "limit": limit}
        return Row(await self._http.call("GET", "/api/events", params=query)).objects("events")

    async def events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Upload up to 500 events (docs/api.md 9.1); one bad event refuses them all."""
        await self._store("/api/events/batch", body={"events": verbatim(list(batch))})

    async def encoded_events(self, body: bytes) -> None:
        """Upload events like `events`, as a request body that is encoded already."""
        await self._store("/api/events/batch", content=body)

    async def _store(self, path: str, **options: Any) -> None:
        """Upload records. The API refuses them with 400 only; other refusals are a gateway's."""
        try:
            await self._http.write(path, **options)
        except Unauthorized:
            raise
        except ApiRefused as refusal:
            if refusal.status >= 500 or refusal.status in _REFUSALS:
                raise
            raise GatewayRefused(refusal.url, refusal.status, refusal.message) from None
