"""Send the agent's activity as structured events (docs/api.md 9.1 and 9.2).

The server refuses a whole batch for one invalid event, so `event_body` builds each, and only a
valid one joins a batch. The fields that all events of one name share are encoded once; an event is
encoded with its batch.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.api.values import encode, whole_number
from agent_swarm_worker.api.wire.bodies import event_body
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.contract.actions import USUAL_TOOLS, action_of
from agent_swarm_worker.text import one_line, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import (
        ActionKind,
        CostData,
        PermissionDecided,
        ToolEnd,
        ToolStart,
    )

MAX_BATCH = 450
"""Events of one request; the server takes 500."""
MAX_TEXT_CHARS = 500
MAX_ID_CHARS = 200
STAMP_S = 0.001
"""Precision of a timestamp."""
MAX_HEADS = 64
MAX_OPEN_CALLS = 1000
"""Calls whose start time is kept, in case a harness never ends them."""

_SUBJECT_KEYS: Mapping[ActionKind, str] = {
    "read": "filePath",
    "edit": "filePath",
    "write": "filePath",
    "list-directory": "filePath",
    "search": "pattern",
    "find-files": "pattern",
    "web-search": "query",
    "fetch": "url",
    "question": "question",
    "skill": "skillName",
}
"""The name of an action's subject on the wire (docs/api.md 9.3). That of ``shell`` is not sent: a
command may be long, and the journal has it."""
_DESCRIBED: frozenset[ActionKind] = frozenset({"shell", "subagent"})


class ToolEvents:
    """Builds the events of one session and sends them in batches."""

    def __init__(
        self,
        *,
        send: Callable[[list[bytes]], None],
        agent_id: str,
        task_id: str | None,
        session_uuid: str,
        clock: Clock,
        scrub: Callable[[str], str],
        tools: Mapping[str, ActionKind] = USUAL_TOOLS,
    ) -> None:
        self._send, self._clock, self._scrub, self._tools = send, clock, scrub, tools
        self._agent_id, self._task_id, self._session_uuid = agent_id, task_id, session_uuid
        # While the queue cannot be written, the oldest events are dropped.
        self._batch: deque[tuple[bytes, dict[str, Any]]] = deque(maxlen=2 * MAX_BATCH)
        """The start of an event's JSON, and its data."""
        self._unscrubbed: list[tuple[dict[str, Any], str]] = []
        """Fields of waiting data with the agent's text, to be scrubbed and cut."""
        self._heads: dict[tuple[str, str | None, str], bytes] = {}
        """The encoded fields that all events of one name, status and session have in common."""
        self._tool_names: dict[str, str] = {}
        """Tool names of the waiting events, scrubbed and cut."""
        self._stamp = ""
        self._stamped_at_s = -math.inf
        self._open_calls: OrderedDict[str, tuple[float, ActionKind]] = OrderedDict()
        self._decisions: OrderedDict[str, PermissionDecided] = OrderedDict()
        """Of calls that have not ended."""

    def session_started(self, provider_session_id: str) -> None:
        """Add the start of the session; only this event has the harness's own id."""
        self._add("session.start", {}, session_id=provider_session_id)

    def tool_started(self, event: ToolStart) -> None:
        """Add the start of a tool call."""
        action = action_of(event.tool_name, event.args, self._tools)
        kind = action.kind
        data = self._call(event, kind)
        if action.subject and (key := _SUBJECT_KEYS.get(kind)):
            self._put_text(data, key, action.subject)
        elif action.description and kind in _DESCRIBED:
            self._put_text(data, "description", action.description)
        self._add("tool.start", data)
        if kind == "skill" and action.subject:
            skill: dict[str, Any] = {}
            self._put_text(skill, "skillName", action.subject)
            self._add("skill.invoke", skill)
        self._open_calls[event.tool_call_id] = self._clock.monotonic(), kind
        if len(self._open_calls) > MAX_OPEN_CALLS:
            self._open_calls.popitem(last=False)

    def tool_ended(self, event: ToolEnd) -> None:
        """Add the end of a tool call, without its result."""
        began = self._open_calls.pop(event.tool_call_id, None)
        took_ms = None if began is None else (self._clock.monotonic() - began[0]) * 1000
        # The arguments, which an end has not, may tell an MCP call.
        kind = began[1] if began else action_of(event.tool_name, None, self._tools).kind
        status = "error" if event.is_error else "ok"
        data = self._call(event, kind)
        if (decided := self._decisions.pop(event.tool_call_id, None)) is not None:
            decided_status = self._put_decision(data, decided, status)
            status = decided_status if event.is_error else status  # else it ran
        self._add("tool.end", data, status=status, duration_ms=took_ms)

    def decided(self, event: PermissionDecided) -> None:
        """Take the decision about a call, which goes with its end; without an id at once."""
        if event.tool_call_id:
            self._decisions[event.tool_call_id] = event
            if len(self._decisions) > MAX_OPEN_CALLS:
                self._decisions.popitem(last=False)
            return
        data = self._call(event, action_of(event.tool_name, None, self._tools).kind)
        status = self._put_decision(data, event, "ok")
        self._add("tool.end", data, status=status)

    def _put_decision(self, data: dict[str, Any], event: PermissionDecided, status: str) -> str:
        """Put a decision into the data of a call's end; return the status of the end."""
        data["permission"] = "allowed" if event.is_allowed else "denied"
        if event.reason:
            self._put_text(data, "permissionReason", event.reason)
        return status if event.is_allowed else "skipped"

    def session_ended(self, *, is_error: bool, duration_ms: float, cost: CostData | None) -> None:
        """Add the end of the session, with its cost if known, and of calls that have no end."""
        for decided in self._decisions.values():
            self.decided(replace(decided, tool_call_id=""))
        self._decisions.clear()
        data: dict[str, Any] = {}
        if cost is not None:
            usage = {
                "model": self._short(cost.model) or None,
                "totalCostUsd": cost.total_cost_usd,
                "inputTokens": cost.input_tokens,
                "outputTokens": cost.output_tokens,
            }
            data = orjson.loads(encode(usage))
        status = "error" if is_error else "ok"
        self._add("session.end", data, status=status, duration_ms=duration_ms)

    def flush(self) -> None:
        """Send all waiting events."""
        self._scrub_texts()
        # A secret may be registered until the next batch, so its names are scrubbed again.
        self._tool_names.clear()
        while self._batch:
            batch = list(self._batch)[:MAX_BATCH]
            self._send([b'%b"data":%b}' % (head, orjson.dumps(data)) for head, data in batch])
            for _ in batch:
                self._batch.popleft()

    def _add(
        self,
        name: str,
        data: dict[str, Any],
        *,
        status: str | None = None,
        session_id: str = "",
        duration_ms: float | None = None,
    ) -> None:
        head = self._head(name, status, session_id or self._session_uuid)
        if not head:
            return
        took_ms = whole_number(duration_ms)
        if took_ms is not None and took_ms >= 0:
            head = b'%b"durationMs":%d,' % (head, took_ms)
        # The server's own timestamp is the arrival, which an outage can delay by hours.
        now_s = self._clock.monotonic()
        if now_s - self._stamped_at_s >= STAMP_S:
            self._stamp, self._stamped_at_s = wire_time(self._clock.now()), now_s
        data["clientTimestamp"] = self._stamp
        self._batch.append((head, data))
        if len(self._batch) >= MAX_BATCH:
            self.flush()

    def _head(self, name: str, status: str | None, session_id: str) -> bytes:
        """Return the start of an event's JSON; nothing if the server would refuse it."""
        head = self._heads.get((name, status, session_id))
        if head is None:
            if len(self._heads) >= MAX_HEADS:  # a harness with a new session at every turn
                self._heads.clear()
            event = event_body(
                name,
                status=status,
                agent_id=self._agent_id,
                task_id=self._task_id,
                session_id=session_id,
            )
            head = b"" if event is None else encode(event)[:-1] + b","
            self._heads[name, status, session_id] = head
        return head

    def _call(
        self, event: ToolStart | ToolEnd | PermissionDecided, kind: ActionKind
    ) -> dict[str, Any]:
        name = self._tool_names.get(event.tool_name)
        if name is None:
            name = self._tool_names[event.tool_name] = self._short(event.tool_name)
        call_id = one_line(event.tool_call_id, MAX_ID_CHARS)
        data = {"toolName": name, "toolCallId": call_id, "action": kind}
        if (helper := event.helper) is not None:
            data["helperId"] = one_line(helper.id, MAX_ID_CHARS)
            if helper.name:
                self._put_text(data, "helperName", helper.name)
        return data

    def _put_text(self, data: dict[str, Any], key: str, text: str) -> None:
        text = plain(text)
        if len(text) > MAX_TEXT_CHARS:
            data[key] = self._short(text)
        else:
            data[key] = text
            self._unscrubbed.append((data, key))

    def _scrub_texts(self) -> None:
        """Scrub and cut the waiting texts: joined, and one by one only if that finds a secret."""
        texts = [data[key] for data, key in self._unscrubbed]
        joined = "\n".join(texts)
        finish = self._short if self._scrub(joined) != joined else _field
        for (data, key), text in zip(self._unscrubbed, texts, strict=True):
            data[key] = finish(text)
        self._unscrubbed.clear()

    def _short(self, text: str) -> str:
        return _field(self._scrub(plain(text)))


def _field(text: str) -> str:
    # Also replaces lone surrogates, which JSON cannot encode.
    return one_line(text, MAX_TEXT_CHARS)
