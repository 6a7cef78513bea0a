"""Talk to ``codex app-server`` over JSON-RPC: one thread and its turns; translate notifications."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from agent_swarm_worker import __version__
from agent_swarm_worker.contract import Custom, Error, ProviderEvent, Result
from agent_swarm_worker.providers.codex import exec_stream as turn_items
from agent_swarm_worker.providers.codex import outcome
from agent_swarm_worker.providers.codex.outcome import STALE_SESSION, read_error, read_tokens
from agent_swarm_worker.providers.codex.permissions import THREAD, Approvals
from agent_swarm_worker.providers.kit.conversation import SESSION_OVER, SteeringQueue
from agent_swarm_worker.providers.kit.jsonrpc import Answerer, JsonRpcConversation, JsonRpcPeer
from agent_swarm_worker.providers.kit.native import count, items, mapping, number, text
from agent_swarm_worker.providers.kit.outcome import REJECTED, LimitWindows, exit_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent_swarm_worker.contract import Ending, ProviderResult
    from agent_swarm_worker.providers.codex.outcome import CodexState
    from agent_swarm_worker.providers.kit.conversation import SteerRequest
    from agent_swarm_worker.providers.kit.jsonrpc import RpcError

_UNWANTED = (
    "account/updated",
    "command/exec/outputDelta",
    "item/commandExecution/outputDelta",
    "item/fileChange/outputDelta",
    "item/reasoning/summaryPartAdded",
    "item/reasoning/summaryTextDelta",
    "item/reasoning/textDelta",
    "remoteControl/status/changed",
    "skills/changed",
    "thread/goal/cleared",
    "thread/name/updated",
    "thread/readState/changed",
    "thread/started",
    "thread/status/changed",
    "turn/diff/updated",
)
"""Notifications without new information: each would be a line in the journal."""

_ANSWERS: dict[str, Answerer] = {
    "item/commandExecution/requestApproval": lambda _: {"decision": "accept"},
    "item/fileChange/requestApproval": lambda _: {"decision": "accept"},
    "applyPatchApproval": lambda _: {"decision": "approved"},
    "execCommandApproval": lambda _: {"decision": "approved"},
    "item/tool/requestUserInput": lambda _: {"answers": {}},
    "mcpServer/elicitation/request": lambda _: {"action": "decline"},
}
"""Answers to the server's requests; it would wait without limit for a missing one."""

_WINDOW_NAMES = {300: "five_hour", 1440: "one_day", 10080: "seven_day"}
"""By the length of the window in minutes; the names are those the server knows."""


