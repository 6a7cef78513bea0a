"""Write the prompt and steering messages to a running Claude Code, as lines of JSON.

The CLI queues a message that comes during a turn. During a tool call it reaches the model with the
next request, otherwise it begins a turn of its own; ``command_lifecycle`` events report which. So a
message counts as delivered at ``started``, not when it was written (measured with 2.1.329, whose
``queued_turn_count`` is 0 in a result that two messages wait behind).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.contract import Error
from agent_swarm_worker.ids import random_ids
from agent_swarm_worker.providers.claude.permissions import PermissionRequests
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit.conversation import SteeringQueue
from agent_swarm_worker.providers.kit.native import items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import ProviderEvent, ProviderSessionConfig
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.providers.kit.conversation import HandlerRun, SteerRequest

_REPORTS = "msg_lifecycle_v1"
"""The capability to report the lifecycle of a line that has an id."""
BACKGROUND_WAIT_S = 600.0
"""How long a session may wait for background tasks after its last turn. The CLI waits as long for
those of a plain prompt, and without limit with streaming input."""
_CONTROL = frozenset({"control_request", "control_response", "control_cancel_request"})
_ENDING = "the session is at its end"
_NO_REPORTS = "this Claude Code does not say which messages it takes in"


class ClaudeConversation(ClaudeTranslator):
    """A translator that also writes the prompt and messages.

    `ids` makes the ids under which the CLI reports on a line.
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
        self._lines: list[bytes] = []
        self._permissions: PermissionRequests | None = None
        if config.permissions is None:
            self._lines.append(_user_line(config.prompt))
        else:  # the prompt waits for the CLI's answer to the hook
            self._permissions = PermissionRequests(
                config.permissions, self._state, self._lines.append
            )
        self._steering = SteeringQueue()
        """A message waits until `_reports` is known. Its key is the id of its line; it is accepted
        when the CLI has read it."""
        self._reports: bool | None = None
        """Whether the CLI reports on messages."""
        self._turn_over_at_s = 0.0
        self._is_input_over = False

    def feed(self, native: Any) -> Sequence[ProviderEvent]:
        """Take one line of JSON: a question of the CLI, or a native event."""
        if self._permissions is not None and text(mapping(native).get("type")) in _CONTROL:
            return self._take_control(self._permissions, native)
        return super().feed(native)

    def take_event(self, event: dict[str, Any]) -> Sequence[ProviderEvent]:
        """Take one native event."""
        events = super().take_event(event)
        match event.get("type"):
            case "system" if event.get("subtype") == "init":
                self._set_reports(reports=_REPORTS in items(event.get("capabilities")))
            case "result":
                self._turn_over_at_s = self._state.clock.monotonic()
                self._set_reports(reports=False)
            case "command_lifecycle":
                self._take_lifecycle(text(event.get("command_uuid")), text(event.get("state")))
        # A message that is in the pipe now is still read, and its turn still runs.
        if self._state.result is not None and not self._is_input_over:
            self._is_input_over = self.is_final and not self._lines
        return events

    def _take_control(
        self, requests: PermissionRequests, event: dict[str, Any]
    ) -> Sequence[ProviderEvent]:
        if requests.take(event):
            self._lines.append(_user_line(self._state.config.prompt))
        if requests.failure is not None and not self._is_input_over:
            why = f"Claude Code cannot be asked to keep to the policy: {requests.failure}"
            self._state.last_error = Error(why, "provider_error")
            self._is_input_over = True
            return (self._state.last_error,)
        return ()

    def handler_calls(self) -> Sequence[HandlerRun]:
        """Return and clear the questions of the CLI that are to be answered."""
        return self._permissions.calls() if self._permissions else ()

    def note_unsent(self, size: int) -> None:
        """Do nothing: the CLI asks about few calls at a time, and its answers are short."""

    @property
    def is_final(self) -> bool:
        """True when no message or background task would start another turn."""
        if self._steering.has_accepted:
            return False
        waited_s = self._state.clock.monotonic() - self._turn_over_at_s
        has_timed_out = self._state.waits_for_background and waited_s >= BACKGROUND_WAIT_S
        return super().is_final or has_timed_out

    def outgoing(self) -> bytes:
        """Return and clear the lines to be written."""
        data = b"".join(self._lines)
        self._lines.clear()
        return data

    @property
    def is_input_over(self) -> bool:
        """True from the last result on."""
        return self._is_input_over

    def steer(self, request: SteerRequest) -> None:
        """Take a message; in either mode, the CLI queues it."""
        if self._is_input_over:
            request.refuse(_ENDING)
        elif self._reports is None:
            self._steering.add(request)
        elif self._reports:
            self._send(request)
        else:
            request.refuse(_NO_REPORTS)

    def interrupt(self) -> bool:
        """Return False: after SIGINT the CLI exits, after its interrupt request it goes on."""
        return False

    def _set_reports(self, *, reports: bool) -> None:
        if self._reports is None:
            self._reports = reports
            for request in self._steering.take():
                self.steer(request)

    def _send(self, request: SteerRequest) -> None:
        line_id = self._ids()
        self._steering.sent(line_id, request)
        self._lines.append(_user_line(request.text, uuid=line_id))

    def _take_lifecycle(self, line_id: str, state: str) -> None:
        """Update the message of this line; other lines have none."""
        if state == "queued":
            self._steering.accept(line_id)
        elif state in {"started", "completed"}:
            self._steering.confirm(line_id, "queue")
        else:
            why = f"Claude Code put it aside: {state or 'no reason given'}"
            self._steering.refuse(line_id, why)


def _user_line(prompt: str, **more: str) -> bytes:
    # JSON allows half a surrogate pair, UTF-8 does not.
    message = {"role": "user", "content": prompt.encode("utf-8", "replace").decode()}
    line = {"type": "user", "message": message, "parent_tool_use_id": None, **more}
    return orjson.dumps(line) + b"\n"
