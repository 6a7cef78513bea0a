"""Field checks give zod's messages, and raise nothing else."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from agent_swarm_worker.local_swarm.finish import schema_error
from agent_swarm_worker.local_swarm.tools import TOOLS
from agent_swarm_worker.local_swarm.validation import (
    Anything,
    Check,
    Choice,
    Either,
    Flag,
    Items,
    Number,
    Record,
    Shape,
    Text,
    ValidationFailed,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
EVERYTHING = Shape(
    text=Text(1, 5).optional(),
    time=Text(form="date-time").optional(),
    id=Text(form="uuid").optional(),
    url=Text(form="uri").optional(),
    whole=Number(0, 100, integer=True).optional(),
    part=Number(above=0).optional().nullable(),
    flag=Flag().optional(False),
    word=Choice("a", "b").optional(),
    items=Items(Text(), max_items=2).optional([]),
    record=Record(Number()).optional(),
    either=Either(Choice("any"), Shape(min=Number(1, integer=True))).optional(),
    any=Anything().optional(),
)


def _why(check: Check, value: Any) -> str:
    with pytest.raises(ValidationFailed) as caught:
        Shape(x=check).parse({"x": value})
    return str(caught.value).removeprefix("Validation error: x: ")


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (Text(), None, "Invalid input: expected string, received null"),
        (Text(), 1, "Invalid input: expected string, received number"),
        (Text(1), "", "Too small: expected string to have >=1 characters"),
        (Text(max_length=1), "ab", "Too big: expected string to have <=1 characters"),
        (Text(form="uuid"), "x", "Invalid UUID"),
        (Text(form="date-time"), "2026-01-01T00:00:00+00:00", "Invalid ISO datetime"),
        (Text(form="date-time"), "2026-01-01 00:00:00Z", "Invalid ISO datetime"),
        (Text(form="date-time"), "2026-01-01T24:00:00Z", "Invalid ISO datetime"),
        (Number(), "1", "Invalid input: expected number, received string"),
        (Number(), True, "Invalid input: expected number, received boolean"),
        (Number(integer=True), 10.5, "Invalid input: expected int, received number"),
        (Number(integer=True), 2**60, "Too big: expected int to be <=9007199254740991"),
        (Number(0), -1, "Too small: expected number to be >=0"),
        (Number(above=0), 0, "Too small: expected number to be >0"),
        (Number(maximum=100), 101, "Too big: expected number to be <=100"),
        (Flag(), "true", "Invalid input: expected boolean, received string"),
        (Choice("a", "b"), "c", 'Invalid option: expected one of "a"|"b"'),
        (Choice("a"), "b", 'Invalid input: expected "a"'),
        (Items(Text()), {}, "Invalid input: expected array, received object"),
        (Items(Text(), 1), [], "Too small: expected array to have >=1 items"),
        (Record(), [], "Invalid input: expected record, received array"),
        (Shape(), [], "Invalid input: expected object, received array"),
        (Either(Flag(), Text()), 1, "Invalid input"),
    ],
)
def test_messages(check: Check, value: Any, message: str) -> None:
    assert _why(check, value) == message


def test_all_problems_are_told_with_their_paths() -> None:
    shape = Shape(a=Text(), b=Items(Shape(c=Number())))
    with pytest.raises(ValidationFailed) as caught:
        shape.parse({"b": [{"c": 1}, {}]})
    assert str(caught.value) == (
        "Validation error: a: Invalid input: expected string, received undefined,"
        " b.1.c: Invalid input: expected number, received undefined"
    )


def test_what_is_kept() -> None:
    kept = EVERYTHING.parse({"whole": 3.0, "word": "a", "part": None, "unknown": 1})
    assert kept == {"whole": 3, "word": "a", "part": None, "flag": False, "items": []}
    assert isinstance(kept["whole"], int)
    kept["items"].append("mine")
    assert EVERYTHING.parse({})["items"] == []


@pytest.mark.long
@given(JSON)
def test_no_value_makes_a_check_fall_over(value: Any) -> None:
    for candidate in (value, dict.fromkeys(EVERYTHING.schema()["properties"], value)):
        try:
            kept = EVERYTHING.parse(candidate)
        except ValidationFailed:
            continue
        # What passed once passes again, and stays as it is.
        assert repr(EVERYTHING.parse(kept)) == repr(kept)


def test_tools_describe_themselves_in_json_schema() -> None:
    for tool in TOOLS.values():
        schema = tool.arguments.schema()
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert tool.description


def test_an_output_schema_is_never_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.3)
        visitors: list[socket.socket] = []

        def wait_for_one() -> None:
            try:
                visitors.append(trap.accept()[0])
                visitors[0].close()
            except TimeoutError:
                return

        waiting = threading.Thread(target=wait_for_one)
        waiting.start()
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/schema.json"
        assert schema_error({"outputSchema": {"$ref": url}}, "1") == ""
        waiting.join()
    assert visitors == []
