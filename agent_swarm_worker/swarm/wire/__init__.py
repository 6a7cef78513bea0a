"""The shapes of the wire: reading them tolerantly, and writing them strictly.

This package is the one place that knows the wire's camelCase.
"""

from agent_swarm_worker.swarm.wire.bodies import (
    completion_body,
    context_body,
    cost_body,
    event_body,
    latest_model_body,
    session_body,
    vcs_body,
    windows_body,
)
from agent_swarm_worker.swarm.wire.reading import Row, is_identifier
from agent_swarm_worker.swarm.wire.rows import (
    Agent,
    ConfigRow,
    LogEntry,
    SteeringMessage,
    StoredEvent,
)
from agent_swarm_worker.swarm.wire.surroundings import (
    Guidelines,
    InstalledMcpServer,
    Memory,
    Repo,
    Skill,
    SkillFile,
)
from agent_swarm_worker.swarm.wire.tasks import TERMINAL_STATUSES, Attachment, Task, TaskLog
from agent_swarm_worker.swarm.wire.triggers import (
    BudgetRefused,
    ChannelActivity,
    ChannelCursor,
    ChannelMessage,
    PoolTasksAvailable,
    Requester,
    TaskAssigned,
    TaskOffered,
    Trigger,
    UnknownTrigger,
    UnreadMentions,
    trigger_from_wire,
)

__all__ = [
    "TERMINAL_STATUSES",
    "Agent",
    "Attachment",
    "BudgetRefused",
    "ChannelActivity",
    "ChannelCursor",
    "ChannelMessage",
    "ConfigRow",
    "Guidelines",
    "InstalledMcpServer",
    "LogEntry",
    "Memory",
    "PoolTasksAvailable",
    "Repo",
    "Requester",
    "Row",
    "Skill",
    "SkillFile",
    "SteeringMessage",
    "StoredEvent",
    "Task",
    "TaskAssigned",
    "TaskLog",
    "TaskOffered",
    "Trigger",
    "UnknownTrigger",
    "UnreadMentions",
    "completion_body",
    "context_body",
    "cost_body",
    "event_body",
    "is_identifier",
    "latest_model_body",
    "session_body",
    "trigger_from_wire",
    "vcs_body",
    "windows_body",
]
