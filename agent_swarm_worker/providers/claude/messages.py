"""Native messages: what the model said, which tools it called, and what they answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import (
    ContextUsage,
    Error,
    Message,
    ProviderEvent,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.providers.claude.cost import frame_tokens
from agent_swarm_worker.providers.claude.limits import take_limits
from agent_swarm_worker.providers.kit.native import items, mapping, text

if TYPE_CHECKING:
    from agent_swarm_worker.providers.claude.cost import FrameTokens
    from agent_swarm_worker.providers.claude.state import TranslationState

MAX_OPEN_CALLS = 1000
"""Tool calls remembered until they are answered; those of a harness gone wild never are."""
_SYNTHETIC = "<synthetic>"
"""The model of messages that the CLI wrote itself."""
_WAKEUP_TOOL = "ScheduleWakeup"


def assistant(state: TranslationState, event: dict[str, Any]) -> list[ProviderEvent]:
    """``assistant``: one event per content block, all with the same message id and usage."""
    message = mapping(event.get("message"))
    is_main = event.get("parent_tool_use_id") is None
    if is_main:
        state.turn_is_over = False
    # Where the category stands depends on the version of the CLI.
    if "error" in event or "error" in message:
        category = text(event.get("error")) or text(message.get("error"))
        if category:
            return [_api_error(state, category, event)]
    events: list[ProviderEvent] = []
    if message.get("model") == _SYNTHETIC:
        state.cli_spoke = True
        command = text(mapping(event.get("local_command_run")).get("command"))
        state.local_command = f"/{command}" if command else state.local_command
    else:
        state.model_spoke = True
        state.last_error = None
        usage = message.get("usage")
        if isinstance(usage, dict):
            tokens = frame_tokens(usage)
            message_id = text(message.get("id"))
            state.costs.add_frame(message_id, text(message.get("model")), tokens)
            # Every block of a message comes in a frame of its own, with the same id and usage.
            if is_main and not (message_id and message_id == state.last_message_id):
                state.last_message_id = message_id
                events.append(_context_usage(state, tokens))
    events += [
        said
        for block in items(message.get("content"))
        if isinstance(block, dict) and (said := _block(state, block, is_main=is_main)) is not None
    ]
    return events


def user(state: TranslationState, event: dict[str, Any]) -> list[ProviderEvent]:
    """``user``: what tools answered, or what the CLI wrote in the user's place."""
    content = mapping(event.get("message")).get("content")
    if isinstance(content, str) and content.startswith("<local-command-"):
        state.local_command = "a command"
        return []
    if event.get("parent_tool_use_id") is None:
        state.turn_is_over = False
    return [
        _tool_end(state, block)
        for block in items(content)
        if isinstance(block, dict) and block.get("type") == "tool_result"
    ]


def _block(
    state: TranslationState, block: dict[str, Any], *, is_main: bool
) -> ProviderEvent | None:
    kind = block.get("type")
    if kind == "text":
        said = text(block.get("text"))
        if said:
            if is_main:
                state.last_text = said
            return Message("assistant", said, not is_main)
    elif kind == "tool_use":
        call_id, name = text(block.get("id")), text(block.get("name"))
        args = block.get("input")
        if name:
            state.tools[call_id] = (name, args)
            if len(state.tools) > MAX_OPEN_CALLS:
                del state.tools[next(iter(state.tools))]
            return ToolStart(call_id, name, {} if args is None else args)
    return None


def _tool_end(state: TranslationState, block: dict[str, Any]) -> ToolEnd:
    call_id, is_error = text(block.get("tool_use_id")), block.get("is_error") is True
    name, args = state.tools.pop(call_id, ("", None))
    if name == _WAKEUP_TOOL and not is_error:
        state.wakeup_is_set = mapping(args).get("stop") is not True
    return ToolEnd(call_id, name, block.get("content"), is_error)


def _api_error(state: TranslationState, category: str, event: dict[str, Any]) -> Error:
    if not state.limits.windows:  # said once more, with fewer details
        parameters = mapping(event.get("api_error_params"))
        take_limits(state.limits, mapping(parameters.get("rate_limit_info")))
    blocks = map(mapping, items(mapping(event.get("message")).get("content")))
    said = " ".join(filter(None, (text(block.get("text")) for block in blocks)))
    state.last_error = Error(said or category, category)
    return state.last_error


def _context_usage(state: TranslationState, tokens: FrameTokens) -> ContextUsage:
    used = sum(number or 0 for number in tokens)
    percent = min(100.0, used / state.window * 100) if state.window else None
    return ContextUsage(used, state.window, percent, tokens[1], "input-cache-output")
