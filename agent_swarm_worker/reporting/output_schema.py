"""Check a task's output against its ``outputSchema``, and find the fitting JSON in a text.

The server does not do that (docs/api.md 7.1). The check runs in a process of its own: a schema may
have a pattern, or nested alternatives, whose evaluation never ends.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.json_schema import BadSchema, JsonSchema
from agent_swarm_worker.processes.isolated_call import (
    IsolatedCallFailed,
    IsolatedCallUndecided,
    call_isolated,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

CHECK_LIMIT_S = 10.0
CHECKS = 2
"""How often a check is tried that the machine does not let end."""
_FENCE = re.compile(r"```[a-zA-Z0-9]*[ \t]*\n(.*?)```", re.DOTALL)
_VALUE_START = re.compile(r"[\[{]")
_MAX_BLOCKS = 1000
_MAX_EFFORT = 2_000_000
"""How many characters may be read without finding a value; limits the time of hostile text."""


@dataclass(frozen=True, slots=True)
class Found:
    """A JSON value, and its text."""

    text: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCheck:
    """A schema and the texts to search for a value that fits it."""

    schema: Mapping[str, Any]
    texts: Sequence[str]
    """In order: the first text with a fitting value is used."""
    shown: str
    """The first text, scrubbed: the reason for a mismatch may quote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """The outcome of a check; one of the fields is set."""

    fitting: str = ""
    mismatch: str = ""
    unusable: str = ""
    """Why the schema cannot be used."""


Checker: TypeAlias = "Callable[[OutputCheck], Awaitable[CheckOutcome]]"


async def check_isolated(check: OutputCheck) -> CheckOutcome:
    """Run `check_output` in a process of its own, within `CHECK_LIMIT_S` of its CPU time.

    An output that a busy machine cannot check does not count as fitting.
    """
    args = {"schema": dict(check.schema), "texts": list(check.texts), "shown": check.shown}
    why = ""
    for _ in range(CHECKS):
        try:
            return CheckOutcome(**await call_isolated(_check_json, args, limit_s=CHECK_LIMIT_S))
        except IsolatedCallUndecided as error:
            why = str(error)
        except IsolatedCallFailed as error:
            return CheckOutcome(unusable=str(error))
    return CheckOutcome(mismatch=f"it could not be checked: {why}")


def _check_json(args: dict[str, Any]) -> dict[str, str]:
    return asdict(check_output(OutputCheck(**args)))


def check_output(check: OutputCheck) -> CheckOutcome:
    """Find the first fitting value in the texts; may take for ever."""
    try:
        schema = OutputSchema(check.schema)
        for text in check.texts:
            found, _ = schema.find(text)
            if found:
                return CheckOutcome(fitting=found.text)
        # The reason quotes the value, so it is made from the scrubbed text.
        return CheckOutcome(mismatch=schema.find(check.shown)[1] or "it does not fit")
    except BadSchema as error:
        return CheckOutcome(unusable=str(error) or "it is none")


class OutputSchema(JsonSchema):
    """A schema whose fitting values are found in texts."""

    def find(self, text: str) -> tuple[Found | None, str]:
        """Return the whole text if it fits, else the last fitting value in it, else the reason.

        The last, because agents explain first and answer at the end.
        """
        whole = _parse(text)
        if whole is not None:
            why = self.mismatch(whole.value)
            return (None, why) if why else (whole, "")
        best, why = None, "the output is not JSON"
        for found in _values_within(text):
            error = self.mismatch(found.value)
            if error is None:
                best = found
            elif best is None:
                why = error
        return best, why


def _values_within(text: str) -> Iterator[Found]:
    """Yield the JSON objects and arrays in prose, those in fenced blocks last."""
    blocks = _FENCE.findall(text)[-_MAX_BLOCKS:]
    fenced = [found for block in blocks if (found := _parse(block))]
    yield from _scan(_FENCE.sub("", text))
    yield from fenced


def _scan(text: str) -> Iterator[Found]:
    effort, position = 0, 0
    while effort < _MAX_EFFORT and (start := _VALUE_START.search(text, position)):
        effort += 100
        try:
            value, end = _DECODER.raw_decode(text, start.start())
        except json.JSONDecodeError as error:
            # Each failure also counts the lines from the beginning, for its message.
            effort += error.pos - start.start() + error.pos // 100
            position = start.end()
        except (ValueError, RecursionError):
            # A number too long or a value too deep.
            return
        else:
            yield Found(text[start.start() : end], value)
            position = end


def _parse(text: str) -> Found | None:
    trimmed = text.strip()
    try:
        return Found(trimmed, _DECODER.decode(trimmed))
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
