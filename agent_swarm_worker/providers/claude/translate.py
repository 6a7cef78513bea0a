"""Translate Claude Code's ``stream-json`` output into normalized events.

One function per type of native event (`_TYPES`). An unknown type or shape is skipped: the line is
in the journal, and a newer CLI must not break the worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from agent_swarm_worker.clock import Clock, SystemClock
from agent_swarm_worker.contract import (
    Compaction,
    Error,
    Progress,
    ProviderEvent,
    Result,
    SessionInit,
    ToolEnd,
)
from agent_swarm_worker.providers.catalog import context_window
from agent_swarm_worker.providers.claude import outcome
from agent_swarm_worker.providers.claude.cost import frame_tokens
from agent_swarm_worker.providers.claude.outcome import ClaudeState
from agent_swarm_worker.providers.claude.spec import SPEC
from agent_swarm_worker.providers.kit.event_stream import message_blocks
from agent_swarm_worker.providers.kit.launch import JsonTranslator
from agent_swarm_worker.providers.kit.lenient_json import MAX_QUOTED_CHARS, UNREADABLE, torn_event
from agent_swarm_worker.providers.kit.native import count, items, mapping, number, squashed, text
from agent_swarm_worker.providers.kit.outcome import REJECTED
from agent_swarm_worker.providers.kit.split_json import SplitObject, events_in
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent_swarm_worker.contract import Ending, ProviderResult, ProviderSessionConfig
    from agent_swarm_worker.providers.kit.outcome import LimitWindows

_SYNTHETIC = "<synthetic>"
"""The model name in messages that the CLI wrote itself."""
_WAKEUP_TOOL = "ScheduleWakeup"


class ClaudeTranslator(JsonTranslator):
    """Translates the lines of one CLI process into events, and at its end into a result."""

    def __init__(self, config: ProviderSessionConfig, *, clock: Clock | None = None) -> None:
        self._state = ClaudeState(config=config, clock=clock or SystemClock())
        self._split = SplitObject()

    def feed(self, native: Any) -> Sequence[ProviderEvent]:
        """Take one line of JSON: a native event, also inside of something else."""
        if isinstance(native, dict) and text(native.get("type")) in _TYPES:
            self._split.clear()
            return self.take_event(native)
        if self._split:
            self._split.add_value(native)
            return ()
        found = list(events_in(native, _KINDS)) or [mapping(native)]
        return [event for one in found for event in self.take_event(one)]

    def take_event(self, event: dict[str, Any]) -> Sequence[ProviderEvent]:
        """Take one native event."""
        translate = _TYPES.get(text(event.get("type")))
        events = translate(self._state, event) if translate else ()
        return events if isinstance(events, list) else list(events)

    def feed_text(self, line: str) -> Sequence[ProviderEvent]:
        """Take a result that cannot be read as a failure: it may have told one."""
        whole = self._split.add(line)
        if whole:
            return [event for native in whole for event in self.feed(native)]
        if torn_event(line) != "result":
            return ()
        why = f"{UNREADABLE}: {one_line(line, MAX_QUOTED_CHARS)}"
        return self.take_event({"type": "result", "subtype": "error_unreadable", "errors": [why]})

    @property
    def is_final(self) -> bool:
        """True when nothing is pending that would start another turn."""
        return self._state.is_final

    def conclude(self, ending: Ending) -> ProviderResult:
        """Return the result of the session."""
        if self._split and torn_event(self._split.text) == "result":
            self.feed_text(self._split.text)
        return outcome.conclude(self._state, ending)


def assistant(state: ClaudeState, event: dict[str, Any]) -> list[ProviderEvent]:
    """``assistant``: one event per content block, all with the same message id and usage."""
    message, helper = mapping(event.get("message")), state.helper_of(event)
    is_main = helper is None
    if is_main:
        state.turn_is_over = False
    # The position of the category depends on the version of the CLI.
    if "error" in event or "error" in message:
        category = text(event.get("error")) or text(message.get("error"))
        if category:
            return [_api_error(state, category, event)]
    events: list[ProviderEvent] = []
    if message.get("model") == _SYNTHETIC:
        state.has_cli_message = True
        command = text(mapping(event.get("local_command_run")).get("command"))
        state.local_command = f"/{command}" if command else state.local_command
    else:
        state.has_model_message = True
        state.last_error = None
        usage = message.get("usage")
        if isinstance(usage, dict):
            tokens = frame_tokens(usage)
            message_id = text(message.get("id"))
            state.costs.add_frame(message_id, text(message.get("model")), tokens)
            # Each block of a message has a frame of its own, with the same id and usage.
            if is_main and not (message_id and message_id == state.last_message_id):
                state.last_message_id = message_id
                used = sum(number or 0 for number in tokens)
                events.append(state.context_usage(used, tokens[1], "input-cache-output"))
    for block in map(mapping, items(message.get("content"))):
        events += message_blocks(state, block, helper)
    return events


def user(state: ClaudeState, event: dict[str, Any]) -> list[ProviderEvent]:
    """``user``: tool results, or text that the CLI wrote in the user's place."""
    content = mapping(event.get("message")).get("content")
    if isinstance(content, str) and content.startswith("<local-command-"):
        state.local_command = "a command"
        return []
    if event.get("parent_tool_use_id") is None:
        state.turn_is_over = False
    blocks = map(mapping, items(content))
    return [
        _tool_end(state, block, event) for block in blocks if block.get("type") == "tool_result"
    ]


