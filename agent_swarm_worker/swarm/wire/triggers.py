"""What a poll returns: one class per kind of work (docs/api.md 4.2).

A returned trigger is already claimed on the server, so reading one never fails: what cannot be
understood becomes an `UnknownTrigger`, which the worker logs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from agent_swarm_worker.swarm.wire.reading import Row
from agent_swarm_worker.swarm.wire.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """The person who asked for a task, and how they like to be spoken to."""

    name: str
    email: str | None = None
    role: str | None = None
    notes: str | None = None
    tone: str | None = None
    language: str | None = None
    verbosity: str | None = None

    @classmethod
    def from_wire(cls, value: object) -> Requester | None:
        """Read the object; ``None`` if it names nobody."""
        row = Row(value)
        name = row.maybe_text("name")
        if name is None:
            return None
        comms = Row(row.nested("comms"))
        return cls(
            name=name,
            email=row.maybe_text("email"),
            role=row.maybe_text("role"),
            notes=row.maybe_text("notes"),
            tone=comms.maybe_text("tone"),
            language=comms.maybe_text("language"),
            verbosity=comms.maybe_text("verbosity"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMessage:
    """One message of a chat channel."""

    channel_id: str
    channel_name: str | None = None
    ts: str = ""
    user: str = ""
    text: str = ""

    @classmethod
    def from_wire(cls, value: object) -> ChannelMessage | None:
        """Read one row; ``None`` if it names no channel."""
        row = Row(value)
        channel_id = row.maybe_text("channelId")
        if channel_id is None:
            return None
        return cls(
            channel_id=channel_id,
            channel_name=row.maybe_text("channelName"),
            ts=row.text("ts"),
            user=row.text("user"),
            text=row.text("text"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelCursor:
    """How far a channel has been read."""

    channel_id: str
    ts: str

    @classmethod
    def from_wire(cls, value: object) -> ChannelCursor | None:
        """Read one row; ``None`` if a part is missing."""
        row = Row(value)
        channel_id, ts = row.maybe_text("channelId"), row.maybe_text("ts")
        return None if channel_id is None or ts is None else cls(channel_id=channel_id, ts=ts)

    def to_wire(self) -> dict[str, str]:
        """Return the row as the server wants it back."""
        return {"channelId": self.channel_id, "ts": self.ts}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAssigned:
    """A task is ours and already ``in_progress``."""

    type: ClassVar[str] = "task_assigned"
    task: Task
    requested_by: Requester | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOffered:
    """A task we may take or leave; ``reviewing``, and nobody's until then."""

    type: ClassVar[str] = "task_offered"
    task: Task
    requested_by: Requester | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRefused:
    """There is work, and no money for it."""

    type: ClassVar[str] = "budget_refused"
    cause: str = ""
    reset_at: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadMentions:
    """Somebody named us in a channel. The count is 0 when the server does not know it."""

    type: ClassVar[str] = "unread_mentions"
    count: int = 0
    channels: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelActivity:
    """New messages in watched channels; they come again until the cursors are committed."""

    type: ClassVar[str] = "channel_activity"
    count: int = 0
    messages: tuple[ChannelMessage, ...] = ()
    cursors: tuple[ChannelCursor, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTasksAvailable:
    """There are unassigned tasks to choose from; only older servers say so."""

    type: ClassVar[str] = "pool_tasks_available"
    count: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownTrigger:
    """Something this worker does not know, or whose identifier could do harm."""

    type: str
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


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
    """Read a trigger of any kind. Never fails."""
    row = Row(value)
    kind = row.text("type")
    match kind:
        case TaskAssigned.type | TaskOffered.type:
            return _task_trigger(kind, row)
        case BudgetRefused.type:
            return BudgetRefused(
                cause=row.text("cause"), reset_at=row.maybe_text("resetAt"), raw=row.raw
            )
        case UnreadMentions.type:
            return UnreadMentions(
                count=row.whole("mentionsCount") or 0,
                channels=row.texts("claimedChannels"),
                raw=row.raw,
            )
        case ChannelActivity.type:
            messages = row.rows("messages", ChannelMessage.from_wire)
            return ChannelActivity(
                count=row.whole("count") or len(messages),
                messages=messages,
                cursors=row.rows("cursorUpdates", ChannelCursor.from_wire),
                raw=row.raw,
            )
        case PoolTasksAvailable.type:
            return PoolTasksAvailable(count=row.whole("count") or 0, raw=row.raw)
        case _:
            return UnknownTrigger(type=kind, raw=row.raw)


def _task_trigger(kind: str, row: Row) -> Trigger:
    # The id of the trigger is the one that was claimed; a task without text can still be fetched.
    task_row = row.nested("task") or {}
    if row.raw.get("taskId") is not None:
        task_row = {**task_row, "id": row.raw["taskId"]}
    task = Task.from_wire(task_row)
    if task is None:
        return UnknownTrigger(type=kind, raw=row.raw)
    requested_by = Requester.from_wire(row.nested("requestedBy"))
    trigger = TaskAssigned if kind == TaskAssigned.type else TaskOffered
    return trigger(task=task, requested_by=requested_by, raw=row.raw)
