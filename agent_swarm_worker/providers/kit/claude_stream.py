"""Translate streams that imitate Claude Code's ``stream-json``; a harness overrides its dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import Error, Message, ProviderEvent
from agent_swarm_worker.providers.kit.costs import Tokens
from agent_swarm_worker.providers.kit.event_stream import EventTranslator, message_blocks
from agent_swarm_worker.providers.kit.native import count, items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_swarm_worker.contract import ProviderSessionConfig

USAGE = {
    "input": ("input_tokens", "inputTokens"),
    "output": ("output_tokens", "outputTokens"),
    "cache_read": ("cache_read_input_tokens", "cacheReadTokens"),
    "cache_write": ("cache_creation_input_tokens", "cacheWriteTokens"),
}


class ClaudeStreamTranslator(EventTranslator):
    """Reads ``system``, ``assistant``, ``user`` and ``result``."""

    def __init__(self, config: ProviderSessionConfig, **more: Any) -> None:
        super().__init__(config, **more)
        self._message_id = ""
        self._turns: int | None = None
        self._duration_ms: int | None = None

    def read(self, kind: str, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Translate one event."""
        match kind:
            case "system" if event.get("subtype") == "init":
                yield from self.begin(text(event.get("session_id")), text(event.get("model")))
                for server in map(mapping, items(event.get("mcp_servers"))):
                    if text(server.get("status")) in ("failed", "error"):
                        name = text(server.get("name"))
                        yield Error(f"MCP server {name} cannot be reached", "mcp_failed")
            case "assistant":
                yield from self.assistant(event)
            case "user":
                yield from self.user(event)
            case "result":
                yield from self.result(event)

    def assistant(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Translate a message of the model: text, reasoning, tool calls, usage."""
        message, helper = mapping(event.get("message")), self.state.helper_of(event)
        self.state.last_error = None
        for block in map(mapping, items(message.get("content"))):
            yield from message_blocks(self.state, block, helper)
        message_id = text(message.get("id"))
        if message_id and message_id == self._message_id:
            return  # a further block of the message, with the same usage
        self._message_id = message_id
        tokens = Tokens.read(message.get("usage"), USAGE)
        if tokens:
            self.costs.add(self.state.model or "unknown", tokens, None)
        if tokens and helper is None:
            self.state.window = self._window(message) or self.state.window
            used = tokens.input + tokens.cache_read + tokens.cache_write + tokens.output
            yield self.state.context_usage(used, tokens.output, "input-cache-output")

    def _window(self, message: dict[str, Any]) -> int | None:
        return count(mapping(message.get("usage")).get("max_input_tokens"))

    def user(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Translate the results of tools; skip text, which repeats what was written."""
        helper = self.state.helper_of(event)
        for block in map(mapping, items(mapping(event.get("message")).get("content"))):
            if block.get("type") == "tool_result":
                result, is_error = self.tool_result(block)
                call_id = text(block.get("tool_use_id"))
                yield self.state.end_of(call_id, result, is_error=is_error, helper=helper)

    def tool_result(self, block: dict[str, Any]) -> tuple[Any, bool]:
        """Return the result of a tool, and whether it is an error."""
        return block.get("content"), block.get("is_error") is True

    def result(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Translate the final event."""
        self._turns, self._duration_ms = (
            count(event.get("num_turns")),
            count(event.get("duration_ms")),
        )
        yield from self.begin(text(event.get("session_id")))
        yield from self.flush()
        is_error, subtype = event.get("is_error"), text(event.get("subtype"))
        last_error = self.state.last_error
        if is_error is not False or subtype not in ("", "success"):
            places = (event.get("error"), event.get("result"), last_error and last_error.message)
            message = next(filter(None, map(text, places)), subtype or "no reason given")
            yield from self.finish(self.failure_of(message))
            return
        final = text(event.get("result"))
        if final.strip() and not self.state.last_text:  # else it repeats what was said
            self.state.last_text = final
            yield Message("assistant", final)
        yield from self.finish()

    def cost_details(self) -> dict[str, Any]:
        """Return duration and number of turns."""
        return {"duration_ms": self._duration_ms, "num_turns": self._turns}
