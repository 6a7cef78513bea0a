"""Events, costs and results as plain dictionaries, and back."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_swarm_worker.contract import (
    ContextUsage,
    CostData,
    Custom,
    Error,
    Helper,
    Message,
    ModelCost,
    PlanStep,
    ProviderEvent,
    ProviderResult,
    RateLimitWindow,
    Result,
    SessionInit,
    ToolStart,
)
from agent_swarm_worker.contract.codec import (
    Envelope,
    InvalidEvent,
    cost_from_dict,
    cost_to_dict,
    event_from_dict,
    event_to_dict,
    result_from_dict,
    result_to_dict,
)

EVENTS: tuple[type, ...] = typing.get_args(ProviderEvent)
TEXT = st.text(max_size=8)
COUNT = st.integers(min_value=0, max_value=2**53)
AMOUNT = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | COUNT | AMOUNT | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)


def built(cls: type, **special: Any) -> st.SearchStrategy[Any]:
    """A strategy for every field of a dataclass by its written type."""
    plain = {"str": TEXT, "int": COUNT, "float": AMOUNT, "bool": st.booleans(), "Any": JSON}
    steps = st.lists(st.builds(PlanStep, TEXT, st.sampled_from(["pending", "completed"])))
    plain |= {"tuple[PlanStep, ...]": steps.map(tuple)}
    plain |= {"Mapping[str, Any]": OBJECT, "Helper": st.builds(Helper, TEXT, TEXT)}

    def of(hint: str) -> st.SearchStrategy[Any]:
        if hint.endswith(" | None"):
            return st.none() | of(hint.removesuffix(" | None"))
        if hint.startswith("Literal["):
            return st.sampled_from([word.strip(" '\"") for word in hint[8:-1].split(",")])
        return plain[hint]

    return st.builds(
        cls,
        **{
            f.name: special[f.name] if f.name in special else of(str(f.type))
            for f in dataclasses.fields(cls)
        },
    )


MODELS = st.lists(built(ModelCost), max_size=2).map(tuple)
COSTS = built(CostData, models=MODELS)
WINDOWS = st.dictionaries(TEXT, built(RateLimitWindow), max_size=2)
RESULTS = built(ProviderResult, cost=st.none() | COSTS, rate_limit_windows=WINDOWS)
ALL_EVENTS = st.one_of(built(cls, cost=st.none() | COSTS) for cls in EVENTS)


@settings(max_examples=200, deadline=None)
@given(ALL_EVENTS)
def test_an_event_comes_back_as_it_was(event: ProviderEvent):
    native = event_to_dict(event)
    assert event_from_dict(native) == event
    for dumps, loads in ((json.dumps, json.loads), (orjson.dumps, orjson.loads)):
        back = event_from_dict(loads(dumps(native)))
        assert (type(back), back) == (type(event), event)


@settings(max_examples=100, deadline=None)
@given(COSTS, RESULTS)
def test_so_do_costs_and_results(cost: CostData, result: ProviderResult):
    assert cost_from_dict(json.loads(json.dumps(cost_to_dict(cost)))) == cost
    assert result_from_dict(json.loads(json.dumps(result_to_dict(result)))) == result


@settings(max_examples=100, deadline=None)
@given(st.builds(Envelope, COUNT, TEXT, TEXT, ALL_EVENTS))
def test_an_envelope_keeps_its_place(envelope: Envelope):
    native = json.loads(json.dumps(envelope.to_dict()))
    assert set(native) == {"seq", "at", "session", "event"}
    assert Envelope.from_dict(native) == envelope


@settings(max_examples=100, deadline=None)
@given(ALL_EVENTS, OBJECT)
def test_keys_that_are_not_known_are_passed_over(event: ProviderEvent, more: dict[str, Any]):
    native = event_to_dict(event)
    assert event_from_dict({f"new {key}": value for key, value in more.items()} | native) == event


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=4), st.sampled_from(EVENTS), st.data())
def test_whatever_comes_is_an_event_or_refused(native: Any, cls: Any, data: st.DataObject):
    names = [field.name for field in dataclasses.fields(cls)]
    native |= data.draw(st.dictionaries(st.sampled_from(names), JSON, max_size=len(names)))
    try:
        event = event_from_dict({"type": cls.type, **native})
    except InvalidEvent:
        return
    assert event_from_dict(event_to_dict(event)) == event


def test_the_form():
    cost = CostData(total_cost_usd=0.0, models=(ModelCost(
        model="m", input_tokens=1, output_tokens=0, cache_read_tokens=0, cache_write_tokens=0
    ),))  # fmt: skip
    assert event_to_dict(Result(cost, "done")) == {
        "type": "result",
        "cost": {
            "total_cost_usd": 0.0,
            "models": [{
                "model": "m", "input_tokens": 1, "output_tokens": 0,
                "cache_read_tokens": 0, "cache_write_tokens": 0,
            }],
        },
        "output": "done",
    }  # fmt: skip
    assert event_to_dict(ToolStart("1", "Bash", None)) == {
        "type": "tool_start",
        "tool_call_id": "1",
        "tool_name": "Bash",
        "args": None,
    }
    assert event_to_dict(SessionInit("s")) == {"type": "session_init", "session_id": "s"}


@pytest.mark.parametrize(
    ("native", "said"),
    [
        ([], "event: expected an object"),
        ({}, "unknown event type None"),
        ({"type": ["message"]}, "unknown event type"),
        ({"type": "greeting"}, "unknown event type 'greeting'"),
        ({"type": "message", "role": "assistant"}, "message.content is missing"),
        ({"type": "message", "role": "system", "content": ""}, "message.role: expected one of"),
        ({"type": "message", "role": "user", "content": 7}, "message.content: expected a string"),
        ({"type": "context_usage", "context_used_tokens": True}, "expected a whole number"),
        ({"type": "context_usage", "context_used_tokens": 1.5}, "expected a whole number"),
        ({"type": "error", "message": "x", "category": 1}, "error.category: expected a string"),
        ({"type": "result", "cost": []}, "result.cost: expected an object"),
        ({"type": "result", "cost": {"models": {}}}, "result.cost.models: expected an array"),
        ({"type": "result", "cost": {"models": [{}]}}, r"cost.models\[0\].model is missing"),
        ({"type": "session_init", "session_id": "s", "provider_meta": []}, "expected an object"),
    ],
)
def test_a_wrong_shape_is_refused_by_name(native: Any, said: str):
    with pytest.raises(InvalidEvent, match=said):
        event_from_dict(native)


@pytest.mark.parametrize(
    "event",
    [
        Custom("c", {"lines": b"bytes"}),
        Custom("c", [float("nan")]),
        Custom("c", {1: "one"}),
        Custom("c", ("a", "tuple")),
        ContextUsage(1, context_percent=float("inf")),
        Message("assistant", None),  # type: ignore[arg-type]
        Error("x", category=5),  # type: ignore[arg-type]
        CostData(),
    ],
    ids=repr,
)
def test_what_json_cannot_carry_is_not_written(event: Any):
    with pytest.raises(InvalidEvent):
        event_to_dict(event)


@pytest.mark.parametrize("native", [None, {"seq": 1}, {"seq": "1", "at": "", "session": ""}])
def test_half_an_envelope_is_refused(native: Any):
    with pytest.raises(InvalidEvent):
        Envelope.from_dict(native)


def test_a_value_may_be_nested_deeper_than_python_calls():
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert event_to_dict(Custom("deep", deep))["data"] is deep
