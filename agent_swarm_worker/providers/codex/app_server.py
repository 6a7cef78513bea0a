"""Talking with ``codex app-server``: JSON lines both ways, one thread, its turns.

What the server notifies of is translated by `notifications`; here is who says what, and when.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker import __version__
from agent_swarm_worker.contract import Error, ProviderEvent, Result, SteerDelivery
from agent_swarm_worker.providers.codex import notifications, verdict
from agent_swarm_worker.providers.codex.errors import STALE_SESSION, read_error
from agent_swarm_worker.providers.kit.native import mapping, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent_swarm_worker.contract import ProviderResult
    from agent_swarm_worker.providers.codex.seen import Seen
    from agent_swarm_worker.providers.kit.conversation import SteerRequest
    from agent_swarm_worker.providers.kit.launch import Ending

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

_ANSWERS: dict[str, dict[str, Any]] = {
    "item/commandExecution/requestApproval": {"decision": "accept"},
    "item/fileChange/requestApproval": {"decision": "accept"},
    "applyPatchApproval": {"decision": "approved"},
    "execCommandApproval": {"decision": "approved"},
    "item/tool/requestUserInput": {"answers": {}},
    "mcpServer/elicitation/request": {"action": "decline"},
}
"""What is answered to the server's questions; it waits for ever for those without an answer."""


@dataclass(slots=True, eq=False)
class _Said:
    """A message on its way into the thread."""

    request: SteerRequest
    is_accepted: bool = False

    def is_in(self) -> None:
        self.request.delivery = SteerDelivery(True, mode=self.request.mode)

    def is_refused(self, why: str) -> None:
        self.request.delivery = SteerDelivery(False, reason=why)


