"""What reporting needs of the outside: a durable queue of API writes.

`outbox.outbox` provides it; this room knows only the shape.

What a report needs to know of the session it is about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from agent_swarm_worker.contract import ActionKind
    from agent_swarm_worker.outbox.queue import WriteKind

WORKER_LANE = "worker"
"""The lane of what concerns the agent and no task: no result waits for it."""


class WriteQueue(Protocol):
    """Takes API writes and owns them from then on."""

    def put(self, lane: str, kind: WriteKind, args: Mapping[str, Any]) -> None:
        """Store one write durably and return; delivery comes later.

        Args:
            lane: writes of one lane are delivered in the order they were put.
            kind: what it is; `outbox.delivery` says what each takes.
            args: plain JSON values.
        """
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Make all that is put in the block one write: after a crash, all of it is there or none.

        The block must put nothing that a power cut is not to take back.
        """
        ...

    def mark_reported(self) -> None:
        """Note that whatever the log ranges put so far gave rise to was put as well."""
        ...


def task_lane(effective_id: str) -> str:
    """The lane of a task: whoever sees its finish can read all its lines.

    One lane for all of it, and still a line the server chokes on does not hold up the finish: the
    queue moves a write that fails again and again behind the others.
    """
    return effective_id


def unknown_window(model: str) -> int | None:  # noqa: ARG001 - the default of a callback
    """Know no model."""
    return None


def one_session() -> int:
    """Count this session only."""
    return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """Whose session it is, and how often to tell what."""

    task_id: str | None
    """The task, or ``None`` for a trigger without one: then nothing is said about a task, and
    logs, events and cost carry no task id (docs/api.md 4.10)."""
    effective_id: str
    """The task's id, or the id made up in its place."""
    agent_id: str
    session_uuid: str
    """The runner's id of the session; costs, logs and events are filed under it."""
    iteration: int
    """Number of this session within the worker's life, from 1."""
    harness: str
    """Name of the adapter."""
    context_window: Callable[[str], int | None] = unknown_window
    """The context window of a model in tokens, as far as it is known beforehand."""
    tools: Mapping[str, ActionKind] = field(default_factory=dict)
    """What this harness's tools do, by their name in lower case."""
    wire_provider: str | None
    """The harness as the server knows it, if it does."""
    log_file: Path
    """The session's journal."""
    metadata_bytes: int
    """Length of the journal's first line, which is not uploaded."""
    elapsed_s: float = 0.0
    """How long the session had run when its report begins."""
    model: str = ""
    """The model asked for, if any."""
    model_source: str = "adapter_default"
    """Where that choice came from (docs/api.md 3.6)."""
    session_meta: Mapping[str, Any] = field(default_factory=dict)
    """Kept with the task's session, for whoever continues the task."""
    observe_only: bool = False
    """For an offered task, which is not ours: no progress, since that would make it
    ``in_progress`` (docs/api.md 4.4)."""
    progress_interval_s: float = 3.0
    """Least time between two progress texts."""
    context_interval_s: float = 30.0
    """Least time between two context snapshots."""
    log_flush_s: float = 1.0
    """How often log lines are shipped; less often while many sessions run, see `sessions`."""
    sessions: Callable[[], int] = one_session
    """How many sessions the worker runs now: together they send log requests at a bounded rate."""
    events_flush_s: float = 5.0
    """How often tool events are shipped."""
