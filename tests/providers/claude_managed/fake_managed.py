"""Anthropic's Managed Agents API on loopback, as its public reference describes it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from fake_vendor import Call, FakeVendor, order, refused
from starlette.responses import JSONResponse, Response, StreamingResponse

from agent_swarm_worker.aio import Broadcast

KEY = "sk-ant-fake-0123456789abcdef"
AGENT = "agent_0123456789"
MODEL = "claude-sonnet-4-5"


@dataclass
class Session:
    """One session at the vendor."""

    id: str
    body: dict[str, Any]
    status: str = "idle"
    archived_at: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    changed: Broadcast = field(default_factory=Broadcast)
    queue: list[dict[str, Any]] = field(default_factory=list)
    active_s: float | None = 36.0
    is_working: bool = False
    is_interrupted: bool = False

    @property
    def row(self) -> dict[str, Any]:
        agent = self.body["agent"]
        model = agent.get("model", MODEL) if isinstance(agent, dict) else MODEL
        usage = {} if self.active_s is None else {"active_seconds": self.active_s}
        return {
            "id": self.id,
            "type": "session",
            "status": self.status,
            "archived_at": self.archived_at,
            "metadata": self.body.get("metadata", {}),
            "agent": {"id": AGENT, "type": "agent", "model": {"id": model}},
            "environment_id": self.body["environment_id"],
            "usage": usage,
        }


class FakeManaged(FakeVendor):
    """The API and the agent behind it; `acts` is false if a test moves the sessions itself."""

    def __init__(self, *, acts: bool = True, page: int = 100) -> None:
        super().__init__()
        self.acts, self.page = acts, page
        self.sessions: dict[str, Session] = {}
        self.cuts = 0
        """How many streams are to be cut off after each event."""
        self.is_deaf = False
        """Interrupts do nothing."""

    @property
    def env(self) -> Mapping[str, str]:
        return {
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": self.url,
            "MANAGED_AGENT_ID": AGENT,
            "MANAGED_ENVIRONMENT_ID": "env_0123456789",
            "CLAUDE_MANAGED_REQUEST_TIMEOUT_S": "5",
        }

    @property
    def session(self) -> Session:
        (only,) = self.sessions.values()
        return only

    def emit(self, session: Session, kind: str, **fields: Any) -> dict[str, Any]:
        number = self.number()
        at = f"2026-01-01T00:00:00.{number // 2:06}Z"  # two events share a moment
        event = {"id": f"sevt_{number:06}", "type": kind, "processed_at": at, **fields}
        session.events.append(event)
        session.changed.notify()
        return event

    def says(self, session: Session, text: str) -> None:
        self.emit(session, "agent.message", content=[{"type": "text", "text": text}])

    def uses(self, session: Session, **usage: Any) -> None:
        counts = {
            "input_tokens": 1000,
            "output_tokens": 100,
            "cache_read_input_tokens": 200,
            "cache_creation_input_tokens": 300,
        }
        self.emit(session, "span.model_request_end", model_usage={**counts, **usage})

    def moves(self, session: Session, status: str, **fields: Any) -> None:
        session.status = status
        self.emit(session, f"session.status_{status}", **fields)

    def rests(self, session: Session, reason: str = "end_turn", **fields: Any) -> None:
        self.moves(session, "idle", stop_reason={"type": reason, **fields})

    async def handle(self, call: Call) -> Response:
        if call.key != KEY:
            return refused(401, "invalid x-api-key")
        match call.method, call.path.removeprefix("/v1/").split("/"):
            case "GET", ["models"]:
                return JSONResponse({"data": [{"id": MODEL}]})
            case "POST", ["sessions"]:
                session = Session(f"sesn_{self.number():08}", call.body)
                self.sessions[session.id] = session
                return JSONResponse(session.row)
            case "GET", ["sessions"]:
                rows = [one.row for one in self.sessions.values() if not one.archived_at]
                return JSONResponse({"data": rows[::-1], "next_page": None})
            case method, ["sessions", session_id, *rest] if session_id in self.sessions:
                return await self._of_session(method, rest, self.sessions[session_id], call)
        return refused(404, "not found")

    async def _of_session(
        self, method: str, rest: list[str], session: Session, call: Call
    ) -> Response:
        match method, rest:
            case "GET", []:
                return JSONResponse(session.row)
            case "POST", ["archive"]:
                if session.status not in ("idle", "terminated"):
                    return refused(400, "a running session cannot be archived")
                session.archived_at, session.status = "2026-01-02T00:00:00Z", "terminated"
                return JSONResponse(session.row)
            case "GET", ["events"]:
                return self._list(session, call)
            case "POST", ["events"]:
                if session.status == "terminated":
                    return refused(400, "the session is terminated")
                return JSONResponse(
                    {"data": [self._receive(session, e) for e in call.body["events"]]}
                )
            case "GET", ["events", "stream"]:
                return StreamingResponse(self._stream(session), media_type="text/event-stream")
        return refused(404, "no such route")

    def _list(self, session: Session, call: Call) -> Response:
        since = call.query.get("created_at[gte]", "")
        rows = [one for one in session.events if (one["processed_at"] or "9") >= since]
        if call.query.get("order") == "desc":
            rows.reverse()
        start = int(call.query.get("page", "0"))
        size = min(self.page, int(call.query["limit"]))
        more = str(start + size) if start + size < len(rows) else None
        return JSONResponse({"data": rows[start : start + size], "next_page": more})

    async def _stream(self, session: Session) -> AsyncIterator[bytes]:
        yield b": connected\n\n"
        at = len(session.events)
        while True:
            await session.changed.wait_for(lambda seen=at: len(session.events) > seen)
            for event in session.events[at:]:
                at += 1
                data = json.dumps(event).encode()
                yield b"event: message\r\ndata: " + data + b"\r\n\r\n"
                if self.cuts:
                    self.cuts -= 1
                    msg = "cut off"
                    raise ConnectionResetError(msg)

    def _receive(self, session: Session, event: dict[str, Any]) -> dict[str, Any]:
        if event["type"] == "user.interrupt":
            session.is_interrupted = not self.is_deaf
            if session.is_interrupted and session.status == "running":
                self.rests(session)
            return event
        number = self.number()
        queued = {**event, "id": f"sevt_{number:06}", "processed_at": None}
        session.queue.append(queued)
        self.said += ["\n".join(block["text"] for block in event["content"])]
        if self.acts and not session.is_working:
            session.is_working = True
            self.group.start_soon(self._work, session)
        return queued

    def begins(self, session: Session) -> str:
        """Let the agent read its next message; return that."""
        queued = session.queue.pop(0)
        fields = {name: value for name, value in queued.items() if name not in ("type", "id")}
        self.emit(session, "user.message", **{**fields, "processed_at": self._now()})
        session.events[-1]["id"] = queued["id"]
        self.moves(session, "running")
        return str(queued["content"][-1]["text"])

    def _now(self) -> str:
        return f"2026-01-01T00:00:00.{self.number() // 2:06}Z"

    async def _work(self, session: Session) -> None:
        session.is_interrupted = False
        while session.queue:
            verb, rest = order(self.begins(session))
            self.emit(session, "span.model_request_start")
            self.uses(session)
            if verb == "work":
                call = self.emit(session, "agent.tool_use", name="bash", input={"command": "sleep"})
                with anyio.move_on_after(float(rest)):
                    while not session.is_interrupted and not session.queue:
                        await anyio.sleep(0.02)
                if session.is_interrupted:
                    break
                result = [{"type": "text", "text": "slept"}]
                self.emit(session, "agent.tool_result", tool_use_id=call["id"], content=result)
            self.says(session, rest if verb == "answer" else "done")
        session.is_working = False
        if session.status == "running":
            self.rests(session)
