"""The record of one session: its files, one after the other, and one size limit over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.journal.limit import JournalLimit
from agent_swarm_worker.journal.writer import Journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent_swarm_worker.contract.sink import ByteRange, SessionSink
    from agent_swarm_worker.journal.limit import Weight
    from agent_swarm_worker.journal.writer import HandOver
    from agent_swarm_worker.logs import Log


class SessionJournal:
    """Records one session. Not for concurrent use.

    Args:
        path: of the first file, which has its first record already, if it is to have one.
        max_bytes: about how much is recorded; see `limit`.
        log: the session's log.
        sink: told of what is recorded; see `writer.Journal`.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, log: Log, sink: SessionSink | None = None
    ) -> None:
        self._log, self._sink = log, sink
        self._limit = JournalLimit(max_bytes, log=log)
        self._file = Journal(path, log=log, sink=sink)

    @property
    def path(self) -> Path:
        """The file in use."""
        return self._file.path

    @property
    def is_near_limit(self) -> bool:
        """True once records have to be weighed, and `admitted`, before they are appended."""
        return self._limit.is_near

    def admitted(self, record: bytes, weight: Weight) -> list[bytes]:
        """Return what is to be appended for a record of this weight, perhaps nothing."""
        return self._limit.admitted(record, weight)

    def append(self, records: Sequence[bytes], hand_over: HandOver | None = None) -> ByteRange:
        """Write records; see `writer.Journal.append`."""
        self._limit.took(sum(map(len, records)) + len(records))
        return self._file.append(records, hand_over)

    def switch(self, path: Path, head: dict[str, Any]) -> None:
        """Go on in another file, which begins with this record."""
        self._file.close()
        start = Journal.begin(path, head, log=self._log)
        self._file = Journal(path, log=self._log, sink=self._sink)
        if self._sink is not None:
            self._sink.switched(path, start)

    def close(self) -> None:
        """End the record, with a note on what the limit left out of it. A later append reopens."""
        if closing := self._limit.closing():
            self._file.append(closing)
        self._file.close()
