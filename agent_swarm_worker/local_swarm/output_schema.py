"""Does an output have the form that its task asks for?

Checked where the agent itself reports (MCP) and where a text is replaced by force. The finish
route leaves it to the worker, as the public one does (docs/api.md 7.1).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker.processes.apart import NoAnswer, run_apart_blocking

if TYPE_CHECKING:
    from agent_swarm_worker.local_swarm.store import Document

PATTERN_LIMIT_S = 3.0
"""How long patterns may be matched; this server does nothing else meanwhile."""


def schema_error(task: Document, output: str | None) -> str:
    """Say why `output` is not what the task's ``outputSchema`` asks for, or nothing."""
    schema = task.get("outputSchema")
    if not isinstance(schema, dict):
        return ""
    shown = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
    if not output:
        return f"This task has an outputSchema: give an output that is JSON of this form:\n{shown}"
    try:
        value = orjson.loads(output)
    except orjson.JSONDecodeError as error:
        return f"The output is not JSON ({error}). It has to be JSON of this form:\n{shown}"
    problems = _problems_apart(schema, value) if "pattern" in shown else _problems([schema, value])
    if not problems:
        return ""
    return "The output does not match the outputSchema:\n" + "\n".join(problems) + f"\n\n{shown}"


def _problems_apart(schema: dict[str, Any], value: Any) -> list[str]:
    """Ask a process of its own: a pattern may be one that never comes to an end."""
    try:
        return list(run_apart_blocking(_problems, [schema, value], limit_s=PATTERN_LIMIT_S))
    except NoAnswer:
        return []  # as with any schema that makes no sense


def _problems(asked: list[Any]) -> list[str]:
    # Loaded only when a task has a schema: it would double the time the server needs to start.
    from jsonschema import (  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no type stubs
        SchemaError,
        validators,
    )
    from referencing import Registry  # noqa: PLC0415 - as above
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - as above

    schema, value = asked
    kind = validators.validator_for(schema)
    try:
        kind.check_schema(schema)
        # With a registry of its own it never fetches a remote reference.
        checker = kind(schema, registry=Registry())
        return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]
    except (SchemaError, Unresolvable, RecursionError, re.error):
        # A schema that makes no sense can hold nobody to anything.
        return []
