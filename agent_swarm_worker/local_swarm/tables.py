"""Declare how the rows of each table are shown on the wire.

Columns have the names of the wire (schema in `store`). NULL columns are left out; `Table` names the
columns that need more: JSON columns hold text, flags hold 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """One table and its columns with a special form on the wire."""

    name: str
    json: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    nulls: frozenset[str] = frozenset()
    """Columns shown as ``null``, not left out, when NULL."""
    hidden: frozenset[str] = frozenset()
    """Columns that are never shown."""


def _table(
    name: str, *, json: str = "", flags: str = "", nulls: str = "", hidden: str = ""
) -> Table:
    return Table(name, *(frozenset(names.split()) for names in (json, flags, nulls, hidden)))


AGENTS = _table(
    "agents",
    json="capabilities credentialMissing credStatus avatar",
    flags="isLead",
    nulls="credentialMissing credStatus avatar harnessProvider",
)
TASKS = _table(
    "tasks",
    json="tags dependsOn outputSchema followUpConfig providerMeta harnessVariantMeta "
    "routingAffinity",
    flags="wasPaused slackReplySent",
    nulls="agentId",
)
TASK_LOGS = _table("task_logs")
SESSIONS = _table(
    "active_sessions",
    nulls="taskId inboxMessageId taskDescription runnerSessionId providerSessionId "
    "runtimeInstanceId",
)
SESSION_LOGS = _table("session_logs")
COSTS = _table(
    "session_costs",
    json="modelBreakdown",
    flags="isError",
    nulls="numTurns harnessCostUsd cacheWrite5mTokens cacheWrite1hTokens modelBreakdown",
)
EVENTS = _table("events", json="data")
SNAPSHOTS = _table("context_snapshots")
STEERING = _table("steering_messages")
CONFIG = _table("config", flags="isSecret encrypted", nulls="scopeId envPath description")
KEYS = _table(
    "key_status",
    json="rateLimitWindows",
    nulls="scopeId rateLimitedUntil lastUsedAt lastRateLimitAt name",
)
BUDGETS = _table("budgets", hidden="id")
REPOS = _table("repos", json="hooks guidelines", flags="autoClone", nulls="guidelines")
MCP_SERVERS = _table(
    "mcp_servers",
    flags="isEnabled isActive",
    nulls="description ownerAgentId command args url headers envConfigKeys headerConfigKeys "
    "extraAuthorizeParams",
)
SKILLS = _table(
    "skills",
    flags="isComplex isEnabled isActive systemDefault disableModelInvocation userInvocable",
    nulls="ownerAgentId sourceUrl sourceRepo sourcePath sourceHash allowedTools model effort "
    "context agent lastFetchedAt",
)
SKILL_FILES = _table("skill_files", flags="isBinary", nulls="size")
MEMORIES = _table(
    "memories",
    json="tags",
    nulls="agentId summary sourceTaskId sourcePath expiresAt embeddingModel",
    hidden="number",
)
CHANNELS = _table("channels")
MESSAGES = _table("channel_messages", json="mentions", nulls="agentId")
APPROVALS = _table(
    "approval_requests",
    json="questions approvers responses notificationChannels",
    nulls="workflowRunId workflowRunStepId sourceTaskId responses resolvedBy resolvedAt "
    "timeoutSeconds expiresAt notificationChannels",
)
USERS = _table("users", json="emailAliases metadata comms", nulls="dailyBudgetUsd")
ATTACHMENTS = _table("attachments", json="capabilities", flags="isPrimary", nulls="agentId")
