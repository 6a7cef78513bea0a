"""The contract between the worker and a harness: types only, no behaviour, no imports but these.

This package is the public API that a provider in another distribution builds on; it is versioned
with the package and its names are pinned by a test.
"""

from agent_swarm_worker.contract.codec import (
    Envelope,
    InvalidEvent,
    event_from_dict,
    event_to_dict,
)
from agent_swarm_worker.contract.cost import CostData, ModelCost
from agent_swarm_worker.contract.events import (
    Compaction,
    ContextUsage,
    Custom,
    Error,
    Message,
    Progress,
    ProviderEvent,
    RawLog,
    RawStderr,
    Result,
    SessionInit,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.contract.session import (
    EventListener,
    McpServer,
    ProviderAdapter,
    ProviderResult,
    ProviderSession,
    ProviderSessionConfig,
    ProviderTraits,
    RateLimitWindow,
    Redactor,
    SteerableSession,
    SteerDelivery,
    SteerMode,
    StreamRedactor,
)

__all__ = [
    "Compaction",
    "ContextUsage",
    "CostData",
    "Custom",
    "Envelope",
    "Error",
    "EventListener",
    "InvalidEvent",
    "McpServer",
    "Message",
    "ModelCost",
    "Progress",
    "ProviderAdapter",
    "ProviderEvent",
    "ProviderResult",
    "ProviderSession",
    "ProviderSessionConfig",
    "ProviderTraits",
    "RateLimitWindow",
    "RawLog",
    "RawStderr",
    "Redactor",
    "Result",
    "SessionInit",
    "SteerDelivery",
    "SteerMode",
    "SteerableSession",
    "StreamRedactor",
    "ToolEnd",
    "ToolStart",
    "event_from_dict",
    "event_to_dict",
]
