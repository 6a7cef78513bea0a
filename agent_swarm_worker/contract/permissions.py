"""The question of a session whether a tool call may run, and the answer.

A harness asks before it runs a tool; its adapter passes the question on to the session's
`PermissionGate`, which answers by the operator's policy, if need be after asking a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from agent_swarm_worker.contract.events import Helper

PermissionSupport: TypeAlias = Literal["none", "asked", "every"]
"""The tool calls that a harness asks about: none, those it thinks need permission, or every one.
With ``none`` a worker refuses to start under any policy but ``bypass``."""
PolicyMode: TypeAlias = Literal["bypass", "read-only", "rules", "ask"]
"""How strict a session is; see docs/permissions.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionRequest:
    """A tool call that waits for permission."""

    tool_name: str
    args: Any
    """As in the call's `ToolStart`."""
    tool_call_id: str = ""
    description: str = ""
    """The harness's own words for people, if it has some."""
    helper: Helper | None = None
    """The subagent that calls; ``None``: the main agent."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a request for permission."""

    is_allowed: bool
    reason: str = ""
    """Told to the agent if the call is denied."""


class PermissionGate(Protocol):
    """Answers the permission requests of one session.

    An adapter must deny a call about which `decide` raises or is cancelled.
    """

    @property
    def mode(self) -> PolicyMode:
        """The policy; never ``bypass``, with which a session has no gate."""

    async def decide(self, request: PermissionRequest) -> Verdict:
        """Answer one request. It may take minutes, as a person may be asked.

        Several may be pending at once. Never raises but for cancellation.
        """
