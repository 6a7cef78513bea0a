"""Check values against a JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_swarm_worker.text import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ERROR_CHARS = 300


class BadSchema(ValueError):
    """The schema itself cannot be used."""


class JsonSchema:
    """A compiled schema; draft 2020-12 unless it names another.

    A check may take for ever: a schema may have a pattern, or nested alternatives.

    Raises:
        BadSchema: the schema cannot be used.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        # Imported here: most tasks have no schema, and the library takes a while to load.
        from jsonschema import (  # type: ignore[import-untyped]  # noqa: PLC0415
            Draft202012Validator,
            SchemaError,
            validators,
        )
        from referencing.jsonschema import EMPTY_REGISTRY  # noqa: PLC0415

        try:
            dialect = validators.validator_for(schema, default=Draft202012Validator)
            dialect.check_schema(schema)
        except (SchemaError, RecursionError, TypeError, ValueError) as error:
            raise BadSchema(_message(error)) from None
        # Without a registry the library would fetch a foreign $ref over the network.
        self._validator = dialect(schema, registry=EMPTY_REGISTRY)

    def mismatch(self, value: Any) -> str | None:
        """Return the first error of `value`, or nothing.

        Raises:
            BadSchema: a reference in the schema is unresolvable or circular.
        """
        from referencing.exceptions import Unresolvable  # noqa: PLC0415 - as above

        try:
            first = next(iter(self._validator.iter_errors(value)), None)
        except (Unresolvable, RecursionError) as error:
            raise BadSchema(_message(error)) from None
        if first is None:
            return None
        return f"{first.json_path}: {shorten(first.message, MAX_ERROR_CHARS)}"


def _message(error: Exception) -> str:
    message = str(getattr(error, "message", None) or error) or type(error).__name__
    return shorten(message, MAX_ERROR_CHARS)
