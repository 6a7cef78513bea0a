"""Tasks as the server describes them (docs/api.md 5.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.swarm.wire.reading import Row

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
