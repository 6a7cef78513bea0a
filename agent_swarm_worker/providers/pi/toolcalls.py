"""Carrying out the tool calls of one turn.

Those that only read run side by side, the others one after the other, in the model's order. What
goes wrong is told to the model, whose mistake it usually was.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from pydantic_ai.messages import ToolReturnPart

from agent_swarm_worker.providers.pi import native
from agent_swarm_worker.providers.pi.tool import ToolOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic_ai.messages import ToolCallPart

    from agent_swarm_worker.providers.pi.native import Record
    from agent_swarm_worker.providers.pi.tool import Tool

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
