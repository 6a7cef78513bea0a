"""Tasks as the server describes them (docs/api.md 5.1).

What a poll returns: one class per kind of work (docs/api.md 4.2).

A returned trigger is already claimed on the server, so reading one never fails: what cannot be
understood becomes an `UnknownTrigger`, which the worker logs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from agent_swarm_worker.api.wire.values import Row

if TYPE_CHECKING:
    from collections.abc import Mapping

TERMINAL_STATUSES = frozenset({"completed", "failed", "cancelled", "superseded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file, page or link that belongs to a task."""

    id: str
    name: str
    kind: str = ""
    """url, page, agent-fs or shared-fs; empty in triggers, where all are files to fetch."""
    mime_type: str | None = None
    size_bytes: int | None = None
    url: str | None = None
    path: str | None = None
    page_id: str | None = None
    org_id: str | None = None
    drive_id: str | None = None
    description: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_wire(cls, value: object) -> Attachment | None:
        """Read one row; ``None`` if it has no usable id."""
        row = Row(value)
        attachment_id = row.identifier("id")
        if attachment_id is None:
            return None
        return cls(
            id=attachment_id,
            name=row.text("name"),
            kind=row.text("kind"),
            mime_type=row.maybe_text("mimeType"),
            size_bytes=row.whole("sizeBytes"),
            url=row.maybe_text("url"),
            path=row.maybe_text("path"),
            page_id=row.identifier("pageId"),
            org_id=row.maybe_text("orgId"),
            drive_id=row.maybe_text("driveId"),
            description=row.maybe_text("description"),
            raw=row.raw,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLog:
    """One entry of a task's history; progress has the type ``task_progress``."""

    event_type: str
    new_value: str
    created_at: str

    @classmethod
    def from_wire(cls, value: object) -> TaskLog | None:
        """Read one row; ``None`` if it does not say what happened."""
        row = Row(value)
        kind = row.maybe_text("eventType")
        if kind is None:
            return None
        return cls(
            event_type=kind, new_value=row.text("newValue"), created_at=row.text("createdAt")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task. ``raw`` has every field that is not named here."""

    id: str
    text: str = ""
    """What is to be done; ``task`` on the wire."""
    title: str | None = None
    status: str = ""
    source: str = ""
    agent_id: str | None = None
    creator_agent_id: str | None = None
    offered_to: str | None = None
    task_type: str | None = None
    tags: tuple[str, ...] = ()
    priority: int | None = None
    depends_on: tuple[str, ...] = ()
    parent_task_id: str | None = None
    dir: str | None = None
    vcs_provider: str | None = None
    vcs_repo: str | None = None
    vcs_number: int | None = None
    vcs_url: str | None = None
    model: str | None = None
    model_tier: str | None = None
    effort: str | None = None
    context_key: str | None = None
    output_schema: Mapping[str, Any] | None = None
    slack_channel_id: str | None = None
    slack_thread_ts: str | None = None
    requested_by_user_id: str | None = None
    claude_session_id: str | None = None
    """The harness's session id of the last run, whatever the harness."""
    provider: str | None = None
    provider_meta: Mapping[str, Any] | None = None
    harness_variant: str | None = None
    harness_variant_meta: Mapping[str, Any] | None = None
    progress: str | None = None
    output: str | None = None
    failure_reason: str | None = None
    was_paused: bool = False
    created_at: str = ""
    last_updated_at: str = ""
    finished_at: str | None = None
    total_cost_usd: float | None = None
    is_lead_task: bool = False
    attachments: tuple[Attachment, ...] = ()
    logs: tuple[TaskLog, ...] = ()
    """Newest first; only in the answer to a question for one task."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_terminal(self) -> bool:
        """True if the task has ended and can no longer change."""
        return self.status in TERMINAL_STATUSES

    @classmethod
    def from_wire(cls, value: object) -> Task | None:
        """Read one row; ``None`` if it has no usable id."""
        row = Row(value)
        task_id = row.identifier("id")
        if task_id is None:
            return None
        return cls(
            id=task_id,
            text=row.text("task"),
            title=row.maybe_text("title"),
            status=row.text("status"),
            source=row.text("source"),
            agent_id=row.identifier("agentId"),
            creator_agent_id=row.identifier("creatorAgentId"),
            offered_to=row.identifier("offeredTo"),
            task_type=row.maybe_text("taskType"),
            tags=row.texts("tags"),
            priority=row.whole("priority"),
            depends_on=row.texts("dependsOn"),
            parent_task_id=row.identifier("parentTaskId"),
            dir=row.maybe_text("dir"),
            vcs_provider=row.maybe_text("vcsProvider"),
            vcs_repo=row.maybe_text("vcsRepo"),
            vcs_number=row.whole("vcsNumber"),
            vcs_url=row.maybe_text("vcsUrl"),
            model=row.maybe_text("model"),
            model_tier=row.maybe_text("modelTier"),
            effort=row.maybe_text("effort"),
            context_key=row.maybe_text("contextKey"),
            output_schema=row.nested("outputSchema"),
            slack_channel_id=row.maybe_text("slackChannelId"),
            slack_thread_ts=row.maybe_text("slackThreadTs"),
            requested_by_user_id=row.maybe_text("requestedByUserId"),
            claude_session_id=row.maybe_text("claudeSessionId"),
            provider=row.maybe_text("provider"),
            provider_meta=row.nested("providerMeta"),
            harness_variant=row.maybe_text("harnessVariant"),
            harness_variant_meta=row.nested("harnessVariantMeta"),
            progress=row.maybe_text("progress"),
            output=row.maybe_text("output"),
            failure_reason=row.maybe_text("failureReason"),
            was_paused=row.flag("wasPaused"),
            created_at=row.text("createdAt"),
            last_updated_at=row.text("lastUpdatedAt"),
            finished_at=row.maybe_text("finishedAt"),
            total_cost_usd=row.number("totalCostUsd"),
            is_lead_task=row.flag("isLeadTask"),
            attachments=row.rows("attachments", Attachment.from_wire),
            logs=row.rows("logs", TaskLog.from_wire),
            raw=row.raw,
        )


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
