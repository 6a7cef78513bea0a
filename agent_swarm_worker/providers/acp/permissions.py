"""Answer what an agent asks permission for, and what it asks its client to do, by the gate."""

from __future__ import annotations

import hashlib
import itertools
import re
import shlex
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import PermissionRequest
from agent_swarm_worker.contract.actions import action_of
from agent_swarm_worker.providers.kit.conversation import SteerRequest
from agent_swarm_worker.providers.kit.jsonrpc import RequestRefused
from agent_swarm_worker.providers.kit.native import items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.contract import PermissionGate, Verdict
    from agent_swarm_worker.contract.spec import ActionKind
    from agent_swarm_worker.providers.acp.updates import Updates
    from agent_swarm_worker.providers.kit.jsonrpc import Handler

MAX_TOLD = 50
"""Messages with reasons in a session: an agent may repeat a denied call in each turn."""
MAX_ALLOWED = 1000
"""Allowed calls that are remembered; what carries out an older one is asked about again."""
ASKED = "session/request_permission"
CANCELLED = {"outcome": {"outcome": "cancelled"}}
_CLIENT_CALLS = {
    "fs/read_text_file": "read",
    "fs/write_text_file": "write",
    "terminal/create": "bash",
}
"""The methods of the client that do something, by the name of the tool that they are."""
_AS_BYTES = ("utf-8", "surrogatepass")
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Permissions:
    """Asks the gate for one session.

    `is_over` says that the turn is cancelled or the session over; `tell` sends the agent a text.
    """

    def __init__(
        self,
        gate: PermissionGate,
        updates: Updates,
        is_over: Callable[[], bool],
        tell: Callable[[SteerRequest], None],
        *,
        cwd: str,
        tools: Mapping[str, ActionKind],
    ) -> None:
        self._gate = gate
        self._cwd, self._tools = cwd, tools
        self._updates = updates
        self._is_over = is_over
        self._tell = tell
        self._numbers = itertools.count(1)
        self._tellings = itertools.count()
        self._allowed: dict[tuple[str, bytes], None] = {}
        """The running calls that were allowed: id, and digest of what they do."""
        self._told: SteerRequest | None = None
        """The last text, which may still wait."""

    async def asked(self, native: Any) -> dict[str, Any]:
        """Answer ``session/request_permission``, never for more than this call."""
        params = mapping(native)
        request = self._updates.request_of(params)
        if self._is_over():
            return CANCELLED
        verdict = await self._gate.decide(request)
        if self._is_over():
            return CANCELLED
        if verdict.is_allowed:
            self._remember(request)
        else:
            self._tell_reason(request.tool_name, verdict)
        wanted = "allow_once" if verdict.is_allowed else "reject_once"
        ids = (
            text(one.get("optionId"))
            for one in map(mapping, items(params.get("options")))
            if one.get("kind") == wanted
        )
        option = next(filter(None, ids), None)
        if option is None:
            return CANCELLED
        return {"outcome": {"outcome": "selected", "optionId": option}}

    def guarded(self, method: str, handler: Handler) -> Handler:
        """Return the handler of a method of the client, which asks first if it does something."""
        name = _CLIENT_CALLS.get(method)
        if name is None:
            return handler

        async def ask_first(native: Any) -> Any:
            call_id = f"client-{next(self._numbers)}"
            args = _arguments(name, mapping(native))
            request = PermissionRequest(tool_name=name, args=args, tool_call_id=call_id)
            if self._is_part_of_allowed(request):
                return await handler(native)
            verdict = await self._gate.decide(request)
            if not verdict.is_allowed:
                raise RequestRefused(f"permission denied: {verdict.reason}")
            return await handler(native)

        return ask_first

    def _digest(self, request: PermissionRequest) -> bytes | None:
        """Return the digest of what a call does and to what; ``None`` if that is not known."""
        args = mapping(request.args)
        action = action_of(request.tool_name, args, self._tools)
        if action.kind not in {"read", "edit", "write", "shell"} or not action.subject:
            return None
        kind = "write" if action.kind == "edit" else action.kind
        where = ""
        if kind == "shell":
            if args.get("args"):
                return None
            where = text(args.get("cwd")) or text(args.get("workdir")) or self._cwd
        return hashlib.sha256("\0".join((kind, action.subject, where)).encode(*_AS_BYTES)).digest()

    def _remember(self, request: PermissionRequest) -> None:
        """Remember an allowed call, and forget those that have ended."""
        self._forget_ended()
        if (digest := self._digest(request)) is not None:
            self._allowed[request.tool_call_id, digest] = None
            if len(self._allowed) > MAX_ALLOWED:
                del self._allowed[next(iter(self._allowed))]

    def _forget_ended(self) -> None:
        self._allowed = {one: None for one in self._allowed if self._updates.is_open(one[0])}

    def _is_part_of_allowed(self, request: PermissionRequest) -> bool:
        """True if a running call was allowed that does just this: the agent carries it out."""
        self._forget_ended()
        digest = self._digest(request)
        return digest is not None and any(digest == one for _, one in self._allowed)

    def _tell_reason(self, name: str, verdict: Verdict) -> None:
        """Send the agent the reason, for which the answer has no room."""
        said = f"Permission for {name} was denied: {verdict.reason}"
        if self._told is not None and self._told.is_waiting:
            self._told.text += f"\n{said}"
            return
        if next(self._tellings) < MAX_TOLD:
            self._told = SteerRequest("queue", said)
            self._tell(self._told)


def _arguments(name: str, params: dict[str, Any]) -> dict[str, Any]:
    if name != "bash":
        return {key: params[key] for key in ("path", "content") if key in params}
    command, args = text(params.get("command")), [text(one) for one in items(params.get("args"))]
    line = shlex.join([command, *args]) if args or " " not in command else command
    variables = map(mapping, items(params.get("env")))
    given = [_assignment(text(one.get("name")), text(one.get("value"))) for one in variables]
    return {"command": " ".join([*given, line]), "cwd": text(params.get("cwd"))}


def _assignment(name: str, value: str) -> str:
    """Return a variable as in front of a command; a name that no shell takes is no harmless one."""
    if _VARIABLE.fullmatch(name):
        return f"{name}={shlex.quote(value)}"
    return shlex.quote(f"{name}={value}")
