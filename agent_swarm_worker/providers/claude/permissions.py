"""Let Claude Code ask about every tool call, and answer it by the session's permission gate.

Two questions reach the worker over standard input and output (measured with 2.1.329). A hook that
the ``initialize`` request registers is asked about every call, subagents' included; but its errors
are ignored. A rule makes the CLI ask for permission for every call as well, and that question fails
closed: no answer, a bad one or the end of the input denies. Of one call the gate is asked once.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from agent_swarm_worker.contract import Helper, PermissionRequest
from agent_swarm_worker.providers.kit.native import mapping, text
from agent_swarm_worker.providers.kit.permissions import UnguardedSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import PurePath

    from agent_swarm_worker.contract import PermissionGate, ProviderSessionConfig, Verdict
    from agent_swarm_worker.providers.claude.outcome import ClaudeState

INITIALIZE = "swarm-initialize"
_HOOK = "swarm-permission"
HOOK_TIMEOUT_S = 1_000_000
"""More than a week: the gate bounds how long a person may take. After it the CLI denies."""
MAX_VERDICTS = 1000
"""Of calls about which only the hook has asked yet; about an older one the gate is asked again."""
_FORBIDDEN = (
    "--dangerously-skip-permissions",
    "--allow-dangerously-skip-permissions",
    "--permission-prompt-tool",
    "--setting-sources",
    "--settings",
    "bypassPermissions",
)
"""Arguments of the operator with which the CLI would not ask, or read a repository's settings."""
_SETTINGS = {"permissions": {"ask": ["*"], "disableBypassPermissionsMode": "disable"}}
NOTES_VARIABLE = "CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD"
_NOTES = ("CLAUDE.md", ".claude/CLAUDE.md")


def require_guard(config: ProviderSessionConfig, *, streams_input: bool) -> None:
    """Raise `UnguardedSession` if the CLI would run tools without asking."""
    if not streams_input:
        why = "it needs Claude Code 2.1.205 or later, and CLAUDE_QUEUE_STEERING not off"
        raise UnguardedSession("claude", why)
    for argument in config.additional_args:
        if found := next((one for one in _FORBIDDEN if one in argument), None):
            raise UnguardedSession("claude", f"the argument {found} is not allowed under it")


async def notes_folders(config: ProviderSessionConfig) -> tuple[PurePath, ...]:
    """Return the folders, from the working directory upwards, that have notes for the agent."""
    found = []
    for folder in (config.cwd, *config.cwd.parents):
        for name in _NOTES:
            if await config.guest.exists(folder / name):
                found.append(folder)
                break
    return tuple(found)


def guard_arguments(notes: Sequence[PurePath]) -> tuple[str, ...]:
    """Return the arguments with which every call is asked about.

    The settings of a repository are not read: their hooks, variables and key helpers run programs
    that no rule has seen. The notes of `notes` still are.
    """
    folders = [word for folder in notes for word in ("--add-dir", str(folder))]
    return (
        *("--permission-mode", "default", "--permission-prompt-tool", "stdio"),
        *("--setting-sources", "user", "--settings", json.dumps(_SETTINGS)),
        *folders,
    )


