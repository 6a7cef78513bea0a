"""Run the agent: ask the model, execute the tool calls of its answer, until it makes no more calls.

Steering, compaction and limits are explicit here; ``pydantic_ai`` only translates to the vendors'
APIs. Of the tool calls of one turn, those that only read run concurrently and the others one after
the other, in the model's order. An error of a tool is returned to the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import anyio
from pydantic_ai.messages import (
    INVALID_JSON_KEY,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.tools import ToolDefinition

from agent_swarm_worker.contract import PermissionRequest
from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.guards.tokens import count_tokens
from agent_swarm_worker.providers.pi import native
from agent_swarm_worker.providers.pi.history import (
    compacted,
    estimate_tokens,
    request_for_summary,
    text_of,
    thinking_of,
    user_message,
)
from agent_swarm_worker.providers.pi.model_requests import ModelRequester, usage_of
from agent_swarm_worker.providers.pi.native import SessionFailed, context_of
from agent_swarm_worker.providers.pi.tools.base import ToolOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_swarm_worker.contract import PermissionGate, SteerMode
    from agent_swarm_worker.providers.kit.conversation import SteeringQueue
    from agent_swarm_worker.providers.pi.history import History
    from agent_swarm_worker.providers.pi.native import Record
    from agent_swarm_worker.providers.pi.tools.base import Tool

_STOPS = {
    "length": (ErrorClass.MAX_OUTPUT_TOKENS, "the answer is longer than the model may write"),
    "content_filter": ("refused", "the model or its provider declined to answer"),
    "error": (ErrorClass.SERVER_ERROR, "the model stopped with an error"),
}

READ_ONLY = frozenset({"read", "grep", "find", "ls"})


@dataclass(slots=True, eq=False, kw_only=True)
class Agent:
    """Runs one conversation to its end."""

    requester: ModelRequester
    history: History
    system_prompt: str
    tools: Mapping[str, Tool]
    """By name."""
    steering: SteeringQueue
    emit: Callable[[Record], None]
    permissions: PermissionGate | None = None
    _steps: int = 0
    _counted: tuple[int, int] = (0, 0)
    """The model's own count of the conversation's tokens, and how many messages it covers."""

    async def run(self, prompt: str) -> None:
        """Work on `prompt` until the model is done; raise `SessionFailed` if it cannot be."""
        await self._add_user_message(prompt)
        has_text = False
        while True:
            self._check_limits()
            await self._add_steering("steer")
            response = await self._turn()
            has_text = has_text or bool(text_of(response))
            calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
            if calls:
                results = await self._run_calls(calls)
                await self.history.add(ModelRequest(parts=results))
                continue
            if response.finish_reason in _STOPS:
                raise SessionFailed(*_STOPS[response.finish_reason])
            if not await self._add_steering():
                break
        self.steering.close()
        if not has_text:
            raise SessionFailed("empty_response", "the model ended without a word")

    async def _add_user_message(self, text: str) -> None:
        await self.history.add(user_message(text))
        self.emit(native.user_message(text))

    async def _add_steering(self, mode: SteerMode | None = None) -> bool:
        """Add the queued steering messages, of one mode or all; return whether there were any."""
        requests = self.steering.take(mode)
        for request in requests:
            self.steering.sent(request, request)
            await self._add_user_message(request.text)
        return bool(requests)

    def _check_limits(self) -> None:
        settings = self.requester.settings
        if settings.max_steps and self._steps >= settings.max_steps:
            reason = f"Max turns exceeded: {self._steps} model requests (PI_MAX_STEPS)"
            raise SessionFailed("max_turns", reason)
        spent, most = self.requester.book.spent_usd, settings.max_cost_usd
        if most and spent >= most:
            reason = f"Budget limit exceeded: ${spent:.4f} of ${most:.4f} (PI_MAX_COST_USD)"
            raise SessionFailed("max_budget", reason)

    async def _turn(self) -> ModelResponse:
        window = self.requester.choice.context_window
        if self._tokens() > window * self.requester.settings.compact_at_percent / 100:
            try:
                await self._compact("threshold")
            except SessionFailed as failure:  # the window may still be large enough
                warning = f"the conversation was not shortened: {failure.reason}"
                self.emit(native.warning(warning))
        try:
            response = await self._request()
        except SessionFailed as failure:
            if failure.kind != ErrorClass.CONTEXT_OVERFLOW:
                raise
            await self._compact("overflow")
            response = await self._request()
        self._steps += 1
        await self._add_response(response)
        return response

    async def _request(self) -> ModelResponse:
        *earlier, last = self.history.messages
        assert isinstance(last, ModelRequest)
        last = replace(last, instructions=self.system_prompt)
        definitions = [
            ToolDefinition(
                name=tool.name,
                description=tool.description,
                parameters_json_schema=dict(tool.parameters),
            )
            for tool in self.tools.values()
        ]
        return await self.requester.request([*earlier, last], definitions)

    async def _add_response(self, response: ModelResponse) -> None:
        calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
        for call in calls:  # no service accepts anything but an object in a later request
            call.args = call.args_as_dict()
        await self.history.add(response)
        self.steering.confirm_sent()
        usage = usage_of(response)
        if context_of(usage):
            self._counted = (context_of(usage), len(self.history.messages))
        self.emit(
            native.assistant_message(
                text_of(response),
                [(call.tool_call_id, call.tool_name, call.args) for call in calls],
                model=response.model_name or self.requester.choice.model,
                thinking=thinking_of(response),
                stop=response.finish_reason or "stop",
                usage=usage,
            )
        )
        if context_of(usage):
            self.emit(native.context_usage(usage, self.requester.choice.context_window))

    async def _run_calls(self, calls: Sequence[ToolCallPart]) -> list[ToolReturnPart]:
        """Execute `calls`; return their results in the same order."""
        results: dict[int, ToolReturnPart] = {}

        async def run(number: int, call: ToolCallPart) -> None:
            results[number] = await self._run_call(call)

        numbered = list(enumerate(calls))
        for is_reading, group in groupby(numbered, lambda item: item[1].tool_name in READ_ONLY):
            if is_reading:
                async with anyio.create_task_group() as tasks:
                    for number, call in group:
                        tasks.start_soon(run, number, call)
            else:
                for number, call in group:
                    await run(number, call)
        return [results[number] for number, _ in numbered]

    async def _run_call(self, call: ToolCallPart) -> ToolReturnPart:
        self.emit(native.tool_start(call.tool_call_id))
        outcome = await self._permitted(call) or await self._outcome(
            call.tool_name, call.args_as_dict()
        )
        self.emit(native.tool_end(call.tool_call_id, outcome.text, is_error=outcome.is_error))
        return ToolReturnPart(
            tool_name=call.tool_name,
            content=outcome.text,
            tool_call_id=call.tool_call_id,
            outcome="failed" if outcome.is_error else "success",
        )

    async def _permitted(self, call: ToolCallPart) -> ToolOutcome | None:
        """Return the outcome of a call that is denied; ``None`` if it may run."""
        if self.permissions is None:
            return None
        request = PermissionRequest(
            tool_name=call.tool_name, args=call.args_as_dict(), tool_call_id=call.tool_call_id
        )
        verdict = await self.permissions.decide(request)
        return None if verdict.is_allowed else ToolOutcome(f"Denied: {verdict.reason}", True)

    async def _outcome(self, name: str, args: dict[str, Any]) -> ToolOutcome:
        tool = self.tools.get(name)
        if tool is None:
            text = f"There is no tool {name!r}; there are: {', '.join(self.tools)}"
            return ToolOutcome(text, True)
        if INVALID_JSON_KEY in args:
            text = f"The arguments of {name} are not a JSON object; call it again"
            return ToolOutcome(text, True)
        try:
            return await tool.run(args)
        except Exception as error:  # a bug in a tool must not end the session
            return ToolOutcome(f"{name} failed: {type(error).__name__}: {error}", True)

    def _tokens(self) -> int:
        """Return the conversation's tokens: the model's count, newer messages estimated."""
        tokens, known = self._counted
        rest = estimate_tokens(self.history.messages[known:])
        prompt = count_tokens(self.system_prompt) if not known else 0
        return tokens + rest + prompt

    async def _compact(self, reason: str) -> None:
        messages = self.history.messages
        window = self.requester.choice.context_window
        before = self._tokens()
        answer = await self.requester.request(request_for_summary(messages, window), [])
        summary = text_of(answer)
        if not summary:
            raise SessionFailed(
                ErrorClass.CONTEXT_OVERFLOW,
                "the conversation is too long, and the model gave no summary of it",
            )
        shorter = compacted(messages, summary, window)
        await self.history.replace(shorter, tokens_before=before)
        self._counted = (0, 0)
        self.emit(native.compaction(before, window, reason=reason, summary=summary))
