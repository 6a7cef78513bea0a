"""Chat streams that are not quite as the library has them: read as the service means them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from fake_model import FakeModel, Pieces, Raw, Step, Turn
from patience import HANG_S
from pi_rig import Ran, SessionDirs, run

from agent_swarm_worker.providers.pi import chat_streams
from agent_swarm_worker.providers.pi.chat_deltas import ThinkTags, ToolCalls

pytestmark = pytest.mark.anyio
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
DONE = b"data: [DONE]\n\n"
CHATS = pytest.mark.parametrize("api", ["openai", "openrouter"])


@pytest.fixture
def dirs(tmp_path: Path) -> SessionDirs:
    return SessionDirs(tmp_path)


def chunk(delta: Any = None, finish: Any = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    value = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps({**value, 'choices': choices, **more})}\n\n".encode()


def said(text: str = "All is well.") -> bytes:
    return chunk({"content": text})


def called(arguments: Any = None, name: Any = None, index: Any = 0, call_id: Any = None) -> bytes:
    entry = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return chunk({"tool_calls": [entry]})


END = [chunk({}, "stop"), chunk(usage=USAGE), DONE]
CALLS_END = [chunk({}, "tool_calls"), chunk(usage=USAGE), DONE]


def stream(*pieces: bytes, **more: Any) -> Pieces:
    return Pieces(list(pieces), **more)


async def calls_of(dirs: SessionDirs, *pieces: bytes, api: str = "openai") -> list[Any]:
    """Return name and arguments of the calls in a stream, and check that they were made."""
    async with FakeModel(stream(*pieces), Turn("Done.")) as model:
        ran = await run(dirs, model, api)
    assert ran.result.output == "Done.", ran.result
    assert len(model.requests) == 2
    ids = [event.tool_call_id for event in ran.of("tool_start")]
    assert len(set(ids)) == len(ids)
    answered = [
        m["tool_call_id"] for m in model.requests[1].body["messages"] if m["role"] == "tool"
    ]
    assert sorted(answered) == sorted(ids)
    return [(event.tool_name, event.args) for event in ran.of("tool_start")]


LS = ("ls", {"path": "."})
TWO = [LS, ("ls", {"path": ".."})]
CALLS: dict[str, tuple[list[bytes], list[Any]]] = {
    "name repeated": (
        [called('{"pa', "ls", 0, "a"), called('th": ".', "ls", 0, "a"), called('"}', "ls", 0, "a")],
        [LS],
    ),
    "ids change": ([called('{"path"', "ls", 0, "a"), called(': "."}', "ls", 0, "b")], [LS]),
    "name in pieces": (
        [called(None, "l", 0, "a"), called(None, "s"), called('{"path": "."}')],
        [LS],
    ),
    "name grows": ([called(None, "l", 0, "a"), called('{"path": "."}', "ls", 0, "a")], [LS]),
    "empty name later": ([called("", "ls", 0, "a"), called('{"path": "."}', "", 0, "")], [LS]),
    "one index, two ids": (
        [called('{"path": "."}', "ls", 0, "a"), called('{"path": ".."}', "ls", 0, "b")],
        TWO,
    ),
    "one index, no ids": ([called('{"path": "."}', "ls"), called('{"path": ".."}', "ls")], TWO),
    "one index, pieces": (
        [
            called('{"path":', "ls", 0, "a"),
            called(' "."}'),
            called("", "ls", 0, "b"),
            called('{"path"'),
            called(': ".."}'),
        ],
        TWO,
    ),
    "one index, the first without arguments": (
        [called("", "find", 0, "a"), called('{"path": "."}', "ls", 0, "b")],
        [("find", {}), LS],
    ),
    "no index": (
        [called('{"path": "."}', "ls", None, "a"), called('{"path": ".."}', "ls", None, "b")],
        TWO,
    ),
    "no index, pieces": (
        [called('{"pa', "ls", None, "a"), called('th": "."}', None, None)],
        [LS],
    ),
    "index as text": ([called('{"path"', "ls", "0", "a"), called(': "."}', None, "0")], [LS]),
    "index counts deltas": (
        [called('{"path"', "ls", 0, "a"), called(': "."}', None, 1, "a")],
        [LS],
    ),
    "one id for two": (
        [called('{"path": "."}', "ls", 0, "x"), called('{"path": ".."}', "ls", 1, "x")],
        TWO,
    ),
    "whole call again": (
        [called('{"path": "."}', "ls", 0, "a"), called('{"path":"."}', "ls", 0, "a")],
        [LS],
    ),
    "arguments grow": (
        [called('{"pa', "ls", 0, "a"), called('{"path": "'), called('{"path": "."}')],
        [LS],
    ),
    "arguments twice": ([called('{"path": "."}{"path": "."}', "ls", 0, "a")], [LS]),
    "empty object first": ([called("{}", "ls", 0, "a"), called('{"path": "."}')], [LS]),
    "null": ([called("null", "ls", 0, "a")], [("ls", {})]),
    "null in pieces": ([called("nu", "ls", 0, "a"), called("ll")], [("ls", {})]),
    "null first": ([called("null", "ls", 0, "a"), called('{"path": "."}')], [LS]),
    "empty": ([called("", "ls", 0, "a")], [("ls", {})]),
    "none": ([called(None, "ls", 0, "a")], [("ls", {})]),
    "object": ([called({"path": "."}, "ls", 0, "a")], [LS]),
    "text of an object": ([called(json.dumps('{"path": "."}'), "ls", 0, "a")], [LS]),
    "places kept": (
        [
            chunk({"tool_calls": [{}, None, {"index": 0, "function": None}]}),
            called('{"path": "."}', "ls"),
        ],
        [LS],
    ),
    "function_call": (
        [
            chunk({"function_call": {"name": "ls", "arguments": '{"path"'}}),
            chunk({"function_call": {"arguments": ': "."}'}}),
        ],
        [LS],
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_calls_are_those_that_are_meant(dirs: SessionDirs, name: str):
    pieces, expected = CALLS[name]
    assert await calls_of(dirs, *pieces, *CALLS_END) == expected


@CHATS
async def test_calls_in_one_chunk_side_by_side_and_after_text(dirs: SessionDirs, api: str):
    entries = [
        {"index": 0, "id": "", "function": {"name": "ls", "arguments": "null"}},
        {"index": 1, "id": None, "function": {"name": "ls", "arguments": '{"path": "."}'}},
    ]
    pieces = [said("Looking."), chunk({"tool_calls": entries}), *CALLS_END]
    assert await calls_of(dirs, *pieces, api=api) == [("ls", {}), LS]


async def complete(dirs: SessionDirs, *steps: Step, api: str = "openai", **env: str) -> Ran:
    """Run a session whose first answer is complete: it is requested once."""
    async with FakeModel(*steps) as model:
        with anyio.fail_after(HANG_S):
            ran = await run(dirs, model, api, env=env)
    assert len(model.requests) == 1
    assert not ran.result.is_error, ran.result
    return ran


def tokens(ran: Ran) -> tuple[int, int]:
    cost = ran.result.cost
    assert cost is not None
    return cost.input_tokens, cost.output_tokens


def counted(asked: Any, written: Any, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": asked, "completion_tokens": written, **more}


USAGES: dict[str, list[bytes]] = {
    "cumulative": [
        chunk({"content": f"{n}"}, usage=counted(100, n, total_tokens=100 + n))
        for n in range(1, 11)
    ],
    "repeated": [chunk({"content": "a"}, usage=USAGE), chunk({"content": "b"}, usage=USAGE)],
    "null elsewhere": [chunk({"content": "a"}, usage=None), chunk(usage=USAGE), chunk(usage=None)],
    "zeros at the end": [said(), chunk(usage=USAGE), chunk(usage=counted(0, 0))],
    "in two parts": [
        chunk({"content": "a"}, usage={"prompt_tokens": 100}),
        chunk(usage=counted(None, 10)),
    ],
    "other names beside null": [
        said(),
        chunk(usage={"prompt_tokens": None, "input_tokens": 100, "completion_tokens": 10}),
    ],
    "other names beside zero": [
        said(),
        chunk(usage={**counted(0, 0), "input_tokens": 100, "output_tokens": 10}),
    ],
    "details and a number": [
        chunk({"content": "a"}, usage={**USAGE, "completion_tokens_details": {"x_tokens": 4}}),
        chunk(usage={**USAGE, "completion_tokens_details": 0}),
    ],
    "a number and details": [
        chunk({"content": "a"}, usage={**USAGE, "completion_tokens_details": 0}),
        chunk(usage={**USAGE, "completion_tokens_details": {"x_tokens": 4}}),
    ],
    "other names": [said(), chunk(usage={"input_tokens": 100, "output_tokens": 10})],
    "floats and nulls": [
        said(),
        chunk(usage=counted(100.0, 10, prompt_tokens_details=None, cost="?")),
    ],
    "details": [
        said(),
        chunk(usage={**USAGE, "completion_tokens_details": {"reasoning_tokens": 4}}),
    ],
    "of groq": [said(), chunk(x_groq={"usage": USAGE})],
    "of the choice": [
        said(),
        chunk(choices=[{"index": 0, "delta": {}, "finish_reason": None, "usage": USAGE}]),
    ],
}


@CHATS
@pytest.mark.parametrize("name", USAGES)
async def test_tokens_are_counted_once(dirs: SessionDirs, name: str, api: str):
    ran = await complete(dirs, stream(*USAGES[name], chunk({}, "stop"), DONE), api=api)
    assert tokens(ran) == (100, 10)


async def test_a_reported_cost_is_taken_once(dirs: SessionDirs):
    usages = [chunk({"content": f"{n}"}, usage={**USAGE, "cost": n / 10}) for n in range(1, 6)]
    ran = await complete(dirs, stream(*usages, chunk({}, "stop"), DONE), api="openrouter")
    assert ran.result.cost is not None
    assert ran.result.cost.total_cost_usd == pytest.approx(0.5)


@CHATS
@pytest.mark.parametrize(
    "finish", ["eos", "eos_token", "STOP", "end_turn", "stop_sequence", "complete", "tool_calls"]
)
async def test_any_finish_reason_ends_an_answer(dirs: SessionDirs, finish: str, api: str):
    ran = await complete(dirs, stream(said(), chunk({}, finish), chunk(usage=USAGE), DONE), api=api)
    assert ran.result.output == "All is well."


@CHATS
@pytest.mark.parametrize("finish", ["", None, "null"])
async def test_an_end_mark_ends_an_answer_without_a_finish_reason(
    dirs: SessionDirs, finish: Any, api: str
):
    ran = await complete(dirs, stream(said(), chunk({}, finish), chunk(usage=USAGE), DONE), api=api)
    assert tokens(ran) == (100, 10)


async def test_final_usage_ends_an_answer(dirs: SessionDirs):
    await complete(dirs, stream(said(), chunk(usage=USAGE)))


@pytest.mark.parametrize(
    ("finish", "category"),
    [
        ("max_tokens", "max_output_tokens"),
        ("MAX_TOKENS", "max_output_tokens"),
        ("SAFETY", "refused"),
    ],
)
async def test_other_words_for_a_failure_are_understood(
    dirs: SessionDirs, finish: str, category: str
):
    async with FakeModel(stream(said(), chunk({}, finish), DONE)) as model:
        ran = await run(dirs, model)
    assert ran.result.error_category == category
    assert len(model.requests) == 1


@CHATS
@pytest.mark.parametrize(
    "broken",
    [
        [said("Half of the")],
        [said("Half"), chunk(usage=counted(7, 1)), said(" of the")],
        [said("Half"), chunk(usage=counted(7, 1)), said(" of"), chunk(usage=counted(7, 2))],
        [said("Half"), b'data: {"choices": [{"delta": {"content": "brok\n\n', said(), *END],
        [called('{"path": ', "ls", 0, "a"), DONE],
        [chunk({}), DONE],
        [b": only comments\n\n"],
        [],
    ],
)
async def test_what_is_incomplete_is_requested_again_and_counted(
    dirs: SessionDirs, broken: list[bytes], api: str
):
    first = stream(chunk(choices=[], usage=counted(7, 1)), *broken) if broken else stream()
    async with FakeModel(first, stream(said(), *END)) as model:
        ran = await run(dirs, model, api)
    assert ran.result.output == "All is well."
    assert len(model.requests) == 2
    asked, written = tokens(ran)
    assert asked == (107 if broken else 100)
    assert written >= (11 if broken else 10)
    assert any(line.get("subtype") == "auto_retry_start" for line in dirs.journal())


@pytest.mark.long
@pytest.mark.parametrize("api", ["openai", "openrouter", "anthropic"])
async def test_an_answer_without_a_count_is_in_the_cost(dirs: SessionDirs, api: str):
    turns = [Turn("word " * 200, has_usage=False, half=True), Turn("word " * 200, has_usage=False)]
    async with FakeModel(*turns) as model:
        ran = await run(dirs, model, api)
    asked, written = tokens(ran)
    assert asked > 0
    assert written > 100
    assert ran.result.cost is not None
    assert ran.result.cost.num_turns == 2
    warnings = [event.content for event in ran.of("raw_stderr")]
    assert sum("estimate" in warning for warning in warnings) == 1


@pytest.mark.long
async def test_a_connection_that_stays_open_or_breaks_after_the_end_costs_nothing(
    dirs: SessionDirs, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chat_streams, "REST_S", 0.3)
    for then in ("hang", "cut"):
        ran = await complete(dirs, stream(said(), chunk({}, "stop"), chunk(usage=USAGE), then=then))
        assert tokens(ran) == (100, 10)
    monkeypatch.setattr(chat_streams, "REST_AFTER_CONTENT_S", 0.3)
    await complete(dirs, stream(chunk({"content": "All is well."}, "stop"), then="hang"))


@pytest.mark.long
async def test_a_finish_reason_in_every_chunk_ends_nothing(
    dirs: SessionDirs, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chat_streams, "REST_S", 0.01)
    both = [chunk({"content": text}, "stop") for text in ("One, ", "two, ", "three.")]
    for pieces in ([both[0] + both[1], both[2]], both):
        ran = await complete(dirs, stream(*pieces, *END, pause_s=0.2))
        assert ran.result.output == "One, two, three."


ERRORS: list[tuple[Any, str, str]] = [
    ({"error": {"message": "Insufficient credits", "code": 402}}, "billing_error", "credits"),
    (
        {"error": {"message": "No such key", "type": "authentication_error"}},
        "authentication_failed",
        "key",
    ),
    ({"error": "model 'x' not found"}, "model_not_found", "not found"),
    ({"error": {"message": "Odd", "metadata": {"raw": "because"}}}, "bad_response", "Odd: because"),
    ({"object": "error", "message": "Bad body", "code": 400}, "invalid_request", "Bad body"),
    ({"detail": "Not authenticated", "status": 401}, "authentication_failed", "Not authenticated"),
    (
        [{"error": {"message": "Bad", "code": "403", "status": "DENIED"}}],
        "permission_denied",
        "Bad",
    ),
]


@pytest.mark.parametrize(("body", "category", "words"), ERRORS)
@pytest.mark.parametrize("form", ["json", "typeless", "event"])
async def test_an_error_under_200_is_said_and_not_asked_for_again(
    dirs: SessionDirs, body: Any, category: str, words: str, form: str
):
    data = json.dumps(body).encode()
    bodies = {
        "json": Raw(200, data, {"content-type": "application/json"}),
        "typeless": Raw(200, b"\xef\xbb\xbf\n " + data),
        "event": stream(said("Well,"), b"event: error\ndata: " + data + b"\n\n"),
    }
    async with FakeModel(bodies[form]) as model:
        ran = await run(dirs, model)
    assert ran.result.error_category == category, ran.result
    assert words in (ran.result.failure_reason or "")
    assert len(model.requests) == 1


@CHATS
async def test_an_error_in_a_choice_is_one(dirs: SessionDirs, api: str):
    broken = {"code": 402, "message": "Out of credits"}
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": broken}
    async with FakeModel(stream(said("Well,"), chunk(choices=[choice], usage=USAGE))) as model:
        ran = await run(dirs, model, api)
    assert ran.result.error_category == "billing_error"
    assert tokens(ran) == (100, 10)
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        Raw(200, {"error": {"message": "Overloaded", "type": "overloaded_error"}}),
        Raw(200, {"error": {"message": "slow down", "code": 429}}),
        stream(b'data: {"error": {"message": "oops", "code": 502}}\n\n'),
        stream(b"data: upstream connect error: connection refused\n\n"),
        Raw(200, b"upstream request timed out", {"content-type": "text/plain"}),
    ],
)
@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_an_error_under_200_that_passes_is_waited_for(
    dirs: SessionDirs, trouble: Step, api: str
):
    if api == "anthropic" and not isinstance(trouble, Raw):
        pytest.skip("its streams have errors of their own")
    async with FakeModel(trouble, trouble, Turn("Made it.")) as model:
        ran = await run(dirs, model, api)
    assert ran.result.output == "Made it."


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_an_error_body_in_the_place_of_a_stream(dirs: SessionDirs, api: str):
    async with FakeModel(
        Raw(200, {"error": {"message": "Insufficient credits", "code": 402}})
    ) as model:
        ran = await run(dirs, model, api)
    assert ran.result.error_category == "billing_error"
    assert "Insufficient credits" in (ran.result.failure_reason or "")
    assert len(model.requests) == 1


async def test_a_page_is_shown_as_text(dirs: SessionDirs):
    page = Raw(200, b"<html><p>Please <b>sign in</b></html>", {"content-type": "text/html"})
    async with FakeModel(*[page] * 9) as model:
        ran = await run(dirs, model)
    assert "Please sign in" in (ran.result.failure_reason or "")
    assert len(model.requests) == 3


async def test_a_whole_message_in_the_place_of_a_stream(dirs: SessionDirs):
    def message(stop: str, *content: Any) -> Raw:
        usage = {"input_tokens": 100, "output_tokens": 10}
        head = {"id": "m", "type": "message", "role": "assistant", "model": "claude-fake-1"}
        return Raw(200, {**head, "content": content, "stop_reason": stop, "usage": usage})

    text = {"type": "text", "text": "All is well."}
    call = {"type": "tool_use", "id": "t", "name": "ls", "input": {"path": "."}}
    async with FakeModel(message("tool_use", text, call), message("end_turn", text)) as model:
        ran = await run(dirs, model, "anthropic")
    assert ran.result.output == "All is well."
    assert [(event.tool_name, event.args) for event in ran.of("tool_start")] == [LS]
    assert tokens(ran) == (200, 20)
    assert len(model.requests) == 2


MESSAGE = {"role": "assistant", "content": "All is well.", "tool_calls": None}
WHOLE = {
    "id": "c1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
    "usage": USAGE,
}


@CHATS
@pytest.mark.parametrize("form", ["json", "event", "lines", "packed"])
async def test_a_whole_answer_in_the_place_of_a_stream(dirs: SessionDirs, api: str, form: str):
    data = json.dumps(WHOLE).encode()
    bodies: dict[str, Step] = {
        "json": Raw(200, WHOLE),
        "event": stream(b"data: " + data),
        "lines": Raw(200, said("All is ")[6:-1] + said("well.")[6:-1] + END[1][6:-1]),
        "packed": Raw(200, gzip.compress(data), {"content-encoding": "gzip"}),
    }
    ran = await complete(dirs, bodies[form], api=api)
    assert ran.result.output == "All is well."
    assert tokens(ran) == (100, 10)


async def test_calls_of_a_whole_answer_are_made(dirs: SessionDirs):
    call = {"id": "a", "type": "function", "function": {"name": "ls", "arguments": '{"path": "."}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    body = json.dumps({**WHOLE, "choices": [choice]}).encode()
    assert await calls_of(dirs, body) == [LS]


PLAIN = said("All is ") + said("well.") + b"".join(END)
FRAMES: dict[str, bytes] = {
    "events without data": b"event: ping\ndata:\n\n"
    + PLAIN.replace(b"data: {", b"event: ping\n\ndata: {"),
    "comments": b": hi\n\n" + PLAIN.replace(b"\n\ndata", b"\n\n: keep-alive\n\ndata"),
    "mark": b"\xef\xbb\xbf" + PLAIN,
    "crlf": PLAIN.replace(b"\n", b"\r\n"),
    "cr": PLAIN.replace(b"\n", b"\r"),
    "no space": PLAIN.replace(b"data: ", b"data:"),
    "no last line": PLAIN.rstrip(),
    "retry and id": b"retry: 10\nid: 7\n\n" + PLAIN.replace(b"data: {", b"id: 1\ndata: {"),
    "pings": b'event: ping\ndata: {"type": "ping"}\n\ndata: ping\n\ndata: 1\n\ndata: null\n\n'
    + PLAIN,
    "end mark": PLAIN.replace(b"[DONE]", b" [done] "),
    "null members": chunk(choices=None, usage=None) + chunk(choices=[{"delta": None}]) + PLAIN,
    "second choice": chunk(choices=[{"index": 1, "delta": {"content": "no"}}]) + PLAIN,
    "parts": chunk({"content": [{"type": "text", "text": "All is "}, "well."]}) + b"".join(END),
    "as text": chunk(choices=[{"index": 0, "text": "All is well."}]) + b"".join(END),
    "repeated as a message": said("All is ")
    + said("well.")
    + chunk(choices=[{"delta": {}, "message": {"content": "All is well."}}])
    + b"".join(END),
    "place of a call": chunk({"content": "", "tool_calls": [{}]}) + PLAIN,
    "odd members": PLAIN.replace(b'"created": 1, "model": "m"', b'"created": "?", "model": null'),
}


@CHATS
@pytest.mark.parametrize("name", FRAMES)
async def test_frames_of_all_kinds_are_read(dirs: SessionDirs, api: str, name: str):
    pieces = [FRAMES[name][start : start + 7] for start in range(0, len(FRAMES[name]), 7)]
    ran = await complete(dirs, stream(*pieces), api=api)
    assert ran.result.output == "All is well."
    assert tokens(ran) == (100, 10)


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/octet-stream"])
async def test_a_stream_of_another_type_is_one(dirs: SessionDirs, kind: str):
    assert (await complete(dirs, stream(PLAIN, content_type=kind))).result.output == "All is well."


THOUGHTS = [
    ["<think>Hm.</think>All is well."],
    ["<thi", "nk>", "Hm", ".</th", "ink>", "All is well."],
    ["\n<", "think", ">\nHm.\n<", "/think>", "\n\nAll is well."],
    list("<think>1 < 2 </thin </think>All is well."),
    ["<think>", "Hm.", "</think>", "<think>", "Again.", "</think>", "All is well."],
    ["<thinking>Hm.</thinking>All is well."],
]


@CHATS
@pytest.mark.parametrize("pieces", THOUGHTS)
async def test_thinking_in_tags_is_no_answer(dirs: SessionDirs, pieces: list[str], api: str):
    ran = await complete(dirs, stream(*map(said, pieces), *END), api=api)
    assert ran.result.output == "All is well."
    thoughts = "".join(event.content for event in ran.of("reasoning"))
    assert thoughts
    assert "think" not in thoughts


async def test_tags_that_are_talked_about_are_text(dirs: SessionDirs):
    text = "Write <think> and </think> around it; a < b <thi"
    ran = await complete(
        dirs, stream(*[said(text[n : n + 5]) for n in range(0, len(text), 5)], *END)
    )
    assert ran.result.output == text


@pytest.mark.parametrize("size", range(1, 12))
def test_however_a_text_is_cut_it_stays_the_same(size: int):
    text = " <think>a</thi</think>b<c"
    tags = ThinkTags()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    found = [each for piece in pieces for each in tags.feed(piece)] + tags.rest()
    assert "".join(found) == text.strip()
    assert [found.count(tag) for tag in ("<think>", "</think>")] == [1, 1]


def test_long_arguments_are_signs_of_life():
    calls = ToolCalls()
    function = {"name": "write", "arguments": '{"path": "x", "content": "'}
    first = list(calls.feed({"index": 0, "id": "a", "function": function}))
    assert [delta["function"].get("name") for delta in first] == ["write", None]
    assert list(calls.feed({"index": 0, "function": {"arguments": "more"}}))
    assert not calls.are_complete


@CHATS
@pytest.mark.parametrize(
    ("pieces", "output"),
    [
        (["Hello \ud83d", "\ude00 world"], "Hello \U0001f600 world"),
        (["Hello \ud83d", "", "\ude00"], "Hello \U0001f600"),
        (["Hello \ud83d world"], "Hello \ufffd world"),
        (["Hello, \ude00 world"], "Hello, \ufffd world"),
        (["Hello \ud83d"], "Hello \ufffd"),
    ],
)
async def test_half_a_character(dirs: SessionDirs, pieces: list[str], output: str, api: str):
    async with FakeModel(stream(*map(said, pieces), *END)) as model:
        ran = await run(dirs, model, api)
    assert (ran.result.is_error, ran.result.output) == (False, output)
