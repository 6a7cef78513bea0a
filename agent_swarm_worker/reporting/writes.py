"""The writes of one session, with the ids that each of them carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.journal.numbering import number
from agent_swarm_worker.journal.uploads import range_args, text_args, upload_args
from agent_swarm_worker.reporting.port import WORKER_LANE, task_lane
from agent_swarm_worker.swarm.queue import WriteKind
from agent_swarm_worker.swarm.wire import session_body

if TYPE_CHECKING:
    from pathlib import Path

    from agent_swarm_worker.contract import SessionInit
    from agent_swarm_worker.contract.sink import ByteRange
    from agent_swarm_worker.reporting.facts import SessionFacts
    from agent_swarm_worker.reporting.port import WriteQueue

MAX_UNWRITTEN_BYTES = 256 * 1024
"""What is put into the queue at once of lines that are in no journal: there they weigh, and what
is given up is a whole write."""


@dataclass(slots=True, kw_only=True)
class SessionWrites:
    """Puts writes into the queue, each in its lane."""

    queue: WriteQueue
    facts: SessionFacts
    logged_bytes: int = 0

    @property
    def lane(self) -> str:
        """The lane of this task's writes."""
        return task_lane(self.facts.effective_id)

    def progress(self, words: str) -> None:
        """What the agent is doing, on the task."""
        self._put(WriteKind.PROGRESS, {"task_id": self.facts.task_id, "text": words})

    def note(self, words: str) -> None:
        """What the worker has to say of the session, on the task."""
        self._put(WriteKind.NOTE, {"task_id": self.facts.task_id, "text": words})

    def session(self, init: SessionInit, *, model: str) -> None:
        """The harness's session, on the task, or on the active session if there is no task."""
        if self.facts.task_id is not None:
            session = session_body(init, model=model)
            self._put(WriteKind.SESSION, {"task_id": self.facts.task_id, "session": session})
        else:
            args = {"task_id": self.facts.effective_id, "provider_session_id": init.session_id}
            self._put(WriteKind.PROVIDER_SESSION, args)

    def context(self, snapshot: dict[str, Any]) -> None:
        """One snapshot of the context window."""
        self._put(WriteKind.CONTEXT, {"task_id": self.facts.task_id, "snapshot": snapshot})

    def cost(self, row: dict[str, Any]) -> None:
        """What the session cost."""
        self._put(WriteKind.COST, row)

    def latest_model(self, latest: dict[str, Any]) -> None:
        """Which model this agent last ran."""
        args = {"agent_id": self.facts.agent_id, "latest_model": latest}
        self.queue.put(WORKER_LANE, WriteKind.LATEST_MODEL, args)

    def events(self, events: list[bytes]) -> None:
        """A batch of tool and session events, each of them JSON."""
        batch = orjson.Fragment(b"[%b]" % b",".join(events))
        self.queue.put(self.lane, WriteKind.EVENTS, {"events": batch})

    def logs(self, path: Path, lines: ByteRange) -> None:
        """A range of the journal, to be read when it is delivered."""
        self._put_lines(range_args(path, lines), lines.end - lines.start)

    def unwritten(self, lines: bytes) -> None:
        """Lines that are in no journal: the disk did not take them."""
        while lines:
            size = lines.rfind(b"\n", 0, MAX_UNWRITTEN_BYTES) + 1 or lines.find(b"\n") + 1
            part = lines[: size or len(lines)]
            self._put_lines(text_args(part), len(part))
            lines = lines[len(part) :]

    def _put_lines(self, where: dict[str, Any], size: int) -> None:
        args = upload_args(
            task_id=self.facts.task_id,
            session_uuid=self.facts.session_uuid,
            number=number(self.facts.iteration, self.logged_bytes),
            harness=self.facts.harness,
        )
        self.queue.put(self.lane, WriteKind.LOGS, args | where)
        self.logged_bytes += size

    def _put(self, kind: WriteKind, args: dict[str, Any]) -> None:
        self.queue.put(self.lane, kind, args)
