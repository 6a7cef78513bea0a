"""Native events about the session itself: start, retries, compaction, limits, background work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from agent_swarm_worker.contract import Compaction, Error, Progress, ProviderEvent, SessionInit
from agent_swarm_worker.providers.catalog import context_window
from agent_swarm_worker.providers.claude.limits import take_limits
from agent_swarm_worker.providers.claude.spec import SPEC
from agent_swarm_worker.providers.kit.native import count, items, mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.providers.claude.state import TranslationState


def system(state: TranslationState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``system``: a family of its own."""
    match event.get("subtype"):
        case "init":
            yield from _init(state, event)
        case "api_retry":
            yield _api_retry(state, event)
        case "compact_boundary":
            yield from _compact_boundary(state, event)
        case "status" if event.get("status") == "compacting":
            yield Progress("Compacting the context")
        case "permission_denied":
            tool = text(event.get("tool_name"))
            yield Error(f"{tool}: {text(event.get('message'))}", "permission_denied")
        case "background_tasks_changed":
            state.background_tasks = len(items(event.get("tasks")))


def command_lifecycle(state: TranslationState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``command_lifecycle``: a message, or a wake-up that the agent had set, starts a new turn."""
    if event.get("state") == "started":
        state.wakeup_is_set = state.wakeup_is_set and not event.get("wakeup_source")
        state.turn_is_over = False
    yield from ()


def rate_limit(state: TranslationState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``rate_limit_event``: the state of a subscription's limits."""
    take_limits(state.limits, mapping(event.get("rate_limit_info")))
    yield from ()


def error(state: TranslationState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``error``: the CLI has a problem that belongs to no message."""
    nested = mapping(event.get("error"))
    said = [event.get("error"), event.get("message"), nested.get("message")]
    message = next(filter(None, map(text, said)), "unknown error")
    state.last_error = Error(message, text(nested.get("type")) or None)
    yield state.last_error


def _init(state: TranslationState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """Printed once per turn, so only the first one is news."""
    session_id = text(event.get("session_id"))
    state.turn_is_over = False
    state.model = text(event.get("model")) or state.model
    state.window = state.window or context_window(state.model, SPEC.models)
    if not session_id or session_id == state.session_id:
        return
    state.session_id = session_id
    version = text(event.get("claude_code_version"))
    yield SessionInit(
        session_id,
        provider="claude",
        harness_variant="stock",
        harness_variant_meta={"version": version} if version else {},
        model=state.model or None,
    )
    for server in map(mapping, items(event.get("mcp_servers"))):
        if server.get("status") == "failed":
            yield Error(f"MCP server {text(server.get('name'))} cannot be reached", "mcp_failed")


def _api_retry(state: TranslationState, event: dict[str, Any]) -> Progress:
    status, category = count(event.get("error_status")), text(event.get("error")) or "unknown"
    wait_s = (number(event.get("retry_delay_ms")) or 0) / 1000
    attempt, limit = count(event.get("attempt")) or 0, count(event.get("max_retries")) or 0
    what = f"{status} {category}" if status else category
    state.last_error = Error(f"the model API answered {what}", category)
    return Progress(f"Model API: {what}; retry {attempt} of {limit} in {wait_s:.0f} s")


def _compact_boundary(state: TranslationState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    about = event.get("compact_metadata")
    if isinstance(about, dict):
        is_manual = about.get("trigger") == "manual"
        trigger: Literal["auto", "manual"] = "manual" if is_manual else "auto"
        yield Compaction(count(about.get("pre_tokens")) or 0, trigger, state.window)
