"""Tasks: creating, reading, reporting progress and results, handing back (docs/api.md 5, 7, 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agent_swarm_worker.api.capabilities import Endpoints, Feature
from agent_swarm_worker.api.values import Row, segment, verbatim
from agent_swarm_worker.api.wire.resources import LogEntry
from agent_swarm_worker.api.wire.tasks import TERMINAL_STATUSES, Task
from agent_swarm_worker.errors import (
    ApiGarbled,
    ApiRefused,
    ApiUnreachable,
    RouteMissing,
    Unauthorized,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


MAX_SESSION_LOGS = 1000
"""The most rows that one request returns (docs/api.md 8.4)."""

SUPERSEDE_ATTEMPTS = 2
"""Requests before the task is paused instead, which is second best: one lost answer is retried."""

SupersedeReason = Literal[
    "graceful_shutdown", "context_limits", "manual_supersede", "crash_recovery"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishAnswer:
    """The server's answer to a result."""

    already_finished: bool
    status: str
    """Status of the task afterwards; empty if the answer has none."""

    @property
    def was_lost(self) -> bool:
        """True if the result was not stored although the answer was 200 (docs/api.md 7.1)."""
        return self.already_finished and self.status not in {"", *TERMINAL_STATUSES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """Outcome of handing back a task."""

    kind: Literal["resumed", "alreadyFinished", "workflow-failed", "paused", "failed", "refused"]
    """The first three are the server's. ``paused`` and ``failed`` were done instead, for an older
    server; ``refused``: the task was no longer this agent's."""
    resume_task_id: str | None = None


class Tasks(Endpoints):
    """Tasks, one at a time or as lists."""

    async def get(self, task_id: str, *, logs_limit: int | None = None) -> Task:
        """Return a task (docs/api.md 5.2). Refused with 404 if there is none."""
        path = _path(task_id)
        answer = await self._http.call("GET", path, params={"logsLimit": logs_limit})
        return _task(path, answer)

    async def progress(self, task_id: str, text: str) -> None:
        """Report progress (docs/api.md 5.9). Any task not ended becomes ``in_progress``."""
        await self._http.write(_path(task_id, "progress"), body={"progress": text})

    async def store_session(self, task_id: str, session: Mapping[str, Any]) -> None:
        """Store the harness's session with the task (docs/api.md 5.10).

        A task with a session id is safe from orphan recovery. So the bare id is stored when the
        server refuses the body (of `wire.bodies.session_body`), or has only the older route.
        """
        path = _path(task_id, "session")
        try:
            answer = await self._call_if(Feature.PROVIDER_SESSIONS, "PUT", path, body=session)
            if answer is not None:
                return
            path = _path(task_id, "claude-session")
        except ApiRefused as refusal:
            if refusal.status != 400:
                raise
        bare = {"claudeSessionId": session["claudeSessionId"]}
        await self._http.call("PUT", path, body=bare)

    async def finish(
        self,
        task_id: str,
        *,
        status: Literal["completed", "failed"],
        output: str | None = None,
        failure_reason: str | None = None,
    ) -> FinishAnswer:
        """Report the result (docs/api.md 7.1). Safe to repeat. Check `FinishAnswer.was_lost`.

        Refused with 409 if the task has another result, with 403 if it is another agent's.
        """
        body = {"status": status, "output": output, "failureReason": failure_reason}
        answer = Row(await self._http.write(_path(task_id, "finish"), body=body))
        return FinishAnswer(
            already_finished=answer.flag("alreadyFinished"),
            status=Row(answer.nested("task")).text("status"),
        )

    async def supersede(self, task_id: str, reason: SupersedeReason) -> Superseded:
        """Hand a running task back so that it is resumed (docs/api.md 7.4).

        Without the route, or if it fails twice, the task is paused; on a server without that route
        either, it is failed (docs/api.md 3.12). Each step is safe after an earlier one whose answer
        was lost. During an outage the task is not failed: it can be handed back afterwards.
        """
        path, answer = _path(task_id, "supersede"), None
        for _ in range(SUPERSEDE_ATTEMPTS):
            try:
                answer = await self._call_if(
                    Feature.SUPERSEDE, "POST", path, body={"reason": reason}
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
        """Continue a paused task (docs/api.md 5.8)."""
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
        """Return the stored context snapshots of a task (docs/api.md 11.3)."""
        path = _path(task_id, "context")
        answer = await self._http.call("GET", path, params={"limit": limit})
        return Row(answer).objects("snapshots")

    async def session_logs(
        self, task_id: str, *, limit: int = MAX_SESSION_LOGS
    ) -> tuple[LogEntry, ...]:
        """Return uploaded log lines (docs/api.md 8.4): those with the highest numbers."""
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
        """Create a task, in the pool unless it names an agent (docs/api.md 5.4)."""
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
        """Cancel a task (docs/api.md 5.5). Refused with 400 if it has ended."""
        await self._http.request("POST", _path(task_id, "cancel"), body={"reason": reason})

    async def is_cancelled(self, task_id: str) -> bool:
        """True if the task was cancelled (docs/api.md 5.6); no other status is listed."""
        answer = await self._call_if(
            Feature.CANCELLED_TASKS, "GET", "/cancelled-tasks", params={"taskId": task_id}
        )
        return any(Row(item).text("id") == task_id for item in Row(answer).array("cancelled"))

    async def recently_cancelled(self, *, timeout_s: float) -> frozenset[str]:
        """Return this agent's tasks that were cancelled in the last minutes (docs/api.md 5.6)."""
        answer = await self._call_if(
            Feature.CANCELLED_TASKS, "GET", "/cancelled-tasks", timeout_s=timeout_s
        )
        return frozenset(Row(item).text("id") for item in Row(answer).array("cancelled"))

    async def paused(self) -> tuple[Task, ...]:
        """Return this agent's paused tasks, oldest first (docs/api.md 5.7)."""
        answer = await self._http.call("GET", "/api/paused-tasks")
        return Row(answer).rows("tasks", Task.from_wire)

    async def list(
        self,
        *,
        status: str | None = None,
        agent_id: str | None = None,
        limit: int | None = None,
        background: bool = False,
    ) -> tuple[Task, ...]:
        """Return tasks, last changed first, with a part of their fields (docs/api.md 5.3).

        Args:
            status: one or several, separated by commas.
            agent_id: of the agent that the tasks belong to.
            limit: most tasks.
            background: include the swarm's own tasks, such as those of its heartbeat.
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
    """True if the server refused the request itself, so that no other way would succeed."""
    is_elsewhere = isinstance(refusal, RouteMissing | Unauthorized)
    return not is_elsewhere and not refusal.is_server_fault


def _path(task_id: str, *rest: str) -> str:
    return "/".join(("/api/tasks", segment(task_id), *rest))


def _task(path: str, value: object) -> Task:
    task = Task.from_wire(value)
    if task is None:
        raise ApiGarbled(path, "not a task")
    return task