class AppServer(JsonRpcConversation):
    """One thread of the app server, from its start to its result."""

    def __init__(self, state: CodexState) -> None:
        self._state = state
        self._client_ids = itertools.count(1)
        self._turn_id: str | None = None
        self._steering = SteeringQueue()
        """A message waits for the end of the turn, or for the first one; its key is a client id."""
        gate, answers = state.config.permissions, _ANSWERS
        self._approvals = Approvals(gate, state, self._tell) if gate is not None else None
        handlers = self._approvals.handlers() if self._approvals else {}
        answers = {method: answer for method, answer in answers.items() if method not in handlers}
        self.rpc = JsonRpcPeer(self._notified, answers=answers, handlers=handlers, head={})
        self.rpc.request(
            "initialize",
            {
                "clientInfo": {"name": "swarm_worker", "title": None, "version": __version__},
                "capabilities": {"optOutNotificationMethods": list(_UNWANTED)},
            },
            self._initialized,
            self._failed,
        )

    def feed_text(self, line: str) -> list[ProviderEvent]:
        """Take an answer or the end of the turn that cannot be read as a failure."""
        return [*super().feed_text(line), *self._state.take_torn(line)]

    @property
    def is_final(self) -> bool:
        """True when the last turn is over and no message waits for another."""
        return self._state.is_final

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result of the session."""
        self.rpc.end(f"codex {exit_text(ending)}")
        return outcome.conclude(self._state, ending)

    @property
    def is_input_over(self) -> bool:
        """True at the end: the server exits when its standard input is closed."""
        return self._state.is_final

    def steer(self, request: SteerRequest) -> None:
        """Take a message into the running turn, or as the next one."""
        if self._state.is_final:
            request.refuse(SESSION_OVER)
        elif request.mode == "queue" or self._turn_id is None:
            self._steering.add(request)
        else:
            self._steer_turn(request)

    def interrupt(self) -> bool:
        """Request the interrupt of the running turn."""
        if self._turn_id is None or self._state.is_final:
            return False
        self.rpc.request("turn/interrupt", {"turnId": self._turn_id} | self._thread())
        return True

    def _initialized(self, _: Any) -> Iterator[ProviderEvent]:
        self.rpc.notify("initialized")
        plan, config = self._state.plan, self._state.config
        params: dict[str, Any] = {
            "cwd": str(config.cwd),
            "approvalPolicy": "never",
            "sandbox": "danger-full-access",
        }
        if self._approvals is not None:
            params |= THREAD
        if plan.model:
            params["model"] = plan.model
        if config.resume_session_id is None:
            self.rpc.request("thread/start", params, self._thread_begun, self._failed)
        else:
            params |= {"threadId": config.resume_session_id, "excludeTurns": True}
            method = "thread/fork" if config.forks else "thread/resume"
            self.rpc.request(method, params, self._thread_begun, self._failed)
        yield from ()

    def _thread_begun(self, native: Any) -> Iterator[ProviderEvent]:
        result, state = mapping(native), self._state
        thread = mapping(result.get("thread"))
        state.version = text(thread.get("cliVersion"))
        model = text(result.get("model")) or text(thread.get("model"))
        yield from state.begin_thread(text(thread.get("id")), model)
        if state.is_final:
            return
        if state.plan.changed_system_prompt:
            content = {"type": "input_text", "text": state.plan.changed_system_prompt}
            item = {"type": "message", "role": "developer", "content": [content]}
            self.rpc.request("thread/inject_items", {**self._thread(), "items": [item]})
        self._start_turn(state.config.prompt)

    def _start_turn(self, prompt: str, client_id: str | None = None) -> None:
        params = {**self._thread(), "input": [{"type": "text", "text": prompt}]}
        if client_id:
            params["clientUserMessageId"] = client_id
        self._state.turn = "running"
        self.rpc.request("turn/start", params, self._turn_begun, self._failed)

    def _turn_begun(self, result: Any) -> Iterator[ProviderEvent]:
        self._turn_id = text(mapping(mapping(result).get("turn")).get("id")) or None
        for request in self._steering.take("steer"):
            self.steer(request)
        yield from ()

    def _steer_turn(self, request: SteerRequest) -> None:
        client_id = self._sent(request)
        params = {
            **self._thread(),
            "expectedTurnId": self._turn_id,
            "clientUserMessageId": client_id,
            "input": [{"type": "text", "text": request.text}],
        }

        def accepted(_: Any) -> Iterator[ProviderEvent]:
            self._steering.accept(client_id)
            yield from ()

        def refused(error: RpcError) -> Iterator[ProviderEvent]:
            if not error.is_unanswered:  # if it is, another process may take the message
                self._steering.refuse(client_id, error.message)
            yield from ()

        self.rpc.request("turn/steer", params, accepted, refused)

    def _tell(self, thread_id: str, turn_id: str, said: str) -> None:
        """Send the agent of a thread a text beside its tools' results."""
        content = [{"type": "text", "text": said}]
        params = {"threadId": thread_id, "expectedTurnId": turn_id, "input": content}
        self.rpc.request("turn/steer", params)

    def _sent(self, request: SteerRequest) -> str:
        client_id = f"swarm-{next(self._client_ids)}"
        self._steering.sent(client_id, request)
        return client_id

    def _failed(self, error: RpcError) -> Iterator[ProviderEvent]:
        """End the session: it cannot continue without the result of this request."""
        if error.is_unanswered:
            self._state.unanswered = error.method
            return
        fatal = read_error(mapping(error.native))
        if error.method in ("thread/resume", "thread/fork"):
            fatal = Error(fatal.message, STALE_SESSION)
        self._state.end(fatal)
        yield fatal

    def _notified(self, method: str, native: Any) -> Iterator[ProviderEvent]:
        params, state = mapping(native), self._state
        if method != "error":
            state.clear_retry()
        thread_id = text(params.get("threadId"))
        is_ours = thread_id in ("", state.session_id)
        if method == "item/started" and is_ours:
            # A message that is an item of the thread is part of the next model request.
            self._steering.confirm(text(mapping(params.get("item")).get("clientId")))
        if method == "turn/completed" and is_ours:
            yield from self._turn_over(mapping(params.get("turn")))
            return
        events = translated(state, method, params, subagent=not is_ours)
        if self._approvals is not None:
            known = list(events)
            self._approvals.note(known)
            events = iter(known)
        yield from events

    def _turn_over(self, turn: dict[str, Any]) -> Iterator[ProviderEvent]:
        state, status = self._state, text(turn.get("status"))
        self._turn_id = None
        if state.is_final:  # ended by an error
            return
        if status == "completed":
            self._steering.confirm_sent(only_accepted=True)
        self._steering.refuse_sent(f"the turn was {status or 'over'} before it took the message")
        if status == "completed":
            for request in self._steering.take("queue", at_most=1):
                self._start_turn(request.text, self._sent(request))
                return
            state.turn, state.is_final = "completed", True
        elif status == "interrupted":
            state.turn, state.is_final = "interrupted", True
        else:
            state.end(read_error(mapping(turn.get("error"))))
        is_error = state.turn != "completed"
        category = state.fatal.category if state.fatal else None
        yield Result(state.cost(is_error=is_error), state.last_text or None, is_error, category)

    def _thread(self) -> dict[str, Any]:
        return {"threadId": self._state.session_id}


