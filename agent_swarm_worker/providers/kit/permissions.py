"""Ask a session's permission gate about tool calls: whatever goes wrong denies the call.

Every session wraps the gate of its configuration, so an adapter only awaits `decide` of
`ProviderSessionConfig.permissions` and tells the harness what it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.contract import Error, PermissionDecided, Verdict
from agent_swarm_worker.errors import ProviderError
from agent_swarm_worker.providers.kit.outcome import MAX_REASON_CHARS
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePath

    from agent_swarm_worker.contract import (
        PermissionGate,
        PermissionRequest,
        ProviderEvent,
        ProviderSessionConfig,
        Redactor,
        ToolEnd,
    )
    from agent_swarm_worker.contract.permissions import PolicyMode

DENIED = "denied by the permission policy"
"""The reason of a denial that gives none."""
SESSION_OVER = "the session ended before it was decided"
MAX_DENIED = 10_000
BREACH = "permission_breach"
"""The category of the error that a denied call ran."""
Emit: TypeAlias = Callable[["ProviderEvent"], None]


class ReportedGate:
    """A gate that fails closed, and reports each decision as an event.

    It passes on arguments without secrets, as they are in all events. Several requests may be
    pending at once.
    """

    def __init__(self, gate: PermissionGate, emit: Emit, redactor: Redactor) -> None:
        self._gate = gate
        self._redactor = redactor
        self._emit = emit
        self._denied: dict[str, str] = {}
        """Why each denied call was denied, by its id."""
        self._is_closed = False

    @property
    def mode(self) -> PolicyMode:
        """The policy."""
        return self._gate.mode

    async def decide(self, request: PermissionRequest) -> Verdict:
        """Return the gate's verdict; one that is none, an error or a cancellation denies."""
        verdict = Verdict(False, SESSION_OVER)
        try:
            if not self._is_closed:
                args = self._redactor.leaves(request.args)
                verdict = _checked(await self._gate.decide(replace(request, args=args)))
        except Exception as error:  # a gate that fails allows nothing
            verdict = Verdict(False, f"the policy could not be asked: {error!r}"[:300])
        finally:
            self._decided(request, verdict)
        return verdict

    def close(self) -> None:
        """Deny from now on: the session has ended."""
        self._is_closed = True

    def ended(self, event: ToolEnd) -> tuple[ToolEnd, Error | None]:
        """Return the end of a call, which says why it was denied, and an error if it ran anyway."""
        reason = self._denied.pop(event.tool_call_id, None)
        if reason is None:
            return event, None
        if event.is_error:
            return replace(event, result=event.result or reason), None
        what = f"{event.tool_name} ran although it was denied: {reason}"
        return event, Error(one_line(what, MAX_REASON_CHARS), BREACH)

    def _decided(self, request: PermissionRequest, verdict: Verdict) -> None:
        if not verdict.is_allowed and request.tool_call_id and len(self._denied) < MAX_DENIED:
            self._denied[request.tool_call_id] = verdict.reason
        self._emit(
            PermissionDecided(
                request.tool_call_id,
                request.tool_name,
                verdict.is_allowed,
                verdict.reason,
                request.helper,
            )
        )


def _checked(verdict: Any) -> Verdict:
    if not isinstance(verdict, Verdict) or verdict.is_allowed is not True:
        return Verdict(False, str(getattr(verdict, "reason", "") or DENIED))
    return verdict


async def repository_folders(config: ProviderSessionConfig) -> Sequence[PurePath]:
    """Return the working directory and those above it within any repository: not the operator's."""
    folders = (config.cwd, *config.cwd.parents)
    roots = [n for n, one in enumerate(folders) if await config.guest.exists(one / ".git")]
    return folders[: max(roots, default=0) + 1]


class UnguardedSession(ProviderError):
    """A session under a permission policy would not ask about its tool calls."""

    def __init__(self, harness: str, why: str) -> None:
        super().__init__(f"{harness} cannot keep to the permission policy: {why}")
