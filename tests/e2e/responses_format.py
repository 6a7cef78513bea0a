"""OpenAI Responses: read a request, write an answer as server-sent events.

Some models get the harness's tools as functions, the MCP tools among them behind a search. Newer
ones get a single tool that runs JavaScript, in which the others are functions (`_CODE_TOOL`).
"""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from model_script import TOOL_SEARCH, Answer, Conversation, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE = {
    "input_tokens": 4000,
    "input_tokens_details": {"cached_tokens": 3000},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 4050,
}
"""What every answer is said to have used."""

SHELLS = ("exec_command", "shell_command", "shell", "local_shell")
"""What the shell tool is called, depending on the version of the CLI and the model."""

_CODE_TOOL = "exec"
_numbers = itertools.count(1)
_ERRORS = {
    400: ("invalid_request_error", "invalid_request"),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "forbidden"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
# The harness speaks in the user's place, too; that is not a new prompt.
_NOT_A_PROMPT = ("<environment_context>", "# AGENTS.md instructions", "<turn_aborted>")


def read(body: dict[str, Any]) -> Conversation:
    """Reduce a request to what a script needs; names are those that `model_script` knows."""
    prompt, calls = "", []
    for item in body.get("input", []):
        match item.get("type", "message"):
            case "message" if item.get("role") == "user":
                said = [text for text in _texts(item) if not text.startswith(_NOT_A_PROMPT)]
                if said:
                    prompt, calls = said[-1], []
            case "function_call" | "custom_tool_call":
                calls.append(_script_name(item))
            case "tool_search_call":
                calls.append(TOOL_SEARCH)
    return Conversation(prompt, tuple(calls), frozenset(_offered(body)))


def heard(body: dict[str, Any]) -> list[str]:
    """The texts that are not the model's own."""
    items = [item for item in body.get("input", []) if item.get("role") != "assistant"]
    return [text for item in items for text in _texts(item)]


def system_text(body: dict[str, Any]) -> str:
    """Everything the developer or the system says, as one string."""
    roles = ("system", "developer")
    said = [_texts(item) for item in body.get("input", []) if item.get("role") in roles]
    return "\n".join([body.get("instructions") or "", *itertools.chain(*said)])


def failure(step: Failure) -> dict[str, Any]:
    """The body of an error answer."""
    kind, code = _ERRORS.get(step.status, ("server_error", "server_error"))
    return {"error": {"type": kind, "code": code, "message": step.message}}


def events(step: Answer, body: dict[str, Any]) -> Iterator[bytes]:
    """The answer as server-sent events; text comes in pieces, so that it can be slow or cut."""
    response = {"id": f"resp_{next(_numbers):06}", "object": "response", "model": body["model"]}
    yield _event("response.created", response={**response, "status": "in_progress", "output": []})
    output = list(_items(step, body))
    for index, item in enumerate(output):
        if item["type"] == "message":
            empty = {**item, "content": [], "status": "in_progress"}
            yield _event("response.output_item.added", output_index=index, item=empty)
            for start in range(0, len(step.text), 5):
                yield _event(
                    "response.output_text.delta",
                    output_index=index,
                    content_index=0,
                    item_id=item["id"],
                    delta=step.text[start : start + 5],
                )
                if step.cut:
                    return
        yield _event("response.output_item.done", output_index=index, item=item)
    done = {**response, "status": "completed", "output": output, "usage": USAGE}
    yield _event("response.completed", response=done)


def _items(step: Answer, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    said = {"type": "output_text", "text": step.text, "annotations": []}
    message = {"type": "message", "role": "assistant", "status": "completed", "content": [said]}
    yield {**message, "id": f"msg_{next(_numbers):06}"}
    if step.tool is None:
        return
    call_id = f"call_{next(_numbers):06}"
    if step.tool.name == TOOL_SEARCH:
        query = step.tool.arguments["query"].removeprefix("select:").rpartition("__")[2]
        search = {"type": "tool_search_call", "call_id": call_id, "execution": "client"}
        yield {**search, "status": "completed", "arguments": {"query": query}}
        return
    arguments = step.tool.arguments
    name, namespace = step.tool.name, None
    if _is_code_mode(body):
        function = "exec_command" if name == "Bash" else _plain(name)
        arguments = {"cmd": arguments["command"]} if name == "Bash" else arguments
        arguments = arguments.get("patch", arguments) if name == "apply_patch" else arguments
        code = f"text(await tools.{function}({json.dumps(arguments)}))"
        call = {"type": "custom_tool_call", "call_id": call_id, "name": _CODE_TOOL}
        yield call | {"id": f"ctc_{next(_numbers):06}", "status": "completed", "input": code}
        return
    if name == "Bash":
        name = next(shell for shell in SHELLS if shell in _function_names(body))
        command = arguments["command"]
        arguments = {"cmd": command} if name == "exec_command" else {"command": command}
    elif name.startswith("mcp__"):
        server, _, tool = name.rpartition("__")
        name, namespace = _plain(tool), _plain(server)
    call = {"type": "function_call", "call_id": call_id, "name": name, "status": "completed"}
    call |= {"id": f"fc_{next(_numbers):06}", "arguments": json.dumps(arguments)}
    yield call | ({"namespace": namespace} if namespace else {})


def _offered(body: dict[str, Any]) -> Iterator[str]:
    for tool in body.get("tools", []):
        if tool.get("type") == "tool_search":
            yield TOOL_SEARCH
    names = _function_names(body)
    yield from names
    if names & set(SHELLS) or _is_code_mode(body):
        yield "Bash"


def _is_code_mode(body: dict[str, Any]) -> bool:
    return any(item.get("type") == "additional_tools" for item in body.get("input", []))


def _function_names(body: dict[str, Any]) -> set[str]:
    return {tool.get("name") or tool.get("type", "") for tool in body.get("tools", [])}


def _script_name(item: dict[str, Any]) -> str:
    namespace = item.get("namespace")
    return f"{namespace}__{item['name']}" if namespace else str(item["name"])


def _plain(name: str) -> str:
    """As the CLI names tools for the model."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def _texts(item: dict[str, Any]) -> list[str]:
    content = item.get("content")
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or [] if "text" in part]


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
