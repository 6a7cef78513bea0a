"""What surrounds a task: repositories, tool servers, memories, skills.

Agents, configuration, steering, logs and events, as the server describes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.api.wire.values import Row, is_identifier

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NAME_CHARS = 200
MAX_VARIABLE_CHARS = 128 * 1024
"""No process can be given a longer variable, and no server takes a longer header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidelines:
    """What a repository asks of its contributors."""

    pr_checks: tuple[str, ...] = ()
    merge_checks: tuple[str, ...] = ()
    review: tuple[str, ...] = ()
    allow_merge: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """A repository the swarm knows (docs/api.md 15.1)."""

    url: str
    name: str = ""
    clone_path: str | None = None
    default_branch: str | None = None
    auto_clone: bool = False
    hooks_enabled: bool = False
    guidelines: Guidelines | None = None

    @classmethod
    def from_wire(cls, value: object) -> Repo | None:
        """Read one row; ``None`` if it has no URL."""
        row = Row(value)
        url = row.maybe_text("url")
        if url is None:
            return None
        rules = row.nested("guidelines")
        said = Row(rules)
        return cls(
            url=url,
            name=row.text("name"),
            clone_path=row.maybe_text("clonePath"),
            default_branch=row.maybe_text("defaultBranch"),
            auto_clone=row.flag("autoClone"),
            hooks_enabled=Row(row.nested("hooks")).flag("enabled"),
            guidelines=None
            if rules is None
            else Guidelines(
                pr_checks=said.texts("prChecks"),
                merge_checks=said.texts("mergeChecks"),
                review=said.texts("review"),
                allow_merge=said.flag("allowMerge"),
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledMcpServer:
    """A tool server that is installed for the agent (docs/api.md 15.2)."""

    name: str
    transport: str = "stdio"
    command: str = ""
    args: tuple[str, ...] = ()
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    """Resolved secrets; empty unless they were asked for."""
    is_usable: bool = True
    """False if it is switched off or its credentials could not be resolved."""
    auth_error: str | None = None

    @classmethod
    def from_wire(cls, value: object) -> InstalledMcpServer | None:
        """Read one row; ``None`` if it has no usable name."""
        row = Row(value)
        name = row.maybe_text("name")
        if name is None or len(name) > MAX_NAME_CHARS:
            return None
        auth_error = row.maybe_text("authError")
        active = row.flag("isActive", default=True) and row.flag("isEnabled", default=True)
        return cls(
            name=name,
            transport=row.text("transport", "stdio"),
            command=row.text("command"),
            args=Row({"args": _document(row, "args")}).texts("args"),
            url=row.text("url"),
            headers=_strings(_document(row, "headers")) | _strings(row.nested("resolvedHeaders")),
            env=_strings(row.nested("resolvedEnv")),
            is_usable=active and auth_error is None,
            auth_error=auth_error,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Something the swarm remembers (docs/api.md 15.5)."""

    id: str
    name: str = ""
    content: str = ""
    similarity: float = 0.0

    @classmethod
    def from_wire(cls, value: object) -> Memory | None:
        """Read one row; ``None`` if it has no usable id."""
        row = Row(value)
        memory_id = row.identifier("id")
        if memory_id is None:
            return None
        return cls(
            id=memory_id,
            name=row.text("name"),
            content=row.text("content"),
            similarity=row.number("similarity") or 0.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill that is installed for the agent (docs/api.md 15.4)."""

    id: str
    name: str
    description: str = ""
    content: str = ""
    is_complex: bool = False
    """True if it has files besides its text."""
    is_active: bool = True
    """False if it is switched off, for the agent or everywhere."""

    @classmethod
    def from_wire(cls, value: object) -> Skill | None:
        """Read one row; ``None`` if it has no usable id or no name."""
        row = Row(value)
        skill_id, name = row.identifier("id"), row.maybe_text("name")
        if skill_id is None or name is None:
            return None
        return cls(
            id=skill_id,
            name=name,
            description=row.text("description"),
            content=row.text("content"),
            is_complex=row.flag("isComplex"),
            is_active=row.flag("isActive", default=True) and row.flag("isEnabled", default=True),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFile:
    """A file of a complex skill; ``path`` stays below the skill's own directory."""

    path: str
    content: str = ""
    is_binary: bool = False

    @classmethod
    def from_wire(cls, value: object) -> SkillFile | None:
        """Read one row; ``None`` if its path is missing or could lead elsewhere."""
        row = Row(value)
        path = row.text("path")
        if not all(is_identifier(part) for part in path.split("/")):
            return None
        return cls(path=path, content=row.text("content"), is_binary=row.flag("isBinary"))


def _document(row: Row, key: str) -> Any:
    """Return a value that the server keeps as JSON in a string."""
    value = row.raw.get(key)
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _strings(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {
        key: item
        for key, item in value.items()
        if isinstance(item, str) and len(key) + len(item) < MAX_VARIABLE_CHARS
    }


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