def _tool_end(state: ClaudeState, block: dict[str, Any], event: dict[str, Any]) -> ToolEnd:
    call_id, is_error = text(block.get("tool_use_id")), block.get("is_error") is True
    name, args, helper = state.tools.get(call_id) or ("", None, state.helper_of(event))
    if name == _WAKEUP_TOOL and not is_error:
        state.wakeup_is_set = mapping(args).get("stop") is not True
    return state.end_of(call_id, block.get("content"), is_error=is_error, helper=helper)


def _api_error(state: ClaudeState, category: str, event: dict[str, Any]) -> Error:
    if not state.limits.windows:  # else they are a copy with fewer details
        parameters = mapping(event.get("api_error_params"))
        take_limits(state.limits, mapping(parameters.get("rate_limit_info")))
    blocks = map(mapping, items(mapping(event.get("message")).get("content")))
    message = " ".join(filter(None, (text(block.get("text")) for block in blocks)))
    state.last_error = Error(message or category, category)
    return state.last_error


def system(state: ClaudeState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``system``: events about the session, by ``subtype``."""
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


def command_lifecycle(state: ClaudeState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``command_lifecycle``: a message, or a wake-up that the agent had set, starts a new turn."""
    if event.get("state") == "started":
        state.wakeup_is_set = state.wakeup_is_set and not event.get("wakeup_source")
        state.turn_is_over = False
    yield from ()


def rate_limit(state: ClaudeState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``rate_limit_event``: the state of a subscription's limits."""
    take_limits(state.limits, mapping(event.get("rate_limit_info")))
    yield from ()


def error(state: ClaudeState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``error``: an error that belongs to no message."""
    nested = mapping(event.get("error"))
    places = (event.get("error"), event.get("message"), nested.get("message"))
    message = next(filter(None, map(text, places)), "unknown error")
    state.last_error = Error(message, text(nested.get("type")) or None)
    yield state.last_error


def _init(state: ClaudeState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``init`` is printed once per turn; only the first one begins the session."""
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


def _api_retry(state: ClaudeState, event: dict[str, Any]) -> Progress:
    status, category = count(event.get("error_status")), text(event.get("error")) or "unknown"
    wait_s = (number(event.get("retry_delay_ms")) or 0) / 1000
    attempt, limit = count(event.get("attempt")) or 0, count(event.get("max_retries")) or 0
    answer = f"{status} {category}" if status else category
    state.last_error = Error(f"the model API answered {answer}", category)
    return Progress(f"Model API: {answer}; retry {attempt} of {limit} in {wait_s:.0f} s")


def _compact_boundary(state: ClaudeState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    about = event.get("compact_metadata")
    if isinstance(about, dict):
        is_manual = about.get("trigger") == "manual"
        trigger: Literal["auto", "manual"] = "manual" if is_manual else "auto"
        yield Compaction(count(about.get("pre_tokens")) or 0, trigger, state.window)


def _result(state: ClaudeState, event: dict[str, Any]) -> Iterator[ProviderEvent]:
    """``result``: the end of a turn, and of the session unless something starts another."""
    state.result = event
    state.turn_is_over = True
    state.session_id = state.session_id or text(event.get("session_id")) or None
    main = mapping(mapping(event.get("modelUsage")).get(state.model))
    state.window = count(main.get("contextWindow")) or state.window
    state.costs.add_result(event, state.model or state.config.model or "unknown")
    failure = outcome.result_failure(state)
    yield Result(
        state.cost(is_error=failure is not None),
        outcome.output(state, failure),
        failure is not None,
        failure.category if failure else None,
    )


def take_limits(limits: LimitWindows, info: Mapping[str, Any]) -> None:
    """Record the windows of one ``rate_limit_info``: one window, in newer CLIs all of them."""
    others = {kind: mapping(one) for kind, one in mapping(info.get("unifiedWindows")).items()}
    for kind, window in others.items():
        _note(limits, kind, window)
    kind = text(info.get("rateLimitType"))
    _note(limits, kind, {**others.get(kind, {}), **info})
    if info.get("status") == REJECTED:
        rejecting = [one for one in (info, *others.values()) if one.get("status") == REJECTED]
        limits.note_end(number(window.get("resetsAt")) for window in rejecting)


def _note(limits: LimitWindows, kind: str, window: Mapping[str, Any]) -> None:
    overage = window.get("isUsingOverage")
    limits.note(
        kind,
        text(window.get("status")),
        utilization=number(window.get("utilization")),
        resets_at_s=number(window.get("resetsAt")),
        is_using_overage=overage if isinstance(overage, bool) else None,
        surpassed_threshold=number(window.get("surpassedThreshold")),
    )


_TYPES = {
    "system": system,
    "command_lifecycle": command_lifecycle,
    "rate_limit_event": rate_limit,
    "error": error,
    "assistant": assistant,
    "user": user,
    "result": _result,
}
_KINDS = {squashed(kind): kind for kind in _TYPES}
