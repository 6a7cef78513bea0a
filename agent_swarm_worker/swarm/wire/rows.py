"""Agents, configuration, steering, logs and events, as the server describes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.swarm.wire.reading import Row

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent as the server knows it."""

    id: str
    name: str = ""
    status: str = ""
    is_lead: bool = False
    role: str | None = None
    description: str | None = None
    capabilities: tuple[str, ...] = ()
    max_tasks: int | None = None
    soul_md: str | None = None
    identity_md: str | None = None
    claude_md: str | None = None
    tools_md: str | None = None
    heartbeat_md: str | None = None
    setup_script: str | None = None
    enabled_capabilities: tuple[str, ...] | None = None
    """What the server itself can do; ``None`` if it is too old to say."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_wire(cls, value: object) -> Agent | None:
        """Read one row; ``None`` if it has no usable id."""
        row = Row(value)
        agent_id = row.identifier("id")
        if agent_id is None:
            return None
        said = isinstance(row.raw.get("enabledCapabilities"), list)
        return cls(
            id=agent_id,
            name=row.text("name"),
            status=row.text("status"),
            is_lead=row.flag("isLead"),
            role=row.maybe_text("role"),
            description=row.maybe_text("description"),
            capabilities=row.texts("capabilities"),
            max_tasks=row.whole("maxTasks"),
            soul_md=row.maybe_text("soulMd"),
            identity_md=row.maybe_text("identityMd"),
            claude_md=row.maybe_text("claudeMd"),
            tools_md=row.maybe_text("toolsMd"),
            heartbeat_md=row.maybe_text("heartbeatMd"),
            setup_script=row.maybe_text("setupScript"),
            enabled_capabilities=row.texts("enabledCapabilities") if said else None,
            raw=row.raw,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRow:
    """One configuration value of the server (docs/api.md 13.1)."""

    key: str
    value: str
    scope: str = ""
    is_secret: bool = False
    id: str = ""
    """What the row is deleted by; empty if the server does not say."""
    scope_id: str | None = None

    @classmethod
    def from_wire(cls, value: object) -> ConfigRow | None:
        """Read one row; ``None`` unless key and value are strings."""
        row = Row(value)
        key = row.maybe_text("key")
        if key is None or not isinstance(row.raw.get("value"), str):
            return None
        return cls(
            key=key,
            value=row.text("value"),
            scope=row.text("scope"),
            is_secret=row.flag("isSecret"),
            id=row.identifier("id") or "",
            scope_id=row.maybe_text("scopeId"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeringMessage:
    """A message for a running session (docs/api.md 12.1)."""

    id: str
    task_id: str | None = None
    body: str = ""
    mode: str = "queue"
    """The mode that was asked for; the session may know only the other one."""
    status: str = ""
    created_at: str = ""

    @classmethod
    def from_wire(cls, value: object) -> SteeringMessage | None:
        """Read one row; ``None`` if it has no usable id."""
        row = Row(value)
        message_id = row.identifier("id")
        if message_id is None:
            return None
        return cls(
            id=message_id,
            task_id=row.identifier("taskId"),
            body=row.text("body"),
            mode="steer" if row.text("mode") == "steer" else "queue",
            status=row.text("status"),
            created_at=row.text("createdAt"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One uploaded line of a session (docs/api.md 8.4)."""

    session_id: str
    iteration: int
    line_number: int
    content: str
    created_at: str = ""
    cli: str = ""

    @classmethod
    def from_wire(cls, value: object) -> LogEntry | None:
        """Read one row; ``None`` if it has no content."""
        row = Row(value)
        if not isinstance(row.raw.get("content"), str):
            return None
        return cls(
            session_id=row.text("sessionId"),
            iteration=row.whole("iteration") or 0,
            line_number=row.whole("lineNumber") or 0,
            content=row.text("content"),
            created_at=row.text("createdAt"),
            cli=row.text("cli"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One event that was posted earlier (docs/api.md 9.4)."""

    id: str
    event: str
    created_at: str
    data: Mapping[str, Any]

    @classmethod
    def from_wire(cls, value: object) -> StoredEvent | None:
        """Read one row; ``None`` if it does not name its event."""
        row = Row(value)
        event = row.maybe_text("event")
        if event is None:
            return None
        return cls(
            id=row.text("id"),
            event=event,
            created_at=row.text("createdAt"),
            data=row.nested("data") or {},
        )
