"""Reads tasks (docs/api.md 5.1), and the triggers that a poll returns (docs/api.md 4.2).

The task of a returned trigger is claimed on the server, so reading a trigger never fails: an
unknown one becomes an `UnknownTrigger`, which the worker logs. For fields see `values.read_row`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from agent_swarm_worker.api.values import Identifier, Row, WireRow, read_row

if TYPE_CHECKING:
    from collections.abc import Mapping

TERMINAL_STATUSES = frozenset({"completed", "failed", "cancelled", "superseded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment(WireRow):
    """A file, page or link that belongs to a task."""

    id: Identifier
    name: str = ""
    kind: str = ""
    """url, page, agent-fs or shared-fs; empty in triggers, where all are files to fetch."""
    mime_type: str | None = None
    size_bytes: int | None = None
    url: str | None = None
    path: str | None = None
    page_id: Identifier | None = None
    description: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLog(WireRow):
    """One entry of a task's history; progress has the type ``task_progress``."""

    event_type: str
    new_value: str = ""
    created_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(WireRow):
    """A task. ``raw`` has every field that is not named here."""

    id: Identifier
    text: str = ""
    """The instructions; ``task`` on the wire."""
    status: str = ""
    source: str = ""
    agent_id: Identifier | None = None
    offered_to: Identifier | None = None
    task_type: str | None = None
    tags: tuple[str, ...] = ()
    priority: int | None = None
    parent_task_id: Identifier | None = None
    dir: str | None = None
    vcs_provider: str | None = None
    vcs_repo: str | None = None
    model: str | None = None
    model_tier: str | None = None
    effort: str | None = None
    context_key: str | None = None
    output_schema: Mapping[str, Any] | None = None
    slack_channel_id: str | None = None
    slack_thread_ts: str | None = None
    claude_session_id: str | None = None
    """The session id of the last run, for every harness."""
    provider: str | None = None
    harness_variant_meta: Mapping[str, Any] | None = None
    progress: str | None = None
    output: str | None = None
    failure_reason: str | None = None
    was_paused: bool = False
    created_at: str = ""
    last_updated_at: str = ""
    finished_at: str | None = None
    total_cost_usd: float | None = None
    attachments: tuple[Attachment, ...] = ()
    logs: tuple[TaskLog, ...] = ()
    """Newest first; only in the answer for a single task."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_terminal(self) -> bool:
        """True if the task has ended and can no longer change."""
        return self.status in TERMINAL_STATUSES

    @classmethod
    def from_wire(cls, value: object) -> Self | None:
        """Read one row; ``None`` if it has no usable id."""
        row = Row(value)
        return read_row(
            cls,
            value,
            text=row.text("task"),
            attachments=row.rows("attachments", Attachment.from_wire),
            logs=row.rows("logs", TaskLog.from_wire),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester(WireRow):
    """The person who requested a task, with their preferences for being addressed."""

    name: str
    email: str | None = None
    role: str | None = None
    notes: str | None = None
    tone: str | None = None
    language: str | None = None
    verbosity: str | None = None

    @classmethod
    def from_wire(cls, value: object) -> Self | None:
        """Read the object; ``None`` if it has no name."""
        comms = Row(Row(value).nested("comms"))
        names = ("tone", "language", "verbosity")
        return read_row(cls, value, **{name: comms.maybe_text(name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMessage(WireRow):
    """One message of a chat channel."""

    channel_id: str
    channel_name: str | None = None
    ts: str = ""
    user: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelCursor(WireRow):
    """How far a channel has been read."""

    channel_id: str
    ts: str

    def to_wire(self) -> dict[str, str]:
        """Return the row as committed to the server (docs/api.md 4.7)."""
        return {"channelId": self.channel_id, "ts": self.ts}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAssigned:
    """A task was claimed by this poll, and is ``in_progress``."""

    type: ClassVar[str] = "task_assigned"
    task: Task
    requested_by: Requester | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOffered:
    """A task that this agent may accept or decline; ``reviewing`` and unassigned until then."""

    type: ClassVar[str] = "task_offered"
    task: Task
    requested_by: Requester | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRefused:
    """There are tasks, but the budget is spent (docs/api.md 4.5)."""

    type: ClassVar[str] = "budget_refused"
    cause: str = ""
    reset_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadMentions:
    """This agent was mentioned in channels. The count is 0 when the server does not send it."""

    type: ClassVar[str] = "unread_mentions"
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelActivity:
    """New messages in watched channels; they come again until the cursors are committed."""

    type: ClassVar[str] = "channel_activity"
    count: int = 0
    messages: tuple[ChannelMessage, ...] = ()
    cursors: tuple[ChannelCursor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTasksAvailable:
    """There are unassigned tasks in the pool; only older servers send this."""

    type: ClassVar[str] = "pool_tasks_available"
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownTrigger:
    """A trigger of a kind unknown to this worker, or whose task has no usable identifier."""

    type: str


Trigger: TypeAlias = (
    TaskAssigned
    | TaskOffered
    | BudgetRefused
    | UnreadMentions
    | ChannelActivity
    | PoolTasksAvailable
    | UnknownTrigger
)


def trigger_from_wire(value: object) -> Trigger:
    """Read a trigger of any kind. Never raises."""
    row = Row(value)
    kind = row.text("type")
    match kind:
        case TaskAssigned.type | TaskOffered.type:
            return _task_trigger(kind, row)
        case BudgetRefused.type:
            return BudgetRefused(cause=row.text("cause"), reset_at=row.maybe_text("resetAt"))
        case UnreadMentions.type:
            return UnreadMentions(count=row.whole("mentionsCount") or 0)
        case ChannelActivity.type:
            messages = row.rows("messages", ChannelMessage.from_wire)
            return ChannelActivity(
                count=row.whole("count") or len(messages),
                messages=messages,
                cursors=row.rows("cursorUpdates", ChannelCursor.from_wire),
            )
        case PoolTasksAvailable.type:
            return PoolTasksAvailable(count=row.whole("count") or 0)
        case _:
            return UnknownTrigger(type=kind)


def _task_trigger(kind: str, row: Row) -> Trigger:
    # The trigger's own task id is the claimed one; a task without text can be fetched later.
    task_row = row.nested("task") or {}
    if row.raw.get("taskId") is not None:
        task_row = {**task_row, "id": row.raw["taskId"]}
    task = Task.from_wire(task_row)
    if task is None:
        return UnknownTrigger(type=kind)
    trigger = TaskAssigned if kind == TaskAssigned.type else TaskOffered
    return trigger(task=task, requested_by=Requester.from_wire(row.nested("requestedBy")))
