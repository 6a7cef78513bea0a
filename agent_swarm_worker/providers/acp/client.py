"""Talk to an agent over ACP: open a session, set it up, prompt it, take what it tells.

The course of a session: ``initialize``, then ``session/new`` (or ``resume``, or ``load``), then
the permission mode, the options and the model, one request after the other, then
``session/prompt``, once more for each message that waits at the end of a turn.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agent_swarm_worker import __version__
from agent_swarm_worker.contract import Error, Progress, ProviderEvent, Result, SessionInit
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.providers.acp.outcome import (
    AUTH_REQUIRED,
    FAILED,
    STALE_SESSION,
    Turn,
    conclude,
)
from agent_swarm_worker.providers.acp.permissions import ASKED, CANCELLED, Permissions
from agent_swarm_worker.providers.acp.session_setup import SessionSetup
from agent_swarm_worker.providers.acp.updates import Updates
from agent_swarm_worker.providers.kit.conversation import SESSION_OVER, SteeringQueue
from agent_swarm_worker.providers.kit.jsonrpc import (
    Answerer,
    Handler,
    JsonRpcConversation,
    JsonRpcPeer,
    RequestRefused,
)
from agent_swarm_worker.providers.kit.native import items, mapping, text
from agent_swarm_worker.providers.kit.outcome import exit_text
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent_swarm_worker.contract import Ending, ProviderResult
    from agent_swarm_worker.providers.acp.launch import Plan
    from agent_swarm_worker.providers.acp.outcome import AcpState
    from agent_swarm_worker.providers.kit.conversation import SteerRequest
    from agent_swarm_worker.providers.kit.jsonrpc import RpcError

PROTOCOL_VERSION = 1
CANCEL_GRACE_S = 1.0
"""How long a turn may take to end after ``session/cancel``; then it counts as ended."""
READY_WAIT_S = 10.0
"""How long the first prompt waits for an agent that says when its tool servers are connected."""
LATE_USAGE_S = 0.3
"""How long standard input stays open for the usage that follows the last answer."""
PROMPT_KEY = "next prompt"
_ALLOWING = ("allow_once", "allow_always")
_REFUSING = "reject_once"
_NAMES_ALLOWING = re.compile(r"\b(?:allow|approve|accept|proceed|yes)", re.IGNORECASE)
_NAMES_REFUSING = re.compile(r"\b(?:reject|deny|cancel|decline|no|don't)\b", re.IGNORECASE)
_QUEUE_METHODS = ("craft/drainMidTurnQueue", "_craft/drainMidTurnQueue")
_CHANGES = frozenset({"fs/write_text_file", "terminal/create"})


class AcpClient(JsonRpcConversation):
    """One session of an agent, from its start to its result."""

    def __init__(
        self, state: AcpState, plan: Plan, handlers: Mapping[str, Handler] | None = None
    ) -> None:
        self._state = state
        self._plan = plan
        self._updates = Updates(state)
        self._setup = SessionSetup(state, plan)
        self._steering = SteeringQueue()
        """A message waits for the end of the turn; its key is `PROMPT_KEY` or its own."""
        self._events: list[ProviderEvent] = []
        """Of requests of the agent; the next `feed` returns them."""
        self._began_at_s = self._heard_at_s = self._turn_at_s = state.clock.monotonic()
        self._over_at_s = 0.0
        self._cancelled_at_s: float | None = None
        self._is_replaying = False
        """The agent repeats the earlier turns of the session that it loads."""
        self._has_steering_method = False
        self._auth_methods: list[Any] = []
        self._is_opened = False
        self._is_ready = not state.target.ready_notification or not plan.mcp_servers
        self._waits_since_s: float | None = None
        """When everything was set up but the agent was not ready for the first prompt."""
        self._open_prompts = 0
        """Prompts without an answer; messages for the running turn may be some."""
        self._answer: dict[str, Any] = {}
        """The best answer to a prompt of the turn."""
        answers: dict[str, Answerer] = {ASKED: self._permitted}
        known = {name: self._until_cancelled(name, it) for name, it in (handlers or {}).items()}
        self._is_guarded = state.config.permissions is not None
        if state.config.permissions is not None:
            permissions = Permissions(
                state.config.permissions,
                self._updates,
                self._is_cancelled,
                self._steering.add,
                cwd=str(state.config.cwd),
                tools=state.spec.tools,
            )
            known = {name: permissions.guarded(name, it) for name, it in known.items()}
            answers, known = {}, {**known, ASKED: permissions.asked}
        answers |= dict.fromkeys(_QUEUE_METHODS, self._drained)
        self.rpc = JsonRpcPeer(self._notified, answers=answers, handlers=known)
        self.rpc.request("initialize", self._introduction(), self._initialized, self._failed)

    def _until_cancelled(self, method: str, handler: Handler) -> Handler:
        """Return the handler of a request; what changes anything is refused after an abort."""
        if method not in _CHANGES:
            return handler

        async def answer(native: Any) -> Any:
            if self._is_cancelled():
                raise RequestRefused("the session was cancelled")
            return await handler(native)

        return answer

    def _is_cancelled(self) -> bool:
        return self._cancelled_at_s is not None or self._state.is_final

    # --- the translator
    def feed(self, native: Any) -> list[ProviderEvent]:
        """Take one line."""
        self._heard_at_s = self._state.clock.monotonic()
        if self._is_guarded and mapping(native).get("method") == ASKED:
            self._events += self._updates.asked_about(
                mapping(native.get("params")), keeps_arguments=True
            )
        events = super().feed(native)
        return [*self._taken_events(), *events]

    def feed_text(self, line: str) -> list[ProviderEvent]:
        """Take a line that is no message."""
        return [*super().feed_text(line), *self._taken_events()]

    def _taken_events(self) -> list[ProviderEvent]:
        events, self._events = self._events, []
        return events

    @property
    def is_final(self) -> bool:
        """True when the last turn is over and no message waits for another."""
        return self._state.is_final

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result of the session."""
        self.rpc.end(f"{self._state.target.name} {exit_text(ending)}")
        self._steering.close()
        return conclude(self._state, ending)

    # --- the conversation
    def outgoing(self) -> bytes:
        """Return and clear the bytes to be written; called at least once a second."""
        self._check_limits()
        return super().outgoing()

    @property
    def is_input_over(self) -> bool:
        """True at the end: an agent ends, with its tools, when its standard input is closed."""
        if not self._state.is_final:
            return False
        waited_s = self._state.clock.monotonic() - self._over_at_s
        return not self._state.target.has_late_usage or waited_s >= LATE_USAGE_S

    def steer(self, request: SteerRequest) -> None:
        """Take a message into the running turn if the agent can, else as the next prompt."""
        if self._state.is_final:
            request.refuse(SESSION_OVER)
        elif request.mode == "queue" or self._state.phase != "prompt":
            self._steering.add(request)
        elif self._has_steering_method:
            self._steer_turn(request, "_session/steering")
        elif self._state.target.steering == "prompt":
            self._steer_turn(request, "session/prompt")
        else:
            self._steering.add(request)

    def interrupt(self) -> bool:
        """Cancel the running turn."""
        if self._state.phase != "prompt":
            return False
        self._cancel()
        return True

    def _cancel(self) -> None:
        if self._cancelled_at_s is None:
            self._cancelled_at_s = self._state.clock.monotonic()
            self.rpc.notify("session/cancel", {"sessionId": self._state.session_id})
            self.rpc.settle(ASKED, CANCELLED)

    def _check_limits(self) -> None:
        """End a session that takes too long, and a turn whose cancellation is not answered."""
        state, limits = self._state, self._plan.limits
        now_s = state.clock.monotonic()
        if self._plan.is_replay or state.is_final:
            return
        if self._cancelled_at_s is not None:
            if now_s - self._cancelled_at_s >= CANCEL_GRACE_S:
                state.outcome = "failed" if state.fatal else "cancelled"
                self._finish()
            return
        self._prompt_if_ready()
        network = ErrorClass.NETWORK.value
        if state.phase == "start":
            if 0 < limits.start_timeout_s <= now_s - self._began_at_s:
                waiting = self.rpc.oldest_request or "its start"
                what = f"no answer to {waiting} within {limits.start_timeout_s:g} s"
                self._give_up(Error(what, "start_timeout"))
            return
        if 0 < limits.turn_timeout_s <= now_s - self._turn_at_s:
            self._give_up(Error(f"the turn took {limits.turn_timeout_s:g} s", "turn_timeout"))
        elif 0 < limits.silence_timeout_s <= now_s - self._heard_at_s and not self._is_busy:
            what = f"the agent has said nothing for {limits.silence_timeout_s:g} s"
            if said := state.turn.last_notice:
                what = f"{what}; before that: {said}"
            category = state.error(said).category if said else network
            self._give_up(Error(what, category))

    @property
    def _is_busy(self) -> bool:
        """True while a tool runs, or a request of the agent is worked on."""
        return self._updates.has_open_call or self.rpc.has_open_calls

    def _give_up(self, error: Error) -> None:
        """End the session with this error; a turn is cancelled first."""
        self._events += [error]
        if self._state.phase == "prompt":
            self._state.fatal = self._state.fatal or error
            self._cancel()
        else:
            self._state.end(error)
            self._finish()

    def _finish(self) -> None:
        self._state.phase = "over"
        self._over_at_s = self._state.clock.monotonic()
        self._steering.close(SESSION_OVER)

    # --- the start of a session
    def _introduction(self) -> dict[str, Any]:
        has_tools = self._plan.has_client_tools
        return {
            "protocolVersion": PROTOCOL_VERSION,
            "clientInfo": {"name": "swarm-worker", "title": "swarm-worker", "version": __version__},
            "clientCapabilities": {
                "fs": {"readTextFile": has_tools, "writeTextFile": has_tools},
                "terminal": has_tools,
                "session": {"configOptions": {"boolean": {}}},
            },
        }

    def _initialized(self, native: Any) -> Iterator[ProviderEvent]:
        result, state = mapping(native), self._state
        version = result.get("protocolVersion", PROTOCOL_VERSION)
        if version not in (PROTOCOL_VERSION, str(PROTOCOL_VERSION)):
            shown = one_line(str(version), 50)
            what = f"{state.target.name} speaks version {shown} of ACP, this worker speaks 1"
            yield from self._end_with(Error(what, "protocol_error"))
            return
        info = mapping(result.get("agentInfo"))
        state.version = text(info.get("version"))
        self._has_steering_method = (
            mapping(mapping(result.get("_meta")).get("steering")).get("supported") is True
        )
        self._auth_methods = items(result.get("authMethods"))
        offered = mapping(result.get("agentCapabilities"))
        sessions = mapping(offered.get("sessionCapabilities"))
        params = self._setup.opening(sessions)
        resumed = state.config.resume_session_id
        if resumed is None:
            self.rpc.request("session/new", params, self._opened, self._failed)
        elif state.config.forks and "fork" in sessions:
            self._reopen("session/fork", params, resumed)
        elif "resume" in sessions:
            if state.config.forks:
                yield Progress("The agent cannot copy a session: it continues the earlier one")
            self._reopen("session/resume", params, resumed)
        elif offered.get("loadSession") is True and state.target.can_load:
            self._reopen("session/load", params, resumed)
        else:
            error = Error(f"{state.target.name} cannot continue a session", STALE_SESSION)
            yield from self._end_with(error)

    def _reopen(self, method: str, params: dict[str, Any], session_id: str) -> None:
        self._is_replaying = True
        self._state.session_id = session_id
        self.rpc.request(method, {**params, "sessionId": session_id}, self._opened, self._failed)

    def _opened(self, native: Any) -> Iterator[ProviderEvent]:
        result, state = mapping(native), self._state
        if self._is_replaying:
            self._is_replaying = False
            self._updates.drop()
            state.turn = Turn()
        given = text(result.get("sessionId"))  # by a new session, and by a fork
        session_id = given or state.config.resume_session_id
        if not session_id:
            what = "the agent opened a session without an id"
            if (native_id := result.get("sessionId")) not in (None, ""):
                shown = one_line(str(native_id), 50)
                what = f"the agent opened a session whose id is no text: {shown}"
            yield from self._end_with(Error(what, "protocol_error"))
            return
        state.session_id, self._is_opened = session_id, True
        self._setup.offered(result)
        yield SessionInit(
            session_id,
            provider=state.spec.name,
            provider_meta={"agent": state.target.name},
            harness_variant="acp",
            harness_variant_meta={"version": state.version} if state.version else {},
            model=state.model or None,
        )
        yield from self._send_setup()

    def _send_setup(self) -> Iterator[ProviderEvent]:
        """Send the next setting; with none left, the prompt."""
        step = self._setup.next_step()
        yield from self._setup.taken_events()
        if (fatal := self._setup.unguarded) is not None:
            yield from self._end_with(fatal)
            return
        if step is None:
            self._waits_since_s = self._state.clock.monotonic()
            self._prompt_if_ready()
            return
        method, params = step

        def done(result: Any) -> Iterator[ProviderEvent]:
            yield from self._setup.accepted(result)
            if (fatal := self._setup.unguarded) is not None:
                yield from self._end_with(fatal)
                return
            yield from self._send_setup()

        def refused(error: RpcError) -> Iterator[ProviderEvent]:
            if error.is_unanswered:
                self._state.unanswered = method
                return
            fatal = self._setup.refused(self._state.rpc_error(error))
            if fatal is not None:
                yield from self._end_with(fatal)
            else:
                yield from self._send_setup()

        self.rpc.request(method, {"sessionId": self._state.session_id, **params}, done, refused)

    def _prompt_if_ready(self) -> None:
        """Send the first prompt once everything is set up and the tool servers are connected."""
        if self._waits_since_s is None or self._state.phase != "start":
            return
        waited_s = self._state.clock.monotonic() - self._waits_since_s
        if self._is_ready or self._plan.is_replay or waited_s >= READY_WAIT_S:
            self._events += self._updates.greeting()
            self._prompt(self._setup.first_prompt())

    # --- turns
    def _prompt(self, prompt: str) -> None:
        state = self._state
        state.phase, state.turn = "prompt", Turn()
        state.turns += 1
        self._turn_at_s = self._heard_at_s = state.clock.monotonic()
        self._open_prompts, self._answer = 1, {}

        def ended(result: Any) -> Iterator[ProviderEvent]:
            yield from self._answered(mapping(result))

        self.rpc.request("session/prompt", self._prompt_param(prompt), ended, self._failed)

    def _prompt_param(self, prompt: str) -> dict[str, Any]:
        content = {"type": "text", "text": prompt}
        return {"sessionId": self._state.session_id, "prompt": [content]}

    def _answered(self, result: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Take the answer to a prompt; the turn is over with the last one."""
        self._open_prompts -= 1
        if not self._answer or result.get("usage"):
            self._answer = result
        if self._open_prompts <= 0:
            yield from self._turn_over(self._answer)

    def _turn_over(self, result: dict[str, Any]) -> Iterator[ProviderEvent]:
        state = self._state
        yield from self._updates.close_turn()
        if state.is_final:  # a limit has ended it
            return
        tokens = state.close_usage(result)
        if self._cancelled_at_s is not None:
            state.outcome = "failed" if state.fatal else "cancelled"
            error = state.fatal
        else:
            error = state.failure_of_turn(result, tokens)
            self._steering.confirm_sent()
            if self._is_guarded and result.get("stopReason") == "cancelled":
                # Some agents end the turn at a denial; the reason for it waits as the next prompt.
                error = error if self._steering.is_empty else None
            if error is None and (waiting := self._steering.take(at_most=1)):
                self._steering.sent(PROMPT_KEY, waiting[0])
                self._prompt(waiting[0].text)
                return
            if error is not None:
                yield error
                state.end(error)
            else:
                state.outcome = "completed"
        self._finish()
        is_error = state.outcome != "completed"
        yield Result(
            state.cost(is_error=is_error),
            state.last_text or None,
            is_error,
            error.category if error else None,
        )

    def _steer_turn(self, request: SteerRequest, method: str) -> None:
        is_prompt = method == "session/prompt"
        self._open_prompts += is_prompt

        def accepted(result: Any) -> Iterator[ProviderEvent]:
            outcome = "" if is_prompt else text(mapping(result).get("outcome"))
            if outcome in ("", "injected", "startedNewTurn"):
                request.confirm("steer")
            else:
                request.refuse(f"the agent answered {outcome!r}")
            if is_prompt:
                yield from self._answered(mapping(result))

        def refused(error: RpcError) -> Iterator[ProviderEvent]:
            if not error.is_unanswered:
                self._steering.add(request)  # as the next prompt
                if is_prompt:
                    yield from self._answered({})

        self.rpc.request(method, self._prompt_param(request.text), accepted, refused)

    # --- what the agent sends
    def _notified(self, method: str, native: Any) -> Iterator[ProviderEvent]:
        params = mapping(native)
        if method == self._state.target.ready_notification:
            self._is_ready = True
            self._prompt_if_ready()
        if method != "session/update":
            return
        update = mapping(params.get("update"))
        if update.get("sessionUpdate") in ("config_option_update", "current_model_update"):
            self._setup.offered(update)
        if self._is_replaying:
            return
        if not self._is_opened:
            if update.get("sessionUpdate") == "usage_update":
                self._state.take_context(update)
            return  # nothing is said before the session is known
        if self._state.phase == "prompt" and text(params.get("sessionId")) in (
            "",
            self._state.session_id,
        ):
            # The agent works on the prompt, so it has taken the message in.
            self._steering.confirm(PROMPT_KEY, "queue")
        yield from self._updates.take(params)

    def _permitted(self, native: Any) -> dict[str, Any]:
        """Answer a request for permission: yes, unless the turn is cancelled."""
        params = mapping(native)
        self._events += self._updates.asked_about(params)
        if self._is_cancelled():
            return CANCELLED
        options = items(params.get("options"))
        option = _refusing(options) if self._state.target.refuses_requests else _allowing(options)
        if option is None:
            return CANCELLED
        return {"outcome": {"outcome": "selected", "optionId": option}}

    def _drained(self, _: Any) -> dict[str, Any]:
        """Give the agent, which asks for them, the messages for the running turn."""
        requests = self._steering.take("steer") if self._state.target.steering == "queue" else []
        for request in requests:
            request.confirm("steer")
        return {"messages": [request.text for request in requests]}

    # --- failures
    def _failed(self, error: RpcError) -> Iterator[ProviderEvent]:
        """End the session: it cannot continue without the result of this request."""
        state = self._state
        if error.is_unanswered:
            state.unanswered = error.method
            return
        yield from self._updates.close_turn()
        if state.is_final:
            return
        fatal = state.rpc_error(error)
        if self._cancelled_at_s is not None:
            state.outcome = "failed" if state.fatal else "cancelled"
            self._finish()
            return
        if error.code == AUTH_REQUIRED and state.phase == "start":
            fatal = Error(self._auth_text(fatal.message, error), fatal.category)
        elif error.method == "initialize":
            what = f"{state.target.name} refuses the connection: {fatal.message}"
            fatal = Error(what, "protocol_error" if fatal.category == FAILED else fatal.category)
        elif error.method in ("session/fork", "session/resume", "session/load"):
            fatal = Error(fatal.message, STALE_SESSION)
        yield from self._end_with(fatal)

    def _auth_text(self, message: str, error: RpcError) -> str:
        offered = items(mapping(error.data).get("authMethods")) or self._auth_methods
        names = [text(mapping(one).get("name")) or text(mapping(one).get("id")) for one in offered]
        shown = ", ".join(filter(None, names))
        return f"{message} (it offers: {shown})" if shown else message

    def _end_with(self, error: Error) -> Iterator[ProviderEvent]:
        yield error
        self._state.end(error)
        self._finish()
        if self._is_opened:
            yield Result(
                self._state.cost(is_error=True), self._state.last_text or None, True, error.category
            )


def _refusing(options: list[Any]) -> str | None:
    """Return the id of the option that refuses the call once."""
    ids = (
        text(one.get("optionId")) for one in map(mapping, options) if one.get("kind") == _REFUSING
    )
    return next(filter(None, ids), None)


def _allowing(options: list[Any]) -> str | None:
    """Return the id of the option that permits the call, by its kind; by its name without one."""
    known = [mapping(one) for one in options if text(mapping(one).get("optionId"))]
    for kind in _ALLOWING:
        for one in known:
            if one.get("kind") == kind:
                return text(one["optionId"])
    for one in known:
        shown = f"{text(one.get('name'))} {text(one['optionId'])}".replace("_", " ")
        is_allowing = _NAMES_ALLOWING.search(shown) and not _NAMES_REFUSING.search(shown)
        if is_allowing and not text(one.get("kind")):
            return text(one["optionId"])
    return None
