"""Reads rows of the server other than tasks; `values.read_row` says how fields are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import orjson

from agent_swarm_worker.api.values import (
    Identifier,
    Row,
    WireRow,
    is_identifier,
    read_row,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NAME_CHARS = 200
MAX_VARIABLE_CHARS = 128 * 1024
"""Linux passes no longer variable to a process, and no server accepts a longer header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidelines:
    """Rules of a repository for contributions."""

    pr_checks: tuple[str, ...] = ()
    merge_checks: tuple[str, ...] = ()
    review: tuple[str, ...] = ()
    allow_merge: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo(WireRow):
    """A repository the swarm knows (docs/api.md 15.1)."""

    url: str
    name: str = ""
    clone_path: str | None = None
    default_branch: str | None = None
    auto_clone: bool = False
    hooks_enabled: bool = False
    guidelines: Guidelines | None = None

    @classmethod
    def from_wire(cls, value: object) -> Self | None:
        """Read one row; ``None`` if it has no URL."""
        row = Row(value)
        rules = row.nested("guidelines")
        return read_row(
            cls,
            value,
            hooks_enabled=Row(row.nested("hooks")).flag("enabled"),
            guidelines=None if rules is None else read_row(Guidelines, rules),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledMcpServer(WireRow):
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
    def from_wire(cls, value: object) -> Self | None:
        """Read one row; ``None`` if it has no usable name."""
        row = Row(value)
        if len(row.text("name")) > MAX_NAME_CHARS:
            return None
        is_active = row.flag("isActive", default=True) and row.flag("isEnabled", default=True)
        return read_row(
            cls,
            value,
            transport=row.text("transport", "stdio"),
            args=Row({"args": _document(row, "args")}).texts("args"),
            headers=_strings(_document(row, "headers")) | _strings(row.nested("resolvedHeaders")),
            env=_strings(row.nested("resolvedEnv")),
            is_usable=is_active and row.maybe_text("authError") is None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory(WireRow):
    """A memory of the swarm (docs/api.md 15.5)."""

    id: Identifier
    name: str = ""
    content: str = ""
    similarity: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill(WireRow):
    """A skill that is installed for the agent (docs/api.md 15.4)."""

    id: Identifier
    name: str
    description: str = ""
    content: str = ""
    is_complex: bool = False
    """True if it has files besides its text."""
    is_active: bool = True
    """False if it is switched off, for the agent or everywhere."""

    @classmethod
    def from_wire(cls, value: object) -> Self | None:
        """Read one row; ``None`` if it has no usable id or no name."""
        row = Row(value)
        is_active = row.flag("isActive", default=True) and row.flag("isEnabled", default=True)
        return read_row(cls, value, is_active=is_active)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFile(WireRow):
    """A file of a complex skill; ``path`` stays below the skill's own directory."""

    path: str
    content: str = ""
    is_binary: bool = False

    @classmethod
    def from_wire(cls, value: object) -> Self | None:
        """Read one row; ``None`` if its path is missing or leaves the skill's directory."""
        path = Row(value).text("path")
        return read_row(cls, value) if all(map(is_identifier, path.split("/"))) else None


def _document(row: Row, key: str) -> Any:
    """Return a value that the server stores as JSON in a string."""
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
class Agent(WireRow):
    """An agent's row (docs/api.md 3.5)."""

    id: Identifier
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
    """Capabilities of the server (docs/api.md 17.3); ``None`` if it is too old to send them."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRow(WireRow):
    """One configuration value of the server (docs/api.md 13.1)."""

    key: str
    value: str
    scope: str = ""
    is_secret: bool = False
    id: Identifier = ""
    """Identifies the row when it is deleted; empty if the server does not send it."""
    scope_id: str | None = None

    @classmethod
    def from_wire(cls, value: object) -> Self | None:
        """Read one row; ``None`` unless key and value are strings."""
        row = Row(value)
        if not isinstance(row.raw.get("value"), str):
            return None
        return read_row(cls, value, value=row.text("value"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeringMessage(WireRow):
    """A message for a running session (docs/api.md 12.1)."""

    id: Identifier
    task_id: Identifier | None = None
    body: str = ""
    mode: str = "queue"
    """The requested mode; the session may support only the other one."""
    status: str = ""
    created_at: str = ""

    @classmethod
    def from_wire(cls, value: object) -> Self | None:
        """Read one row; ``None`` if it has no usable id."""
        mode = "steer" if Row(value).text("mode") == "steer" else "queue"
        return read_row(cls, value, mode=mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry(WireRow):
    """One uploaded line of a session (docs/api.md 8.4)."""

    session_id: str = ""
    iteration: int = 0
    line_number: int = 0
    content: str
    created_at: str = ""
    cli: str = ""

    @classmethod
    def from_wire(cls, value: object) -> Self | None:
        """Read one row; ``None`` if it has no content."""
        row = Row(value)
        if not isinstance(row.raw.get("content"), str):
            return None
        return read_row(cls, value, content=row.text("content"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent(WireRow):
    """One event that was uploaded earlier (docs/api.md 9.4)."""

    id: str = ""
    event: str
    created_at: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
