"""Read and write documents in one SQLite file: one connection, one transaction per request.

All calls run in the event loop's thread. A statement takes microseconds (WAL,
``synchronous=NORMAL``: no fsync per commit), less than passing it to a thread, and no handler
awaits inside a transaction, so that transactions cannot interleave. Committed data survives the
death of the process, but not always a power cut. Columns have the names of the wire; `tables` says
how rows are shown.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from agent_swarm_worker.clock import wire_time
from agent_swarm_worker.errors import StateLocked, StateUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from agent_swarm_worker.clock import Clock
    from agent_swarm_worker.ids import IdSource
    from agent_swarm_worker.local_swarm.tables import Table

Document: TypeAlias = dict[str, Any]
"""A row as it is on the wire."""

IN_MEMORY = ":memory:"
LOCK_WAIT_S = 0.2
"""Enough for another server that is stopping."""

CENTURY_S = 100 * 365 * 86400
VERSION = 1
"""Version of the schema, in ``PRAGMA user_version``."""


class Store:
    """Typed access to rows, without knowledge of their meaning."""

    def __init__(self, path: Path | str, clock: Clock, ids: IdSource) -> None:
        """Open the database, creating it if it is absent.

        Raises:
            StateLocked: another process has it open.
            StateUnwritable: it cannot be created, or has the schema of a newer version.
        """
        self.clock, self.new_id = clock, ids
        self._connection = _open(path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # --- time
    def now(self) -> str:
        """Return the current time in the wire's format."""
        return wire_time(self.clock.now())

    def ago(self, seconds: float) -> str:
        """Return the time `seconds` before now."""
        return wire_time(self._time_in(-seconds))

    def ahead(self, seconds: float) -> str:
        """Return the time `seconds` after now."""
        return wire_time(self._time_in(seconds))

    def _time_in(self, seconds: float) -> datetime:
        # Clamped, since `datetime` ends with the year 9999.
        return self.clock.now() + timedelta(seconds=max(-CENTURY_S, min(seconds, CENTURY_S)))

    # --- plain SQL
    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all statements of the block, or none."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            # Still open after an error inside, and after a COMMIT that found the disk full.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def run(self, sql: str, *values: Any) -> int:
        """Execute one statement; return how many rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        return self._connection.execute(sql, values).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """Return the first column of the first row, or ``None``."""
        row = self._connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    # --- documents
    def insert(self, table: Table, document: Document) -> Document:
        """Store `document` under a new id (unless it has one) and return it as stored."""
        row = {"id": document.get("id") or self.new_id(), **document}
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        # Table and column names are our own constants; values are always bound.
        sql = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608
        self._connection.execute(sql, [_stored(value) for value in row.values()])
        stored = self.get(table, row["id"])
        assert stored is not None
        return stored

    def update(self, table: Table, row_id: str, **changes: Any) -> Document:
        """Set some columns of one row and return the whole row."""
        if changes:
            sets = ", ".join(f"{name} = ?" for name in changes)
            sql = f"UPDATE {table.name} SET {sets} WHERE id = ?"  # noqa: S608 - as above
            self._connection.execute(sql, [*map(_stored, changes.values()), row_id])
        stored = self.get(table, row_id)
        assert stored is not None
        return stored

    def get(self, table: Table, row_id: str) -> Document | None:
        """Return the row with this id."""
        return self.first(table, "id = ?", row_id)

    def first(self, table: Table, where: str, *values: Any) -> Document | None:
        """Return the first row that matches."""
        found = self.find(table, f"{where} LIMIT 1", *values)
        return found[0] if found else None

    def find(self, table: Table, where: str, *values: Any) -> list[Document]:
        """Return the rows that match; `where` may end in ORDER BY and LIMIT."""
        sql = f"SELECT * FROM {table.name} WHERE {where}"  # noqa: S608 - as above
        return [document_of(table, row) for row in self.rows(sql, *values)]

    def delete(self, table: Table, where: str, *values: Any) -> int:
        """Remove the rows that match; return how many there were."""
        return self.run(f"DELETE FROM {table.name} WHERE {where}", *values)  # noqa: S608 - as above


def document_of(table: Table, row: sqlite3.Row) -> Document:
    """Convert a row to its form on the wire."""
    document: Document = {}
    for name in row.keys():  # noqa: SIM118 - iterating a Row gives its values
        value = row[name]
        if name in table.hidden or (value is None and name not in table.nulls):
            continue
        if value is not None and name in table.json:
            value = orjson.loads(value)
        elif name in table.flags:
            value = bool(value)
        document[name] = value
    return document


def _stored(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


def _open(path: Path | str) -> sqlite3.Connection:
    in_memory = str(path) == IN_MEMORY
    file = Path(path)
    try:
        if not in_memory:
            file.parent.mkdir(parents=True, exist_ok=True)
            # Mode 0600: configuration rows hold credentials.
            os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise StateUnwritable(file, str(error)) from error
    connection.row_factory = sqlite3.Row
    try:
        _prepare(connection, file)
    except sqlite3.Error as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise StateLocked(file, None) from error
        raise StateUnwritable(file, str(error)) from error
    except StateUnwritable:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    # Two servers on one file would not see each other's claims.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute("COMMIT")
    if version > VERSION:
        raise StateUnwritable(file, f"it has layout {version}, this program knows {VERSION}")
    connection.executescript(CREATE)
    connection.execute(f"PRAGMA user_version = {VERSION}")


# --- schema
CREATE = """
CREATE TABLE IF NOT EXISTS agents (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, isLead INT NOT NULL, status TEXT NOT NULL,
  description TEXT, role TEXT, capabilities TEXT NOT NULL, claudeMd TEXT, soulMd TEXT,
  identityMd TEXT, setupScript TEXT, toolsMd TEXT, heartbeatMd TEXT, maxTasks INT NOT NULL,
  emptyPollCount INT NOT NULL DEFAULT 0, lastActivityAt TEXT, provider TEXT, harnessProvider TEXT,
  credentialMissing TEXT, credStatus TEXT, avatar TEXT,
  createdAt TEXT NOT NULL, lastUpdatedAt TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS tasks (
  id TEXT PRIMARY KEY, key TEXT NOT NULL, agentId TEXT, creatorAgentId TEXT, task TEXT NOT NULL,
  title TEXT, status TEXT NOT NULL, source TEXT NOT NULL, taskType TEXT, tags TEXT NOT NULL,
  priority INT NOT NULL, dependsOn TEXT NOT NULL, offeredTo TEXT, offeredAt TEXT, acceptedAt TEXT,
  rejectionReason TEXT, createdAt TEXT NOT NULL, lastUpdatedAt TEXT NOT NULL, finishedAt TEXT,
  failureReason TEXT, output TEXT, progress TEXT, slackReplySent INT NOT NULL DEFAULT 0,
  vcsProvider TEXT, vcsRepo TEXT, vcsNumber INT, vcsUrl TEXT, dir TEXT, parentTaskId TEXT,
  claudeSessionId TEXT, model TEXT, modelTier TEXT, effort TEXT, contextKey TEXT,
  outputSchema TEXT, followUpConfig TEXT, wasPaused INT NOT NULL DEFAULT 0,
  compactionCount INT NOT NULL DEFAULT 0, peakContextPercent REAL, peakContextTokens INT,
  contextWindowSize INT, credentialKeySuffix TEXT,
  credentialKeyType TEXT, requestedByUserId TEXT, swarmVersion TEXT, provider TEXT,
  providerMeta TEXT, harnessVariant TEXT, harnessVariantMeta TEXT, routingAffinity TEXT);
CREATE INDEX IF NOT EXISTS tasks_by_agent ON tasks (agentId, status);
CREATE INDEX IF NOT EXISTS tasks_by_status ON tasks (status, priority);
CREATE INDEX IF NOT EXISTS tasks_by_parent ON tasks (parentTaskId);

CREATE TABLE IF NOT EXISTS task_logs (
  id TEXT PRIMARY KEY, eventType TEXT NOT NULL, agentId TEXT, taskId TEXT, oldValue TEXT,
  newValue TEXT, metadata TEXT, createdAt TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS task_logs_by_task ON task_logs (taskId);

CREATE TABLE IF NOT EXISTS active_sessions (
  id TEXT PRIMARY KEY, agentId TEXT NOT NULL REFERENCES agents (id), taskId TEXT UNIQUE,
  triggerType TEXT NOT NULL, inboxMessageId TEXT, taskDescription TEXT, runnerSessionId TEXT,
  providerSessionId TEXT, runtimeInstanceId TEXT, startedAt TEXT NOT NULL,
  lastHeartbeatAt TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS session_logs (
  id TEXT PRIMARY KEY, taskId TEXT, sessionId TEXT NOT NULL, iteration INT NOT NULL,
  cli TEXT NOT NULL, content TEXT NOT NULL, lineNumber INT NOT NULL, createdAt TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS session_logs_by_task ON session_logs (taskId, iteration, lineNumber);

CREATE TABLE IF NOT EXISTS session_costs (
  id TEXT PRIMARY KEY, sessionId TEXT NOT NULL, taskId TEXT, agentId TEXT NOT NULL,
  totalCostUsd REAL NOT NULL, inputTokens INT NOT NULL, outputTokens INT NOT NULL,
  cacheReadTokens INT NOT NULL, cacheWriteTokens INT NOT NULL, reasoningOutputTokens INT NOT NULL,
  thinkingTokens INT NOT NULL, durationMs INT NOT NULL, numTurns INT, model TEXT NOT NULL,
  isError INT NOT NULL, costSource TEXT NOT NULL, harnessCostUsd REAL, cacheWrite5mTokens INT,
  cacheWrite1hTokens INT, modelBreakdown TEXT, createdAt TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS session_costs_by_task ON session_costs (taskId);
CREATE INDEX IF NOT EXISTS session_costs_by_day ON session_costs (createdAt);

CREATE TABLE IF NOT EXISTS events (
  id TEXT PRIMARY KEY, category TEXT NOT NULL, event TEXT NOT NULL, status TEXT NOT NULL,
  source TEXT NOT NULL, agentId TEXT, taskId TEXT, sessionId TEXT, parentEventId TEXT,
  numericValue REAL, durationMs INT, data TEXT, createdAt TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_name ON events (event, agentId);

CREATE TABLE IF NOT EXISTS context_snapshots (
  id TEXT PRIMARY KEY, taskId TEXT NOT NULL, agentId TEXT NOT NULL, sessionId TEXT NOT NULL,
  contextUsedTokens INT, contextTotalTokens INT, contextPercent REAL, eventType TEXT NOT NULL,
  compactTrigger TEXT, preCompactTokens INT, cumulativeInputTokens INT NOT NULL,
  cumulativeOutputTokens INT NOT NULL, contextFormula TEXT, createdAt TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS context_snapshots_by_task ON context_snapshots (taskId);

CREATE TABLE IF NOT EXISTS steering_messages (
  id TEXT PRIMARY KEY, taskId TEXT NOT NULL, body TEXT NOT NULL, mode TEXT NOT NULL,
  status TEXT NOT NULL, deliveredMode TEXT, source TEXT NOT NULL, createdByKind TEXT NOT NULL,
  createdByUserId TEXT, createdByAgentId TEXT, promotedTaskId TEXT, createdAt TEXT NOT NULL,
  deliveredAt TEXT, handledAt TEXT, handledNote TEXT);
CREATE INDEX IF NOT EXISTS steering_by_task ON steering_messages (taskId, status);

CREATE TABLE IF NOT EXISTS config (
  id TEXT PRIMARY KEY, scope TEXT NOT NULL, scopeId TEXT, key TEXT NOT NULL, value TEXT NOT NULL,
  isSecret INT NOT NULL, envPath TEXT, description TEXT, createdAt TEXT NOT NULL,
  lastUpdatedAt TEXT NOT NULL, encrypted INT NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS config_by_key ON config (scope, IFNULL(scopeId, ''), key);

CREATE TABLE IF NOT EXISTS refresh_locks (
  key TEXT PRIMARY KEY, owner TEXT NOT NULL, expiresAt TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS key_status (
  id TEXT PRIMARY KEY, keyType TEXT NOT NULL, keySuffix TEXT NOT NULL, keyIndex INT NOT NULL,
  scope TEXT NOT NULL, scopeId TEXT, status TEXT NOT NULL, rateLimitedUntil TEXT, lastUsedAt TEXT,
  lastRateLimitAt TEXT, totalUsageCount INT NOT NULL DEFAULT 0,
  rateLimitCount INT NOT NULL DEFAULT 0, name TEXT, provider TEXT NOT NULL,
  rateLimitWindows TEXT NOT NULL, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS key_status_by_key
  ON key_status (keyType, keySuffix, scope, IFNULL(scopeId, ''));

CREATE TABLE IF NOT EXISTS budgets (
  id TEXT PRIMARY KEY, scope TEXT NOT NULL, scopeId TEXT NOT NULL, dailyBudgetUsd REAL NOT NULL,
  createdAt INT NOT NULL, lastUpdatedAt INT NOT NULL, UNIQUE (scope, scopeId));
CREATE TABLE IF NOT EXISTS budget_refusals (
  taskId TEXT NOT NULL, date TEXT NOT NULL, PRIMARY KEY (taskId, date));

CREATE TABLE IF NOT EXISTS repos (
  id TEXT PRIMARY KEY, url TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
  clonePath TEXT NOT NULL UNIQUE, defaultBranch TEXT NOT NULL, autoClone INT NOT NULL, hooks TEXT,
  guidelines TEXT, createdAt TEXT NOT NULL, lastUpdatedAt TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS mcp_servers (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT, scope TEXT NOT NULL,
  ownerAgentId TEXT, transport TEXT NOT NULL, command TEXT, args TEXT, url TEXT, headers TEXT,
  envConfigKeys TEXT, headerConfigKeys TEXT, extraAuthorizeParams TEXT, authMethod TEXT NOT NULL,
  isEnabled INT NOT NULL DEFAULT 1, version INT NOT NULL DEFAULT 1, createdAt TEXT NOT NULL,
  lastUpdatedAt TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS mcp_installs (
  id TEXT PRIMARY KEY, agentId TEXT NOT NULL, mcpServerId TEXT NOT NULL, installedAt TEXT NOT NULL,
  UNIQUE (agentId, mcpServerId));

CREATE TABLE IF NOT EXISTS skills (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, content TEXT NOT NULL,
  type TEXT NOT NULL, scope TEXT NOT NULL, ownerAgentId TEXT, sourceUrl TEXT, sourceRepo TEXT,
  sourcePath TEXT, sourceBranch TEXT NOT NULL, sourceHash TEXT, isComplex INT NOT NULL DEFAULT 0,
  allowedTools TEXT, model TEXT, effort TEXT, context TEXT, agent TEXT,
  disableModelInvocation INT NOT NULL DEFAULT 0, userInvocable INT NOT NULL DEFAULT 1,
  version INT NOT NULL DEFAULT 1, isEnabled INT NOT NULL DEFAULT 1,
  systemDefault INT NOT NULL DEFAULT 0, createdAt TEXT NOT NULL, lastUpdatedAt TEXT NOT NULL,
  lastFetchedAt TEXT);
CREATE TABLE IF NOT EXISTS skill_files (
  id TEXT PRIMARY KEY, skillId TEXT NOT NULL REFERENCES skills (id) ON DELETE CASCADE,
  path TEXT NOT NULL, content TEXT NOT NULL, mimeType TEXT NOT NULL, isBinary INT NOT NULL,
  size INT, createdAt TEXT NOT NULL, lastUpdatedAt TEXT NOT NULL, UNIQUE (skillId, path));
CREATE TABLE IF NOT EXISTS skill_installs (
  id TEXT PRIMARY KEY, agentId TEXT NOT NULL,
  skillId TEXT NOT NULL REFERENCES skills (id) ON DELETE CASCADE, installedAt TEXT NOT NULL,
  UNIQUE (agentId, skillId));

CREATE TABLE IF NOT EXISTS memories (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, agentId TEXT, scope TEXT NOT NULL,
  name TEXT NOT NULL, content TEXT NOT NULL, summary TEXT, source TEXT NOT NULL, sourceTaskId TEXT,
  sourcePath TEXT, tags TEXT NOT NULL, createdAt TEXT NOT NULL, accessedAt TEXT NOT NULL,
  expiresAt TEXT, accessCount INT NOT NULL DEFAULT 0, embeddingModel TEXT,
  version INT NOT NULL DEFAULT 1);
CREATE VIRTUAL TABLE IF NOT EXISTS memory_terms USING fts5 (terms, tokenize = 'unicode61');

CREATE TABLE IF NOT EXISTS channels (
  id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT, createdBy TEXT,
  createdAt TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS channel_messages (
  id TEXT PRIMARY KEY, channelId TEXT NOT NULL, agentId TEXT, content TEXT NOT NULL,
  replyToId TEXT, mentions TEXT NOT NULL, createdAt TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS channel_messages_by_channel ON channel_messages (channelId);
CREATE TABLE IF NOT EXISTS channel_reads (
  agentId TEXT NOT NULL, channelId TEXT NOT NULL, lastReadRow INT NOT NULL DEFAULT 0,
  processingSince TEXT, PRIMARY KEY (agentId, channelId));

CREATE TABLE IF NOT EXISTS approval_requests (
  id TEXT PRIMARY KEY, title TEXT NOT NULL, questions TEXT NOT NULL, workflowRunId TEXT,
  workflowRunStepId TEXT, sourceTaskId TEXT, approvers TEXT NOT NULL, status TEXT NOT NULL,
  responses TEXT, resolvedBy TEXT, resolvedAt TEXT, timeoutSeconds INT, expiresAt TEXT,
  notificationChannels TEXT, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS users (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT, role TEXT, notes TEXT,
  emailAliases TEXT NOT NULL, preferredChannel TEXT NOT NULL, timezone TEXT, metadata TEXT,
  comms TEXT, dailyBudgetUsd REAL, status TEXT NOT NULL, createdAt TEXT NOT NULL,
  lastUpdatedAt TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS attachments (
  id TEXT PRIMARY KEY, taskId TEXT NOT NULL, agentId TEXT, name TEXT NOT NULL, kind TEXT NOT NULL,
  url TEXT, path TEXT, pageId TEXT, providerId TEXT, providerKey TEXT, capabilities TEXT,
  mimeType TEXT, sizeBytes INT, sha256 TEXT, intent TEXT, description TEXT,
  isPrimary INT NOT NULL DEFAULT 0, createdAt TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS attachments_by_task ON attachments (taskId);
CREATE TABLE IF NOT EXISTS attachment_bytes (
  id TEXT PRIMARY KEY REFERENCES attachments (id) ON DELETE CASCADE, content BLOB NOT NULL);
"""
