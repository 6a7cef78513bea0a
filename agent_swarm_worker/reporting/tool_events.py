"""The agent's activity as structured events (API reference E33 and A.7).

The server refuses a whole batch for one event it does not like, so each is built by `event_body`,
which knows what the server takes, and joins a batch only if that lets it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.reporting.labels import canonical_name
from agent_swarm_worker.reporting.text import one_line
from agent_swarm_worker.swarm.wire import event_body

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import CostData, ToolEnd, ToolStart

MAX_BATCH = 500
"""What the server takes in one request."""
MAX_TEXT_CHARS = 500
MAX_ID_CHARS = 200
MAX_OPEN_CALLS = 1000
"""Tool calls whose start is remembered; a harness that never ends one must not fill the memory."""

_KEY_ARGUMENT = {
    "Read": ("filePath", "file_path"),
    "Edit": ("filePath", "file_path"),
    "Write": ("filePath", "file_path"),
    "Bash": ("description", "description"),
    "Agent": ("description", "description"),
    "Task": ("description", "description"),
    "Grep": ("pattern", "pattern"),
    "Glob": ("pattern", "pattern"),
    "Skill": ("skillName", "skill"),
}
"""Tool → name on the wire and name in the arguments (API reference section 5.2)."""


class ToolEvents:
    """Builds events, checks them and hands them on in batches."""

    def __init__(
        self,
        *,
        send: Callable[[list[dict[str, Any]]], None],
        agent_id: str,
        task_id: str | None,
        session_uuid: str,
        clock: Clock,
        scrub: Callable[[str], str],
    ) -> None:
        self._send, self._clock, self._scrub = send, clock, scrub
        self._agent_id, self._task_id, self._session_uuid = agent_id, task_id, session_uuid
        # A queue that cannot be written to costs the oldest events, not the worker's memory.
        self._waiting: deque[dict[str, Any]] = deque(maxlen=2 * MAX_BATCH)
        self._open_calls: OrderedDict[str, float] = OrderedDict()

    def session_started(self, provider_session_id: str) -> None:
        """The harness has a session; this event alone carries the harness's own id."""
        self._add("session.start", session_id=provider_session_id, data=self._stamp())

    def tool_started(self, event: ToolStart) -> None:
        """A tool call begins."""
        name = canonical_name(event.tool_name, event.args)
        key_argument = self._key_argument(name, event.args)
        self._add("tool.start", data=self._call(event) | key_argument)
        if name == "Skill" and key_argument:
            self._add("skill.invoke", data=key_argument | self._stamp())
        self._open_calls[event.tool_call_id] = self._clock.monotonic()
        if len(self._open_calls) > MAX_OPEN_CALLS:
            self._open_calls.popitem(last=False)

    def tool_ended(self, event: ToolEnd) -> None:
        """A tool has answered; its answer stays in the log."""
        began_at = self._open_calls.pop(event.tool_call_id, None)
        took_ms = None if began_at is None else (self._clock.monotonic() - began_at) * 1000
        status = "error" if event.is_error else "ok"
        self._add("tool.end", status=status, duration_ms=took_ms, data=self._call(event))

    def session_ended(self, *, is_error: bool, duration_ms: float, cost: CostData | None) -> None:
        """The session is over, with what it cost if that is known."""
        data: dict[str, Any] = {}
        if cost is not None:
            spent = {
                "model": self._short(cost.model) or None,
                "totalCostUsd": cost.total_cost_usd,
                "inputTokens": cost.input_tokens,
                "outputTokens": cost.output_tokens,
            }
            data = {key: value for key, value in spent.items() if value is not None}
        status = "error" if is_error else "ok"
        self._add("session.end", status=status, duration_ms=duration_ms, data=data | self._stamp())

    def flush(self) -> None:
        """Hand on everything that waits."""
        while self._waiting:
            batch = list(self._waiting)[:MAX_BATCH]
            self._send(batch)
            for _ in batch:
                self._waiting.popleft()

    def _add(
        self,
        name: str,
        *,
        status: str | None = None,
        session_id: str = "",
        duration_ms: float | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        event = event_body(
            name,
            status=status,
            agent_id=self._agent_id,
            task_id=self._task_id,
            session_id=session_id or self._session_uuid,
            duration_ms=duration_ms,
            data=data,
        )
        if event is not None:
            self._waiting.append(event)
        if len(self._waiting) >= MAX_BATCH:
            self.flush()

    def _call(self, event: ToolStart | ToolEnd) -> dict[str, Any]:
        return {
            "toolName": self._short(event.tool_name),
            "toolCallId": one_line(event.tool_call_id, MAX_ID_CHARS),
        } | self._stamp()

    def _stamp(self) -> dict[str, Any]:
        # The server files an event under the time it arrives, which an outage can make hours late.
        return {"clientTimestamp": wire_time(self._clock.now())}

    def _key_argument(self, name: str, args: Any) -> dict[str, Any]:
        wire_name, key = _KEY_ARGUMENT.get(name, ("", ""))
        value = args.get(key) if wire_name and isinstance(args, Mapping) else None
        return {wire_name: self._short(value)} if isinstance(value, str) and value else {}

    def _short(self, text: str) -> str:
        return one_line(self._scrub(text), MAX_TEXT_CHARS)
