"""Turn what an MCP server lists and returns into tools and texts for a model.

Servers are read leniently: a form that the protocol does not have is passed on as JSON rather than
refused, since the model can often use it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]

from agent_swarm_worker.providers.kit.native import items, mapping, text
from agent_swarm_worker.providers.pi.tools.base import ToolOutcome, clipped, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent_swarm_worker.contract import Redactor

MAX_SCHEMA_BYTES = 32 * 1024
_ARGUMENT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REFUSED = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "enum", "const", "$ref")
"""Keywords that Anthropic and OpenAI refuse at the top level; the server checks them anyway."""
_NO_RESULT = frozenset({"content", "structuredContent", "isError", "_meta", "resultType"})


class UnusableTool(ValueError):
    """A listed tool that cannot be passed to a model."""


def tool_name(entry: Any) -> str:
    """Return the name of a listed tool; raise `UnusableTool` if it has none."""
    name = text(mapping(entry).get("name"))
    if not name:
        raise UnusableTool("it has no name")
    return name


def usable_schema(schema: Any) -> dict[str, Any]:
    """Return the schema of a tool's arguments in a form that every vendor accepts.

    A vendor refuses a whole request for one bad tool. A missing schema takes any arguments.

    Raises:
        UnusableTool: there is no such form.
    """
    if schema is not None and not isinstance(schema, dict):
        raise UnusableTool("its schema is no object")
    whole = schema or {}
    if "$ref" in whole:
        whole = {**mapping(_target(whole, whole["$ref"])), **whole}
    found = {key: value for key, value in whole.items() if key not in _REFUSED}
    found["type"] = "object"
    if found.get("properties") is None:
        found["properties"] = {}
    properties = found["properties"]
    if not isinstance(properties, dict):
        raise UnusableTool("the properties of its schema are no object")
    if invalid := [member for member in properties if not _ARGUMENT_NAME.fullmatch(member)]:
        raise UnusableTool(f"no vendor takes an argument called {invalid[0]!r}")
    try:
        if len(orjson.dumps(found)) > MAX_SCHEMA_BYTES:
            raise UnusableTool(f"its schema is larger than {MAX_SCHEMA_BYTES} bytes")
    except orjson.JSONEncodeError as error:
        raise UnusableTool(f"its schema cannot be written as JSON: {error}") from None
    try:
        Draft202012Validator.check_schema(found)
    except (SchemaError, RecursionError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise UnusableTool(f"its schema is invalid: {reason}") from None
    for reference in _references(found):
        _target(found, reference)
    return found


def _references(schema: Any) -> Iterator[Any]:
    """Yield the values of ``$ref`` anywhere in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for member in schema:
            yield from _references(member)


def _target(schema: Mapping[str, Any], reference: Any) -> Any:
    """Return what a ``$ref`` points to; vendors take references inside of the schema only."""
    path, found = text(reference), schema
    if path == "#":
        return found
    for step in path.removeprefix("#/").split("/") if path.startswith("#/") else [""]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None  # type: ignore[assignment]
    if found is None:
        raise UnusableTool(f"its schema refers to {path[:100]!r}, which it does not have")
    return found


def outcome_of(result: Mapping[str, Any], redactor: Redactor) -> ToolOutcome:
    """Return the text of a result, scrubbed and then cut; other content is named."""
    content = result.get("content")
    blocks = content if isinstance(content, list) else [] if content is None else [content]
    texts = [_block_text(block) for block in blocks]
    structured = result.get("structuredContent")
    if structured is not None and not any(_has_text(block) for block in blocks):
        texts.append(_json(structured))
    unknown = {key: value for key, value in result.items() if key not in _NO_RESULT}
    if unknown and content is None and structured is None:
        texts.append(_json(unknown))
    whole = redactor.text("\n\n".join(filter(None, texts)))
    is_error = result.get("isError") in (True, "true")
    return ToolOutcome(clipped(whole) or "(no output)", is_error)


def _has_text(block: Any) -> bool:
    return isinstance(block, str) or bool(mapping(block).get("text"))


def _block_text(block: Any) -> str:
    match block:
        case str():
            return block
        case {"type": "text" | None, "text": str(said)}:
            return said
        case {"type": "image" | "audio" as kind, "data": str(data)}:
            return f"[{kind}, {text(block.get('mimeType')) or 'of no type'}, {_size(data)}]"
        case {"type": "resource_link", "uri": str(uri)}:
            return f"[resource {text(block.get('name'))}: {uri}]"
        case {"type": "resource", "resource": {"uri": str(uri), "text": str(said)}}:
            return f"[resource {uri}]\n{said}"
        case {"type": "resource", "resource": {"uri": str(uri), "blob": str(data)}}:
            return f"[resource {uri}, {_size(data)}]"
        case {"text": str(said), **rest} if not rest:
            return said
        case dict():
            blobs = [key for key in ("data", "blob") if text(block.get(key))]
            sizes = {key: f"[{_size(block[key])}]" for key in blobs}
            return _json({**block, **sizes})
    return _json(block)


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, default=str).decode()
    except orjson.JSONEncodeError:  # too deep, a number beyond 64 bits, a lone surrogate
        return str(value)


def _size(base64: str) -> str:
    return size_of(len(base64) * 3 // 4)


def listed_tools(page: Mapping[str, Any]) -> list[Any]:
    """Return the entries of one page of a list of tools; raise `ValueError` if it is none."""
    if "tools" not in page or not isinstance(page["tools"], list | None):
        raise ValueError(f"no list of tools: {_json(page)}")
    return items(page["tools"])
