"""Talking with ``codex app-server``: JSON lines both ways, one thread, its turns.

What the server notifies of is translated by `notifications`; here is who says what, and when.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from agent_swarm_worker import __version__
from agent_swarm_worker.contract import Error, ProviderEvent, Result
from agent_swarm_worker.providers.codex import notifications, outcome
from agent_swarm_worker.providers.codex.errors import STALE_SESSION, read_error
from agent_swarm_worker.providers.kit.jsonrpc import Answerer, JsonRpcConversation, JsonRpcPeer
from agent_swarm_worker.providers.kit.native import mapping, text
from agent_swarm_worker.providers.kit.outcome import how_it_ended
from agent_swarm_worker.providers.kit.steering import SESSION_OVER, SteeringQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.contract import ProviderResult
    from agent_swarm_worker.providers.codex.state import TranslationState
    from agent_swarm_worker.providers.kit.jsonrpc import RpcError
    from agent_swarm_worker.providers.kit.launch import Ending
    from agent_swarm_worker.providers.kit.steering import SteerRequest

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
"""Notifications that tell nothing new: each would be a line in the journal."""

_ANSWERS: dict[str, Answerer] = {
    "item/commandExecution/requestApproval": lambda _: {"decision": "accept"},
    "item/fileChange/requestApproval": lambda _: {"decision": "accept"},
    "applyPatchApproval": lambda _: {"decision": "approved"},
    "execCommandApproval": lambda _: {"decision": "approved"},
    "item/tool/requestUserInput": lambda _: {"answers": {}},
    "mcpServer/elicitation/request": lambda _: {"action": "decline"},
}
"""What is answered to the server's questions; it waits for ever for those without an answer."""


class AppServer(JsonRpcConversation):
    """One thread of the app server, from the first word to the last."""

    def __init__(self, state: TranslationState) -> None:
        self._state = state
        self._client_ids = itertools.count(1)
        self._turn_id: str | None = None
        self._steering = SteeringQueue()
        """Waiting are messages for the time after the running turn, and those that came before
        there was a turn. Sent ones are known by their client id."""
        self.rpc = JsonRpcPeer(self._notified, answers=_ANSWERS, head={})
        self.rpc.request(
            "initialize",
            {
                "clientInfo": {"name": "swarm_worker", "title": None, "version": __version__},
                "capabilities": {"optOutNotificationMethods": list(_UNWANTED)},
            },
            self._initialized,
            self._failed,
        )

    # -- what is heard -------------------------------------------------------------------------

    @property
    def is_final(self) -> bool:
        """True when the last turn is over and no message waits for another."""
        return self._state.is_final

    def conclude(self, ending: Ending) -> ProviderResult:
        """Say how the session went."""
        self.rpc.end(f"codex {how_it_ended(ending.exit_code)}")
        return outcome.conclude(self._state, ending)

    # -- what is said --------------------------------------------------------------------------

    @property
    def is_input_over(self) -> bool:
        """The server leaves when its standard input is closed."""
        return self._state.is_final

    def steer(self, request: SteerRequest) -> None:
        """Take a message: into the running turn, or as a turn of its own after it."""
        if self._state.is_final:
            request.refuse(SESSION_OVER)
        elif request.mode == "queue" or self._turn_id is None:
            self._steering.add(request)
        else:
            self._steer_turn(request)

    def interrupt(self) -> bool:
        """Ask for an end of the running turn."""
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
        if plan.model:
            params["model"] = plan.model
        if config.resume_session_id is None:
            self.rpc.request("thread/start", params, self._thread_begun, self._failed)
        else:
            params |= {"threadId": config.resume_session_id, "excludeTurns": True}
            self.rpc.request("thread/resume", params, self._thread_begun, self._failed)
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
            said = {"type": "input_text", "text": state.plan.changed_system_prompt}
            news = {"type": "message", "role": "developer", "content": [said]}
            self.rpc.request("thread/inject_items", {**self._thread(), "items": [news]})
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
            if not error.is_unanswered:  # else another process may take it
                self._steering.refuse(client_id, error.message)
            yield from ()

        self.rpc.request("turn/steer", params, accepted, refused)

    def _sent(self, request: SteerRequest) -> str:
        client_id = f"swarm-{next(self._client_ids)}"
        self._steering.sent(client_id, request)
        return client_id

    # -- errors and notifications ------------------------------------------------------------------

    def _failed(self, error: RpcError) -> Iterator[ProviderEvent]:
        """The session cannot go on without what was asked for."""
        if error.is_unanswered:
            self._state.unanswered = error.method
            return
        why = read_error(mapping(error.native))
        if error.method == "thread/resume":
            why = Error(why.message, STALE_SESSION)
        self._state.end(why)
        yield why

    def _notified(self, method: str, native: Any) -> Iterator[ProviderEvent]:
        params, state = mapping(native), self._state
        if method != "error":
            state.got_on()
        thread_id = text(params.get("threadId"))
        is_ours = thread_id in ("", state.thread_id)
        if method == "item/started" and is_ours:
            # The thread shows a message: it is in, and the next model request will have it.
            self._steering.confirm(text(mapping(params.get("item")).get("clientId")))
        if method == "turn/completed" and is_ours:
            yield from self._turn_over(mapping(params.get("turn")))
            return
        yield from notifications.translated(state, method, params, subagent=not is_ours)

    def _turn_over(self, turn: dict[str, Any]) -> Iterator[ProviderEvent]:
        state, status = self._state, text(turn.get("status"))
        self._turn_id = None
        if state.is_final:  # given up before
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
        return {"threadId": self._state.thread_id}