def translated(
    state: CodexState, method: str, params: dict[str, Any], *, subagent: bool
) -> Iterator[ProviderEvent]:
    """Translate one notification, of the thread or of a subagent's; skip an unknown one."""
    item = mapping(params.get("item"))
    match method:
        case "turn/started" if not subagent:
            state.turns += 1
        case "item/started":
            yield from turn_items.started(item, state.helper(text(params.get("threadId"))))
        case "item/completed":
            yield from turn_items.completed(state, item, state.helper(text(params.get("threadId"))))
        case "item/agentMessage/delta" if not subagent:
            data = {"itemId": text(params.get("itemId")), "text": text(params.get("delta"))}
            yield Custom("codex.message_delta", data)
        case "turn/plan/updated" if not subagent:
            yield turn_items.todo_plan(items(params.get("plan")))
        case "thread/tokenUsage/updated":
            yield from _usage(state, params, subagent=subagent)
        case "account/rateLimits/updated":
            take_limits(state.limits, mapping(params.get("rateLimits")))
        case "model/rerouted" if not subagent:
            state.model = text(params.get("toModel")) or state.model
        case "mcpServer/startupStatus/updated" if params.get("status") == "failed":
            name = text(params.get("name"))
            yield Error(f"MCP server {name} cannot be reached", "mcp_failed")
        case "error" if not subagent:
            error = read_error(mapping(params.get("error")))
            yield from state.take_error(error, is_retried=params.get("willRetry") is True)


def _usage(state: CodexState, params: dict[str, Any], *, subagent: bool) -> Iterator[ProviderEvent]:
    usage = mapping(params.get("tokenUsage"))
    thread_id = text(params.get("threadId"))
    grown = state.take_total(thread_id, read_tokens(usage.get("total")))
    if subagent:
        return
    state.window = count(usage.get("modelContextWindow")) or state.window
    if grown:  # a resumed thread begins with its last report
        yield state.take_context(read_tokens(usage.get("last")), "harness-reported")


def take_limits(limits: LimitWindows, snapshot: Mapping[str, Any]) -> None:
    """Record one snapshot of the windows of a subscription."""
    reached = text(snapshot.get("rateLimitReachedType"))
    for key in ("primary", "secondary"):
        window = mapping(snapshot.get(key))
        used_percent = number(window.get("usedPercent"))
        if used_percent is None:
            continue
        minutes = count(window.get("windowDurationMins"))
        name = _WINDOW_NAMES.get(minutes or 0) or (f"{minutes}_minutes" if minutes else key)
        is_full = used_percent >= 100 or (bool(reached) and key in reached.lower())
        limits.note(
            name,
            REJECTED if is_full else "allowed",
            utilization=used_percent / 100,
            resets_at_s=count(window.get("resetsAt")),
        )
    windows = limits.windows.values()
    limits.resets_at = None  # a snapshot has every window
    limits.note_end(window.resets_at_s for window in windows if window.status == REJECTED)
