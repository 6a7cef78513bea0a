"""Ask a small model with the subscription of Claude Code, which only its CLI may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import orjson

from agent_swarm_worker.contract import NO_GRACE, Command, CostData, SmallAnswer
from agent_swarm_worker.errors import VendorFailed
from agent_swarm_worker.providers.claude.spec import ANTHROPIC_KEY, OAUTH_TOKEN, ClaudeOptions
from agent_swarm_worker.providers.kit.native import count, mapping, number, text

if TYPE_CHECKING:
    from agent_swarm_worker.contract import Process, SmallQuestion

MAX_OUTPUT_BYTES = 1024 * 1024


async def ask(question: SmallQuestion) -> SmallAnswer:
    """Return the CLI's answer; it gets no tools, no tool servers and no permissions."""
    env = {name: value for name, value in question.env.items() if name != ANTHROPIC_KEY}
    # The hooks of an operator's configuration must not summarise this session in turn.
    env |= {OAUTH_TOKEN: question.key, "SKIP_SESSION_SUMMARY": "1"}
    command = Command(
        argv=(
            *ClaudeOptions.load(question.env).program,
            *("-p", "--model", question.model, "--output-format", "json"),
            *("--tools", "", "--strict-mcp-config", "--no-session-persistence"),
        ),
        cwd=question.directory,
        env=env,
        name="small-model",
        stdin=True,
    )
    process = await question.guest.start(command)
    output = b""
    try:
        with anyio.move_on_after(question.timeout_s):
            async with process:
                await process.send(question.prompt.encode("utf-8", "replace"))
                await process.close_stdin()
                output = await _output(process)
    finally:
        with anyio.CancelScope(shield=True):
            report = await question.guest.end(process, NO_GRACE)
    return _answer(output, question.model, report.exit_code)


async def _output(process: Process) -> bytes:
    found = bytearray()

    async def discard_stderr() -> None:
        try:
            while await process.stderr.receive():
                pass
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            return

    async with anyio.create_task_group() as group:
        group.start_soon(discard_stderr)
        try:
            while len(found) <= MAX_OUTPUT_BYTES:
                found += await process.stdout.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            pass
        await process.wait()
        group.cancel_scope.cancel()
    return bytes(found)


def _answer(output: bytes, model: str, exit_code: int | None) -> SmallAnswer:
    try:
        result = mapping(orjson.loads(output))
    except orjson.JSONDecodeError:
        result = {}
    said = text(result.get("result"))
    if not said or result.get("is_error"):  # such as "Not logged in"
        raise VendorFailed(f"claude answered nothing (exit code {exit_code})")
    usage = mapping(result.get("usage"))
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens")
    new, out, read = (count(usage.get(name)) for name in names)
    cost = CostData(
        model=model,
        total_cost_usd=number(result.get("total_cost_usd")),
        input_tokens=new,
        output_tokens=out,
        cache_read_tokens=read,
        cache_write_tokens=count(usage.get("cache_creation_input_tokens")),
        num_turns=1,
    )
    return SmallAnswer(text=said, cost=cost)
