"""From what a server lists to tools that every vendor of models accepts.

A vendor refuses a whole request for one bad tool, and that would end the session. So what cannot
be mended is left out.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_swarm_worker.contract import Redactor

MAX_NAME_CHARS = 64
MAX_TOOLS = 250
"""Of one server."""
MAX_DESCRIPTION_CHARS = 4000
MAX_SCHEMA_BYTES = 32 * 1024
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_MEMBER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOT_AT_THE_TOP = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "enum", "const", "$ref")
"""Anthropic and OpenAI refuse these beside the properties; the server checks them anyway."""


class BadTool(ValueError):
    """A tool that no model could be given."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as a server lists it, mended."""

    name: str
    description: str
    parameters: Mapping[str, Any]


def exposed_names(tools: Sequence[tuple[str, str]]) -> list[str]:
    """Return a name for each pair of server and tool: ``mcp__<server>__<tool>``.

    Of names that had to be changed so that they would collide, or that are too long, the end is a
    hash of what they were.
    """
    plain = [f"mcp__{_fit(server)}__{_fit(tool)}" for server, tool in tools]
    names: list[str] = []
    for pair, name in zip(tools, plain, strict=True):
        unique = name
        if len(name) > MAX_NAME_CHARS or plain.count(name) > 1 or name in names:
            digest = hashlib.sha256("\0".join(pair).encode("utf-8", "replace")).hexdigest()[:8]
            unique = f"{name[: MAX_NAME_CHARS - 9]}_{digest}"
        number = 1
        while unique in names:  # a server that lists the same name twice
            number += 1
            unique = f"{unique[: MAX_NAME_CHARS - 4]}_{number}"
        names.append(unique)
    return names


def mended(name: str, description: str, schema: Mapping[str, Any], redactor: Redactor) -> Offer:
    """Return a tool as a model may be given it.

    Raises:
        BadTool: its schema cannot be used.
    """
    found = {key: value for key, value in schema.items() if key not in _NOT_AT_THE_TOP}
    found["type"] = "object"
    properties = found.setdefault("properties", {})
    if not isinstance(properties, dict):
        msg = "the properties of its schema are no object"
        raise BadTool(msg)
    if odd := [member for member in properties if not _MEMBER.fullmatch(member)]:
        msg = f"no vendor takes an argument called {odd[0]!r}"
        raise BadTool(msg)
    try:
        if len(orjson.dumps(found)) > MAX_SCHEMA_BYTES:
            msg = f"its schema is larger than {MAX_SCHEMA_BYTES} bytes"
            raise BadTool(msg)
    except orjson.JSONEncodeError as error:
        msg = f"its schema cannot be written as JSON: {error}"
        raise BadTool(msg) from None
    _check(found)
    text = redactor.text(description)
    return Offer(name, text[:MAX_DESCRIPTION_CHARS], redactor.leaves(found))


def _check(schema: dict[str, Any]) -> None:
    from jsonschema import (  # type: ignore[import-untyped]  # noqa: PLC0415 - takes long to load
        Draft202012Validator,
        SchemaError,
    )

    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError, TypeError, ValueError) as error:
        why = str(error).partition("\n")[0][:200]
        msg = f"its schema is none: {why}"
        raise BadTool(msg) from None


def _fit(name: str) -> str:
    return _UNFIT.sub("_", name) or "_"
