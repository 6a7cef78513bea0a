"""Translate ``session/update``: pieces of text become messages, updates a tool call."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from agent_swarm_worker.contract import (
    Custom,
    Helper,
    Message,
    PermissionRequest,
    Plan,
    PlanStep,
    Progress,
    ProviderEvent,
    Reasoning,
    ToolEnd,
    ToolStart,
)
from agent_swarm_worker.providers.acp.tool_calls import ToolCall
from agent_swarm_worker.providers.kit.mcp_config import SWARM_SERVER
from agent_swarm_worker.providers.kit.native import items, mapping, plan_step, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.providers.acp.outcome import AcpState

MAX_PIECE_CHARS = 1 << 20
"""A longer text is passed on in several messages."""
MAX_CALLS = 10_000
"""Open tool calls; with one more the first counts as ended."""
MAX_HELPERS = 1000
UNFINISHED = "the turn ended before the call did"
Kind: TypeAlias = Literal["answer", "thought"]


@dataclass(slots=True)
class _Stream:
    """The text of one speaker that is not complete."""

    kind: Kind = "answer"
    message_id: str = ""
    pieces: list[str] = field(default_factory=list)
    chars: int = 0


class Updates:
    """What an agent tells while it works. Has state, does no I/O."""

    def __init__(self, state: AcpState) -> None:
        self._state = state
        names = [SWARM_SERVER, *(server.name for server in state.config.mcp_servers)]
        # The longest first: `a` must not claim the tools of `a-b`.
        self._servers = tuple(sorted(dict.fromkeys(names), key=len, reverse=True))
        self._notices = [re.compile(notice) for notice in state.target.notices]
        self._streams: dict[str, _Stream] = {}
        """By the id of the helper; empty for the main agent."""
        self._calls: dict[str, ToolCall] = {}
        self._helpers: dict[str, Helper] = {}

    @property
    def has_open_call(self) -> bool:
        """True while a tool runs."""
        return bool(self._calls)

    def take(self, params: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Take the parameters of one notification; an unknown kind is skipped."""
        update = mapping(params.get("update"))
        helper = self._helper_of(params, update)
        match update.get("sessionUpdate"):
            case "agent_message_chunk":
                yield from self._text("answer", update, helper)
                if params.get("_meta") and not _shown(mapping(update.get("content"))):
                    # Figures without text: the end of a request to the model.
                    yield from self._flush(helper)
            case "agent_thought_chunk":
                yield from self._text("thought", update, helper)
            case "user_message_chunk":
                yield from self._flush(helper)
            case "tool_call" | "tool_call_update":
                yield from self._call(update, helper)
            case "plan":
                yield from self._flush(helper)
                yield Plan(tuple(_steps(update)))
            case "usage_update" if helper is None:
                self._state.model = _model_in(update) or self._state.model
                if usage := self._state.take_context(update):
                    yield usage
            case "current_mode_update" if helper is None:
                yield Custom("acp.mode", {"mode": text(update.get("currentModeId"))})
            case "session_info_update":
                self._take_status(mapping(mapping(update.get("_meta")).get("codex")))

    def _helper_of(self, params: dict[str, Any], update: dict[str, Any]) -> Helper | None:
        """Return the subagent that an update is about; ``None`` for the main agent."""
        session_id = text(params.get("sessionId"))
        known_as = session_id if session_id not in ("", self._state.session_id) else ""
        for fields in map(mapping, mapping(update.get("_meta")).values()):
            known_as = text(fields.get("parentToolUseId")) or known_as
        if not known_as:
            return None
        if known_as not in self._helpers and len(self._helpers) < MAX_HELPERS:
            call = self._calls.get(known_as)
            name = call.title if call else f"helper {len(self._helpers) + 1}"
            self._helpers[known_as] = Helper(known_as, name)
        return self._helpers.get(known_as) or Helper(known_as, "helper")

    # --- text
    def _text(
        self, kind: Kind, update: dict[str, Any], helper: Helper | None
    ) -> Iterator[ProviderEvent]:
        piece = _shown(mapping(update.get("content")))
        if helper is None:
            self._state.add_request(mapping(update.get("_meta")).get("usage"))
        if not piece:
            return
        if kind == "answer" and any(notice.search(piece) for notice in self._notices):
            self._state.turn.last_notice = piece.strip()
            yield Progress(piece.strip())
            return
        stream = self._streams.setdefault(helper.id if helper else "", _Stream())
        message_id = text(update.get("messageId"))
        is_next = stream.kind != kind or (message_id and message_id != stream.message_id)
        if stream.pieces and (is_next or stream.chars > MAX_PIECE_CHARS):
            yield from self._flush(helper)
        stream.kind, stream.message_id = kind, message_id or stream.message_id
        stream.pieces.append(piece)
        stream.chars += len(piece)
        if kind == "answer" and helper is None and piece.strip():
            self._state.turn.has_text, self._state.turn.last_chunk = True, piece

    def _flush(self, helper: Helper | None) -> Iterator[ProviderEvent]:
        """Pass on the text that is complete, as something else follows."""
        stream = self._streams.get(helper.id if helper else "")
        if stream is None or not stream.pieces:
            return
        # A secret may be in pieces, of which none was one.
        content = self._state.config.redactor.text("".join(stream.pieces)).strip()
        stream.pieces.clear()
        stream.chars = 0
        if not content:
            return
        if stream.kind == "thought":
            yield Reasoning(content, helper)
            return
        if helper is None:
            self._state.last_text = content
        yield Message("assistant", content, subagent=helper is not None, helper=helper)

    # --- tool calls
    def asked_about(
        self, params: dict[str, Any], *, keeps_arguments: bool = False
    ) -> Iterator[ProviderEvent]:
        """Take the call that a permission is asked for; the agent may not tell of it otherwise."""
        native = mapping(params.get("toolCall"))
        known = self._calls.get(text(native.get("toolCallId")))
        if keeps_arguments and known is not None and isinstance(native.get("rawInput"), dict):
            native = {**native, "rawInput": {**mapping(known.raw_input), **native["rawInput"]}}
        yield from self._call(native, None, is_asked=True)

    def is_open(self, call_id: str) -> bool:
        """True while this call runs."""
        return call_id in self._calls

    def request_of(self, params: dict[str, Any]) -> PermissionRequest:
        """Return what a permission is asked for, which `asked_about` has taken."""
        native = mapping(params.get("toolCall"))
        call = self._calls.get(text(native.get("toolCallId")))
        if call is None:
            call = ToolCall(text(native.get("toolCallId")))
            call.merge(native)
        name, args = self._identity(call)
        return PermissionRequest(
            tool_name=name,
            args=args,
            tool_call_id=call.id,
            description=call.title,
            helper=call.helper or self._helper_of(params, native),
        )

    def _identity(self, call: ToolCall) -> tuple[str, Any]:
        state = self._state
        if state.config.permissions is None:
            return call.identity(self._servers)
        return call.judged(self._servers, state.spec.tools, state.target.tool_names)

    def _call(
        self, update: dict[str, Any], helper: Helper | None, *, is_asked: bool = False
    ) -> Iterator[ProviderEvent]:
        call_id = text(update.get("toolCallId"))
        if not call_id:
            return
        call = self._calls.get(call_id)
        if call is None:
            yield from self._flush(helper)
            if len(self._calls) >= MAX_CALLS:
                yield from self._end(next(iter(self._calls.values())))
            call = self._calls[call_id] = ToolCall(call_id, helper)
        call.merge(update)
        call.is_asked = call.is_asked or is_asked
        if helper is None:
            self._state.turn.has_tools = True
        if call.is_described and not call.is_started:
            yield self._start(call)
        if call.is_over:
            yield from self._end(call)

    def _start(self, call: ToolCall) -> ToolStart:
        call.is_started = True
        name, args = self._identity(call)
        return ToolStart(call.id, name, args, call.helper)

    def _end(self, call: ToolCall) -> Iterator[ProviderEvent]:
        if not call.is_started:
            yield self._start(call)
        self._calls.pop(call.id, None)
        name, _ = self._identity(call)
        is_unfinished = not call.is_over
        result = self._state.config.redactor.leaves(call.result)
        result = result or (UNFINISHED if is_unfinished else "")
        yield ToolEnd(call.id, name, result, call.is_error or is_unfinished, call.helper)

    def close_turn(self) -> Iterator[ProviderEvent]:
        """Pass on all text, and end the calls that the agent left open."""
        for helper in (None, *self._helpers.values()):
            yield from self._flush(helper)
        for call in tuple(self._calls.values()):
            yield from self._end(call)

    def greeting(self) -> list[ProviderEvent]:
        """Pass on what was said before the first prompt, which is no part of an answer."""
        events: list[ProviderEvent] = []
        stream = self._streams.pop("", _Stream())
        if said := self._state.config.redactor.text("".join(stream.pieces)).strip():
            events.append(Custom("acp.greeting", {"text": said}))
        return events

    def drop(self) -> None:
        """Forget what was not passed on: it is the replay of an earlier session."""
        self._streams.clear()
        self._calls.clear()

    def _take_status(self, native: dict[str, Any]) -> None:
        status = mapping(native.get("threadStatus")).get("type")
        if status is not None:
            self._state.turn.has_system_error = status == "systemError"


def _shown(content: dict[str, Any]) -> str:
    """Return a block of content as text; what is no text is named."""
    resource = mapping(content.get("resource"))
    if said := text(content.get("text")) or text(resource.get("text")):
        return said
    kind, name = text(content.get("type")), text(content.get("uri")) or text(resource.get("uri"))
    mime = text(content.get("mimeType")) or text(resource.get("mimeType"))
    if kind not in ("resource", "resource_link", "image", "audio"):
        return ""
    return f"[{' '.join(filter(None, (kind.replace('_', ' '), name, mime)))}]"


def _steps(update: dict[str, Any]) -> Iterator[PlanStep]:
    for entry in map(mapping, items(update.get("entries"))):
        if content := text(entry.get("content")):
            yield plan_step(content, text(entry.get("status")))


def _model_in(update: dict[str, Any]) -> str:
    meta = mapping(update.get("_meta"))
    return next((text(value) for key, value in meta.items() if key.endswith("/model")), "")
