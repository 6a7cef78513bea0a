"""The agent's activity as structured events (docs/api.md 9.1 and 9.2).

The server refuses a whole batch for one event it does not like, so each is built by `event_body`,
which knows what the server takes, and joins a batch only if that lets it. What all events of one
name have in common is built and encoded once; an event is encoded once, when its batch is.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.api.wire import event_body
from agent_swarm_worker.api.wire.values import encode, whole_number
from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.reporting.labels import canonical_name
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.contract import CostData, ToolEnd, ToolStart

MAX_BATCH = 450
"""What delivery sends in one request; the server takes 500."""
MAX_TEXT_CHARS = 500
MAX_ID_CHARS = 200
STAMP_S = 0.001
"""Events closer together than the precision of their stamp share one."""
MAX_HEADS = 64
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
"""Tool → name on the wire and name in the arguments (docs/api.md 9.3)."""


class ToolEvents:
    """Builds events, checks them and hands them on in batches."""

    def __init__(
        self,
        *,
        send: Callable[[list[bytes]], None],
        agent_id: str,
        task_id: str | None,
        session_uuid: str,
        clock: Clock,
        scrub: Callable[[str], str],
    ) -> None:
        self._send, self._clock, self._scrub = send, clock, scrub
        self._agent_id, self._task_id, self._session_uuid = agent_id, task_id, session_uuid
        # A queue that cannot be written to costs the oldest events, not the worker's memory.
        self._waiting: deque[tuple[bytes, dict[str, Any]]] = deque(maxlen=2 * MAX_BATCH)
        """The beginning of an event's JSON, and its data."""
        self._as_it_came: list[tuple[dict[str, Any], str]] = []
        """Which fields of the data that waits have text of the agent, to be scrubbed and cut."""
        self._heads: dict[tuple[str, str | None, str], bytes] = {}
        """The encoded fields that all events of one name, status and session have in common."""
        self._tool_names: dict[str, str] = {}
        """Tool names of the events that wait, scrubbed and cut."""
        self._stamp = ""
        self._stamped_at_s = -math.inf
        self._open_calls: OrderedDict[str, float] = OrderedDict()

    def session_started(self, provider_session_id: str) -> None:
        """The harness has a session; this event alone carries the harness's own id."""
        self._add("session.start", {}, session_id=provider_session_id)

    def tool_started(self, event: ToolStart) -> None:
        """A tool call begins."""
        name = canonical_name(event.tool_name, event.args)
        data = self._call(event)
        wire_name, key = _KEY_ARGUMENT.get(name, ("", ""))
        told = event.args.get(key) if wire_name and isinstance(event.args, Mapping) else None
        told = told if isinstance(told, str) else ""
        if told:
            self._put_text(data, wire_name, told)
        self._add("tool.start", data)
        if name == "Skill" and told:
            skill: dict[str, Any] = {}
            self._put_text(skill, wire_name, told)
            self._add("skill.invoke", skill)
        self._open_calls[event.tool_call_id] = self._clock.monotonic()
        if len(self._open_calls) > MAX_OPEN_CALLS:
            self._open_calls.popitem(last=False)

    def tool_ended(self, event: ToolEnd) -> None:
        """A tool has answered; its answer stays in the log."""
        began_at = self._open_calls.pop(event.tool_call_id, None)
        took_ms = None if began_at is None else (self._clock.monotonic() - began_at) * 1000
        status = "error" if event.is_error else "ok"
        self._add("tool.end", self._call(event), status=status, duration_ms=took_ms)

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
            data = orjson.loads(encode(spent))
        status = "error" if is_error else "ok"
        self._add("session.end", data, status=status, duration_ms=duration_ms)

    def flush(self) -> None:
        """Hand on everything that waits."""
        self._tidy()
        # A secret may have become known since: names are looked at again in the next batch.
        self._tool_names.clear()
        while self._waiting:
            batch = list(self._waiting)[:MAX_BATCH]
            self._send([b'%b"data":%b}' % (head, orjson.dumps(data)) for head, data in batch])
            for _ in batch:
                self._waiting.popleft()

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
        # The server files an event under the time it arrives, which an outage can make hours late.
        now_s = self._clock.monotonic()
        if now_s - self._stamped_at_s >= STAMP_S:
            self._stamp, self._stamped_at_s = wire_time(self._clock.now()), now_s
        data["clientTimestamp"] = self._stamp
        self._waiting.append((head, data))
        if len(self._waiting) >= MAX_BATCH:
            self.flush()

    def _head(self, name: str, status: str | None, session_id: str) -> bytes:
        """Return the beginning of an event's JSON; nothing if the server would refuse it."""
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

    def _call(self, event: ToolStart | ToolEnd) -> dict[str, Any]:
        name = self._tool_names.get(event.tool_name)
        if name is None:
            name = self._tool_names[event.tool_name] = self._short(event.tool_name)
        return {"toolName": name, "toolCallId": one_line(event.tool_call_id, MAX_ID_CHARS)}

    def _put_text(self, data: dict[str, Any], key: str, text: str) -> None:
        if len(text) > MAX_TEXT_CHARS:
            data[key] = self._short(text)
        else:
            data[key] = text
            self._as_it_came.append((data, key))

    def _tidy(self) -> None:
        """Scrub and cut the texts that wait: they are searched in one piece, and rarely again."""
        texts = [data[key] for data, key in self._as_it_came]
        joined = "\n".join(texts)
        shorten = self._short if self._scrub(joined) != joined else _cut
        for (data, key), text in zip(self._as_it_came, texts, strict=True):
            data[key] = shorten(text)
        self._as_it_came.clear()

    def _short(self, text: str) -> str:
        return _cut(self._scrub(text))


def _cut(text: str) -> str:
    # Leaves nothing in a text that JSON could not take.
    return one_line(text, MAX_TEXT_CHARS)
