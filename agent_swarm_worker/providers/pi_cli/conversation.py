"""Talk to pi in its RPC mode: prompt, messages, interrupt; translate its events.

Commands and events are lines of JSON. `agent_settled` is the end: before it the program may repeat
a failed request, shorten its context, or take a queued message.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, Literal

import orjson

from agent_swarm_worker.contract import Compaction, Error, Message, Progress, ProviderEvent
from agent_swarm_worker.providers.kit.conversation import SESSION_OVER, SteeringQueue
from agent_swarm_worker.providers.kit.costs import Tokens, usd
from agent_swarm_worker.providers.kit.event_stream import EventTranslator
from agent_swarm_worker.providers.kit.native import count, items, mapping, number, text
from agent_swarm_worker.providers.kit.outcome import Failure, failure
from agent_swarm_worker.providers.pi_cli.spec import SPEC
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_swarm_worker.contract import ProviderSessionConfig
    from agent_swarm_worker.providers.kit.conversation import SteerRequest

_TOKENS = {
    "input": ("input",),
    "output": ("output",),
    "cache_read": ("cacheRead",),
    "cache_write": ("cacheWrite",),
    "reasoning": ("reasoning",),
}
_STATUS = re.compile(r"^(\d{3})\b")
_ABORTED = "This operation was aborted"
_DIALOGS = frozenset({"select", "confirm", "input", "editor"})
"""Questions of extensions, which wait for an answer."""
_COMMANDS = {"steer": "steer", "queue": "follow_up"}


class PiConversation(EventTranslator):
    """One session from its prompt to its result."""

    spec = SPEC
    title = "pi"
    final_type = "agent_settled"

    def __init__(self, config: ProviderSessionConfig, **more: Any) -> None:
        super().__init__(config, **more)
        self._ids = itertools.count(1)
        self._lines: list[bytes] = []
        self._steering = SteeringQueue()
        """A message waits until the run has begun; its key is the id of its command."""
        self._texts: dict[str, str] = {}
        """The texts of the accepted messages, by key."""
        self._is_running = False
        self._effort: str | None = None
        self._last: dict[str, Any] = {}
        """The model's last message."""
        self._turns = 0
        self._command("get_state")
        self._command("prompt", message=_text(config.prompt))

    def read(self, kind: str, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Translate one event or response."""
        match kind:
            case "response":
                yield from self._response(text(event.get("command")), event)
            case "agent_start":
                self._is_running = True
                for request in self._steering.take():
                    self.steer(request)
            case "message_start":
                self._taken(mapping(event.get("message")))
            case "message_end":
                yield from self._message(mapping(event.get("message")))
            case "tool_execution_start" if name := text(event.get("toolName")):
                call_id = text(event.get("toolCallId"))
                yield self.state.start_of(call_id, name, event.get("args"))
            case "tool_execution_end":
                yield self._tool_end(event)
            case "auto_retry_start":
                yield self._retry(event)
            case "compaction_end" if result := mapping(event.get("result")):
                is_manual = event.get("reason") == "manual"
                trigger: Literal["auto", "manual"] = "manual" if is_manual else "auto"
                tokens = count(result.get("tokensBefore")) or 0
                yield Compaction(tokens, trigger, self.state.window)
            case "extension_error" if message := text(event.get("error")):
                yield Error(message, "extension_failed")
            case "extension_ui_request" if event.get("method") in _DIALOGS:
                self._write(
                    {"type": "extension_ui_response", "id": event.get("id"), "cancelled": True}
                )
            case "agent_settled" if not self.is_final:
                yield from self._settled()

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:
        """Take the report of a tool server that cannot be reached, and of the program's end."""
        if line.startswith("MCP server "):
            yield Error(line, "mcp_failed")

    def outgoing(self) -> bytes:
        """Return and clear the lines to be written."""
        data = b"".join(self._lines)
        self._lines.clear()
        return data

    @property
    def is_input_over(self) -> bool:
        """True at the end: the program exits when its standard input is closed."""
        return self.is_final

    def steer(self, request: SteerRequest) -> None:
        """Take a message for the running session."""
        if self.is_final:
            request.refuse(SESSION_OVER)
        elif not self._is_running:
            self._steering.add(request)
        else:
            key = self._command(_COMMANDS[request.mode], message=_text(request.text))
            self._steering.sent(key, request)
            self._texts[key] = _text(request.text)

    def interrupt(self) -> bool:
        """Request the end of the run."""
        if self.is_final:
            return False
        self._command("abort")
        return True

    def _command(self, kind: str, **more: Any) -> str:
        key = f"swarm-{next(self._ids)}"
        self._write({"id": key, "type": kind, **more})
        return key

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.append(orjson.dumps(line) + b"\n")

    def _response(self, command: str, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        is_done, key = event.get("success") is True, text(event.get("id"))
        why = text(event.get("error")) or "no reason given"
        match command:
            case "get_state" if is_done:
                yield from self._state_known(mapping(event.get("data")))
            case "prompt" if not is_done and not self.is_final:
                yield from self.finish(self.failure_of(why))
            case "steer" | "follow_up":
                if is_done:
                    self._steering.accept(key)
                else:
                    self._texts.pop(key, None)
                    self._steering.refuse(key, why)

    def _state_known(self, data: dict[str, Any]) -> Iterator[ProviderEvent]:
        model = mapping(data.get("model"))
        self.state.window = count(model.get("contextWindow"))
        window, self._effort = self.state.window, text(data.get("thinkingLevel")) or None
        yield from self.begin(text(data.get("sessionId")), _model_of(model, "id"))
        self.state.window = window or self.state.window

    def _taken(self, message: dict[str, Any]) -> None:
        """Confirm the message that this one of the conversation is."""
        if message.get("role") != "user":
            return
        content = _joined(message.get("content"))
        for key, sent in self._texts.items():
            if sent == content:
                del self._texts[key]
                self._steering.accept(key)
                self._steering.confirm(key)
                return

    def _message(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        if message.get("role") != "assistant":
            return
        self._last, self._turns = message, self._turns + 1
        reason, why = text(message.get("stopReason")), text(message.get("errorMessage"))
        if reason == "error":
            yield self.error(why or "unknown error", _status(why))
        for block in map(mapping, items(message.get("content"))):
            if block.get("type") == "thinking":
                yield from self.thought(text(block.get("thinking")))
            elif block.get("type") == "text" and text(block.get("text")).strip():
                self.state.last_text = text(block.get("text"))
                yield Message("assistant", self.state.last_text)
        if reason not in ("error", "aborted"):
            self.state.last_error = None
        yield from self._usage(message)

    def _usage(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        usage = mapping(message.get("usage"))
        tokens = Tokens.read(usage, _TOKENS)
        if not tokens:
            return
        total = tokens.input + tokens.cache_read + tokens.cache_write
        # The program counts 0 dollars for a model whose price it does not know.
        price = number(mapping(usage.get("cost")).get("total")) or usd(
            text(message.get("model")),
            provider=None,
            input_tokens=total,
            cached_tokens=tokens.cache_read,
            cache_write_tokens=tokens.cache_write,
            output_tokens=tokens.output,
        )
        self.costs.add(_model_of(message, "model") or self.state.model, tokens, price)
        used = total + tokens.output
        yield self.state.context_usage(used, tokens.output, "input-cache-output")

    def _tool_end(self, event: dict[str, Any]) -> ProviderEvent:
        result = mapping(event.get("result"))
        content = result.get("content", event.get("result"))
        parts = list(map(mapping, items(content)))
        is_text = bool(parts) and all(part.get("type") == "text" for part in parts)
        return self.state.end_of(
            text(event.get("toolCallId")),
            _joined(content) if is_text else content,
            is_error=event.get("isError") is True,
        )

    def _retry(self, event: dict[str, Any]) -> Progress:
        why = one_line(text(event.get("errorMessage")) or "the request failed", 200)
        wait_s = (number(event.get("delayMs")) or 0) / 1000
        attempt, limit = count(event.get("attempt")) or 0, count(event.get("maxAttempts")) or 0
        return Progress(f"Model API: {why}; retry {attempt} of {limit} in {wait_s:.0f} s")

    def _settled(self) -> Iterator[ProviderEvent]:
        failed = self._outcome()
        if failed is None:
            # A command that the program expanded is not found by its text.
            self._steering.confirm_sent(only_accepted=True)
        self._steering.close()
        yield from self.finish(failed)

    def _outcome(self) -> Failure | None:
        reason, why = text(self._last.get("stopReason")), text(self._last.get("errorMessage"))
        match reason:
            case "aborted":
                return failure("interrupted", why)
            case "error" if why == _ABORTED:
                return failure("interrupted")
            case "error":
                return self.failure_of(why or "unknown error", _status(why))
            case "length":
                return failure("max_output_tokens", "the answer was cut off")
        return None

    def cost_details(self) -> dict[str, Any]:
        """Return the number of turns and the tokens of reasoning."""
        reasoning = self.costs.spent.tokens.reasoning
        return {"num_turns": self._turns, "reasoning_output_tokens": reasoning or None}

    def applied_effort(self) -> str | None:
        """Return the effort that the program reports."""
        return self._effort if self.state.config.reasoning_effort else None


def _model_of(message: dict[str, Any], key: str) -> str:
    provider, model = text(message.get("provider")), text(message.get(key))
    return f"{provider}/{model}" if provider and model else model


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(text(mapping(part).get("text")) for part in items(content))


def _status(message: str) -> int | None:
    found = _STATUS.match(message)
    return int(found[1]) if found else None


def _text(prompt: str) -> str:
    # JSON allows half a surrogate pair, UTF-8 does not.
    return prompt.encode("utf-8", "replace").decode()
