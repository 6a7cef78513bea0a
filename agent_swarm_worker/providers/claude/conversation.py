"""Talking with Claude Code while it works: the prompt, then messages, as lines of JSON.

The CLI queues a message that comes during a turn. In a tool call it reaches the model with the
next request, otherwise it begins a turn of its own; ``command_lifecycle`` events say when. So one
counts as delivered at ``started``, not when it was written (measured with 2.1.329, whose
``queued_turn_count`` is 0 in a result that two messages wait behind).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit.conversation import SteeringQueue
from agent_swarm_worker.providers.kit.native import items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import ProviderEvent, ProviderSessionConfig
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.providers.kit.conversation import SteerRequest

_REPORTS = "msg_lifecycle_v1"
"""The capability to say what became of a line that has an id."""
BACKGROUND_WAIT_S = 600.0
"""How long a session may wait for what it left running in the background. The CLI itself waits as
long when it reads a plain prompt, and for ever when it reads streaming input."""
_AT_ITS_END = "the session is at its end"
_SILENT = "this Claude Code does not say which messages it takes in"


class ClaudeConversation(ClaudeTranslator):
    """A translator that also hands over the prompt and messages.

    Args:
        config: the session it belongs to.
        clock: tells the time by which reset times are judged.
        ids: makes the ids under which the CLI reports what became of a line.
    """

    def __init__(
        self,
        config: ProviderSessionConfig,
        *,
        clock: Clock | None = None,
        ids: IdSource = random_ids,
    ) -> None:
        super().__init__(config, clock=clock)
        self._ids = ids
        self._lines = [_user_line(config.prompt)]
        self._steering = SteeringQueue()
        """Waiting are messages that came before it was clear that the CLI reports on them; sent
        ones are known by the id of their line, and accepted once the CLI has read them."""
        self._reports: bool | None = None
        self._turn_over_at_s = 0.0
        self._is_input_over = False

    def feed(self, native: Any) -> Sequence[ProviderEvent]:
        """Take one native event."""
        event = mapping(native)
        events = super().feed(event)
        match event.get("type"):
            case "system" if event.get("subtype") == "init":
                self._learn(reports=_REPORTS in items(event.get("capabilities")))
            case "result":
                self._turn_over_at_s = self._state.clock.monotonic()
                self._learn(reports=False)
            case "command_lifecycle":
                self._follow(text(event.get("command_uuid")), text(event.get("state")))
        # A message that is in the pipe now is still read, and runs: the end of input is no end.
        if self._state.result is not None and not self._is_input_over:
            self._is_input_over = self.is_final and not self._lines
        return events

    @property
    def is_final(self) -> bool:
        """True when the last turn is over and no message that the CLI has read would start one."""
        if self._steering.has_accepted:
            return False
        waited_s = self._state.clock.monotonic() - self._turn_over_at_s
        is_left_waiting = self._state.waits_for_background and waited_s >= BACKGROUND_WAIT_S
        return super().is_final or is_left_waiting

    def outgoing(self) -> bytes:
        """Return the lines to be written now."""
        data = b"".join(self._lines)
        self._lines.clear()
        return data

    @property
    def is_input_over(self) -> bool:
        """True from the last result on."""
        return self._is_input_over

    def steer(self, request: SteerRequest) -> None:
        """Take a message; whatever was asked for, the CLI queues it."""
        if self._is_input_over:
            request.refuse(_AT_ITS_END)
        elif self._reports is None:
            self._steering.add(request)
        elif self._reports:
            self._send(request)
        else:
            request.refuse(_SILENT)

    def interrupt(self) -> bool:
        """There is no better way than SIGINT.

        It makes the CLI print its result and cost just as a request to interrupt does, but it then
        leaves, instead of turning to the next message.
        """
        return False

    def _learn(self, *, reports: bool) -> None:
        if self._reports is None:
            self._reports = reports
            for request in self._steering.take():
                self.steer(request)

    def _send(self, request: SteerRequest) -> None:
        line_id = self._ids()
        self._steering.sent(line_id, request)
        self._lines.append(_user_line(request.text, uuid=line_id))

    def _follow(self, line_id: str, state: str) -> None:
        """Take note of what became of one of our messages; of other lines nothing is to be done."""
        if state == "queued":
            self._steering.accept(line_id)
        elif state in {"started", "completed"}:
            self._steering.confirm(line_id, "queue")
        else:
            why = f"Claude Code put it aside: {state or 'no reason given'}"
            self._steering.refuse(line_id, why)


def _user_line(said: str, **more: str) -> bytes:
    # JSON may carry half a surrogate pair, UTF-8 may not.
    message = {"role": "user", "content": said.encode("utf-8", "replace").decode()}
    line = {"type": "user", "message": message, "parent_tool_use_id": None, **more}
    return orjson.dumps(line) + b"\n"
