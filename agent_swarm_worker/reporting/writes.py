"""The writes of one session, with the ids that each of them carries.

Ships a growing journal as ranges of bytes.

The journal on disk is the system of record; what is handed on here is only *where* in it the new
lines are, and delivery reads them when it gets there. So neither an outage nor a flood costs
memory, and no line is lost between two flushes.

The writer tells where its lines are. A session that has a writer of its own tells nothing; its file
is looked at for whole lines at every flush.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.api.wire import session_body
from agent_swarm_worker.contract.listening import ByteRange
from agent_swarm_worker.journal.files import number
from agent_swarm_worker.journal.reading import end_of_last_line, range_args, text_args, upload_args
from agent_swarm_worker.journal.writer import MAX_RANGE_BYTES
from agent_swarm_worker.logs import Event, Log
from agent_swarm_worker.outbox.queue import WriteKind
from agent_swarm_worker.reporting.port import WORKER_LANE, task_lane

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent_swarm_worker.contract import SessionInit
    from agent_swarm_worker.reporting.port import SessionFacts, WriteQueue

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


FLUSH_BYTES = 512 * 1024
"""This much new text is shipped at once, whatever the timer says: about 1000 lines, a request's
worth. A request costs as much as the scrubbing of a few hundred lines."""


class LogTail:
    """A cursor over one journal, or over several that follow each other."""

    def __init__(
        self, *, path: Path, start: int, send: Callable[[Path, ByteRange], None], log: Log
    ) -> None:
        self._send, self._log = send, log
        self._path = path
        self._shipped = self._end = start
        """What lies between the two is not shipped yet."""
        self._is_told = False
        """True once a writer has told something."""
        self._has_complained = False

    def wrote(self, written: ByteRange) -> None:
        """Take notice of new lines, and ship if there are enough to be worth it."""
        self._is_told = True
        if written.end - self._shipped > MAX_RANGE_BYTES:
            self._ship()
        # Below the cursor only if somebody has cut the file short.
        self._shipped = min(self._shipped, written.start)
        self._end = written.end
        if self._end - self._shipped >= FLUSH_BYTES:
            self._ship()

    def pump(self) -> None:
        """Ship every complete line that is there."""
        if not self._is_told:
            self._look(lambda: end_of_last_line(self._path, self._end))
        self._ship()

    def finish(self) -> None:
        """Ship the rest, even a last line whose end was never written."""
        self._look(lambda: self._path.stat().st_size)
        self._ship()

    def switched(self, path: Path, start: int) -> None:
        """The session goes on in another file: end this one and go on with that."""
        self.finish()
        self._path, self._shipped, self._end = path, start, start
        self._is_told = True

    def _look(self, find_end: Callable[[], int]) -> None:
        try:
            self._end = max(self._end, find_end())
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                self._log.warning(Event.JOURNAL_FAILED, path=str(self._path), why=str(error))

    def _ship(self) -> None:
        # The cursor moves only after the queue has taken the range; a failure repeats it.
        if self._end > self._shipped:
            self._send(self._path, ByteRange(self._shipped, self._end))
            self._shipped = self._end
