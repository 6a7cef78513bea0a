"""A whole answer of the Responses API in the place of a stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_model import FakeModel, Raw
from pi_rig import Ran, SessionDirs, run

pytestmark = pytest.mark.anyio

USAGE = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
TEXT = {"type": "output_text", "text": "All is well.", "annotations": []}
MESSAGE = {"type": "message", "id": "m1", "role": "assistant", "content": [TEXT]}
CALL = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "ls"}


def whole(*output: Any, **more: Any) -> Raw:
    head = {"id": "r1", "object": "response", "status": "completed", "model": "own"}
    return Raw(200, {**head, "output": output, "usage": USAGE, **more})


async def ran(folder: Path, *steps: Raw) -> tuple[Ran, FakeModel]:
    dirs = SessionDirs(folder)
    async with FakeModel(*steps) as model:
        entry = {"baseUrl": f"{model.url}/v1", "api": "openai-responses", "apiKey": "own-key-0001"}
        files = dirs.root / "home/.pi/agent"
        files.mkdir(parents=True)
        providers = {"mine": {**entry, "models": [{"id": "own"}]}}
        (files / "models.json").write_text(json.dumps({"providers": providers}))
        return await run(dirs, model, env={"MODEL_OVERRIDE": "mine/own"}), model


@pytest.mark.long
@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        {**MESSAGE, "id": None},
        {"type": "message", "content": "All is well."},
        {**MESSAGE, "content": [{**TEXT, "text": "All "}, {**TEXT, "text": "is well."}]},
    ],
    ids=["whole", "no id", "mere text", "parts"],
)
async def test_text_and_calls_are_taken(tmp_path: Path, message: dict[str, Any]):
    call = {**CALL, "arguments": '{"path": "."}'}
    reasoning = {"type": "reasoning", "id": "x", "summary": []}
    done, model = await ran(tmp_path, whole(reasoning, call), whole(message, status=None))
    assert not done.result.is_error, done.result
    assert done.result.output == "All is well."
    assert [(event.tool_name, event.args) for event in done.of("tool_start")] == [
        ("ls", {"path": "."})
    ]
    assert done.result.cost is not None
    assert (done.result.cost.input_tokens, done.result.cost.output_tokens) == (200, 20)
    assert len(model.requests) == 2


async def test_arguments_as_an_object_and_none_are_arguments(tmp_path: Path):
    calls = [{**CALL, "arguments": {"path": "."}}, {**CALL, "id": None, "call_id": "c2"}]
    done, _ = await ran(tmp_path, whole(*calls), whole(MESSAGE))
    assert [event.args for event in done.of("tool_start")] == [{"path": "."}, {}]


async def test_one_that_is_cut_off_is_no_success(tmp_path: Path):
    cut = whole(MESSAGE, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    done, model = await ran(tmp_path, cut)
    assert done.result.error_category == "max_output_tokens"
    assert len(model.requests) == 1


async def test_one_with_an_error_says_it(tmp_path: Path):
    error = {"code": "invalid_prompt", "message": "No such thing"}
    done, _ = await ran(tmp_path, whole(status="failed", error=error))
    assert "No such thing" in (done.result.failure_reason or "")
