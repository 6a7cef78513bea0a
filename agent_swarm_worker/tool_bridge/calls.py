"""Run the calls of the operator's tools: check the arguments, run the command or the request.

A result is scrubbed and has a limited size. Whatever goes wrong is told to the model as the error
of its call; nothing here ends the session.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import anyio
import orjson

from agent_swarm_worker.errors import ConfigError, ProviderError
from agent_swarm_worker.json_schema import BadSchema, JsonSchema
from agent_swarm_worker.logs import Event
from agent_swarm_worker.network import http_client
from agent_swarm_worker.processes.isolated_call import IsolatedCallFailed, call_isolated
from agent_swarm_worker.text import shorten
from agent_swarm_worker.tool_bridge.definitions import FILE_VARIABLE, filled, with_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath

    import httpx2

    from agent_swarm_worker.contract import Completed, Guest, Redactor
    from agent_swarm_worker.logs import Log
    from agent_swarm_worker.tool_bridge.definitions import ToolDefinition

CALLS_AT_ONCE = 8
"""Of one session; others wait."""
CHECK_LIMIT_S = 5.0
MAX_CHECKED_HERE_BYTES = 16_384
_SLOW = (b'"pattern', b'"uniqueItems', b'"anyOf', b'"oneOf', b'"allOf', b'"$ref', b'"$dynamicRef')
"""Keywords of a schema whose check may take much longer than the reading of the arguments."""
MAX_SECRET_BYTES = 16_384
"""Read beyond the limit of a result: a secret that reaches beyond it is recognised."""
MAX_ERROR_CHARS = 4096
"""Of a failed command's standard error."""
ENVIRONMENT: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR"),
    *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ"),
    *("AGENT_ID", "AGENT_SWARM_TASK_ID"),
)
"""The variables of the session that a command gets besides its own; no credential is among them."""


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """The result of a call, for the model."""

    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What the calls of one session need."""

    guest: Guest
    cwd: PurePath
    env: Mapping[str, str]
    """Of the session."""
    variables: Mapping[str, str]
    """Of the worker, for ``${NAME}`` in definitions."""
    redactor: Redactor
    log: Log


class ToolCalls:
    """Runs the calls of one session."""

    def __init__(self, context: ToolContext) -> None:
        self._context = context
        self._limiter = anyio.Semaphore(CALLS_AT_ONCE)
        self._count = 0

    async def call(self, tool: ToolDefinition, arguments: Mapping[str, Any]) -> ToolAnswer:
        """Run one call. Never raises but for cancellation."""
        async with self._limiter:
            self._count += 1
            answer = await self._answer(tool, arguments, number=self._count)
        self._context.log.info(Event.TOOL_CALLED, tool=tool.name, failed=answer.is_error)
        return replace(answer, text=self._context.redactor.text(answer.text))

    async def _answer(
        self, tool: ToolDefinition, arguments: Mapping[str, Any], *, number: int
    ) -> ToolAnswer:
        if why := await _mismatch(tool, arguments) or _unsafe(tool, arguments):
            return ToolAnswer(f"The arguments cannot be used: {why}", is_error=True)
        try:
            with anyio.move_on_after(tool.timeout_s):
                if tool.command:
                    return await self._run(tool, arguments, number)
                return await self._request(tool, arguments)
        except (ConfigError, ProviderError, OSError, ValueError) as error:
            return ToolAnswer(f"The tool cannot be run: {error}", is_error=True)
        return _timed_out(tool)

    async def _run(
        self, tool: ToolDefinition, arguments: Mapping[str, Any], number: int
    ) -> ToolAnswer:
        context, texts = self._context, _texts(arguments)
        own = {name: filled(value, context.variables) for name, value in tool.env.items()}
        common = {name: value for name, value in context.env.items() if name in ENVIRONMENT}
        done = await context.guest.run(
            tuple(with_arguments(word, texts) for word in tool.command),
            env={**common, **own},
            cwd=context.cwd,
            timeout_s=tool.timeout_s,
            max_output=tool.max_output + MAX_SECRET_BYTES,
            name=f"tool-{number}",
            stdin=orjson.dumps(dict(arguments)),
        )
        return _timed_out(tool) if done.timed_out else self._of_command(tool, done)

    async def _request(self, tool: ToolDefinition, arguments: Mapping[str, Any]) -> ToolAnswer:
        import httpx2  # noqa: PLC0415 - most workers have no such tool

        escaped = {name: quote(text, safe="") for name, text in _texts(arguments).items()}
        url = with_arguments(tool.url, escaped)
        rest = {name: value for name, value in arguments.items() if name not in tool.placeholders}
        variables = self._context.variables
        headers = {name: filled(value, variables) for name, value in tool.headers.items()}
        content = b""
        params: dict[str, str] = {}
        if tool.method in {"GET", "DELETE"}:
            params = _texts(rest)
        else:
            content = orjson.dumps(rest)
            headers = {"content-type": "application/json", **headers}
        try:
            client = http_client(tool.url, timeout=tool.timeout_s, name=FILE_VARIABLE)
            async with client:
                address = httpx2.URL(url)
                address = address.copy_merge_params(params) if params else address
                request = client.build_request(
                    tool.method, address, headers=headers, content=content or None
                )
                response = await client.send(request, stream=True)
                try:
                    return await self._of_response(tool, response)
                finally:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            why = str(error) or type(error).__name__
            return ToolAnswer(f"No answer from the tool's server: {why}", is_error=True)

    def _of_command(self, tool: ToolDefinition, done: Completed) -> ToolAnswer:
        text = self._shown(tool, done.stdout)
        if done.exit_code == 0:
            return ToolAnswer(text)
        code = "unknown" if done.exit_code is None else done.exit_code
        errors = self._shown(tool, done.stderr)[-MAX_ERROR_CHARS:].strip()
        parts = (f"The command failed with exit code {code}.", errors, text)
        return ToolAnswer("\n".join(filter(None, parts)), is_error=True)

    async def _of_response(self, tool: ToolDefinition, response: httpx2.Response) -> ToolAnswer:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > tool.max_output + MAX_SECRET_BYTES:
                break
        text = self._shown(tool, bytes(body[: tool.max_output + MAX_SECRET_BYTES]))
        if response.is_success:
            return ToolAnswer(text)
        status = f"The tool's server answered {response.status_code}."
        return ToolAnswer(f"{status}\n{text}", is_error=True)

    def _shown(self, tool: ToolDefinition, output: bytes) -> str:
        """Return the output, scrubbed before it is cut, so that no half of a secret is left."""
        clean = self._context.redactor.data(output)
        text = clean[: tool.max_output].decode("utf-8", "replace")
        if len(output) <= tool.max_output:
            return clean.decode("utf-8", "replace")
        return f"{text}\n[cut: there are more than {tool.max_output} bytes]"


def _timed_out(tool: ToolDefinition) -> ToolAnswer:
    return ToolAnswer(f"The tool did not end within {tool.timeout_s:g} s.", is_error=True)


def _texts(arguments: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in arguments.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _unsafe(tool: ToolDefinition, arguments: Mapping[str, Any]) -> str:
    """Return why an argument cannot become a word of the command, or an empty text.

    A value that begins with a dash would be an option of the program, whatever the operator meant.
    """
    texts = _texts(arguments)
    path = tool.url.partition("?")[0]
    for name in tool.placeholders:
        if f"{{{name}}}" in path and texts.get(name, "") in {"", ".", ".."}:
            return f"{name} cannot be empty, '.' or '..': it is a part of the address"
    for index, word in enumerate(tool.command):
        value = with_arguments(word, texts)
        if "\0" in value:
            return "a NUL character cannot be part of a command"
        is_value = word.startswith("{") and "--" not in tool.command[:index]
        if is_value and value.startswith("-"):
            return f"{shorten(value, 100)!r} would be taken for an option"
    return ""


async def _mismatch(tool: ToolDefinition, arguments: Mapping[str, Any]) -> str:
    """Return why the arguments do not fit the tool's schema, or an empty text.

    A plain schema is checked here. A pattern, alternatives or large arguments may take for ever:
    these in a process of their own.
    """
    given = {"schema": tool.input, "arguments": dict(arguments)}
    schema = orjson.dumps(tool.input)
    try:
        size = len(schema) + len(orjson.dumps(given["arguments"]))
    except (TypeError, ValueError) as error:
        return f"they are not JSON: {error}"
    if size <= MAX_CHECKED_HERE_BYTES and not any(word in schema for word in _SLOW):
        return _checked(given)
    try:
        return str(await call_isolated(_checked, given, limit_s=CHECK_LIMIT_S))
    except IsolatedCallFailed as error:
        return f"they cannot be checked: {error}"


def _checked(given: dict[str, Any]) -> str:
    try:
        return JsonSchema(given["schema"]).mismatch(given["arguments"]) or ""
    except BadSchema as error:
        return f"the schema of this tool cannot be used: {error}"
