"""The translator of claude survives any line."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from claude_config import make_config
from claude_streams import NAMES, natives, translate
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_swarm_worker.contract import ToolEnd
from agent_swarm_worker.providers.claude.translate import ClaudeTranslator
from agent_swarm_worker.providers.kit.event_stream import MAX_OPEN_CALLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e308,
    float("nan"),
    10**400,
    "",
    "x",
    [],
    [None],
    {},
    {"": []},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    changed = copy.deepcopy(value)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = new
    return changed


def one_line_of_each_kind() -> dict[str, Any]:
    """One recorded line for each set of fields that lines have."""
    found: dict[str, Any] = {}
    for name in NAMES:
        for line in natives(name):
            blocks = line.get("message", {}).get("content", [])
            kinds = [block.get("type") for block in blocks if isinstance(block, dict)]
            fields = sorted({*line, *line.get("message", {})} - {"request_id", "timestamp"})
            found.setdefault(f"{line['type']} {line.get('subtype')} {kinds} {fields}", line)
    return found


LINES = one_line_of_each_kind()


@pytest.mark.parametrize("line", LINES.values(), ids=range(len(LINES)))
@pytest.mark.parametrize("share", [4, pytest.param(1, marks=pytest.mark.long)])
def test_any_field_may_have_any_type(line: dict[str, Any], share: int) -> None:
    tool, result = natives("bash")[2], natives("max_turns")[-1]
    for number, path in enumerate(places(line)):
        for wrong in WRONG[number % share :: share]:
            changed = replaced(line, path, wrong)
            assert translate([tool, changed, result]).conclude(exit_code=1).is_error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KINDS = st.sampled_from(
    ["system", "assistant", "user", "result", "rate_limit_event", "error", "command_lifecycle"]
)
FIELDS = st.sampled_from(
    ["subtype", "message", "usage", "modelUsage", "error", "tasks", "rate_limit_info", "errors"]
)


@pytest.mark.long
@settings(max_examples=150, deadline=None, database=None)
@given(kind=KINDS, fields=st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_json_may_come(kind: str, fields: dict[str, Any]) -> None:
    result = translate([{"type": kind, **fields}, fields]).conclude(exit_code=0)
    assert result.is_error or result.output is None


def test_a_result_of_wrong_shapes_makes_no_row_the_server_refuses() -> None:
    """One field of a wrong type and the server drops the row (docs/api.md 10.1)."""
    lines = natives("hello")
    lines[-1] |= {"duration_ms": 12.7, "num_turns": "3"}
    lines[-1]["model_usage_since_last_result"] = {
        "m": {"inputTokens": 1.5, "outputTokens": -4, "costUSD": "1"},
        "n": 7,
        "o": {"inputTokens": 2**60},
    }
    cost = translate(lines).conclude().cost
    assert cost
    assert (cost.duration_ms, cost.num_turns, cost.total_cost_usd) == (13, None, None)
    assert (cost.input_tokens, cost.output_tokens) == (0, 0)
    assert orjson.dumps(cost)


def test_calls_that_are_never_answered_do_not_fill_the_memory(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    translator = ClaudeTranslator(config)
    for number in range(MAX_OPEN_CALLS + 50):
        block = {"type": "tool_use", "id": f"c{number}", "name": "Bash", "input": {}}
        translator.feed({"type": "assistant", "message": {"id": "m", "content": [block]}})
    ended = [_answer(translator, number) for number in (0, MAX_OPEN_CALLS)]
    assert [(end.tool_call_id, end.tool_name) for end in ended] == [
        ("c0", ""),
        (f"c{MAX_OPEN_CALLS}", "Bash"),
    ]


def _answer(translator: ClaudeTranslator, number: int) -> ToolEnd:
    block = {"type": "tool_result", "tool_use_id": f"c{number}", "content": "ok"}
    (event,) = translator.feed({"type": "user", "message": {"content": [block]}})
    assert isinstance(event, ToolEnd)
    return event
