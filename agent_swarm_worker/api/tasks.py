"""One task's life: reading it, reporting on it, ending it (docs/api.md 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agent_swarm_worker.api.address import segment
from agent_swarm_worker.api.capabilities import Feature
from agent_swarm_worker.api.wire import LogEntry, Row, Task
from agent_swarm_worker.api.wire.tasks import TERMINAL_STATUSES
from agent_swarm_worker.api.wire.values import verbatim
from agent_swarm_worker.errors import (
    ApiGarbled,
    ApiRefused,
    ApiUnreachable,
    RouteMissing,
    Unauthorized,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.api.capabilities import ServerCapabilities
    from agent_swarm_worker.api.http import Http

MAX_SESSION_LOGS = 1000
"""The most rows that one request returns (docs/api.md 8.4)."""

SUPERSEDE_ATTEMPTS = 2
"""A paused task goes on under its own id: the second best, not worth it for one lost answer."""

SupersedeReason = Literal[
    "graceful_shutdown", "context_limits", "manual_supersede", "crash_recovery"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishAnswer:
    """What the server made of a result."""

    already_finished: bool
    status: str
    """Of the task, afterwards; empty if the server does not say."""

    @property
    def was_lost(self) -> bool:
        """True if nothing was written although the answer was 200 (docs/api.md 7.1)."""
        return self.already_finished and self.status not in {"", *TERMINAL_STATUSES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """What became of a task this worker could not go on with."""

    kind: Literal["resumed", "alreadyFinished", "workflow-failed", "paused", "failed", "refused"]
    """The last three are not the server's words: an older server had to pause or fail it, or the
    task was no longer ours to hand over."""
    resume_task_id: str | None = None


class Tasks:
    """The endpoints about one task."""

    def __init__(self, http: Http, capabilities: ServerCapabilities) -> None:
        self._http, self._capabilities = http, capabilities

    async def get(self, task_id: str, *, logs_limit: int | None = None) -> Task:
        """Return a task (docs/api.md 5.2). Refused with 404 if there is none.

        Raises:
            ApiGarbled: the answer is not a task.
        """
        path = _path(task_id)
        answer = await self._http.call("GET", path, params={"logsLimit": logs_limit})
        return _task(path, answer)

    async def progress(self, task_id: str, text: str) -> None:
        """Say what is going on (docs/api.md 5.9). Any task not ended becomes ``in_progress``."""
        await self._http.request("POST", _path(task_id, "progress"), body={"progress": text})

    async def store_session(self, task_id: str, session: Mapping[str, Any]) -> None:
        """Store the harness's session with the task (docs/api.md 5.10).

        From then on the task is safe from orphan recovery, so whatever else the server refuses in
        the body, and on servers that have only the older route, the bare id is stored.

        Args:
            task_id: of the task.
            session: from `wire.session_body`.
        """
        path = _path(task_id, "session")
        try:
            stored = await self._capabilities.attempt(
                Feature.PROVIDER_SESSIONS, lambda: self._http.call("PUT", path, body=session)
            )
        except ApiRefused as refusal:
            if refusal.status != 400:
                raise
            bare = {"claudeSessionId": session["claudeSessionId"]}
            await self._http.call("PUT", path, body=bare)
            return
        if stored is None:
            bare = {"claudeSessionId": session["claudeSessionId"]}
            await self._http.call("PUT", _path(task_id, "claude-session"), body=bare)

    async def finish(
        self,
        task_id: str,
        *,
        status: Literal["completed", "failed"],
        output: str | None = None,
        failure_reason: str | None = None,
    ) -> FinishAnswer:
        """Report the result (docs/api.md 7.1). Safe to repeat. Look at `FinishAnswer.was_lost`.

        Refused with 409 if the task has ended with another text, 403 if it is another agent's.
        """
        body = {"status": status, "output": output, "failureReason": failure_reason}
        answer = Row(await self._http.call("POST", _path(task_id, "finish"), body=body))
        return FinishAnswer(
            already_finished=answer.flag("alreadyFinished"),
            status=Row(answer.nested("task")).text("status"),
        )

    async def supersede(self, task_id: str, reason: SupersedeReason) -> Superseded:
        """Hand a running task back so that it is resumed, in the best way the server has.

        Without the route, or if it fails twice, the task is paused; on a server that cannot do that
        either it is failed (docs/api.md 3.12). Each step is safe after an ambiguous
        earlier one. An outage fails no task: it can be handed back when that is over.

        Raises:
            ApiError: the API could not be told.
        """
        path, answer = _path(task_id, "supersede"), None
        for _ in range(SUPERSEDE_ATTEMPTS):
            try:
                answer = await self._capabilities.attempt(
                    Feature.SUPERSEDE,
                    lambda: self._http.call("POST", path, body={"reason": reason}),
                )
            except (ApiUnreachable, ApiGarbled):
                continue
            except ApiRefused as refusal:
                if _is_final(refusal):
                    return Superseded(kind="refused")
                continue
            break
        if answer is None:
            return await self._pause_or_fail(task_id, reason)
        row = Row(answer)
        match row.text("kind"):
            case "alreadyFinished" | "workflow-failed" as kind:
                return Superseded(kind=kind)
            case _:
                return Superseded(kind="resumed", resume_task_id=row.identifier("resumeTaskId"))

    async def _pause_or_fail(self, task_id: str, reason: str) -> Superseded:
        try:
            await self.pause(task_id)
        except RouteMissing:
            pass
        except ApiRefused as refusal:
            if _is_final(refusal):
                return Superseded(kind="refused")
            raise
        else:
            return Superseded(kind="paused")
        await self.finish(task_id, status="failed", failure_reason=f"worker stopped: {reason}")
        return Superseded(kind="failed")

    async def pause(self, task_id: str) -> None:
        """Pause a running task (docs/api.md 5.8)."""
        await self._http.request("POST", _path(task_id, "pause"))

    async def resume(self, task_id: str) -> Task:
        """Continue a paused task (docs/api.md 5.8).

        Raises:
            ApiGarbled: the answer holds no task.
        """
        path = _path(task_id, "resume")
        answer = await self._http.call("POST", path)
        return _task(path, answer.get("task"))

    async def link_vcs(self, task_id: str, link: Mapping[str, Any]) -> None:
        """Link a pull request with the task (docs/api.md 5.11); the body is `wire.vcs_body`'s."""
        await self._http.request("PATCH", _path(task_id, "vcs"), body=link)

    async def context(self, task_id: str, snapshot: Mapping[str, Any]) -> None:
        """Report how full the context is (docs/api.md 11.1); the body is `wire.context_body`'s."""
        await self._http.request("POST", _path(task_id, "context"), body=snapshot)

    async def snapshots(self, task_id: str, *, limit: int) -> tuple[dict[str, Any], ...]:
        """Return what was reported of the context (docs/api.md 11.1), as the server keeps it."""
        path = _path(task_id, "context")
        answer = await self._http.call("GET", path, params={"limit": limit})
        return tuple(row for row in Row(answer).array("snapshots") if isinstance(row, dict))

    async def session_logs(
        self, task_id: str, *, limit: int = MAX_SESSION_LOGS
    ) -> tuple[LogEntry, ...]:
        """Return uploaded log lines (docs/api.md 8.4): of the highest numbers, not the newest."""
        path = _path(task_id, "session-logs")
        answer = await self._http.call("GET", path, params={"limit": limit})
        return Row(answer).rows("logs", LogEntry.from_wire)

    async def create(
        self,
        text: str,
        *,
        agent_id: str | None = None,
        tags: Sequence[str] = (),
        priority: int | None = None,
        directory: str | None = None,
        parent_task_id: str | None = None,
        model: str | None = None,
        output_schema: Mapping[str, Any] | None = None,
    ) -> Task:
        """Create a task; it goes to the pool unless it names an agent.

        Raises:
            ApiGarbled: the answer is not a task.
        """
        body = {
            "task": text,
            "agentId": agent_id,
            "tags": list(tags) or None,
            "priority": priority,
            "dir": directory,
            "parentTaskId": parent_task_id,
            "model": model,
            "outputSchema": None if output_schema is None else verbatim(output_schema),
        }
        return _task("/api/tasks", await self._http.call("POST", "/api/tasks", body=body))

    async def cancel(self, task_id: str, *, reason: str | None = None) -> None:
        """Cancel a task. Refused with 400 if it has ended."""
        await self._http.request("POST", _path(task_id, "cancel"), body={"reason": reason})

    async def list(
        self,
        *,
        status: str | None = None,
        agent_id: str | None = None,
        limit: int | None = None,
        background: bool = False,
    ) -> tuple[Task, ...]:
        """Return tasks, the one changed last first, without all their fields.

        Args:
            status: may be several, separated by commas.
            agent_id: whose tasks.
            limit: the most tasks.
            background: the swarm's own tasks, such as its heartbeat's, as well.
        """
        query = {
            "status": status,
            "agentId": agent_id,
            "limit": limit,
            "includeHeartbeat": "true" if background else None,
        }
        answer = await self._http.call("GET", "/api/tasks", params=query)
        return Row(answer).rows("tasks", Task.from_wire)


def _is_final(refusal: ApiRefused) -> bool:
    """True if the server understood and will not, so that no other way would help."""
    is_elsewhere = isinstance(refusal, RouteMissing | Unauthorized)
    return not is_elsewhere and not refusal.is_server_fault


def _path(task_id: str, *rest: str) -> str:
    return "/".join(("/api/tasks", segment(task_id), *rest))


def _task(path: str, value: object) -> Task:
    task = Task.from_wire(value)
    if task is None:
        raise ApiGarbled(path, "not a task")
    return task
