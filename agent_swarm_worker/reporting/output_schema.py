"""Finding, in what an agent said, the JSON that its task asked for.

A task may demand output of a certain shape (``outputSchema``). The server does not check it when a
task is finished (docs/api.md 7.1), so it is done here, with the full JSON Schema rules; and in a
process apart, since a schema may hold a pattern or a nest of choices that never comes to an end.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from agent_swarm_worker.processes.isolated_call import IsolatedCallFailed, call_isolated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

MAX_ERROR_CHARS = 300
JUDGE_LIMIT_S = 10.0
"""How long the question whether an output fits may take."""
_FENCE = re.compile(r"```[a-zA-Z0-9]*[ \t]*\n(.*?)```", re.DOTALL)
_VALUE_START = re.compile(r"[\[{]")
_MAX_BLOCKS = 1000
_MAX_EFFORT = 2_000_000
"""How much may be read in vain while looking for a value, in characters; bounds hostile text."""


class BadSchema(ValueError):
    """The schema itself cannot be used."""


@dataclass(frozen=True, slots=True)
class Found:
    """A JSON value as it stands in the text."""

    text: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be judged."""

    schema: Mapping[str, Any]
    texts: Sequence[str]
    """The first that holds a fitting value decides."""
    shown: str
    """The first of them as it may be quoted, for the reason that none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How it was judged; of the three one is given."""

    fitting: str = ""
    """The fitting JSON, as it stands in its text."""
    why_not: str = ""
    unusable: str = ""
    """Why nothing can be judged by this schema."""


Judge: TypeAlias = "Callable[[Question], Awaitable[Verdict]]"


async def judge_apart(question: Question) -> Verdict:
    """Judge in a process of its own, within `JUDGE_LIMIT_S`."""
    asked = {
        "schema": dict(question.schema),
        "texts": list(question.texts),
        "shown": question.shown,
    }
    try:
        return Verdict(**await call_isolated(_judge_json, asked, limit_s=JUDGE_LIMIT_S))
    except IsolatedCallFailed as error:
        return Verdict(unusable=str(error))


def _judge_json(asked: dict[str, Any]) -> dict[str, str]:
    verdict = judge(Question(**asked))
    return {
        "fitting": verdict.fitting,
        "why_not": verdict.why_not,
        "unusable": verdict.unusable,
    }


def judge(question: Question) -> Verdict:
    """Judge here and now, however long that takes."""
    try:
        demand = OutputSchema(question.schema)
        for text in question.texts:
            found, _ = demand.find(text)
            if found:
                return Verdict(fitting=found.text)
        # The reason quotes the value, so it is made from the text that may be quoted.
        return Verdict(why_not=demand.find(question.shown)[1] or "it does not fit")
    except BadSchema as error:
        return Verdict(unusable=str(error) or "it is none")


class OutputSchema:
    """One task's demand on its output.

    Raises:
        BadSchema: it is not a usable JSON Schema.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        # Imported here: most tasks have no schema, and the library takes a while to load. It has
        # no type information of its own.
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
            raise BadSchema(_brief(error)) from None
        # An explicit registry: by default the library would fetch a foreign $ref over the network.
        self._validator = dialect(schema, registry=EMPTY_REGISTRY)

    def mismatch(self, value: Any) -> str | None:
        """Return the first thing wrong with `value`, or nothing.

        Raises:
            BadSchema: a reference in the schema leads nowhere or round in circles.
        """
        from referencing.exceptions import Unresolvable  # noqa: PLC0415 - as above

        try:
            first = next(iter(self._validator.iter_errors(value)), None)
        except (Unresolvable, RecursionError) as error:
            raise BadSchema(_brief(error)) from None
        if first is None:
            return None
        return f"{first.json_path}: {_cut(first.message)}"

    def find(self, text: str) -> tuple[Found | None, str]:
        """Look for a value that fits: the whole text, else the last one inside it.

        The last, because agents explain first and answer at the end.

        Returns:
            What was found, if anything, and else why not.
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
    """Yield the JSON objects and arrays in prose, fenced ones last since they are meant to be."""
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
            # A number too long or a value too deep: no honest answer looks like that.
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


def _brief(error: Exception) -> str:
    return _cut(str(getattr(error, "message", None) or error) or type(error).__name__)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_ERROR_CHARS else text[: MAX_ERROR_CHARS - 1] + "…"
