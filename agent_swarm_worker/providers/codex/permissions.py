"""Answer codex's approval requests by the session's permission gate.

With the approval policy ``untrusted`` the CLI asks about every command, change of a file and call
of a tool server, those of subagents too; not about looking at a picture and its own bookkeeping.
Its web search, which it does not ask about either, is switched off. It runs without its sandbox, in
which what was allowed would fail now and then: that it is repeated outside is a matter of luck
(measured with 0.169.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import PermissionRequest, ToolEnd, ToolStart
from agent_swarm_worker.providers.kit.native import mapping, text
from agent_swarm_worker.providers.kit.permissions import UnguardedSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent_swarm_worker.contract import (
        PermissionGate,
        ProviderEvent,
        ProviderSessionConfig,
        Verdict,
    )
    from agent_swarm_worker.providers.codex.outcome import CodexState
    from agent_swarm_worker.providers.codex.spec import Transport
    from agent_swarm_worker.providers.kit.jsonrpc import Handler

THREAD = {
    "approvalPolicy": "untrusted",
    "sandbox": "danger-full-access",
    "approvalsReviewer": "user",
}
"""Parameters of a thread that asks."""
CONFIG = {
    "approval_policy": "on-request",  # in this place it does not take `untrusted`
    "sandbox_mode": "read-only",
    "approvals_reviewer": "user",
    "web_search": "disabled",
}
_WEAKENING = (
    "default_permissions",
    "hooks",
    "permissions",
    "profile",
    "profiles",
    "projects",
    "sandbox_workspace_write",
    "tools",
)
"""Keys of the operator's configuration with which something might run unasked."""
_FORBIDDEN = (
    "approv",
    "sandbox",
    "bypass",
    "permission",
    "trust",
    "rules",
    "web_search",
    "profile",
)
"""Parts of arguments that would do the same."""
SERVER_KEYS = {"default_tools_approval_mode": "prompt"}
_MCP_CALL = "mcp_tool_call"


def require_guard(config: ProviderSessionConfig, transport: Transport) -> None:
    """Raise `UnguardedSession` if the CLI would run tools without asking."""
    if transport == "exec":
        raise UnguardedSession("codex", "`codex exec` cannot ask; it needs `codex app-server`")
    for argument in config.additional_args:
        if any(word in argument for word in _FORBIDDEN):
            raise UnguardedSession("codex", f"the argument {argument} is not allowed under it")


def guarded_config(base: dict[str, Any], cwd: str) -> dict[str, Any]:
    """Return the operator's configuration without what would weaken the policy."""
    kept = {key: value for key, value in base.items() if key not in _WEAKENING}
    # Else the CLI, started without a sandbox, would trust the repository, and follow its
    # configuration, hooks and rules.
    return {**kept, **CONFIG, "projects": {cwd: {"trust_level": "untrusted"}}}


def guarded_server(table: dict[str, Any]) -> dict[str, Any]:
    """Return a tool server all of whose tools are asked about."""
    return {key: value for key, value in table.items() if key != "tools"} | SERVER_KEYS


class Approvals:
    """Answers the requests of one app server. `tell` sends a thread's agent a text."""

    def __init__(
        self,
        gate: PermissionGate,
        state: CodexState,
        tell: Callable[[str, str, str], None],
    ) -> None:
        self._gate = gate
        self._state = state
        self._tell = tell
        self._starts: dict[str, ToolStart] = {}
        """The calls that run or wait, by id."""

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method."""
        return {
            "item/commandExecution/requestApproval": self._command,
            "item/fileChange/requestApproval": self._item,
            "mcpServer/elicitation/request": self._elicitation,
            "applyPatchApproval": _denied,
            "execCommandApproval": _denied,
        }

    def note(self, events: Iterable[ProviderEvent]) -> None:
        """Remember the calls that the thread told of."""
        for event in events:
            if isinstance(event, ToolStart):
                self._starts[event.tool_call_id] = event
            elif isinstance(event, ToolEnd):
                self._starts.pop(event.tool_call_id, None)

    async def _command(self, native: Any) -> dict[str, str]:
        params = mapping(native)
        host = text(mapping(params.get("networkApprovalContext")).get("host"))
        if host:
            request = self._request(params, "fetch", {"url": f"https://{host}"})
        else:
            # One item may be several commands, each asked about by itself.
            start = self._starts.get(text(params.get("itemId")))
            args = {"command": text(params.get("command"))}
            if cwd := text(params.get("cwd")) or (start and text(start.args.get("cwd"))):
                args["cwd"] = cwd
            request = self._request(params, "bash", args)
        return await self._decided(params, request)

    async def _item(self, native: Any) -> dict[str, str]:
        params = mapping(native)
        start = self._starts.get(text(params.get("itemId")))
        if start is None:
            return {"decision": "decline"}  # nobody knows what it would change
        return await self._decided(params, self._request(params, start.tool_name, start.args))

    async def _elicitation(self, native: Any) -> dict[str, Any]:
        params = mapping(native)
        about = mapping(params.get("_meta"))
        if about.get("codex_approval_kind") != _MCP_CALL:
            return {"action": "decline"}  # the server wants to know something of a person
        server, tool = text(params.get("serverName")), text(about.get("tool_name"))
        call_id = next((key for key, one in self._starts.items() if _is_of(one, server, tool)), "")
        name = f"mcp__{server}__{tool}"
        request = self._request({**params, "itemId": call_id}, name, about.get("tool_params"))
        decided = await self._decided(params, request)
        accepted = {"action": "accept", "content": {}}
        return accepted if decided["decision"] == "accept" else {"action": "decline"}

    def _request(self, params: dict[str, Any], name: str, args: Any) -> PermissionRequest:
        return PermissionRequest(
            tool_name=name,
            args=args,
            tool_call_id=text(params.get("itemId")),
            description=text(params.get("reason")),
            helper=self._state.helper(text(params.get("threadId"))),
        )

    async def _decided(self, params: dict[str, Any], request: PermissionRequest) -> dict[str, str]:
        verdict: Verdict = await self._gate.decide(request)
        if verdict.is_allowed:
            return {"decision": "accept"}
        # The answer has no room for a reason: the agent only learns that it was rejected.
        said = f"Permission for {request.tool_name} was denied: {verdict.reason}"
        self._tell(text(params.get("threadId")), text(params.get("turnId")), said)
        return {"decision": "decline"}


async def _denied(_: Any) -> dict[str, str]:
    """Deny a request of the protocol's first version, which no thread of ours makes."""
    return {"decision": "denied"}


def _is_of(start: ToolStart, server: str, tool: str) -> bool:
    args = mapping(start.args)
    return (args.get("server"), args.get("tool")) == (server, tool)
