"""The interfaces of reporting: the queue it puts API writes into, and the session it reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from agent_swarm_worker.contract import ActionKind, ProviderResult
    from agent_swarm_worker.outbox.queue import WriteKind

WORKER_LANE = "worker"
"""The lane of writes about the agent and no task; a task's lane is its id."""


class WriteQueue(Protocol):
    """Stores API writes and delivers them; implemented by `recovery.upload_cursor`."""

    def put(self, lane: str, kind: WriteKind, args: Mapping[str, Any]) -> None:
        """Store one write, to be delivered later; `outbox.delivery` lists the args of its kind."""

    def transaction(self) -> AbstractContextManager[None]:
        """Store all writes of the block in one transaction: after a crash all of them or none."""

    def mark_reported(self) -> None:
        """Record that the events of all log ranges put so far were put, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """Identity of a session, and the intervals of its reports."""

    task_id: str | None
    """``None`` for a trigger without a task: then nothing is written to a task, and logs, events
    and cost have no task id (docs/api.md 4.10)."""
    effective_id: str
    """The task's id, or the id generated in its place; also the lane of its writes."""
    agent_id: str
    session_uuid: str
    """The runner's id of the session; costs, logs and events are filed under it."""
    iteration: int
    """Number of this session within the worker's life, from 1."""
    harness: str
    context_window: Callable[[str], int | None] = lambda _model: None
    """Returns the context window of a model in tokens, if it is known before the session."""
    tools: Mapping[str, ActionKind] = field(default_factory=dict)
    """The action of each tool of the harness, by its name in lower case."""
    wire_provider: str | None
    """The harness as the server knows it, if it does."""
    cost_provider: str | None = None
    """The same for its cost."""
    nearest_provider: str | None = None
    """The harness to name with a cost if the server refuses that."""
    log_file: Path
    metadata_bytes: int
    """Length of the journal's first line, which is not uploaded."""
    elapsed_s: float = 0.0
    """How long the session had run when its report begins."""
    model: str = ""
    """The model asked for, if any."""
    model_source: str = "adapter_default"
    """Where that choice came from (docs/api.md 3.6)."""
    cred_status: Callable[[ProviderResult], Mapping[str, Any] | None] = lambda _result: None
    """Returns what the session's end tells about its credential (docs/api.md 3.6)."""
    session_meta: Mapping[str, Any] = field(default_factory=dict)
    """Stored with the task's session, for a worker that resumes the task."""
    observe_only: bool = False
    """True for an offered task: progress would make it ``in_progress`` (docs/api.md 4.4)."""
    log_flush_s: float = 1.0
    events_flush_s: float = 5.0
    sessions: Callable[[], int] = lambda: 1
    """Returns how many sessions run now; of many, each flushes less often."""