class AppServer:
    """One thread of the app server, from the first word to the last."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._out = bytearray()
        self._ids = itertools.count(1)
        self._waiting: dict[int, Callable[[dict[str, Any]], Iterator[ProviderEvent]]] = {}
        self._turn_id: str | None = None
        self._queue: list[SteerRequest] = []
        """Messages for the time after the running turn."""
        self._early: list[SteerRequest] = []
        """Messages that came before there was a turn."""
        self._said: dict[str, _Said] = {}
        self._ask(
            "initialize",
            {
                "clientInfo": {"name": "swarm_worker", "title": None, "version": __version__},
                "capabilities": {"optOutNotificationMethods": list(_UNWANTED)},
            },
            self._initialized,
        )

    # -- what is heard -------------------------------------------------------------------------

    def feed(self, native: Any) -> Sequence[ProviderEvent]:
        """Take one line of the server: an answer, a question or a notification."""
        line = mapping(native)
        method, params = text(line.get("method")), mapping(line.get("params"))
        if not method:
            return list(self._answered(line))
        if "id" in line:
            self._answer(line["id"], method)
            return ()
        return list(self._notified(method, params))

    def feed_text(self, line: str) -> Sequence[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip a line that is not JSON: the server prints none."""
        return ()

    def feed_stderr(self, line: str) -> Sequence[ProviderEvent]:  # noqa: ARG002 - the protocol's
        """Skip standard error: its end is read if the session fails."""
        return ()

    @property
    def is_final(self) -> bool:
        """True when the last turn is over and no message waits for another."""
        return self._seen.is_final

    def conclude(self, ending: Ending) -> ProviderResult:
        """Say how the session went."""
        return verdict.conclude(self._seen, ending)

    # -- what is said --------------------------------------------------------------------------

    def outgoing(self) -> bytes:
        """Return what is to be written now, and forget it."""
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def is_input_over(self) -> bool:
        """The server leaves when its standard input is closed."""
        return self._seen.is_final

    def steer(self, request: SteerRequest) -> None:
        """Take a message: into the running turn, or as a turn of its own after it."""
        if self._seen.is_final:
            request.delivery = SteerDelivery(False, reason="the session is over")
        elif request.mode == "queue":
            self._queue.append(request)
        elif self._turn_id is None:
            self._early.append(request)
        else:
            self._steer_turn(request)

    def interrupt(self) -> bool:
        """Ask for an end of the running turn."""
        if self._turn_id is None or self._seen.is_final:
            return False
        self._ask("turn/interrupt", {"turnId": self._turn_id} | self._thread(), _nothing)
        return True

    def _initialized(self, _: dict[str, Any]) -> Iterator[ProviderEvent]:
        self._write({"method": "initialized"})
        plan, config = self._seen.plan, self._seen.config
        params: dict[str, Any] = {
            "cwd": str(config.cwd),
            "approvalPolicy": "never",
            "sandbox": "danger-full-access",
        }
        if plan.model:
            params["model"] = plan.model
        if config.resume_session_id is None:
            self._ask("thread/start", params, self._thread_begun)
        else:
            params |= {"threadId": config.resume_session_id, "excludeTurns": True}
            self._ask("thread/resume", params, self._thread_begun)
        yield from ()

    def _thread_begun(self, result: dict[str, Any]) -> Iterator[ProviderEvent]:
        thread, seen = mapping(result.get("thread")), self._seen
        seen.version = text(thread.get("cliVersion"))
        model = text(result.get("model")) or text(thread.get("model"))
        yield from seen.begin_thread(text(thread.get("id")), model)
        if seen.is_final:
            return
        if seen.plan.changed_system_prompt:
            said = {"type": "input_text", "text": seen.plan.changed_system_prompt}
            news = {"type": "message", "role": "developer", "content": [said]}
            self._ask("thread/inject_items", {**self._thread(), "items": [news]}, _nothing)
        self._start_turn(seen.config.prompt)

    def _start_turn(self, prompt: str, client_id: str | None = None) -> None:
        params = {**self._thread(), "input": [{"type": "text", "text": prompt}]}
        if client_id:
            params["clientUserMessageId"] = client_id
        self._seen.turn = "running"
        self._ask("turn/start", params, self._turn_begun)

    def _turn_begun(self, result: dict[str, Any]) -> Iterator[ProviderEvent]:
        self._turn_id = text(mapping(result.get("turn")).get("id")) or None
        early, self._early = self._early, []
        for request in early:
            self.steer(request)
        yield from ()

    def _steer_turn(self, request: SteerRequest) -> None:
        client_id, said = self._register(request)
        params = {
            **self._thread(),
            "expectedTurnId": self._turn_id,
            "clientUserMessageId": client_id,
            "input": [{"type": "text", "text": request.text}],
        }

        def accepted(result: dict[str, Any]) -> Iterator[ProviderEvent]:
            if "error" in result:
                self._said.pop(client_id, None)
                said.is_refused(text(mapping(result["error"]).get("message")) or "refused")
            said.is_accepted = True
            yield from ()

        self._ask("turn/steer", params, accepted)

    def _register(self, request: SteerRequest) -> tuple[str, _Said]:
        client_id, said = f"swarm-{next(self._ids)}", _Said(request)
        self._said[client_id] = said
        return client_id, said

    # -- answers and notifications ---------------------------------------------------------------

    def _answered(self, line: dict[str, Any]) -> Iterator[ProviderEvent]:
        number = line.get("id")
        then = self._waiting.pop(number, None) if isinstance(number, int) else None
        if then is None:
            return
        if "error" not in line:
            yield from then(mapping(line.get("result")))
        elif then in (self._initialized, self._thread_begun, self._turn_begun):
            error = read_error(mapping(line["error"]))
            if then == self._thread_begun and self._seen.config.resume_session_id:
                error = Error(error.message, STALE_SESSION)
            self._seen.end(error)
            yield error
        else:
            yield from then(line)

    def _notified(self, method: str, params: dict[str, Any]) -> Iterator[ProviderEvent]:
        seen = self._seen
        if method != "error":
            seen.got_on()
        thread_id = text(params.get("threadId"))
        is_ours = thread_id in ("", seen.thread_id)
        if method == "item/started" and is_ours:
            self._taken_in(mapping(params.get("item")))
        if method == "turn/completed" and is_ours:
            yield from self._turn_over(mapping(params.get("turn")))
            return
        yield from notifications.translated(seen, method, params, subagent=not is_ours)

    def _taken_in(self, item: dict[str, Any]) -> None:
        """The thread shows a message: it is in, and the next model request will have it."""
        said = self._said.pop(text(item.get("clientId")), None)
        if said is not None:
            said.is_in()

    def _turn_over(self, turn: dict[str, Any]) -> Iterator[ProviderEvent]:
        seen, status = self._seen, text(turn.get("status"))
        self._turn_id = None
        if seen.is_final:  # given up before
            return
        for said in self._said.values():
            if said.is_accepted and status == "completed":
                said.is_in()
            else:
                said.is_refused(f"the turn was {status or 'over'} before it took the message")
        self._said.clear()
        if status == "completed" and self._queue:
            request = self._queue.pop(0)
            self._start_turn(request.text, self._register(request)[0])
            return
        if status == "completed":
            seen.turn, seen.is_final = "completed", True
        elif status == "interrupted":
            seen.turn, seen.is_final = "interrupted", True
        else:
            seen.end(read_error(mapping(turn.get("error"))))
        is_error = seen.turn != "completed"
        category = seen.fatal.category if seen.fatal else None
        yield Result(seen.cost(is_error=is_error), seen.last_text or None, is_error, category)

    def _answer(self, number: Any, method: str) -> None:
        result = _ANSWERS.get(method)
        if result is None:
            refusal = {"code": -32601, "message": "this client cannot do that"}
            self._write({"id": number, "error": refusal})
        else:
            self._write({"id": number, "result": result})

    def _ask(
        self,
        method: str,
        params: dict[str, Any],
        then: Callable[[dict[str, Any]], Iterator[ProviderEvent]],
    ) -> None:
        number = next(self._ids)
        self._waiting[number] = then
        self._write({"id": number, "method": method, "params": params})

    def _write(self, message: dict[str, Any]) -> None:
        self._out += _json(message) + b"\n"

    def _thread(self) -> dict[str, Any]:
        return {"threadId": self._seen.thread_id}


def _nothing(_: dict[str, Any]) -> Iterator[ProviderEvent]:
    yield from ()


def _json(message: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(message)
    except TypeError:  # half a surrogate pair, which JSON may carry and UTF-8 may not
        import json  # noqa: PLC0415

        return json.dumps(message).encode()
