"""The agent: asks the model, carries out what it calls for, and again, until it has no more calls.

The loop is ours, so that where a message gets in, when the conversation is shortened and what ends
a session can be read here. The library only speaks the vendors' languages.

Carrying out the tool calls of one turn.

Those that only read run side by side, the others one after the other, in the model's order. What
goes wrong is told to the model, whose mistake it usually was.
"""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart
from pydantic_ai.tools import ToolDefinition

from agent_swarm_worker.guards.error_classes import ErrorClass
from agent_swarm_worker.guards.tokens import count_tokens
from agent_swarm_worker.providers.pi import native
from agent_swarm_worker.providers.pi.ask import Asker, SessionFailed, usage_of
from agent_swarm_worker.providers.pi.compaction import (
    compacted,
    estimate_tokens,
    request_for_summary,
)
from agent_swarm_worker.providers.pi.costs import context_of
from agent_swarm_worker.providers.pi.history import text_of
from agent_swarm_worker.providers.pi.tool import ToolOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_swarm_worker.contract import SteerMode
    from agent_swarm_worker.providers.kit.conversation import SteeringQueue
    from agent_swarm_worker.providers.pi.costs import CostBook
    from agent_swarm_worker.providers.pi.history import History
    from agent_swarm_worker.providers.pi.models import ModelChoice
    from agent_swarm_worker.providers.pi.native import Record
    from agent_swarm_worker.providers.pi.spec import PiOptions
    from agent_swarm_worker.providers.pi.tool import Tool

_STOPS = {
    "length": (ErrorClass.MAX_OUTPUT_TOKENS.value, "the answer is longer than the model may write"),
    "content_filter": ("refused", "the model or its provider declined to answer"),
    "error": (ErrorClass.SERVER_ERROR.value, "the model stopped with an error"),
}


class Agent:
    """Runs one conversation to its end."""

    def __init__(
        self,
        asker: Asker,
        choice: ModelChoice,
        settings: PiOptions,
        history: History,
        *,
        system_prompt: str,
        tools: Sequence[Tool],
        steering: SteeringQueue,
        book: CostBook,
        say: Callable[[Record], None],
    ) -> None:
        self._asker = asker
        self._choice = choice
        self._settings = settings
        self._history = history
        self._system_prompt = system_prompt
        self._tools = {tool.name: tool for tool in tools}
        self._definitions = [_definition(tool) for tool in self._tools.values()]
        self._steering = steering
        self._book = book
        self._say = say
        self._steps = 0
        self._counted = (0, 0)
        """Tokens of the conversation as the model counted them, and how many messages that was."""

    async def run(self, prompt: str) -> None:
        """Work on `prompt` until the model is done.

        Raises:
            SessionFailed: it cannot go on, or a limit was reached.
        """
        await self._hear(prompt)
        said_something = False
        while True:
            self._check_limits()
            await self._hear_messages("steer")
            response = await self._turn()
            said_something = said_something or bool(text_of(response))
            calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
            if calls:
                answers = await run_calls(calls, self._tools, self._say)
                await self._history.add(ModelRequest(parts=answers))
                continue
            if response.finish_reason in _STOPS:
                raise SessionFailed(*_STOPS[response.finish_reason])
            if not await self._hear_messages():
                break
        self._steering.close()
        if not said_something:
            raise SessionFailed("empty_response", "the model ended without a word")

    async def _hear(self, text: str) -> None:
        await self._history.say(text)
        self._say(native.user_message(text))

    async def _hear_messages(self, mode: SteerMode | None = None) -> bool:
        """Add the messages that wait, of one mode or all; false if there are none."""
        requests = self._steering.take(mode)
        for request in requests:
            self._steering.sent(request, request)
            await self._hear(request.text)
        return bool(requests)

    def _check_limits(self) -> None:
        settings = self._settings
        if settings.max_steps and self._steps >= settings.max_steps:
            why = f"Max turns exceeded: {self._steps} model requests (PI_MAX_STEPS)"
            raise SessionFailed("max_turns", why)
        spent, most = self._book.spent_usd, settings.max_cost_usd
        if most and spent >= most:
            why = f"Budget limit exceeded: ${spent:.4f} of ${most:.4f} (PI_MAX_COST_USD)"
            raise SessionFailed("max_budget", why)

    async def _turn(self) -> ModelResponse:
        window = self._choice.context_window
        if self._tokens() > window * self._settings.compact_at_percent / 100:
            await self._compact_if_possible()
        try:
            response = await self._ask()
        except SessionFailed as failure:
            if failure.kind != ErrorClass.CONTEXT_OVERFLOW.value:
                raise
            await self._compact("overflow")
            response = await self._ask()
        self._steps += 1
        await self._take_in(response)
        return response

    async def _ask(self) -> ModelResponse:
        *earlier, last = self._history.messages
        assert isinstance(last, ModelRequest)
        last = dataclasses.replace(last, instructions=self._system_prompt)
        return await self._asker.ask([*earlier, last], self._definitions)

    async def _take_in(self, response: ModelResponse) -> None:
        calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
        for call in calls:
            mend_arguments(call)
        await self._history.add(response)
        self._steering.confirm_sent()
        usage = usage_of(response)
        if context_of(usage):
            self._counted = (context_of(usage), len(self._history.messages))
        self._say(
            native.assistant_message(
                text_of(response),
                [(call.tool_call_id, call.tool_name, call.args) for call in calls],
                model=response.model_name or self._choice.model,
                stop=response.finish_reason or "stop",
                usage=usage,
            )
        )
        if context_of(usage):
            self._say(native.context_usage(usage, self._choice.context_window))

    def _tokens(self) -> int:
        """How long the conversation is: what the model counted, and a guess for the rest."""
        tokens, known = self._counted
        rest = estimate_tokens(self._history.messages[known:])
        prompt = count_tokens(self._system_prompt) if not known else 0
        return tokens + rest + prompt

    async def _compact_if_possible(self) -> None:
        try:
            await self._compact("threshold")
        except SessionFailed as failure:  # the window may yet be large enough
            self._say(native.warning(f"the conversation was not shortened: {failure.reason}"))

    async def _compact(self, reason: str) -> None:
        messages = self._history.messages
        window = self._choice.context_window
        before = self._tokens()
        answer = await self._asker.ask(request_for_summary(messages, window), [])
        summary = text_of(answer)
        if not summary:
            raise SessionFailed(
                ErrorClass.CONTEXT_OVERFLOW.value,
                "the conversation is too long, and the model gave no summary of it",
            )
        shorter = compacted(messages, summary, window)
        await self._history.replace(shorter, tokens_before=before)
        self._counted = (0, 0)
        self._say(native.compaction(before, window, reason=reason, summary=summary))


