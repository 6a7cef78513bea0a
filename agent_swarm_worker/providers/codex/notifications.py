"""What the app server notifies of, as normalized events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import Custom, Error, ProviderEvent
from agent_swarm_worker.providers.codex import items as turn_items
from agent_swarm_worker.providers.codex.errors import read_error
from agent_swarm_worker.providers.codex.limits import take_limits
from agent_swarm_worker.providers.codex.usage import read_tokens
from agent_swarm_worker.providers.kit.native import count, items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.providers.codex.state import TranslationState


def translated(
    state: TranslationState, method: str, params: dict[str, Any], *, subagent: bool
) -> Iterator[ProviderEvent]:
    """Translate one notification; what is not known is skipped, it is in the journal.

    Args:
        state: the state of the session.
        method: what it is about.
        params: what it says.
        subagent: true if it is about the thread of a helper that the agent started.
    """
    item = mapping(params.get("item"))
    match method:
        case "turn/started" if not subagent:
            state.costs.turns += 1
        case "item/started":
            yield from turn_items.started(item)
        case "item/completed":
            yield from turn_items.completed(state, item, subagent=subagent)
        case "item/agentMessage/delta" if not subagent:
            data = {"itemId": text(params.get("itemId")), "text": text(params.get("delta"))}
            yield Custom("codex.message_delta", data)
        case "turn/plan/updated" if not subagent:
            yield Custom("codex.todo_list", {"itemId": "", "items": _todo(params)})
        case "thread/tokenUsage/updated":
            yield from _usage(state, params, subagent=subagent)
        case "account/rateLimits/updated":
            take_limits(state.limits, mapping(params.get("rateLimits")))
        case "model/rerouted" if not subagent:
            state.model = text(params.get("toModel")) or state.model
        case "mcpServer/startupStatus/updated" if params.get("status") == "failed":
            name = text(params.get("name"))
            yield Error(f"MCP server {name} cannot be reached", "mcp_failed")
        case "error" if not subagent:
            error = read_error(mapping(params.get("error")))
            yield from state.take_error(error, is_retried=params.get("willRetry") is True)


def _usage(
    state: TranslationState, params: dict[str, Any], *, subagent: bool
) -> Iterator[ProviderEvent]:
    usage = mapping(params.get("tokenUsage"))
    thread_id = text(params.get("threadId"))
    grown = state.costs.take_total(thread_id, read_tokens(usage.get("total")), state.model)
    if subagent:
        return
    state.window = count(usage.get("modelContextWindow")) or state.window
    if grown:  # a resumed thread repeats its last report first
        yield state.take_context(read_tokens(usage.get("last")), "harness-reported")


def _todo(params: dict[str, Any]) -> list[dict[str, Any]]:
    steps = map(mapping, items(params.get("plan")))
    return [
        {"text": text(step.get("step")), "completed": step.get("status") == "completed"}
        for step in steps
    ]
