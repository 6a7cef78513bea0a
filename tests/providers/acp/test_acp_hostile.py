"""Agents that speak almost the protocol, fail, hang, or say that all is well when it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from acp_rig import make_session, noted, run

from agent_swarm_worker.contract import Custom, Message, Progress, ToolEnd
from agent_swarm_worker.guards.scrubbing.scrubber import Scrubber
from agent_swarm_worker.processes import procfs
from agent_swarm_worker.providers.acp.client_tools import MAX_OUTPUT_BYTES, MIN_OUTPUT_BYTES
from agent_swarm_worker.providers.acp.target import Target
from agent_swarm_worker.providers.kit.jsonrpc import MAX_UNREAD_BYTES, JsonRpcPeer

pytestmark = pytest.mark.anyio


def reason_of(ran: Any) -> str:
    reason = ran.result.failure_reason or ""
    assert ran.result.is_error
    assert len(reason.splitlines()) == 1
    return str(reason)


# --- what it writes
async def test_noise_of_every_kind_between_the_messages(tmp_path: Path):
    script = {
        "first": [["noise"]],
        "before": {"session/new": [["noise"]]},
        "prompt": [["noise"], ["say", "All the same."], ["noise"]],
        "after": [["noise"]],
    }
    ran = await run(tmp_path, script)
    assert (ran.result.is_error, ran.result.output) == (False, "All the same.")
    assert "starting up..." in (tmp_path / "session.jsonl").read_text()


async def test_answers_out_of_order_and_twice(tmp_path: Path):
    late = {"id": 3, "result": {"stopReason": "refusal"}}
    early = {"id": 2, "result": {"sessionId": "s-2"}}
    script = {
        "before": {"initialize": [["send", early], ["send", late], ["say", "Too early."]]},
        "prompt": [["send", {"id": 1, "result": {"protocolVersion": 7}}], ["say", "Fine."]],
        "after": [["send", {"id": 3, "error": {"code": 1, "message": "again"}}]],
    }
    ran = await run(tmp_path, script)
    assert (ran.result.is_error, ran.result.session_id) == (False, "s-1")
    assert ran.of(Message)[-1].content == "Fine."


async def test_ids_that_are_texts(tmp_path: Path):
    ran = await run(tmp_path, {"string_ids": True, "prompt": [["permission", {}], ["say", "Yes."]]})
    assert (ran.result.is_error, ran.result.output) == (False, "Yes.")


async def test_a_secret_in_pieces_is_said_to_nobody(tmp_path: Path):
    redactor = Scrubber()
    redactor.add("SECRET", "heron-secret-0123456789")
    data = "heron-secret-0123456789 and more"
    call = {"sessionUpdate": "tool_call_update", "toolCallId": "c", "title": "x"}
    pieces = [
        ["update", {**call, "_meta": {"terminal_output_delta": {"data": data[begin : begin + 5]}}}]
        for begin in range(0, len(data), 5)
    ]
    script = {"prompt": [*pieces, ["pieces", f"It is {data}."], ["think", data[:9]]]}
    ran = await run(tmp_path, script, redactor=redactor)
    assert ran.of(Message)[0].content == "It is [REDACTED:SECRET] and more."
    assert "heron-secret-0123456789" not in repr((ran.events, ran.result))
    assert "and more" in ran.of(ToolEnd)[0].result


async def test_characters_that_arrive_in_two_reads(tmp_path: Path):
    words = "Grüße, 鷺 🪶 " * 3
    ran = await run(tmp_path, {"halves": True, "prompt": [["say", words]]})
    assert ran.result.output == words.strip()


async def test_a_line_of_many_megabytes(tmp_path: Path):
    ran = await run(tmp_path, {"prompt": [["big", 3_000_000]]})
    assert ran.result.output == "z" * 3_000_000


@pytest.mark.parametrize("lines", [40_000])
async def test_a_flood_before_the_answer(tmp_path: Path, lines: int):
    script = {"prompt": [["flood", lines], ["say", "Phew."]]}
    ran = await run(tmp_path, script, journal_max_bytes=1 << 20)
    assert (ran.result.is_error, ran.result.output) == (False, "Phew.")
    assert (tmp_path / "session.jsonl").stat().st_size < 2 << 20


async def test_requests_that_are_none_of_ours_or_malformed(tmp_path: Path):
    script = {
        "prompt": [
            ["ask", "vendor/do", {"x": 1}],
            ["ask", "session/request_permission", ["no", "object"]],
            ["ask", "session/request_permission", None],
            ["ask", "fs/read_text_file", 7],
            ["ask", "terminal/output", {"terminalId": ["x"]}],
            ["say", "Done."],
        ]
    }
    ran = await run(tmp_path, script)
    assert not ran.result.is_error
    assert ran.answers("vendor/do")[0]["code"] == -32601
    assert ran.answers("session/request_permission") == [{"outcome": {"outcome": "cancelled"}}] * 2
    assert ran.answers("fs/read_text_file")[0]["code"] == -32602
    assert ran.answers("terminal/output")[0]["code"] == -32002


# --- files and commands through the client
async def test_files_inside_are_read_and_written(tmp_path: Path):
    work = tmp_path / "work"
    write = {"path": str(work / "sub/new.txt"), "content": "one\ntwo\nthree\n"}
    script = {
        "prompt": [
            ["ask", "fs/write_text_file", write],
            ["ask", "fs/read_text_file", {"path": write["path"], "line": 2, "limit": 1}],
            ["ask", "fs/read_text_file", {"path": str(work / "absent")}],
            ["say", "Done."],
        ]
    }
    ran = await run(tmp_path, script)
    assert (work / "sub/new.txt").read_text() == "one\ntwo\nthree\n"
    read, absent = ran.answers("fs/read_text_file")
    assert read == {"content": "two\n"}
    assert absent["code"] == -32002


async def test_an_agent_that_reads_no_answers_is_given_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    held: list[int] = []
    write = JsonRpcPeer._write

    def written(peer: JsonRpcPeer, *args: Any) -> None:
        write(peer, *args)
        held.append(peer._unread_bytes)

    monkeypatch.setattr(JsonRpcPeer, "_write", written)
    size = 5 << 20
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "big").write_text("y" * size)
    path = {"sessionId": "s-1", "path": str(tmp_path / "work" / "big")}
    script = {
        "before": {"session/prompt": [["ask-many", "fs/read_text_file", path, 30], ["deaf", 2]]},
        "prompt": [["many-answers", 30], ["ask", "fs/read_text_file", path], ["say", "Well."]],
    }
    ran = await run(tmp_path, script)
    assert (ran.result.is_error, ran.result.output) == (False, "Well.")
    (answers,) = (entry for entry in ran.log if "done" in entry)
    assert answers["done"] >= 1
    assert max(held) < MAX_UNREAD_BYTES + size + 100_000
    (after,) = ran.answers("fs/read_text_file")
    assert len(after["content"]) == size


async def test_a_directory_behind_a_link_has_two_names(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "real")
    names = [str(tmp_path / "work/a.txt"), str(tmp_path / "real/a.txt"), "a.txt"]
    writes = [["ask", "fs/write_text_file", {"path": it, "content": it}] for it in names]
    reads = [["ask", "fs/read_text_file", {"path": it}] for it in names]
    ran = await run(tmp_path, {"prompt": [*writes, *reads, ["say", "Done."]]})
    assert ran.answers("fs/write_text_file") == [{}] * 3
    assert ran.answers("fs/read_text_file") == [{"content": "a.txt"}] * 3


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "{work}/../secret", "../secret", "{work}/link/secret", "{work}", "", "~"],
)
async def test_no_file_outside_of_the_directory(tmp_path: Path, path: str):
    (tmp_path / "work").mkdir()
    (tmp_path / "secret").write_text("a secret of the host")
    (tmp_path / "work/link").symlink_to(tmp_path)
    where = path.replace("{work}", str(tmp_path / "work"))
    write = {"path": where, "content": "overwritten"}
    script = {
        "prompt": [
            ["ask", "fs/read_text_file", {"path": where}],
            ["ask", "fs/write_text_file", write] if path != "~" else ["say", "."],
            ["terminal", {"command": "cat", "args": ["x"], "cwd": where or "/"}],
            ["say", "Done."],
        ]
    }
    ran = await run(tmp_path, script)
    assert "code" in ran.answers("fs/read_text_file")[0]
    assert all("code" in answer for answer in ran.answers("fs/write_text_file"))
    assert (tmp_path / "secret").read_text() == "a secret of the host"
    if path not in ("{work}", "~"):
        assert "code" in ran.answers("terminal/create")[0]


async def test_links_are_followed_if_they_stay_inside(tmp_path: Path):
    (work := tmp_path / "work").mkdir()
    (work / "sub").mkdir()
    (work / "sub/a.txt").write_text("old")
    (work / "file").symlink_to("sub/a.txt")
    (work / "folder").symlink_to(work / "sub")
    (work / "new").symlink_to("sub/b.txt")
    (work / "out").symlink_to(tmp_path)
    (work / "loop").symlink_to("loop")
    writes = [{"path": str(work / name), "content": name} for name in ("file", "new", "loop")]
    script = {
        "prompt": [
            ["ask", "fs/read_text_file", {"path": str(work / "file")}],
            ["ask", "fs/read_text_file", {"path": str(work / "folder/a.txt")}],
            *(["ask", "fs/write_text_file", write] for write in writes),
            ["terminal", {"command": "pwd", "cwd": str(work / "folder")}],
            ["terminal", {"command": "pwd", "cwd": str(work / "out")}],
            ["ask", "fs/read_text_file", {"path": str(work / "out/x")}],
            ["say", "Done."],
        ]
    }
    ran = await run(tmp_path, script)
    read = ran.answers("fs/read_text_file")
    assert read[:2] == [{"content": "old"}] * 2
    assert ran.answers("fs/write_text_file")[:2] == [{}, {}]
    assert "code" in ran.answers("fs/write_text_file")[2]
    assert (work / "file").is_symlink()
    assert [(work / "sub" / name).read_text() for name in ("a.txt", "b.txt")] == ["file", "new"]
    inside, outside = ran.answers("terminal/create")
    assert "terminalId" in inside
    assert ran.answers("terminal/output")[0]["output"] == f"{work / 'sub'}\n"
    for refusal in (outside, read[2]):
        assert "a link that leads out of the session's directory" in refusal["message"]


async def test_the_end_of_a_flood_in_a_terminal_is_kept(tmp_path: Path):
    line = "yes 0123456789abcdef | head -c 90000000; echo; printf the-end; sleep 60 & exit 4"
    small = {"command": "yes | head -c 200000; echo bye", "outputByteLimit": 10}
    script = {
        "prompt": [["terminal", {"command": line}], ["terminal", small], ["say", "Done."]],
    }
    ran = await run(tmp_path, script)
    big, short = ran.answers("terminal/output")
    assert (big["truncated"], len(big["output"])) == (True, MAX_OUTPUT_BYTES)
    assert big["output"].endswith("\nthe-end")
    assert big["exitStatus"]["exitCode"] == 4
    assert (short["truncated"], short["output"][-5:]) == (True, "\nbye\n")
    written = [path for path in (tmp_path / "private").rglob("*") if path.is_file()]
    assert written == []


async def test_many_terminals_share_what_is_kept(tmp_path: Path):
    params = {"sessionId": "s-1", "command": "yes | head -c 3000000"}
    asked = [["ask", "terminal/create", params] for _ in range(20)]
    last = {"sessionId": "s-1", "terminalId": "terminal-20"}
    script = {
        "prompt": [
            *asked,
            ["ask", "terminal/wait_for_exit", last],
            ["ask", "terminal/output", last],
            ["say", "Done."],
        ]
    }
    ran = await run(tmp_path, script)
    (output,) = ran.answers("terminal/output")
    assert (output["truncated"], len(output["output"])) == (True, MIN_OUTPUT_BYTES)


async def test_a_command_in_a_terminal(tmp_path: Path):
    variable = [{"name": "GREETING", "value": "hello"}]
    line = "echo $GREETING; echo oops >&2; exit 3"
    script = {
        "prompt": [
            ["terminal", {"command": "sh", "args": ["-c", line], "env": variable}],
            ["terminal", {"command": "printf 12345 | tr 1 0", "outputByteLimit": 3}],
            ["terminal", {"command": "no-such-program"}],
            ["terminal", {"command": "sleep", "args": ["4711"], "kill": True}],
            ["say", "Done."],
        ]
    }  # fmt: skip
    ran = await run(tmp_path, script)
    assert not ran.result.is_error
    outputs, exits = ran.answers("terminal/output"), ran.answers("terminal/wait_for_exit")
    assert outputs[0]["output"] == "hello\noops\n"
    assert (outputs[0]["exitStatus"]["exitCode"], exits[0]["exitCode"]) == (3, 3)
    assert (outputs[1]["output"], outputs[1]["truncated"]) == ("345", True)
    assert exits[2]["exitCode"] == 127
    assert exits[3]["signal"] == "9"
    assert not list((tmp_path / "private").iterdir())


async def test_what_it_can_do_is_offered_only_if_it_is_asked_for(tmp_path: Path):
    (one := tmp_path / "1").mkdir()
    (two := tmp_path / "2").mkdir()
    for folder, env, is_offered in ((one, {}, False), (two, {"ACP_CLIENT_TOOLS": "yes"}, True)):
        ran = await run(folder, env=env)
        offered = ran.sent("initialize")[0]["clientCapabilities"]
        assert offered["terminal"] is is_offered
        assert offered["fs"] == {"readTextFile": is_offered, "writeTextFile": is_offered}


# --- how it ends
@pytest.mark.long
async def test_it_never_answers_the_first_request(tmp_path: Path):
    env = {"ACP_START_TIMEOUT_SECONDS": "1"}
    ran = await run(tmp_path, {"silent": ["initialize"]}, env=env)
    assert "no answer to initialize within 1 s" in reason_of(ran)
    assert ran.log[-1] == {"end": "input"}


@pytest.mark.long
async def test_it_never_answers_and_never_stops_printing(tmp_path: Path):
    env = {"ACP_START_TIMEOUT_SECONDS": "0.5"}
    script = {"before": {"initialize": [["flood", 10_000_000]]}}
    ran = await run(tmp_path, script, env=env, result_grace_s=0.5, journal_max_bytes=1 << 20)
    assert "no answer to initialize" in reason_of(ran)


@pytest.mark.parametrize("method", ["initialize", "session/new", "session/prompt"])
async def test_it_dies_instead_of_an_answer(tmp_path: Path, method: str):
    ran = await run(tmp_path, {"before": {method: [["die", 3]]}})
    reason = reason_of(ran)
    assert f"exited with code 3 before it was finished, without an answer to {method}" in reason
    assert "out of oil" in reason


async def test_it_speaks_another_version(tmp_path: Path):
    ran = await run(tmp_path, {"initialize": {"protocolVersion": 2}})
    assert "version 2" in reason_of(ran)
    (other := tmp_path / "other").mkdir()
    ran = await run(other, {"initialize": {"protocolVersion": "1"}})
    assert (ran.result.is_error, ran.result.output) == (False, "Done.")


@pytest.mark.parametrize(
    ("error", "category"),
    [
        ({"code": -32603, "message": "no licence"}, "protocol_error"),
        ({"code": -32000, "message": "Authentication required"}, "authentication_failed"),
    ],
)
async def test_it_refuses_the_connection(tmp_path: Path, error: Any, category: str):
    ran = await run(tmp_path, {"errors": {"initialize": error}})
    assert error["message"] in reason_of(ran)
    assert ("refuses the connection" in reason_of(ran)) == (category == "protocol_error")
    assert ran.result.error_category == category


async def test_it_closes_its_output_and_goes_on(tmp_path: Path):
    script = {"before": {"session/prompt": [["say", "I see."], ["mute"], ["deaf", 60]]}}
    ran = await run(tmp_path, script)
    assert "closed its output and went on" in reason_of(ran)
    assert "session/prompt" in reason_of(ran)
    assert ran.result.error_category == "crashed"


@pytest.mark.parametrize(
    ("stop", "shown"), [(None, "no stop reason"), (5, "5"), ({}, "{}"), ("weird", "'weird'")]
)
async def test_a_turn_without_a_stop_reason_is_no_success(tmp_path: Path, stop: Any, shown: str):
    ran = await run(tmp_path, {"result": {"stopReason": stop}})
    assert f"the turn ended with {shown}" in reason_of(ran).replace("the stop reason ", "")
    (other := tmp_path / "other").mkdir()
    ran = await run(other, {"results": {"session/prompt": None}})
    assert "no stop reason" in reason_of(ran)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (
            {"type": "resource", "resource": {"uri": "file:///a", "text": "The answer."}},
            "The answer.",
        ),
        ({"type": "resource_link", "uri": "file:///a", "name": "a"}, "[resource link file:///a]"),
        ({"type": "image", "mimeType": "image/png", "data": "AA=="}, "[image image/png]"),
    ],
)
async def test_an_answer_that_is_no_text(tmp_path: Path, content: Any, shown: str):
    update = {"sessionUpdate": "agent_message_chunk", "content": content}
    ran = await run(tmp_path, {"prompt": [["update", update]]})
    assert (ran.result.is_error, ran.result.output) == (False, shown)


async def test_arguments_that_are_no_list_are_refused(tmp_path: Path):
    params = {"sessionId": "s-1", "command": "echo"}
    script = {
        "prompt": [
            ["ask", "terminal/create", {**params, "args": "x"}],
            ["ask", "terminal/create", {**params, "env": {"A": "b"}}],
            ["ask", "terminal/create", {**params, "args": None}],
            ["say", "Done."],
        ]
    }
    ran = await run(tmp_path, script)
    first, second, third = ran.answers("terminal/create")
    assert (first["message"], second["message"]) == ("args is no list", "env is no list")
    assert "terminalId" in third


async def test_it_wants_a_login(tmp_path: Path):
    error = {"code": -32000, "message": "Authentication required"}
    ran = await run(tmp_path, {"errors": {"session/new": error}})
    assert ran.result.error_category == "authentication_failed"
    assert "Log in" in reason_of(ran)
    assert "authenticate" not in ran.order


@pytest.mark.parametrize("result", [None, [], "s-1", {"sessionId": 7}, {"sessionId": ""}])
async def test_a_session_without_an_id(tmp_path: Path, result: Any):
    ran = await run(tmp_path, {"results": {"session/new": result}})
    is_number = result == {"sessionId": 7}
    assert ("whose id is no text: 7" if is_number else "without an id") in reason_of(ran)


def internal(message: str, data: Any = None) -> dict[str, Any]:
    return {"code": -32603, "message": message, "data": data}


@pytest.mark.parametrize(
    ("error", "category"),
    [
        ({"code": -32000, "message": "Authentication required"}, "authentication_failed"),
        ({"code": -31002, "message": "Bad login"}, "authentication_failed"),
        ({"code": -32003, "message": "Slow down"}, "rate_limit"),
        ({"code": 401, "message": "{}"}, "authentication_failed"),
        ({"code": 429, "message": "x"}, "rate_limit"),
        (internal("x", {"errorKind": "rate_limit"}), "rate_limit"),
        (internal("x", {"errorKind": "server_error"}), "server_error"),
        (internal("x", {"http_status": 503}), "server_error"),
        (internal("x", {"details": "401 Incorrect API key provided"}), "authentication_failed"),
        (internal("x", "Unauthorized (401) from http://127.0.0.1:9/v1"), "authentication_failed"),
        (internal("x", {"details": "Error code: 429 - wait"}), "rate_limit"),
        (internal("This model's maximum context length is 10 tokens"), "context_overflow"),
        (internal("500 status code (no body)"), "server_error"),
        (internal("no idea"), "turn_failed"),
        ({"message": 7}, "turn_failed"),
        ("nope", "turn_failed"),
    ],
)
async def test_the_class_of_an_error(tmp_path: Path, error: Any, category: str):
    ran = await run(tmp_path, {"prompt_error": error})
    assert ran.result.error_category == category, reason_of(ran)


UNAUTHORIZED = "Error: Authentication failed with provider at http://x (HTTP 401)."
RETRYING = "Info: Request failed due to a transient API error. Retrying..."
COPILOT_LIKE = Target(name="Texting", has_text_errors=True, notices=("^Info: ",))
CODEX_LIKE = Target(name="Counting", reports_usage=True)
FAILED_ENGINE = {
    "sessionUpdate": "session_info_update",
    "_meta": {"codex": {"threadStatus": {"type": "systemError"}}},
}


@pytest.mark.parametrize(
    ("prompt", "result", "target", "category"),
    [
        ([], {}, None, "turn_failed"),
        ([["say", "  \n"]], {}, None, "turn_failed"),
        ([["think", "Hm."]], {}, None, "turn_failed"),
        ([["say", UNAUTHORIZED]], {}, COPILOT_LIKE, "authentication_failed"),
        ([["say", RETRYING], ["say", UNAUTHORIZED]], {}, COPILOT_LIKE, "authentication_failed"),
        ([["say", UNAUTHORIZED]], {}, None, "authentication_failed"),
        ([["say", RETRYING]], {}, COPILOT_LIKE, "server_error"),
        ([["say", "On it. "], ["say", UNAUTHORIZED]], {}, COPILOT_LIKE, "authentication_failed"),
        ([["say", "Err"], ["say", "or: 429 Too Many Requests"]], {}, None, "rate_limit"),
        ([["say", "Error: "], ["say", "429 Too "], ["say", "Many"]], {}, None, "rate_limit"),
        ([["say", "Rate limit exceeded"]], {}, CODEX_LIKE, "rate_limit"),
        ([["say", "Fine?"]], {"usage": None}, CODEX_LIKE, "turn_failed"),
        ([["update", FAILED_ENGINE], ["say", "429 Too Many Requests"]], {}, None, "rate_limit"),
        ([["say", "429: slow down"]], {"stopReason": "refusal"}, None, "rate_limit"),
        ([["say", "I will not"]], {"stopReason": "refusal"}, None, "turn_failed"),
        ([["say", "x"]], {"stopReason": "max_tokens"}, None, "max_output_tokens"),
        ([["say", "x"]], {"stopReason": "max_turn_requests"}, None, "turn_failed"),
        ([["say", "x"]], {"stopReason": "whatever"}, None, "turn_failed"),
        ([["say", "x"]], {"stopReason": "cancelled"}, None, "interrupted"),
    ],
)
async def test_an_end_of_the_turn_that_hides_a_failure(
    tmp_path: Path, prompt: Any, result: Any, target: Target | None, category: str
):
    ran = await run(tmp_path, {"prompt": prompt, "result": result}, target=target)
    assert ran.result.error_category == category, reason_of(ran)
    assert "session/prompt" in ran.order


async def test_an_answer_that_reads_like_an_error_is_none(tmp_path: Path):
    usage = {"inputTokens": 3, "outputTokens": 4}
    for number, (answer, result) in enumerate(
        [
            ("Error: the tests fail with HTTP 401.", {"usage": usage}),
            ("Error: I cannot find that file.", {}),
            ("It prints: Error: rate limit exceeded", {}),
        ]
    ):
        (folder := tmp_path / str(number)).mkdir()
        ran = await run(folder, {"prompt": [["say", answer]], "result": result})
        assert (ran.result.is_error, ran.result.output) == (False, answer)


async def test_where_an_answer_is_cut_does_not_make_it_an_error(tmp_path: Path):
    pieces = ["Mended. The log used to say\n", "Error: 429 Too Many Requests, but it retries now."]
    ran = await run(tmp_path, {"prompt": [["say", piece] for piece in pieces]})
    assert (ran.result.is_error, ran.result.output) == (False, "".join(pieces))


async def test_a_notice_is_no_part_of_the_answer(tmp_path: Path):
    ran = await run(
        tmp_path, {"prompt": [["say", RETRYING], ["say", "Done."]]}, target=COPILOT_LIKE
    )
    assert (ran.result.is_error, ran.result.output) == (False, "Done.")
    assert [event.message for event in ran.of(Progress)] == [RETRYING]


async def test_what_is_said_before_the_prompt_is_no_part_of_the_answer(tmp_path: Path):
    offers = {"modes": {"currentModeId": "ask", "availableModes": [{"id": "ask"}, {"id": "yolo"}]}}
    script = {"before": {"session/set_mode": [["say", "agent v1.6.0"]]}, "offers": offers}
    ran = await run(tmp_path, {**script, "prompt": [["say", "Done."]]})
    assert (ran.result.is_error, ran.result.output) == (False, "Done.")
    assert Custom("acp.greeting", {"text": "agent v1.6.0"}) in ran.events


async def test_figures_without_text_end_a_message(tmp_path: Path):
    """An agent may tell of a call in the middle of the text before it, and never of its end."""
    call = {"sessionUpdate": "tool_call", "toolCallId": "c", "title": "bash", "status": "pending"}
    empty = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": ""}}
    figures = {"sessionId": "s-1", "update": empty, "_meta": {"tokens": 7}}
    told = {"method": "session/update", "params": figures}
    steps = [["say", "Wo"], ["update", call], ["say", "rking."], ["send", told]]
    ran = await run(tmp_path, {"prompt": [*steps, ["say", "Done "], ["say", "looking"]]})
    assert (ran.result.is_error, ran.result.output) == (False, "Done looking")


# --- time
@pytest.mark.long
async def test_silence_ends_a_turn_and_is_called_a_network_failure(tmp_path: Path):
    env = {"ACP_SILENCE_TIMEOUT_SECONDS": "0.5"}
    ran = await run(tmp_path, {"prompt": [["wait", 60]]}, env=env)
    assert "said nothing for 0.5 s" in reason_of(ran)
    assert ran.result.error_category == "network"
    assert ran.sent("session/cancel") == [{"sessionId": "s-1"}]
    assert ran.log[-1] == {"end": "input"}


@pytest.mark.long
async def test_a_tool_may_be_silent(tmp_path: Path):
    call = {"sessionUpdate": "tool_call", "toolCallId": "c", "title": "x", "status": "in_progress"}
    done = {"sessionUpdate": "tool_call_update", "toolCallId": "c", "status": "completed"}
    script = {"prompt": [["update", call], ["wait", 2.5], ["update", done], ["say", "Done."]]}
    ran = await run(tmp_path, script, env={"ACP_SILENCE_TIMEOUT_SECONDS": "0.5"})
    assert (ran.result.is_error, ran.result.output) == (False, "Done.")


@pytest.mark.long
async def test_a_turn_has_a_limit_of_its_own(tmp_path: Path):
    call = {"sessionUpdate": "tool_call", "toolCallId": "c", "title": "x", "status": "in_progress"}
    script = {"ignores_cancel": True, "prompt": [["update", call], ["wait", 60]], "no_answer": True}
    ran = await run(tmp_path, script, env={"ACP_TURN_TIMEOUT_SECONDS": "0.5"})
    assert (ran.result.error_category, "the turn took 0.5 s" in reason_of(ran)) == (
        "turn_timeout",
        True,
    )


# --- abort
def sleepers(seconds: str) -> list[int]:
    found = []
    for info in procfs.snapshot().values():
        try:
            words = Path(f"/proc/{info.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", seconds.encode()]:
            found.append(info.pid)
    return found


async def aborted(tmp_path: Path, script: dict[str, Any]) -> Any:
    """Abort a session in its first turn; return its result."""
    session, _ = await make_session(tmp_path, script)
    results: list[Any] = []
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            results.append(await session.wait_for_completion())

        group.start_soon(wait)
        while not any(entry.get("method") == "session/prompt" for entry in noted(tmp_path)):
            await anyio.sleep(0.01)
        await anyio.sleep(0.2)
        await session.abort("enough")
    return results[0]


async def test_an_abort_cancels_answers_open_requests_and_leaves_nothing(tmp_path: Path):
    script = {
        "prompt": [
            ["command", ["sleep", "98431"]],
            ["wait", 60],
            ["permission", {"toolCallId": "c1", "title": "x"}],
        ]
    }
    result = await aborted(tmp_path, script)
    assert (result.error_category, result.failure_reason) == ("aborted", "Aborted: enough")
    log = noted(tmp_path)
    assert [entry["method"] for entry in log if "method" in entry][-1] == "session/cancel"
    asked = [entry["got"] for entry in log if entry.get("asked")]
    assert asked == [{"outcome": {"outcome": "cancelled"}}]
    assert log[-1] == {"end": "input"}, "its input is closed before any signal"
    assert not sleepers("98431")


async def test_after_an_abort_nothing_is_written_or_started(tmp_path: Path):
    work = tmp_path / "work"
    write = {"path": str(work / "late.txt"), "content": "late"}
    late = [["ask", "fs/write_text_file", write], ["terminal", {"command": "touch late-too"}]]
    script = {"prompt": [["say", "Begun."], ["wait", 60], *late]}
    result = await aborted(tmp_path, script)
    assert result.error_category == "aborted"
    assert not (work / "late.txt").exists()
    assert not (work / "late-too").exists()


@pytest.mark.long
async def test_an_abort_of_a_deaf_agent_with_a_command(tmp_path: Path):
    script = {
        "ignores_cancel": True,
        "prompt": [["command", ["sleep", "98432"]], ["deaf", 600]],
        "stays": 600,
    }
    result = await aborted(tmp_path, script)
    assert result.error_category == "aborted"
    assert not sleepers("98432")


@pytest.mark.long
async def test_a_command_that_outlives_the_agent_is_swept(tmp_path: Path):
    ran = await run(tmp_path, {"prompt": [["command", ["sleep", "98433"]], ["say", "Done."]]})
    assert not ran.result.is_error
    assert not sleepers("98433")


@pytest.mark.long
async def test_an_agent_that_never_exits_by_itself_is_ended_without_a_word(tmp_path: Path):
    ran = await run(tmp_path, {"stays": 600}, target=Target(name="Staying", stays=True))
    assert (ran.result.is_error, ran.of(Progress)) == (False, [])
    (again := tmp_path / "again").mkdir()
    ran = await run(again, {"stays": 600}, result_grace_s=0.5)
    assert not ran.result.is_error
    assert "stayed after its result" in ran.of(Progress)[0].message


async def test_a_call_that_stays_open_is_closed_when_the_turn_is_over(tmp_path: Path):
    call = {"sessionUpdate": "tool_call", "toolCallId": "c", "title": "x", "status": "pending"}
    ran = await run(tmp_path, {"prompt": [["update", call], ["say", "Done."]]})
    (end,) = ran.of(ToolEnd)
    assert end.is_error
    assert json.dumps(end.result) == '"the turn ended before the call did"'