def _definition(tool: Tool) -> ToolDefinition:
    return ToolDefinition(
        name=tool.name,
        description=tool.description,
        parameters_json_schema=dict(tool.parameters),
    )


READ_ONLY = frozenset({"read", "grep", "find", "ls"})
BAD_ARGUMENTS = "malformed_arguments"
"""The key under which arguments that are no JSON object stay in the conversation."""


def mend_arguments(call: ToolCallPart) -> None:
    """Make sure that the arguments are an object, which is what every service takes back."""
    if isinstance(call.args, dict):
        return
    raw = call.args or "{}"
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    call.args = value if isinstance(value, dict) else {BAD_ARGUMENTS: raw}


async def run_calls(
    calls: Sequence[ToolCallPart], tools: Mapping[str, Tool], say: Callable[[Record], None]
) -> list[ToolReturnPart]:
    """Carry out `calls`, whose arguments are mended; returns the answers in the same order."""
    answers: dict[int, ToolReturnPart] = {}

    async def run(number: int, call: ToolCallPart) -> None:
        answers[number] = await _run_one(call, tools, say)

    numbered = list(enumerate(calls))
    for is_reading, some in groupby(numbered, lambda item: item[1].tool_name in READ_ONLY):
        if is_reading:
            async with anyio.create_task_group() as tasks:
                for number, call in some:
                    tasks.start_soon(run, number, call)
        else:
            for number, call in some:
                await run(number, call)
    return [answers[number] for number, _ in numbered]


async def _run_one(
    call: ToolCallPart, tools: Mapping[str, Tool], say: Callable[[Record], None]
) -> ToolReturnPart:
    args = call.args if isinstance(call.args, dict) else {}
    say(native.tool_start(call.tool_call_id))
    outcome = await _outcome(tools, call.tool_name, args)
    say(native.tool_end(call.tool_call_id, outcome.text, is_error=outcome.is_error))
    return ToolReturnPart(
        tool_name=call.tool_name,
        content=outcome.text,
        tool_call_id=call.tool_call_id,
        outcome="failed" if outcome.is_error else "success",
    )


async def _outcome(tools: Mapping[str, Tool], name: str, args: dict[str, Any]) -> ToolOutcome:
    tool = tools.get(name)
    if tool is None:
        return ToolOutcome(f"There is no tool {name!r}; there are: {', '.join(tools)}", True)
    if set(args) == {BAD_ARGUMENTS}:
        return ToolOutcome(f"The arguments of {name} are not a JSON object; call it again", True)
    try:
        return await tool.run(args)
    except Exception as error:  # a tool's own mistake must not cost the task
        return ToolOutcome(f"{name} failed: {type(error).__name__}: {error}", True)
