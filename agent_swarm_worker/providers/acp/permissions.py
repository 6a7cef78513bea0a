"""Answer what an agent asks permission for, and what it asks its client to do, by the gate."""

from __future__ import annotations

import itertools
import shlex
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import PermissionRequest
from agent_swarm_worker.providers.kit.conversation import SteerRequest
from agent_swarm_worker.providers.kit.jsonrpc import RequestRefused
from agent_swarm_worker.providers.kit.native import items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_swarm_worker.contract import PermissionGate, Verdict
    from agent_swarm_worker.providers.acp.updates import Updates
    from agent_swarm_worker.providers.kit.jsonrpc import Handler

MAX_TOLD = 50
"""Messages with reasons in a session: an agent may repeat a denied call in each turn."""
ASKED = "session/request_permission"
CANCELLED = {"outcome": {"outcome": "cancelled"}}
_CLIENT_CALLS = {
    "fs/read_text_file": "read",
    "fs/write_text_file": "write",
    "terminal/create": "bash",
}
"""The methods of the client that do something, by the name of the tool that they are."""


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
    ) -> None:
        self._gate = gate
        self._updates = updates
        self._is_over = is_over
        self._tell = tell
        self._numbers = itertools.count(1)
        self._tellings = itertools.count()
        self._allowed: dict[str, frozenset[str]] = {}
        """The texts in the arguments of each allowed call, by its id."""
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
            texts = frozenset(filter(None, map(text, mapping(request.args).values())))
            self._allowed[request.tool_call_id] = texts | self._allowed.pop(
                request.tool_call_id, frozenset()
            )
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
            if self._is_part_of_allowed(text(args.get("command")) or text(args.get("path"))):
                return await handler(native)
            request = PermissionRequest(tool_name=name, args=args, tool_call_id=call_id)
            verdict = await self._gate.decide(request)
            if not verdict.is_allowed:
                raise RequestRefused(f"permission denied: {verdict.reason}")
            return await handler(native)

        return ask_first

    def _is_part_of_allowed(self, what: str) -> bool:
        """True if a running call was allowed for this path or command: the agent carries it out."""
        running = {one: texts for one, texts in self._allowed.items() if self._updates.is_open(one)}
        self._allowed = running
        return bool(what) and any(what in texts for texts in running.values())

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
    return {"command": line, "cwd": text(params.get("cwd"))}
