"""Describe a settings model as JSON Schema (draft 2020-12), enough to render a form.

The properties are the names of the environment variables, so values are texts, numbers and
switches; a list or a command line is the text that the variable would hold.
"""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from agent_swarm_worker.settings.base import ShellWords

if TYPE_CHECKING:
    from agent_swarm_worker.settings.base import SettingsModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {bool: "boolean", int: "integer", float: "number"}
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
_SECRET = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|HEADERS)(?:_|$)")
_ACRONYMS = re.compile(r"\b(?:api|url|id|mcp|acp|ms)\b", re.IGNORECASE)


def json_schema(model: type[SettingsModel], title: str) -> dict[str, Any]:
    """Return the schema of a model's own variables, by the preferred name of each."""
    texts = descriptions(model)
    return {
        "$schema": DIALECT,
        "title": title,
        "type": "object",
        "properties": {
            declared.names[0]: _property(model, name, texts.get(name, ""))
            for name, declared in model.declarations().items()
            if not declared.is_shared
        },
        "additionalProperties": True,
    }


def descriptions(model: type[SettingsModel]) -> dict[str, str]:
    """Return the text below each field of a model and of its bases, on one line."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if set(inspect.get_annotations(base)) & set(model.model_fields):
            texts |= docstrings(inspect.getsource(base))
    return texts


def docstrings(source: str) -> dict[str, str]:
    """Return the docstring of each field in the source of a class, on one line."""
    (model,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return {
        field.target.id: " ".join(ast.literal_eval(text.value).split())
        for field, text in pairwise(model.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
    }


def _property(model: type[SettingsModel], name: str, text: str) -> dict[str, Any]:
    declared, field = model.declarations()[name], model.model_fields[name]
    variable, kind = declared.names[0], field.annotation
    if NoneType in get_args(kind):
        (kind,) = (member for member in get_args(kind) if member is not NoneType)
    schema: dict[str, Any] = {
        "title": _title(variable),
        "description": re.sub(r"``(.+?)``", r"\1", re.sub(r" \(docs/api\.md [\d.]+\)", "", text)),
        "type": _TYPES.get(kind, "string") if isinstance(kind, type) else "string",
    }
    if get_origin(kind) is Literal:
        schema["enum"] = list(get_args(kind))
    for rule in field.metadata:
        schema |= {
            keyword: limit
            for attribute, keyword in _BOUNDS.items()
            if (limit := getattr(rule, attribute, None)) is not None
        }
    is_command = any(rule in field.metadata for rule in get_args(ShellWords)[1:])
    if (default := _default(field.default, is_command=is_command)) not in (None, ""):
        schema["default"] = default
    if len(declared.names) > 1:
        schema["x-other-names"] = list(declared.names[1:])
    if _SECRET.search(variable):
        schema |= {"format": "password", "writeOnly": True}
    schema["x-effect"] = declared.effect.value
    return schema


def _default(value: Any, *, is_command: bool) -> Any:
    if isinstance(value, tuple):
        return shlex.join(value) if is_command else ",".join(value)
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return str(value) if isinstance(value, Path) else value


def _title(variable: str) -> str:
    """``CLAUDE_CONFIG_DIR`` becomes ``Claude config dir``."""
    words = variable.replace("_", " ").capitalize()
    return _ACRONYMS.sub(lambda match: match.group().upper(), words)
