"""Asks a person over the swarm whether a tool call may run, and waits for the answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from agent_swarm_worker.contract.permissions import Verdict
from agent_swarm_worker.errors import ApiError, ApiRefused, RouteMissing
from agent_swarm_worker.logs import Event
from agent_swarm_worker.text import one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.api.approvals import Approval, Approvals
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import PermissionRequest, Redactor
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.state.directory import StateDir
    from agent_swarm_worker.worker.boot.parts import Core

NOTE = "question "
"""Beginning of the names of notes: the questions that are not answered yet."""
CREATE_ATTEMPTS = 5
CREATE_PAUSE_S = 1.0
WITHDRAW_S = 3.0
"""How long the end of a session may wait for the withdrawal of its question."""
MAX_TITLE_CHARS = 200
MAX_ARGS_CHARS = 4000
MAX_TEXT_CHARS = 1000
MAX_OPEN = 50
"""Questions of one session that wait at the same time."""
RESTARTED = "the worker that asked has been restarted; the agent asks again if it still wants to"
GONE = "the session that asked has ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Asks questions for the sessions of a worker."""

    approvals: Approvals
    state: StateDir
    clock: Clock
    ids: IdSource
    log: Log
    interval_s: float
    """Between two looks for an answer."""

    async def ask(
        self, title: str, description: str, *, timeout_s: float, on_open: Callable[[str], None]
    ) -> Verdict:
        """Ask, wait and return the answer; without one the verdict is no.

        `on_open` gets the id of the request once people can answer it.
        """
        question_id = f"allow-{self.ids()}"
        deadline_s = self.clock.monotonic() + timeout_s
        request_id = ""
        # Before the request, whose answer may be lost.
        self.state.note(NOTE + question_id, "")
        try:
            created = await self._create(question_id, title, description, timeout_s)
            if isinstance(created, Verdict):
                return created
            request_id = created.id
            self.state.note(NOTE + question_id, request_id)
            on_open(request_id)
            verdict = await self._wait(request_id, question_id, deadline_s)
            if verdict is None:
                return Verdict(False, f"nobody answered within {timeout_s:g} s")
            self.state.remove_note(NOTE + question_id)
            return verdict
        finally:
            if self.state.noted(NOTE + question_id) is not None:
                with anyio.move_on_after(WITHDRAW_S, shield=True):
                    await self.withdraw(question_id, request_id, GONE)

    async def _create(
        self, question_id: str, title: str, description: str, timeout_s: float
    ) -> Approval | Verdict:
        error: ApiError | None = None
        deadline_s = self.clock.monotonic() + timeout_s
        for attempt in range(CREATE_ATTEMPTS):
            if attempt and self.clock.monotonic() >= deadline_s:
                break
            if attempt:
                await self.clock.sleep(CREATE_PAUSE_S * 2 ** (attempt - 1))
            try:
                if error is not None and (found := await self.approvals.find(question_id)):
                    return found  # only the answer to the first request was lost
                created = await self.approvals.create(
                    question_id=question_id,
                    title=title,
                    description=description,
                    timeout_s=timeout_s,
                )
            except ApiError as failure:
                error = failure
                if isinstance(failure, ApiRefused) and not failure.is_server_fault:
                    break
                continue
            if created is None:
                return Verdict(False, "nobody can be asked: the swarm has no approval requests")
            return created
        return Verdict(False, f"nobody can be asked: {error}")

    async def _wait(self, request_id: str, question_id: str, deadline_s: float) -> Verdict | None:
        """Return the answer; ``None`` if there is none in time."""
        while True:
            left_s = deadline_s - self.clock.monotonic()
            if left_s <= 0:
                return None
            await self.clock.sleep(min(self.interval_s, left_s))
            try:
                current = await self.approvals.get(request_id)
            except ApiRefused as error:
                if error.status == 404 and not isinstance(error, RouteMissing):
                    return Verdict(False, "the question was deleted")
                continue
            except ApiError:
                continue  # it may be restarting; the deadline ends this
            if current is not None and current.status != "pending":
                return _verdict(current, question_id)

    async def withdraw(self, question_id: str, request_id: str, why: str) -> None:
        """Withdraw a question; one that the API does not take back is withdrawn at a next start."""
        try:
            if not request_id:
                found = await self.approvals.find(question_id)
                request_id = found.id if found is not None else ""
            if request_id:
                await self.approvals.withdraw(request_id, question_id, why)
        except ApiError as error:
            is_over = isinstance(error, ApiRefused) and error.status in {404, 409}
            if not is_over:
                self.log.warning(Event.PERMISSION, question=request_id, why=str(error))
                return
        self.state.remove_note(NOTE + question_id)

    async def withdraw_stale(self) -> None:
        """Withdraw the questions of an earlier process."""
        for name, request_id in self.state.notes(NOTE).items():
            self.log.info(Event.PERMISSION, question=request_id, state="withdrawn")
            await self.withdraw(name.removeprefix(NOTE), request_id, RESTARTED)


def asker_of(worker: Core) -> Asker:
    """Return what asks questions for the sessions of this worker."""
    return Asker(
        approvals=worker.client.approvals,
        state=worker.state,
        clock=worker.clock,
        ids=worker.ids,
        log=worker.log,
        interval_s=worker.settings.poll_interval_s,
    )


def _verdict(answered: Approval, question_id: str) -> Verdict:
    who = one_line(answered.resolved_by, 100) or "a person"
    comment = shorten(answered.comment, MAX_TEXT_CHARS)
    said = f": {comment}" if comment else ""
    if answered.status == "approved" and answered.question_id != question_id:
        return Verdict(False, "the answer cannot be read (it is not about this question)")
    if answered.status == "approved" and answered.is_approved:
        return Verdict(True, f"allowed by {who}{said}")
    if answered.status == "rejected":
        return Verdict(False, f"denied by {who}{said}")
    if answered.status == "timeout":
        return Verdict(False, "nobody answered in time")
    return Verdict(False, f"the answer cannot be read (status {one_line(answered.status, 50)})")


def question_of(
    request: PermissionRequest, why: str, redactor: Redactor, *, task_id: str, agent_id: str
) -> tuple[str, str]:
    """Return title and description of the question about a call, scrubbed and of bounded size."""
    who = f"its helper {request.helper.name}" if request.helper is not None else "it"
    args = json.dumps(request.args, ensure_ascii=False, indent=1, default=str)
    parts = [
        f"Agent {agent_id} works on task {task_id}, and {who} wants to use {request.tool_name}.",
        request.description,
        f"Asked because no rule decides: {why}",
        f"Arguments:\n{shorten(redactor.text(args), MAX_ARGS_CHARS)}",
    ]
    texts = [shorten(redactor.text(part), MAX_ARGS_CHARS + 100) for part in parts if part]
    title = one_line(redactor.text(f"Allow {request.tool_name}: {why}?"), MAX_TITLE_CHARS)
    return title, "\n\n".join(texts)
