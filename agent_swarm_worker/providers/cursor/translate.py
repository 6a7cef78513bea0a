"""Translate the Cursor CLI's ``stream-json``: Claude Code's frame, and tool calls of its own.

Messages and reasoning come in pieces. The price is unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.providers.cursor.launch import resolve_model, with_effort
from agent_swarm_worker.providers.cursor.spec import SPEC
from agent_swarm_worker.providers.kit.claude_stream import USAGE, ClaudeStreamTranslator
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.event_stream import plan_of
from agent_swarm_worker.providers.kit.native import items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.contract import ProviderEvent, ProviderSessionConfig

_SUFFIX = "ToolCall"
_FAILED = ("failure", "error", "rejected", "timeout", "permissionDenied")


class CursorTranslator(ClaudeStreamTranslator):
    """Translates the lines of one process into events, and at its end into a result."""

    spec = SPEC
    title = "Cursor"

    def __init__(self, config: ProviderSessionConfig, **more: Any) -> None:
        super().__init__(config, **more)
        self._thoughts: list[str] = []

    def read(self, kind: str, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Translate one event; one of another type ends a message or a thought."""
        if kind != "thinking" and self._thoughts:
            pieces, self._thoughts = self._thoughts, []
            yield from self.thought(*pieces)
        if kind != "assistant":
            yield from self.flush()
        if kind not in ("system", "result"):
            yield from self.begin(text(event.get("session_id")))
        match kind:
            case "thinking":
                self._thoughts.append(text(event.get("text")))
            case "tool_call":
                yield from self._tool_call(event)
            case _:
                yield from super().read(kind, event)

    def assistant(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Take a piece of a message."""
        for block in map(mapping, items(mapping(event.get("message")).get("content"))):
            self.delta(text(block.get("text")))
        yield from ()

    def result(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Translate the final event, which has the usage of the whole run."""
        tokens = Tokens.read(event.get("usage"), USAGE)
        if tokens:
            self.costs.add(self.state.model or "auto", tokens, None)
        yield from super().result(event)

    def _tool_call(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        call_id, calls = text(event.get("call_id")), mapping(event.get("tool_call"))
        key = next((key for key in calls if key.endswith(_SUFFIX)), next(iter(calls), ""))
        call = mapping(calls.get(key))
        name, args = _named(key.removesuffix(_SUFFIX), mapping(call.get("args")))
        if call_id not in self.state.tools and name:
            yield self.state.start_of(call_id, name, args)
            if name == "updateTodos":
                yield plan_of(args)
        if event.get("subtype") == "completed":
            result, is_error = _result(mapping(call.get("result")))
            yield self.state.end_of(call_id, result, is_error=is_error)

    def applied_effort(self) -> str | None:
        """Return the effort in the name of the model."""
        config = self.state.config
        return with_effort(resolve_model(config.model), config.reasoning_effort)[1]


def _named(name: str, args: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of a tool; one of a server has its usual name."""
    if name != "mcp":
        return name, args
    server = text(args.get("providerIdentifier")) or text(args.get("serverName"))
    tool = text(args.get("toolName")) or text(args.get("name")).removeprefix(f"{server}-")
    if not (server and tool):
        return name, args
    return f"mcp__{server}__{tool}", mapping(args.get("args"))


def _result(result: dict[str, Any]) -> tuple[Any, bool]:
    """Return the result of a tool, and whether it is an error."""
    for key in _FAILED:
        if key in result:
            return _text_of(result[key]), True
    done = mapping(result.get("success"))
    code = done.get("exitCode")
    is_error = done.get("isError") is True or (isinstance(code, int) and code != 0)
    return _text_of(result.get("success", result)), is_error


def _text_of(value: Any) -> Any:
    """Return the output of a command, or the text of a server's answer."""
    found = mapping(value)
    if "stdout" in found or "stderr" in found:
        return "\n".join(filter(None, (text(found.get("stdout")), text(found.get("stderr")))))
    parts = [
        text(mapping(mapping(part).get("text")).get("text")) for part in items(found.get("content"))
    ]
    return "\n".join(parts) if parts and all(parts) else value
