"""Devin's API, version 3, on loopback, as its public reference describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from fake_vendor import Call, FakeVendor, order, refused
from starlette.responses import JSONResponse, Response

ORG = "org-0123456789"
KEY = "cog_fakekey0123456789abcdef"
TEXT = "devin"


@dataclass
class Session:
    """One session at the vendor."""

    id: str
    body: dict[str, Any]
    status: str = "new"
    detail: str | None = None
    acus: float | None = 0.0
    output: Any = None
    archived: bool = False
    pull_requests: list[dict[str, str]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    updated_at: int = 0

    @property
    def row(self) -> dict[str, Any]:
        row = {
            "session_id": self.id,
            "url": f"https://app.devin.ai/sessions/{self.id}",
            "org_id": ORG,
            "status": self.status,
            "status_detail": self.detail,
            "acus_consumed": self.acus,
            "structured_output": self.output,
            "pull_requests": self.pull_requests,
            "tags": self.body.get("tags", []),
            "title": self.body.get("title"),
            "is_archived": self.archived,
            "created_at": 1,
            "updated_at": self.updated_at,
        }
        return {name: value for name, value in row.items() if value is not None}


class FakeDevin(FakeVendor):
    """The API and the agent behind it; `acts` is false if a test moves the sessions itself."""

    def __init__(self, *, acts: bool = True, page: int = 200) -> None:
        super().__init__()
        self.acts, self.page = acts, page
        self.sessions: dict[str, Session] = {}
        self.playbooks: list[dict[str, Any]] = []

    @property
    def env(self) -> Mapping[str, str]:
        return {
            "DEVIN_API_KEY": KEY,
            "DEVIN_ORG_ID": ORG,
            "DEVIN_API_BASE_URL": self.url,
            "DEVIN_POLL_INTERVAL_MS": "20",
            "DEVIN_REQUEST_TIMEOUT_S": "5",
        }

    @property
    def session(self) -> Session:
        (only,) = self.sessions.values()
        return only

    def says(self, session: Session, text: str, source: str = "devin") -> None:
        number = self.number()
        entry = {"event_id": f"event-{number}", "source": source, "message": text}
        session.messages.append({**entry, "created_at": number})
        session.updated_at = number

    def moves(self, session: Session, status: str, detail: str | None = None, **more: Any) -> None:
        session.status, session.detail = status, detail
        for name, value in more.items():
            setattr(session, name, value)
        session.updated_at = self.number()

    async def handle(self, call: Call) -> Response:
        if call.key != KEY:
            return refused(401, "Unauthorized")
        base = f"/v3/organizations/{ORG}"
        if not call.path.startswith(base):
            return refused(404, "no such organization")
        parts = call.path.removeprefix(base).strip("/").split("/")
        match call.method, parts:
            case "POST", ["playbooks"]:
                made = {**call.body, "playbook_id": f"playbook-{self.number()}"}
                self.playbooks.append(made)
                return JSONResponse(made)
            case "GET", ["playbooks"]:
                return self._page(self.playbooks, call)
            case "POST", ["sessions"]:
                return self._create(call.body)
            case "GET", ["sessions"]:
                tag = call.query.get("tags")
                rows = [one.row for one in self.sessions.values()]
                return self._page([row for row in rows if tag in (None, *row["tags"])], call)
        session = self.sessions.get(parts[1]) if len(parts) > 1 else None
        if session is None:
            return refused(404, "Session not found")
        match call.method, parts[2:]:
            case "GET", []:
                return JSONResponse(session.row)
            case "DELETE", []:
                if session.status == "exit":
                    return refused(409, "Session has already ended")
                self.moves(session, "exit", acus=session.acus)
                return JSONResponse(session.row)
            case "GET", ["messages"]:
                return self._page(session.messages, call)
            case "POST", ["messages"]:
                if session.status in ("exit", "error") or session.archived:
                    return refused(400, "Session cannot take messages")
                self._prompt(session, call.body["message"])
                return JSONResponse(session.row)
        return refused(404, "no such route")

    def _create(self, body: dict[str, Any]) -> Response:
        session = Session(f"devin-{self.number():08}", body)
        self.sessions[session.id] = session
        self._prompt(session, body["prompt"])
        return JSONResponse(session.row)

    def _prompt(self, session: Session, text: str) -> None:
        self.said.append(text)
        self.says(session, text, "user")
        if self.acts and session.detail != "working":
            self.moves(session, "running", "working")
            self.group.start_soon(self._work, session, text)

    async def _work(self, session: Session, prompt: str) -> None:
        verb, rest = order(prompt)
        if verb == "work":
            with anyio.move_on_after(float(rest)):
                while session.status == "running":
                    await anyio.sleep(0.02)
        if session.status != "running":
            return
        words = rest if verb == "answer" else "done"
        self.says(session, words)
        used = (session.acus or 0) + 0.5
        output = {"status": "done", "output": words}
        self.moves(session, "running", "finished", acus=used, output=output)

    def _page(self, rows: list[Any], call: Call) -> Response:
        start = int(re.sub(r"\D", "", call.query.get("after", "")) or 0)
        size = min(self.page, int(call.query.get("first", "100")))
        shown = rows[start : start + size]
        more = start + size < len(rows)
        cursor = f"cursor-{start + size}" if more else None
        return JSONResponse({"items": shown, "has_next_page": more, "end_cursor": cursor})
