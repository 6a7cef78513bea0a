"""The permission gate of a session: judges its tool calls, and asks a person if need be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agent_swarm_worker.contract.permissions import Verdict
from agent_swarm_worker.guards.permissions.call import Places, read_call
from agent_swarm_worker.guards.permissions.decision import decide
from agent_swarm_worker.guards.permissions.shell import MAX_DIRECTORIES
from agent_swarm_worker.logs import Event
from agent_swarm_worker.providers.registry import adapter_spec
from agent_swarm_worker.text import one_line
from agent_swarm_worker.worker.boot.environment import require_permissions
from agent_swarm_worker.worker.run.questions import MAX_OPEN, asker_of, question_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import PurePath

    from agent_swarm_worker.contract import (
        ActionKind,
        Guest,
        PermissionRequest,
        PolicyMode,
        ProviderAdapter,
        Redactor,
    )
    from agent_swarm_worker.guards.permissions.policy import PermissionSettings, Policy
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.worker.boot.parts import Core
    from agent_swarm_worker.worker.run.questions import Asker

MAX_REASON_CHARS = 1500


def _no_note(_: str) -> None:
    """Drop a note: the session has not begun."""


@dataclass(slots=True, kw_only=True)
class SessionPermissions:
    """The `PermissionGate` of one session."""

    policy: Policy
    asker: Asker
    guest: Guest
    cwd: PurePath
    tools: Mapping[str, ActionKind]
    redactor: Redactor
    task_id: str
    agent_id: str
    log: Log
    note: Callable[[str], None] = _no_note
    """Notes a question in the session's log and on the task."""
    waiting: int = 0
    """How many questions a person has not answered yet."""
    _places: Places | None = field(default=None, init=False)

    @property
    def mode(self) -> PolicyMode:
        """The policy."""
        return self.policy.mode

    async def decide(self, request: PermissionRequest) -> Verdict:
        """Answer one request; whatever fails is a no."""
        try:
            return await self._decide(request)
        except Exception as error:
            self.log.error(Event.PERMISSION, tool=request.tool_name, why=repr(error))
            return Verdict(False, f"the worker could not judge the call ({type(error).__name__})")

    async def _decide(self, request: PermissionRequest) -> Verdict:
        places = await self._current_places()
        call = await read_call(request, self.tools, places)
        decision = decide(call, self.policy)
        if decision.effect == "ask":
            verdict = await self._ask(request, decision.reason)
        else:
            verdict = Verdict(decision.effect == "allow", decision.reason)
        if verdict.is_allowed:
            self._move(call.directories)
        reason = one_line(self.redactor.text(verdict.reason), MAX_REASON_CHARS)
        return Verdict(verdict.is_allowed, reason)

    async def _current_places(self) -> Places:
        if self._places is None:
            cwd = str(self.cwd)
            real = await self.guest.files.real_path(cwd)
            self._places = Places(
                cwd=cwd,
                real_cwd=real,
                directories=(cwd,),
                real_path=self.guest.files.real_path,
            )
        return self._places

    def _move(self, directories: tuple[str, ...] | None) -> None:
        """Remember where the session's shell may be by now; it may keep its directory."""
        assert self._places is not None
        known = self._places.directories
        if known is not None and directories is not None:
            known = tuple(dict.fromkeys((*known, *directories)))
        else:
            known = None
        if known is not None and len(known) > MAX_DIRECTORIES:
            known = None
        self._places = replace(self._places, directories=known)

    async def _ask(self, request: PermissionRequest, why: str) -> Verdict:
        if self.waiting >= MAX_OPEN:
            return Verdict(False, f"{MAX_OPEN} questions of this session are open already")
        title, description = question_of(
            request, why, self.redactor, task_id=self.task_id, agent_id=self.agent_id
        )

        def on_open(request_id: str) -> None:
            self.note(f"{title} Waits for a person: approval request {request_id}")
            self.log.info(Event.PERMISSION, state="asked", question=request_id, text=title)

        self.waiting += 1
        try:
            return await self.asker.ask(
                title, description, timeout_s=self.policy.approval_timeout_s, on_open=on_open
            )
        finally:
            self.waiting -= 1


def session_permissions(
    worker: Core,
    adapter: ProviderAdapter,
    *,
    guest: Guest,
    cwd: PurePath,
    redactor: Redactor,
    task_id: str,
    override: PermissionSettings | None = None,
) -> SessionPermissions | None:
    """Return the gate of a session; ``None`` for ``bypass``.

    `override` is what a harness profile of the operator says.

    Raises:
        PermissionsUnsupported: the harness asks about nothing.
    """
    policy = worker.environment.permissions.overridden(override)
    if policy.mode == "bypass":
        return None
    require_permissions(adapter, policy)
    return SessionPermissions(
        policy=policy,
        asker=asker_of(worker),
        guest=guest,
        cwd=cwd,
        tools=adapter_spec(adapter).tools,
        redactor=redactor,
        task_id=task_id,
        agent_id=worker.agent_id,
        log=worker.log.bind(task=task_id),
    )
