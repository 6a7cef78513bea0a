"""Translate the Gemini CLI's ``stream-json`` output into normalized events.

It prints neither thoughts nor the use of the context; tokens come with the final event only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agent_swarm_worker.contract import Progress
from agent_swarm_worker.providers.gemini.launch import applied_effort
from agent_swarm_worker.providers.gemini.spec import SPEC
from agent_swarm_worker.providers.kit.cli_adapter import session_servers
from agent_swarm_worker.providers.kit.costs import Tokens, usd
from agent_swarm_worker.providers.kit.event_stream import EventTranslator, plan_of
from agent_swarm_worker.providers.kit.native import count, mapping, text
from agent_swarm_worker.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_swarm_worker.contract import ProviderEvent, ProviderSessionConfig

_CODE = re.compile(r'"code"\s*:\s*(\d{3})\b')
_ATTEMPT = re.compile(r"^Attempt (\d+) failed: (.*)")
_RETRY = re.compile(r"Retrying after (\d+)ms")
_WRAPPED = re.compile(r"^\[API Error: (.*?)\](?:\n|$)", re.DOTALL)
_MESSAGE = re.compile(r'"message"\s*:\s*"((?:\\.|[^"\\])*)"')


class GeminiTranslator(EventTranslator):
    """Translates the lines of one process into events, and at its end into a result."""

    spec = SPEC
    title = "Gemini"

    def __init__(self, config: ProviderSessionConfig, **more: Any) -> None:
        super().__init__(config, **more)
        names = (server.name for server in session_servers(config))
        self._servers = sorted(names, key=len, reverse=True)
        self._duration_ms: int | None = None
        self._reasoning: int | None = None

    def read(self, kind: str, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Translate one event; an assistant's message comes in pieces."""
        if kind == "message":
            if event.get("role") == "assistant":
                self.delta(text(event.get("content")))
            return
        yield from self.flush()
        match kind:
            case "init":
                model = text(event.get("model"))
                yield from self.begin(text(event.get("session_id")), model)
            case "tool_use" if name := text(event.get("tool_name")):
                call_id, args = text(event.get("tool_id")), event.get("parameters")
                yield self.state.start_of(call_id, self._tool_name(name), args)
                if name == "write_todos":
                    yield plan_of(args)
            case "tool_result":
                yield self._tool_end(event)
            case "error" if message := text(event.get("message")):
                yield self.error(message, _status(message))
            case "result":
                yield from self._result(event)

    def feed_stderr(self, line: str) -> Iterable[ProviderEvent]:
        """Take the report of a failed request, which is printed nowhere else."""
        if found := _ATTEMPT.match(line):
            self.error(found[2], _status(found[2]))
        if (wait := _RETRY.search(line)) and self.state.last_error:
            why, wait_s = one_line(self.state.last_error.message, 200), int(wait[1]) / 1000
            yield Progress(f"Model API: {why}; retry in {wait_s:.0f} s")

    def _tool_name(self, name: str) -> str:
        """Return the usual name of a tool of a server: ``mcp__<server>__<tool>``."""
        for server in self._servers:
            if name.startswith(f"mcp_{server}_"):
                return f"mcp__{server}__{name.removeprefix(f'mcp_{server}_')}"
        return name

    def _tool_end(self, event: dict[str, Any]) -> ProviderEvent:
        error = text(mapping(event.get("error")).get("message"))
        result = event.get("output")
        return self.state.end_of(
            text(event.get("tool_id")),
            error if result is None and error else result,
            is_error=event.get("status") == "error",
        )

    def _result(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        stats = mapping(event.get("stats"))
        self._duration_ms = count(stats.get("duration_ms"))
        for model, native in mapping(stats.get("models")).items():
            self._add_cost(model, mapping(native))
        if self.costs.models:
            # A short name stands for the model that did most of the work.
            self.state.model = max(
                self.costs.models, key=lambda name: self.costs.models[name].tokens.output
            )
        if event.get("status") == "success":
            yield from self.finish()
            return
        message = text(mapping(event.get("error")).get("message"))
        if not message and self.state.last_error:
            message = self.state.last_error.message
        yield from self.finish(self.failure_of(_readable(message), _status(message)))

    def _add_cost(self, model: str, usage: dict[str, Any]) -> None:
        total, prompt = count(usage.get("total_tokens")), count(usage.get("input_tokens"))
        cached, said = count(usage.get("cached")) or 0, count(usage.get("output_tokens"))
        if not total or prompt is None or said is None:
            return
        # The answer is counted without the thoughts, which are billed as a part of it.
        thoughts = max(0, total - prompt - said)
        self._reasoning = (self._reasoning or 0) + thoughts
        output, new = said + thoughts, max(0, prompt - cached)
        price = usd(
            model,
            provider="google",
            input_tokens=prompt,
            cached_tokens=min(cached, prompt),
            cache_write_tokens=0,
            output_tokens=output,
        )
        tokens = Tokens(input=new, output=output, cache_read=cached, reasoning=thoughts)
        self.costs.add(model, tokens, price)

    def cost_details(self) -> dict[str, Any]:
        """Return duration and the tokens of the thoughts."""
        return {"duration_ms": self._duration_ms, "reasoning_output_tokens": self._reasoning}

    def applied_effort(self) -> str | None:
        """Return the effort that was asked for."""
        return applied_effort(self.state.config.reasoning_effort)


def _status(message: str) -> int | None:
    found = _CODE.search(message)
    return int(found[1]) if found else None


def _readable(message: str) -> str:
    """Return the service's own text of an error that quotes its answer."""
    wrapped = _WRAPPED.match(message)
    inner = wrapped[1] if wrapped else message
    quoted = _MESSAGE.search(inner) if inner.startswith("{") else None
    status = _status(inner)
    if quoted:
        return f"{status}: {quoted[1]}" if status else quoted[1]
    return f"{inner} {message[wrapped.end() :]}".strip() if wrapped else message