class PermissionRequests:
    """The questions of one CLI process. `write` queues a line for its standard input."""

    def __init__(
        self, gate: PermissionGate, state: ClaudeState, write: Callable[[bytes], None]
    ) -> None:
        self._gate = gate
        self._state = state
        self._write = write
        self._calls: list[_Question] = []
        self._open: dict[str, _Question] = {}
        """By the CLI's id of the request."""
        self._verdicts: dict[str, tuple[bytes, Verdict]] = {}
        """Digest of the arguments, and verdict, of the latest calls that the hook asked about."""
        self.failure: str | None = None
        """Why the CLI cannot be guarded."""
        hooks = {"PreToolUse": [{"hookCallbackIds": [_HOOK], "timeout": HOOK_TIMEOUT_S}]}
        request = {"subtype": "initialize", "hooks": hooks}
        write(_line({"type": "control_request", "request_id": INITIALIZE, "request": request}))

    def take(self, event: dict[str, Any]) -> bool:
        """Take a control event; return whether the CLI has just accepted the hook."""
        match event.get("type"):
            case "control_request":
                self._ask(text(event.get("request_id")), mapping(event.get("request")))
            case "control_cancel_request":
                if question := self._open.pop(text(event.get("request_id")), None):
                    question.cancel()
            case "control_response":
                response = mapping(event.get("response"))
                if response.get("request_id") == INITIALIZE:
                    if response.get("subtype") == "success":
                        return True
                    self.failure = text(response.get("error")) or "it refuses the hook"
        return False

    def calls(self) -> list[_Question]:
        """Return and clear the questions that nobody works on yet."""
        calls, self._calls = self._calls, []
        return calls

    def _ask(self, request_id: str, request: dict[str, Any]) -> None:
        kind = text(request.get("subtype"))
        if kind not in ("hook_callback", "can_use_tool"):
            error = {"subtype": "error", "request_id": request_id, "error": "not supported"}
            self._write(_line({"type": "control_response", "response": error}))
            return
        question = _Question(self, request_id, request)
        self._open[request_id] = question
        self._calls.append(question)

    async def answer(self, request_id: str, request: dict[str, Any]) -> None:
        """Decide one question, and queue the answer."""
        is_hook = request.get("subtype") == "hook_callback"
        fields = mapping(request.get("input")) if is_hook else request
        call_id = text(request.get("tool_use_id")) or text(fields.get("tool_use_id"))
        args = fields.get("tool_input") if is_hook else request.get("input")
        known = self._verdicts.pop(call_id, None) if not is_hook else None
        if known is not None and known[0] == _digest(args):
            verdict = known[1]
        else:
            verdict = await self._gate.decide(self._request(call_id, fields, args))
        if is_hook:
            self._verdicts[call_id] = _digest(args), verdict
            if len(self._verdicts) > MAX_VERDICTS:
                del self._verdicts[next(iter(self._verdicts))]
        self._open.pop(request_id, None)
        answered = _hook_answer(verdict) if is_hook else _permission_answer(verdict)
        response = {"subtype": "success", "request_id": request_id, "response": answered}
        self._write(_line({"type": "control_response", "response": response}))

    def _request(self, call_id: str, fields: dict[str, Any], args: Any) -> PermissionRequest:
        name, _, helper = self._state.tools.get(call_id) or ("", None, None)
        if helper is None and (agent_id := text(fields.get("agent_id"))):
            helper = Helper(agent_id, text(fields.get("agent_type")))
        return PermissionRequest(
            tool_name=name or text(fields.get("tool_name")),
            args=args,
            tool_call_id=call_id,
            description=text(fields.get("description")),
            helper=helper,
        )


class _Question:
    """One question of the CLI."""

    def __init__(
        self, requests: PermissionRequests, request_id: str, request: dict[str, Any]
    ) -> None:
        self._requests = requests
        self._id = request_id
        self._request = request
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        """Ask the gate and answer."""
        with self._scope:
            await self._requests.answer(self._id, self._request)

    def cancel(self) -> None:
        """Stop asking: the CLI wants no answer any more."""
        self._scope.cancel()


def _digest(args: Any) -> bytes:
    return hashlib.sha256(json.dumps(args, sort_keys=True).encode()).digest()


def _hook_answer(verdict: Verdict) -> dict[str, Any]:
    decision = {"permissionDecision": "allow" if verdict.is_allowed else "deny"}
    reason = {"permissionDecisionReason": verdict.reason}
    return {"hookSpecificOutput": {"hookEventName": "PreToolUse", **decision, **reason}}


def _permission_answer(verdict: Verdict) -> dict[str, Any]:
    # The arguments are not sent back: here they have no secrets in them any more.
    if verdict.is_allowed:
        return {"behavior": "allow"}
    return {"behavior": "deny", "message": verdict.reason}


def _line(message: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(message) + b"\n"
    except TypeError:  # half a surrogate pair in a reason
        return json.dumps(message).encode() + b"\n"
