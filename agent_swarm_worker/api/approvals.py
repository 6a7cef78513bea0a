"""Questions that people answer: asking, reading the answer, withdrawing (docs/api.md 12.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.api.capabilities import Endpoints, Feature
from agent_swarm_worker.api.values import Row, segment
from agent_swarm_worker.errors import ApiGarbled

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATH = "/api/approval-requests"
MAX_LISTED = 100
WITHDRAWN_BY = "the worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An approval request with one question, as the server has it."""

    id: str
    question_id: str
    """Unique, so that a request whose answer was lost can be found."""
    status: str
    is_approved: bool = False
    """The answer itself says yes."""
    comment: str = ""
    resolved_by: str = ""

    @classmethod
    def from_wire(cls, value: object) -> Approval | None:
        """Read a request; ``None`` if it cannot be used."""
        row = Row(value)
        request_id = row.identifier("id")
        question = next((Row(one).text("id") for one in row.array("questions")), "")
        if request_id is None or not row.text("status"):
            return None
        answer: Any = (row.nested("responses") or {}).get(question) if question else None
        fields = Row(answer)
        return cls(
            id=request_id,
            question_id=question,
            status=row.text("status"),
            is_approved=answer is True or fields.flag("approved"),
            comment=fields.text("comment") or fields.text("reason"),
            resolved_by=row.text("resolvedBy"),
        )


class Approvals(Endpoints):
    """Approval requests."""

    async def create(
        self, *, question_id: str, title: str, description: str, timeout_s: float
    ) -> Approval | None:
        """Ask whether something may be done; ``None`` if the server lacks approval requests.

        Without ``sourceTaskId``: the server would start a follow-up task with the answer.
        """
        question = {
            "id": question_id,
            "type": "approval",
            "label": title,
            "description": description,
            "required": True,
        }
        body: Mapping[str, Any] = {
            "title": title,
            "questions": [question],
            "approvers": {"policy": "any"},
            "timeoutSeconds": max(1, round(timeout_s)),
        }
        answer = await self._call_if(Feature.APPROVALS, "POST", _PATH, body=body)
        return None if answer is None else _approval(_PATH, answer)

    async def find(self, question_id: str) -> Approval | None:
        """Return the request with this question, if it is among the newest."""
        query = {"limit": MAX_LISTED}
        answer = await self._call_if(Feature.APPROVALS, "GET", _PATH, params=query)
        rows = Row(answer).rows("approvalRequests", Approval.from_wire)
        return next((row for row in rows if row.question_id == question_id), None)

    async def get(self, request_id: str) -> Approval | None:
        """Return a request. Refused with 404 if there is none."""
        path = f"{_PATH}/{segment(request_id)}"
        answer = await self._call_if(Feature.APPROVALS, "GET", path)
        return None if answer is None else _approval(path, answer)

    async def list(self, status: str | None) -> tuple[Row, ...]:
        """Return requests, the newest first, as the server has them; of any status if ``None``."""
        answer = await self._http.call("GET", _PATH, params={"status": status, "limit": MAX_LISTED})
        return tuple(Row(one) for one in Row(answer).objects("approvalRequests"))

    async def answer(
        self, request_id: str, *, is_approved: bool, comment: str, by: str
    ) -> dict[str, Any]:
        """Answer every question of a request that asks for approval; return the request.

        Refused with 409 if it is answered, with 400 if it needs answers of another kind.
        """
        path = f"{_PATH}/{segment(request_id)}"
        found = await self._http.call("GET", path)
        request = Row(found.get("approvalRequest"))
        given: dict[str, object] = {"approved": is_approved}
        if comment:
            given["comment"] = comment
        responses = {
            question["id"]: given
            for question in request.objects("questions")
            if question.get("type") == "approval" and isinstance(question.get("id"), str)
        }
        body = {"responses": responses, "respondedBy": by}
        answered = await self._http.call("POST", f"{path}/respond", body=body)
        return Row(answered).nested("approvalRequest") or {}

    async def withdraw(self, request_id: str, question_id: str, why: str) -> None:
        """Answer a request with no, so that nobody does. Refused with 409 if it is answered."""
        path = f"{_PATH}/{segment(request_id)}/respond"
        body = {
            "responses": {question_id: {"approved": False, "comment": why}},
            "respondedBy": WITHDRAWN_BY,
        }
        await self._request_if(Feature.APPROVALS, "POST", path, body=body)


def _approval(path: str, answer: Mapping[str, Any]) -> Approval:
    approval = Approval.from_wire(answer.get("approvalRequest"))
    if approval is None:
        raise ApiGarbled(path, "no approval request")
    return approval
