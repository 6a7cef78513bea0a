"""Put the writes of one session into the queue, and its journal as ranges of bytes.

Log writes have the range of the journal's new lines, and delivery reads the lines when it sends
them. So neither an outage nor a flood costs memory, and no line is lost between two flushes. The
journal's writer passes the ranges; a session with a writer of its own passes none, and its file is
searched for whole lines at every flush.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.api.wire.bodies import session_body
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
    from agent_swarm_worker.reporting.port import SessionInfo, WriteQueue

MAX_UNWRITTEN_BYTES = 256 * 1024
"""Limit of one write of lines that are in no journal: the queue stores them, and drops whole
writes."""


@dataclass(slots=True, kw_only=True)
class SessionWrites:
    """Puts writes into the queue, each in its lane."""

    queue: WriteQueue
    info: SessionInfo
    logged_bytes: int = 0

    @property
    def lane(self) -> str:
        """The lane of the task's writes."""
        return task_lane(self.info.effective_id)

    def progress(self, text: str) -> None:
        """Put the progress text of the task."""
        self._put(WriteKind.PROGRESS, {"task_id": self.info.task_id, "text": text})

    def note(self, text: str) -> None:
        """Put a note of the worker on the task."""
        self._put(WriteKind.NOTE, {"task_id": self.info.task_id, "text": text})

    def session(self, init: SessionInit, *, model: str) -> None:
        """Put the harness's session on the task, or on the active session if there is no task."""
        if self.info.task_id is not None:
            session = session_body(init, model=model)
            self._put(WriteKind.SESSION, {"task_id": self.info.task_id, "session": session})
        else:
            args = {"task_id": self.info.effective_id, "provider_session_id": init.session_id}
            self._put(WriteKind.PROVIDER_SESSION, args)

    def context(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot of the context window."""
        self._put(WriteKind.CONTEXT, {"task_id": self.info.task_id, "snapshot": snapshot})

    def cost(self, row: dict[str, Any]) -> None:
        """Put the cost of the session."""
        self._put(WriteKind.COST, row)

    def latest_model(self, latest: dict[str, Any]) -> None:
        """Put the model that this agent last ran."""
        args = {"agent_id": self.info.agent_id, "latest_model": latest}
        self.queue.put(WORKER_LANE, WriteKind.LATEST_MODEL, args)

    def events(self, events: list[bytes]) -> None:
        """Put a batch of events, each of them JSON."""
        batch = orjson.Fragment(b"[%b]" % b",".join(events))
        self.queue.put(self.lane, WriteKind.EVENTS, {"events": batch})

    def logs(self, path: Path, lines: ByteRange) -> None:
        """Put a range of the journal."""
        self._put_lines(range_args(path, lines), lines.end - lines.start)

    def unwritten(self, lines: bytes) -> None:
        """Put lines that are in no journal because the disk is full."""
        while lines:
            size = lines.rfind(b"\n", 0, MAX_UNWRITTEN_BYTES) + 1 or lines.find(b"\n") + 1
            part = lines[: size or len(lines)]
            self._put_lines(text_args(part), len(part))
            lines = lines[len(part) :]

    def _put_lines(self, where: dict[str, Any], size: int) -> None:
        args = upload_args(
            task_id=self.info.task_id,
            session_uuid=self.info.session_uuid,
            number=number(self.info.iteration, self.logged_bytes),
            harness=self.info.harness,
        )
        self.queue.put(self.lane, WriteKind.LOGS, args | where)
        self.logged_bytes += size

    def _put(self, kind: WriteKind, args: dict[str, Any]) -> None:
        self.queue.put(self.lane, kind, args)


FLUSH_BYTES = 512 * 1024
"""New text of this size is put at once, without waiting for the timer: about 1000 lines, as many as
a request has. A request costs as much as scrubbing a few hundred lines."""


class LogTail:
    """A cursor over one journal, or over several in sequence."""

    def __init__(
        self, *, path: Path, start: int, send: Callable[[Path, ByteRange], None], log: Log
    ) -> None:
        self._send, self._log = send, log
        self._path = path
        self._queued = self._end = start
        """The bytes between the two are not in the queue yet."""
        self._has_writer = False
        """True once a writer has passed a range."""
        self._has_complained = False

    def wrote(self, written: ByteRange) -> None:
        """Take the range of new lines; put it if there are enough."""
        self._has_writer = True
        if written.end - self._queued > MAX_RANGE_BYTES:
            self._put_range()
        # Below the cursor only if the file was truncated.
        self._queued = min(self._queued, written.start)
        self._end = written.end
        if self._end - self._queued >= FLUSH_BYTES:
            self._put_range()

    def pump(self) -> None:
        """Put every complete line."""
        if not self._has_writer:
            self._find_end(lambda: end_of_last_line(self._path, self._end))
        self._put_range()

    def finish(self) -> None:
        """Put the rest, even a last line without an end."""
        self._find_end(lambda: self._path.stat().st_size)
        self._put_range()

    def switched(self, path: Path, start: int) -> None:
        """Finish this file and continue with another one."""
        self.finish()
        self._path, self._queued, self._end = path, start, start
        self._has_writer = True

    def _find_end(self, find_end: Callable[[], int]) -> None:
        try:
            self._end = max(self._end, find_end())
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                self._log.warning(Event.JOURNAL_FAILED, path=str(self._path), why=str(error))

    def _put_range(self) -> None:
        # The cursor moves only after the queue has taken the range; a failure repeats it.
        if self._end > self._queued:
            self._send(self._path, ByteRange(self._queued, self._end))
            self._queued = self._end
